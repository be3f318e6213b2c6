"""When to call somebody: rules over the exposures done last, pure functions of their numbers."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from icefloe.errors import SettingsError

__all__ = ["AlarmEvent", "AlarmSettings", "Alarms", "measure_exposure"]


class AlarmSettings(BaseModel):
    """When an alarm is raised, and whom it tells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(
        default=10, ge=2, le=1000, description="Number of exposures, the ones done last."
    )
    fit_resolution: float | None = Field(
        default=None,
        gt=0,
        description="Raise an alarm when the median CTF fit resolution of the window is worse than "
        "this, A.",
    )
    ice: float | None = Field(
        default=None, gt=0, description="... when the median ice number is above this."
    )
    motion: float | None = Field(
        default=None, gt=0, description="... when the median total motion is above this, A."
    )
    picks: float | None = Field(
        default=None, ge=0, description="... when the median number of picks is below this."
    )
    failures: float | None = Field(
        default=0.5, gt=0, le=1, description="... when more than this fraction of them failed."
    )
    no_movie_minutes: float | None = Field(
        default=None, gt=0, description="... when no new movie came for so many minutes."
    )
    hysteresis: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="An alarm ends when its number is better than the limit by this fraction.",
    )
    webhook: str | None = Field(
        default=None,
        description="Address (http or https) that each alarm is sent to, as JSON by POST.",
    )
    command: str | None = Field(
        default=None,
        description="Program that is started for each alarm, with the alarm as JSON on its "
        "standard input and its text as the last argument.",
    )

    @model_validator(mode="after")
    def _web_only(self) -> AlarmSettings:
        if self.webhook is not None:
            from urllib.parse import urlsplit

            try:
                parts = urlsplit(self.webhook)
                usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            except ValueError:
                usable = False
            if not usable:
                raise SettingsError(
                    f"webhook is {self.webhook!r}",
                    "an address that begins with http:// or https://",
                )
        return self


@dataclass(frozen=True)
class AlarmEvent:
    """An alarm that begins or ends.

    Attributes
    ----------
    rule
        Its name: ``fit_resolution``, ``ice``, ``motion``, ``picks``, ``failures``, ``no_movie``,
        ``disk``.
    raised
        False when it ends.
    message
        For people.
    value, limit
        The number, and what it was compared with.
    """

    rule: str
    raised: bool
    message: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class _Rule:
    name: str
    what: str
    unit: str
    digits: int
    bad: Literal["above", "below"]


_RULES = (
    _Rule("fit_resolution", "CTF fit resolution", " A", 1, "above"),
    _Rule("ice", "ice number", "", 2, "above"),
    _Rule("motion", "total motion", " A", 1, "above"),
    _Rule("picks", "number of picks", "", 0, "below"),
)


def measure_exposure(
    numbers: Mapping[str, Mapping[str, Any]], *, usable_ctf: bool
) -> dict[str, float]:
    """Return what the rules look at, from the numbers of an exposure's stages.

    A CTF without Thon rings counts as an infinitely bad resolution.
    """
    ctf = numbers.get("ctf")
    found: dict[str, Any] = {
        "motion": numbers.get("motion", {}).get("motion_total"),
        "picks": numbers.get("pick", {}).get("n_picks"),
    }
    if ctf is not None:
        resolution = ctf.get("fit_resolution") if usable_ctf else None
        found["fit_resolution"] = math.inf if resolution is None else resolution
        found["ice"] = ctf.get("iciness")
    return {k: float(v) for k, v in found.items() if v is not None}


@dataclass
class Alarms:
    """The alarms of a run; each is raised once and ends once.

    Attributes
    ----------
    settings
        The limits.
    active
        Messages of the alarms that are on, by rule.
    """

    settings: AlarmSettings
    active: dict[str, str] = field(default_factory=dict)
    _window: deque[dict[str, float] | None] = field(default_factory=deque)

    def exposure(self, measured: Mapping[str, float] | None) -> list[AlarmEvent]:
        """Count an exposure that is done, None for one that failed; return what changed."""
        self._window.append(None if measured is None else dict(measured))
        while len(self._window) > self.settings.window:
            self._window.popleft()
        # A window that is half full says enough, one exposure does not.
        enough = max(2, self.settings.window // 2)
        events: list[AlarmEvent | None] = []
        for rule in _RULES:
            limit = getattr(self.settings, rule.name)
            values = [one[rule.name] for one in self._window if one and rule.name in one]
            if limit is None or len(values) < enough:
                continue
            median = statistics.median(values)
            shown = "none" if math.isinf(median) else f"{median:.{rule.digits}f}{rule.unit}"
            text = (
                f"median {rule.what} of the last {len(values)} exposures is {shown} "
                f"({rule.bad} {limit:g}{rule.unit})"
            )
            events.append(self._judge(rule.name, median, limit, rule.bad == "above", text))
        if self.settings.failures is not None and len(self._window) >= enough:
            failed = sum(one is None for one in self._window)
            text = f"{failed} of the last {len(self._window)} exposures failed"
            fraction = failed / len(self._window)
            events.append(self._judge("failures", fraction, self.settings.failures, True, text))
        return [event for event in events if event is not None]

    def quiet(self, minutes: float) -> list[AlarmEvent]:
        """Say for how long no movie came."""
        limit = self.settings.no_movie_minutes
        if limit is None:
            return []
        if minutes > limit:
            return self.turn("no_movie", f"no new movie for {minutes:.3g} minutes", minutes, limit)
        return self.turn("no_movie", None, minutes, limit)

    def turn(
        self, rule: str, message: str | None, value: float | None = None, limit: float | None = None
    ) -> list[AlarmEvent]:
        """Turn an alarm on with a message, or off with None; return what changed."""
        if message is not None and rule not in self.active:
            self.active[rule] = message
            return [AlarmEvent(rule, True, message, value, limit)]
        if message is None and rule in self.active:
            return [AlarmEvent(rule, False, f"over: {self.active.pop(rule)}", value, limit)]
        return []

    def _judge(
        self, rule: str, value: float, limit: float, bad_above: bool, text: str
    ) -> AlarmEvent | None:
        margin = self.settings.hysteresis * abs(limit)
        bad = value > limit if bad_above else value < limit
        good = value <= limit - margin if bad_above else value >= limit + margin
        value_or_none = value if math.isfinite(value) else None
        events: list[AlarmEvent] = []
        if bad:
            events = self.turn(rule, text, value_or_none, limit)
        elif good:
            events = self.turn(rule, None, value_or_none, limit)
        return events[0] if events else None
