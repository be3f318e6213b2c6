"""What a live run tells: alarms, and what it is doing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icefloe.engine.alarm_sinks import AlarmSinks
from icefloe.engine.alarms import AlarmEvent, Alarms, measure_exposure
from icefloe.errors import DiskFullError
from icefloe.project.live_state import LiveState, write_state

if TYPE_CHECKING:
    from icefloe.engine.live_options import LiveObserver
    from icefloe.engine.session import Session
    from icefloe.project import ExposureRecord

__all__ = ["LiveNews"]

_REPORT_EVERY = 5.0  # s


@dataclass
class LiveNews:
    """Raises alarms and keeps `live.json` up to date.

    Attributes
    ----------
    session
        The session.
    patterns
        What is watched, for `live.json`.
    observer
        Is told, too.
    paused
        Why the run waits; empty while it works.
    """

    session: Session
    patterns: tuple[str, ...]
    observer: LiveObserver
    paused: str = ""
    _state: LiveState = field(default_factory=lambda: LiveState(running=True))
    _told: LiveState | None = None
    _written: tuple[float, LiveState] = (0.0, LiveState())

    def __post_init__(self) -> None:
        settings = self.session.settings.alarms
        self._alarms = Alarms(settings)
        self._sinks = AlarmSinks(self.session.project.root, settings)

    def exposure(self, record: ExposureRecord, *, failed: bool) -> None:
        """Look whether an exposure that is done begins or ends an alarm."""
        measured = measure_exposure(record.numbers, usable_ctf=record.ctf is not None)
        self._tell(self._alarms.exposure(None if failed else measured))

    def quiet(self, seconds: float) -> None:
        """Take note that no movie came for so long."""
        self._tell(self._alarms.quiet(seconds / 60))

    def pause(self, reason: str) -> None:
        """Say that the run waits, for space on the disk."""
        if not self.paused:
            self.paused = reason
            self._tell(self._alarms.turn("disk", f"paused: {reason}"))
            self._report(at_once=True)

    def go_on(self) -> None:
        """Say that the run waits no longer."""
        if self.paused:
            self.paused = ""
            self._tell(self._alarms.turn("disk", None))
            self._report(at_once=True)

    def report(self, waiting: int, incomplete: Mapping[str, str], *, running: bool = True) -> None:
        """Say what the run is doing.

        Parameters
        ----------
        waiting
            Number of exposures that are to be done.
        incomplete
            By path of files that do not open, why.
        running
            False at the end.
        """
        self._state = LiveState(self.patterns, running, waiting, dict(incomplete))
        self._report(at_once=not running)

    def close(self) -> None:
        """Send what waits to be sent."""
        self._sinks.close()

    def _tell(self, events: Sequence[AlarmEvent]) -> None:
        for event in events:
            self._sinks.tell(event)
            self.observer.alarmed(event)

    def _report(self, *, at_once: bool) -> None:
        found = self._state
        state = LiveState(
            patterns=self.patterns,
            running=found.running,
            waiting=found.waiting,
            incomplete=found.incomplete,
            alarms=dict(self._alarms.active),
            paused=self.paused,
        )
        if state != self._told:
            self._told = state
            self.observer.watching(state)
        before, known = self._written
        if state == known:
            return
        now = time.monotonic()
        if at_once or now - before > _REPORT_EVERY:
            with suppress(DiskFullError):  # there is space again later
                write_state(self.session.project, state)
            self._written = (now, state)
