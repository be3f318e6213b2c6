"""What a live run is doing: `live.json`, for `icefloe status` in another terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from icefloe.formats.atomic import write_text
from icefloe.project.layout import Project

__all__ = ["LiveState", "read_state", "write_state"]

_FILE = "live.json"
_SCHEMA = 1


@dataclass(frozen=True)
class LiveState:
    """A live run as it was at its last report.

    Attributes
    ----------
    patterns
        What it watches, absolute.
    running
        Whether it had not ended; a run that was killed could not say that it did.
    waiting
        Number of exposures that are to be done.
    incomplete
        By path of files that do not open, why.
    alarms
        Messages of the alarms that are on, by rule.
    paused
        Why it waits; empty while it works.
    """

    patterns: tuple[str, ...] = ()
    running: bool = False
    waiting: int = 0
    incomplete: Mapping[str, str] = field(default_factory=dict)
    alarms: Mapping[str, str] = field(default_factory=dict)
    paused: str = ""


def write_state(project: Project, state: LiveState) -> None:
    """Record the state.

    Raises
    ------
    OutputError
    """
    content = {"schema": _SCHEMA, **asdict(state)}
    write_text(project.root / _FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_state(project: Project) -> LiveState | None:
    """Return the last report; None if there never was a live run."""
    try:
        content: dict[str, Any] = json.loads((project.root / _FILE).read_text(encoding="utf-8"))
        if content["schema"] != _SCHEMA:
            return None
        known = {f.name for f in fields(LiveState)}
        values = {k: v for k, v in content.items() if k in known}
        return LiveState(**{**values, "patterns": tuple(values.get("patterns", ()))})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
