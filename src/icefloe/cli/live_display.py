"""How a live run shows itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from icefloe.cli.progress import RunDisplay, duration

if TYPE_CHECKING:
    from icefloe.engine import RunSummary, Session
    from icefloe.engine.alarms import AlarmEvent
    from icefloe.project import Failure
    from icefloe.project.live_log import LiveEntry
    from icefloe.project.live_state import LiveState

__all__ = ["LiveDisplay"]


class LiveDisplay(RunDisplay):
    """Shows a live run on stderr: a line an exposure, and what waits.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        from icefloe.project.live_log import LiveTally

        super().__init__(session, 0)
        self._tally = LiveTally()
        self._told: dict[str, str] = {}
        self._latency = ""
        self._waiting = 0

    def planned(self, total: int, todo: int) -> None:
        """Say what is watched for."""
        self._begin = time.perf_counter()
        text = f"Watching; the session has {total} exposures. Ctrl-C ends it"
        if why := self._session.why_no_picking():
            text += f"; {why}"
        self._print(text)

    def watching(self, state: LiveState) -> None:
        """Show what waits, and say which files are not whole."""
        from rich.markup import escape

        self._waiting = state.waiting
        self._todo = len(self._seen) + state.waiting
        self._progress.update(self._task, total=max(1, self._todo))
        if state.waiting == 0 and not state.paused:
            self._progress.update(self._task, description="waiting for movies", exposure="")
        for path, reason in state.incomplete.items():
            if self._told.get(path) != reason:
                self._told[path] = reason
                self._print(f"not whole yet: {escape(reason)}")

    def logged(self, entry: LiveEntry) -> None:
        """Remember the latency for the exposure's line."""
        self._tally.add(entry)
        latency = entry.latency if entry.fresh else None
        self._latency = "" if latency is None else f", {latency:.1f} s after its file was whole"

    def finished(self, name: str, failure: Failure | None, seconds: float) -> None:
        """Print the exposure's line."""
        from rich.markup import escape

        from icefloe.project.live_log import figures_text

        self._seen.add(name)
        if failure is not None:
            self._failed += 1
            self._print(f"{name}  [red]{failure.stage} failed[/]: {escape(failure.message)}")
        else:
            self._print(f"{name}  {self._brief(name)}  {seconds:.1f} s{self._latency}")
        self._latency = ""
        figures = self._tally.figures()
        self._progress.update(
            self._task,
            completed=len(self._seen),
            failed=f"{self._failed} failed  " if self._failed else "",
            left="" if figures is None else figures_text(figures),
        )

    def summarise(self, summary: RunSummary) -> None:
        """Print what the run came to."""
        from icefloe.project.live_log import figures_text

        failures = {**summary.known_failures, **summary.failures}
        text = f"{summary.ran} exposures done in {duration(summary.seconds)}"
        if failures:
            text += f", [red]{len(failures)} failed[/] (icefloe status tells why)"
        if self._waiting:
            text += f"; {self._waiting} wait"
        figures = self._tally.figures()
        if figures is not None and figures_text(figures):
            text += f"; {figures_text(figures)}"
        self._print(text)

    def alarmed(self, event: AlarmEvent) -> None:
        """Print an alarm's begin or end."""
        from rich.markup import escape

        if event.raised:
            self._print(f"[bold red]ALARM[/]: {escape(event.message)}")
        else:
            self._print(f"[green]alarm {escape(event.message)}[/]")
