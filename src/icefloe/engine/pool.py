"""Worker processes, here or on a cluster, through Parsl's HighThroughputExecutor.

Parsl (Babuji et al. 2019, HPDC) starts the workers, gives each a task at a time, and says which
task was lost when one of them dies. A lost task is given out again a few times
(`icefloe.engine.tries`) and then recorded as this exposure's failure, so that a movie that kills
every worker it meets costs only itself.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from icefloe.engine import distributor
from icefloe.engine.pool_config import RESTARTS, worker_count
from icefloe.engine.tries import Pending, Verdict
from icefloe.engine.worker import DEFAULT_STAGES, ExposureResult, ExposureTask, run_task
from icefloe.errors import DeviceError

if TYPE_CHECKING:
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config

__all__ = ["Feed", "ListFeed", "Lost", "WorkerPool"]

_POLL = 0.5
# Tasks given out for each worker: one that it does and one that waits, so that no worker is idle
# and the newest exposure need not wait behind many.
_AHEAD = 2
_UNKNOWN_WORKERS = 64
# An exposure that is to be tried alone waits so long for nobody to work by itself: seconds.
_PATIENCE = 120.0


class Feed(Protocol):
    """Where the next task comes from."""

    def take(self) -> ExposureTask | None:
        """Return the next task; None if there is none at the moment."""

    def put(self, task: ExposureTask) -> None:
        """Take a task back, to be given out again."""

    def ended(self) -> bool:
        """Whether no more tasks will come."""


class ListFeed:
    """Tasks that are all known."""

    def __init__(self, tasks: Sequence[ExposureTask]) -> None:
        self._tasks = list(reversed(tasks))

    def take(self) -> ExposureTask | None:
        """Return the next task."""
        return self._tasks.pop() if self._tasks else None

    def put(self, task: ExposureTask) -> None:
        """Give a task back; it is the next one."""
        self._tasks.append(task)

    def ended(self) -> bool:
        """Whether all were taken."""
        return not self._tasks


@dataclass(frozen=True)
class Lost:
    """A task that no worker survived.

    Attributes
    ----------
    task
        The task.
    tries
        How many workers it was given to.
    reason
        What Parsl said of the last one.
    """

    task: ExposureTask
    tries: int
    reason: str


@dataclass
class WorkerPool:
    """Workers for the time of a ``with`` block.

    Attributes
    ----------
    config
        Of `pool_config.local_config`, or a user's own.
    device, threads
        What a worker computes on; ``auto`` is the card that it was given, else the CPU.
    limit
        Seconds after which a worker that is still at one exposure ends itself; 0: never.
    tries
        How many workers a task may kill in a row before it is tried alone, and then before it is
        given up.
    stages
        ``module:name`` of the stages.
    renew
        Returns the configuration anew, for when the process that gives out the tasks was killed;
        without it the run ends then.
    """

    config: Config
    device: str = "auto"
    threads: int = 1
    limit: float = 0.0
    tries: int = 3
    stages: str = DEFAULT_STAGES
    renew: Callable[[], Config] | None = None
    _pool: ParslPoolExecutor | None = None
    _renewed: int = 0
    _ahead: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        self._ahead = _AHEAD * max(1, worker_count(self.config) or _UNKNOWN_WORKERS // _AHEAD)

    def __enter__(self) -> WorkerPool:
        from parsl.concurrent import ParslPoolExecutor

        # Parsl starts its programs by name; they lie beside the interpreter, which need not be on
        # the path.
        here = str(Path(sys.executable).parent)
        if here not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = here + os.pathsep + os.environ.get("PATH", "")
        logging.getLogger("parsl").setLevel(logging.CRITICAL)
        self._pool = ParslPoolExecutor(self.config)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            # Tasks under way need not be waited for: their files are whole or not there.
            if distributor.died(self.config):
                distributor.dismiss(self.config)
            else:
                self._pool.shutdown(wait=False)
            self._pool = None

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        """Give any importable function to a worker."""
        assert self._pool is not None, "used outside its with block"
        future: Future[Any] = self._pool.submit(function, *arguments)
        return future

    def run(self, feed: Feed) -> Iterator[ExposureResult | Lost | None]:
        """Yield what became of each task, in the order in which they end.

        None is yielded at least twice a second while nothing ends, so that the caller can look
        after other things.
        """
        pending: dict[Future[Any], Pending] = {}
        later: deque[Pending] = deque()  # to be tried alone
        while pending or later or not feed.ended():
            if distributor.died(self.config):
                self._start_again(pending)
            self._give_out(feed, pending, later)
            if not pending:
                time.sleep(_POLL)
                yield None
                continue
            done, _ = wait(list(pending), timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in done:
                entry = pending.pop(future)
                outcome = self._outcome(future, entry)
                if outcome is Verdict.AGAIN:
                    pending[self.submit(run_task, entry.task)] = entry
                elif outcome is Verdict.ALONE:
                    later.append(entry)
                elif outcome is Verdict.LOST:
                    yield Lost(entry.task, entry.given_to, f"{future.exception()}")
                else:
                    yield outcome
            if not done:
                yield None

    def _give_out(
        self, feed: Feed, pending: dict[Future[Any], Pending], later: deque[Pending]
    ) -> None:
        if any(entry.alone for entry in pending.values()):
            return
        if not later or time.monotonic() < later[0].since + _PATIENCE:
            while len(pending) < self._ahead and (task := feed.take()) is not None:
                pending[self.submit(run_task, task)] = Pending(task)
        if later and not pending:
            entry = later.popleft()
            pending[self.submit(run_task, entry.task)] = entry

    def _start_again(self, pending: dict[Future[Any], Pending]) -> None:
        """Start everything anew, and give out again what is under way."""
        from parsl.concurrent import ParslPoolExecutor

        under_way = [future for future in pending if not future.done()]
        distributor.dismiss(self.config)
        self._pool = None
        self._renewed += 1
        if self.renew is None or self._renewed > RESTARTS:
            raise DeviceError(
                "The process that gives out the exposures to the workers (Parsl's interchange) was "
                "killed",
                hint="What is done is kept: the same command goes on from there",
            )
        self.config = self.renew()
        self._pool = ParslPoolExecutor(self.config)
        for future in under_way:
            entry = pending.pop(future)
            pending[self.submit(run_task, entry.task)] = entry

    def _outcome(self, future: Future[Any], entry: Pending) -> ExposureResult | Verdict:
        """Return what a future came to, or what is to be done where its worker died."""
        from parsl.executors.errors import BadStateException
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        error = future.exception()
        if error is None:
            result: ExposureResult = future.result()
            return result
        if isinstance(error, BadStateException):
            raise DeviceError(
                f"The workers cannot be started ({error})",
                hint="'icefloe cluster check' tries them one step after the other",
            ) from error
        if isinstance(error, WorkerLost):
            return entry.worker_died(self.tries)
        if isinstance(error, ManagerLost):
            return entry.node_died()
        return Verdict.LOST
