"""How a run shows itself: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from icefloe.engine import RunSummary, Session
    from icefloe.project import ExposureRecord, Failure

__all__ = ["RunDisplay", "duration"]

_DOING = {
    "import": "looking into it",
    "motion": "aligning",
    "ctf": "fitting the CTF",
    "look": "looking for contamination",
    "pick": "picking",
    "extract": "extracting",
}


class RunDisplay:
    """Shows the progress of a run on stderr.

    Parameters
    ----------
    session
        The session.
    given
        Number of exposures named on the command line.
    """

    def __init__(self, session: Session, given: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._session, self._given = session, given
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        self._failed = self._todo = 0
        self._seen: set[str] = set()
        self._begin = time.perf_counter()
        self._progress = Progress(
            TextColumn("[bold]{task.fields[exposure]}[/] {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}{task.fields[left]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, exposure="", failed="", left="")

    def __enter__(self) -> RunDisplay:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._progress.stop()

    def planned(self, total: int, todo: int) -> None:
        """Say how much there is to do."""
        self._todo = todo
        self._begin = time.perf_counter()
        self._progress.update(self._task, total=todo)
        text = f"{total} exposures, {todo} to do"
        if why := self._session.why_no_picking():
            text += f"; {why}"
        self._print(text)

    def started(self, name: str, stage: str) -> None:
        """Show what is being done."""
        self._progress.update(self._task, description=_DOING[stage], exposure=name)

    def finished(self, name: str, failure: Failure | None, seconds: float) -> None:
        """Print the exposure's line."""
        from rich.markup import escape

        self._seen.add(name)
        done = len(self._seen)
        self._todo = max(self._todo, done)
        left = (time.perf_counter() - self._begin) / done * (self._todo - done)
        if failure is not None:
            self._failed += 1
            self._print(f"{name}  [red]{failure.stage} failed[/]: {escape(failure.message)}")
        else:
            self._print(f"{name}  {self._brief(name)}  {seconds:.1f} s")
        self._progress.update(
            self._task,
            completed=done,
            failed=f"{self._failed} failed  " if self._failed else "",
            left=f"{duration(left)} left" if done < self._todo else "",
        )

    def warned(self, message: str) -> None:
        """Print a warning about the whole session."""
        from rich.markup import escape

        self._print(f"[bold yellow]WARNING[/]: {escape(message)}")

    def making_reference(self, what: str) -> None:
        """Say what picking waits for."""
        self._progress.update(self._task, description=what, exposure="picking:")
        self._print(f"Picking: {what}")

    def summarise(self, summary: RunSummary) -> None:
        """Print what the run came to."""
        failures = {**summary.known_failures, **summary.failures}
        good = summary.total - len(failures)
        text = f"{good} of {summary.total} exposures done"
        if failures:
            text += f", [red]{len(failures)} failed[/] (icefloe status tells why)"
        if summary.ran:
            text += f"; {summary.ran} worked on in {duration(summary.seconds)}"
        else:
            text += "; there was nothing to do"
        self._print(text)
        if self._session.uses_reference():
            self._print(describe_reference(self._session))
        if summary.known_failures:
            self._print(
                f"{len(summary.known_failures)} failed in an earlier run and would fail again; "
                "--retry-failed tries nevertheless"
            )

    def _print(self, text: str) -> None:
        if self._live:
            self._console.print(text)
        else:
            from rich.text import Text

            click.echo(Text.from_markup(text).plain, err=True)

    def _brief(self, name: str) -> str:
        from icefloe.project import load_record

        return ", ".join(brief_numbers(load_record(self._session.project, name, "")))


def describe_reference(session: Session) -> str:
    """Return in a line what a session with a reference of its own picks with."""
    stored = session.reference()
    if stored is None:
        return session.why_no_picking().capitalize()
    reference = stored.reference
    if reference.flags:
        return "; ".join(reference.flags)
    where = session.project.listed(session.project.reference)
    if session.settings.pick.method == "network":
        return f"Diameter for the network: {reference.diameter:.0f} A, as found ({where})"
    if stored.origin == "user":
        return f"Reference: templates given for particles of {reference.diameter:.0f} A ({where})"
    classes = reference.numbers.get("classes", {})
    what, count = "", reference.numbers["n_particles"]
    if classes.get("taken"):
        what, count = f"{classes['templates']} class averages of ", classes["particles"]
    text = (
        f"Reference: {what}particles of {reference.diameter:.0f} A, from {count} of them in "
        f"{len(stored.inputs)} micrographs ({where})"
    )
    network = reference.numbers.get("network")
    if network is not None:
        text += f"; a network learned from {sum(network['picks'])} picks of them"
    return text


def brief_numbers(record: ExposureRecord) -> list[str]:
    """Return the figures of an exposure that fit on one line."""
    parts = []
    motion, ctf = record.numbers.get("motion", {}), record.ctf
    if motion.get("motion_total") is not None:
        parts.append(f"motion {motion['motion_total']:.1f} A")
    if ctf is not None:
        parts.append(f"defocus {(ctf['defocus_u'] + ctf['defocus_v']) / 2e4:.2f} µm")
        if ctf.get("fit_resolution") is not None:
            parts.append(f"fit to {ctf['fit_resolution']:.1f} A")
    elif "ctf" in record.numbers:
        parts.append("no usable CTF")
    if "pick" in record.numbers:
        parts.append(f"{record.numbers['pick']['n_picks']} picks")
    return parts


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
