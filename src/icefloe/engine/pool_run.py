"""A run whose exposures are done by workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from icefloe.engine.executor import Ended
from icefloe.engine.gain_check import check_gains
from icefloe.engine.pool import Feed, ListFeed, Lost, WorkerPool
from icefloe.engine.runner import record_lost
from icefloe.engine.worker import DEFAULT_STAGES, ExposureTask
from icefloe.errors import DiskFullError

if TYPE_CHECKING:
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage
    from icefloe.project import Failure

__all__ = ["PoolCrew"]

# Of where a worker hung.
_PLACE_LINES = 12
# Exposures among which the gain's check finds its movies.
_LOOKS = 8


@dataclass
class PoolCrew:
    """Workers as those who do a run's exposures.

    Attributes
    ----------
    session, stages
        What is done.
    pool
        The workers, entered.
    run_id
        Returns what the sidecars name the run by; asked for when there is something to do.
    retry_failed
        Do failed stages again.
    """

    session: Session
    stages: Sequence[Stage]
    pool: WorkerPool
    run_id: Callable[[], str]
    retry_failed: bool = False
    _gains: Future[list[str]] | None = None
    _gains_asked: bool = False
    _lost: dict[str, Failure] = field(default_factory=dict)

    def run(self, items: Sequence[tuple[str, str]]) -> Iterator[Ended]:
        """Do exposures; yield them as they end.

        Raises
        ------
        IcefloeError
            What a worker met that every other one would meet: a full disk, an unreadable gain.
        """
        self.check_gains(items)
        for ended in self.follow(ListFeed([self.task(*item) for item in items])):
            if ended is not None:
                yield ended

    def task(self, name: str, listed: str) -> ExposureTask:
        """Return the task for an exposure."""
        return ExposureTask(
            project=str(self.session.project.root),
            name=name,
            listed=listed,
            device=self.pool.device,
            threads=self.pool.threads,
            retry_failed=self.retry_failed,
            limit=self.pool.limit,
            stages=self.pool.stages,
            run_id=self.run_id(),
        )

    def follow(
        self, feed: Feed, full: Callable[[str, DiskFullError], None] | None = None
    ) -> Iterator[Ended | None]:
        """Give out what the feed has, and yield what ended; None now and then meanwhile.

        Parameters
        ----------
        feed
            The tasks.
        full
            Is told of an exposure for which there was no space; without it the run ends then.
        """
        for outcome in self.pool.run(feed):
            if outcome is None:
                yield None
            elif isinstance(outcome, Lost):
                ended = self._give_up(outcome, feed)
                if ended is not None:
                    yield ended
            elif full is not None and isinstance(outcome.ending, DiskFullError):
                full(outcome.name, outcome.ending)
                yield None
            elif outcome.ending is not None:
                raise outcome.ending
            else:
                failure = self._lost.pop(outcome.name, outcome.failure)
                yield Ended(outcome.name, failure, outcome.seconds, outcome.recorded)

    def check_gains(self, items: Sequence[tuple[str, str]]) -> None:
        """Let a worker look at the first movies, once; `news` tells what it found."""
        # Other stages, as tests have them, know no movies.
        if not self._gains_asked and items and self.pool.stages == DEFAULT_STAGES:
            self._gains_asked = True
            project = str(self.session.project.root)
            self._gains = self.pool.submit(check_gains, project, list(items[:_LOOKS]))

    def news(self) -> list[str]:
        """Return what the check of the gains found."""
        if self._gains is None or not self._gains.done():
            return []
        gains, self._gains = self._gains, None
        return [] if gains.exception() is not None else gains.result()

    def _give_up(self, outcome: Lost, feed: Feed) -> Ended | None:
        """Record a task that no worker survived; None if other stages are still to be done."""
        task = outcome.task
        failure = record_lost(
            self.session,
            self.stages,
            task.name,
            task.listed,
            kind="WorkerLost",
            message=_why(outcome, self.pool.limit),
            retry_failed=task.retry_failed,
            run_id=task.run_id,
        )
        if failure is None:
            return Ended(task.name, self._lost.pop(task.name, None), 0.0)
        # Stages that do not need the one that failed.
        self._lost.setdefault(task.name, failure)
        feed.put(replace(task, retry_failed=False))
        return None


def _why(lost: Lost, limit: float) -> str:
    hang = Path(lost.task.project) / "exposures" / lost.task.name / ".hang.txt"
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
        "a file that crashes a library. --retry-failed tries again, best where more memory is free."
    )
