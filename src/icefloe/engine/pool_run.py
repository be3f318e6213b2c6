"""A run whose exposures are done by workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from icefloe.engine.executor import record_lost
from icefloe.engine.gain_check import GainCheck, check_gain
from icefloe.engine.pool import Feed, ListFeed, Lost, WorkerPool
from icefloe.engine.worker import DEFAULT_STAGES, ExposureTask

if TYPE_CHECKING:
    from icefloe.engine.executor import Observer
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage
    from icefloe.project import Failure

__all__ = ["run_in_pool"]

# Of where a worker hung.
_PLACE_LINES = 12
# Exposures among which the gain's check finds its movies.
_LOOKS = 8


def run_in_pool(
    session: Session,
    stages: Sequence[Stage],
    items: Sequence[tuple[str, str]],
    pool: WorkerPool,
    observer: Observer | None = None,
    retry_failed: bool = False,
) -> Iterator[tuple[str, Failure | None, float]]:
    """Yield name, first failure and seconds of each exposure, in the order in which they end.

    Raises
    ------
    IcefloeError
        What a worker met that every other one would meet: a full disk, a gain that cannot be read.
    """
    tasks = [
        ExposureTask(
            project=str(session.project.root),
            name=name,
            listed=listed,
            device=pool.device,
            threads=pool.threads,
            retry_failed=retry_failed,
            limit=pool.limit,
            stages=pool.stages,
        )
        for name, listed in items
    ]
    gain = _gain_check(session, items, pool)
    feed: Feed = ListFeed(tasks)
    lost: dict[str, Failure] = {}
    for outcome in pool.run(feed):
        if gain is not None and gain.done():
            if observer is not None and gain.exception() is None and gain.result() is not None:
                observer.warned(str(gain.result()))
            gain = None
        if outcome is None:
            continue
        if isinstance(outcome, Lost):
            task = outcome.task
            failure = record_lost(
                session,
                stages,
                task.name,
                task.listed,
                kind="WorkerLost",
                message=_why(outcome, Path(task.project), pool.limit),
                retry_failed=retry_failed and task.name not in lost,
            )
            if failure is not None:
                # Stages that do not need the one that failed are still to be done.
                lost.setdefault(task.name, failure)
                feed.put(replace(task, retry_failed=False))
                continue
            yield task.name, lost.get(task.name), 0.0
            continue
        if outcome.ending is not None:
            raise outcome.ending
        yield outcome.name, lost.get(outcome.name, outcome.failure), outcome.seconds


def _gain_check(
    session: Session, items: Sequence[tuple[str, str]], pool: WorkerPool
) -> Future[str | None] | None:
    """Let a worker look at the first movies, unless that was done before."""
    # Sessions of tests may have other stages, which know no movies.
    if pool.stages != DEFAULT_STAGES or GainCheck.start(session).verdict is not None:
        return None
    return pool.submit(check_gain, str(session.project.root), list(items[:_LOOKS]))


def _why(lost: Lost, project: Path, limit: float) -> str:
    hang = project / "exposures" / lost.task.name / ".hang.txt"
    try:
        # One part a thread; the last one is the thread that works, its innermost call first.
        last = hang.read_text(encoding="utf-8").rstrip().rpartition("\n\n")[2]
        place = "\n".join(last.splitlines()[:_PLACE_LINES])
    except OSError:
        place = ""
    hang.unlink(missing_ok=True)
    if place:
        return (
            f"It took longer than {limit:.0f} s in each of {lost.tries} workers, which were ended. "
            "Raise --time-limit if that is too short. The last one was at:\n" + place
        )
    return (
        f"Each of {lost.tries} workers that began with it died ({lost.reason}): out of memory, or "
        "a file that crashes a library. Try it alone with fewer --workers and --retry-failed."
    )
