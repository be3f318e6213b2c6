"""A live run whose exposures are done by workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icefloe.engine.live_loop import Live
from icefloe.engine.pool_run import PoolCrew
from icefloe.project.filesystem import time_of

if TYPE_CHECKING:
    from icefloe.engine.worker import ExposureTask
    from icefloe.errors import DiskFullError

__all__ = ["PooledLive"]

# So many exposures must have been done before a worker checks the gain on their movies.
_FOR_GAIN = 5


@dataclass(kw_only=True)
class PooledLive(Live):
    """Gives movies to workers as they come; it is the feed that the pool takes its tasks from."""

    crew: PoolCrew
    _again: list[ExposureTask] = field(default_factory=list)
    _taken: dict[str, float] = field(default_factory=dict)
    _asked_for_gain: bool = False

    @property
    def reference_threads(self) -> int | None:
        """As many threads as a worker has."""
        return self.crew.pool.threads

    def loop(self) -> None:
        """Give out what waits and record what ends, again and again."""
        for ended in self.crew.follow(self, full=self._disk_full):
            if self.runner.stop():
                return  # the workers end with their pool, and roll back what they do
            self._quiet_alarm()
            self._take_arrivals()
            self._report()
            if ended is None:
                if self.gate.busy:
                    self._make_reference(ended=False)
                continue
            self._recorded = dict(ended.recorded)
            self._under_way.pop(ended.name, None)
            taken = self._taken.pop(ended.name, self.clock())
            self._ended(ended.name, ended.failure, ended.seconds, taken)
            if not self._asked_for_gain and len(self._ran) >= _FOR_GAIN:
                self._asked_for_gain = True
                self.crew.check_gains([(n, self.sources[n]) for n in sorted(self._ran)])

    def take(self) -> ExposureTask | None:
        """Return the next task for the pool."""
        if self.runner.stop() or self.must_wait():
            return None
        if self._again:
            return self._again.pop()
        self._take_arrivals()
        name = self._next_name()
        if name is None:
            return None
        listed = self.sources[name]
        self._under_way[name] = time_of(self.session.project.locate(listed))
        self._taken[name] = self.clock()
        return self.crew.task(name, listed)

    def put(self, task: ExposureTask) -> None:
        """Take a task back that is to be given out again."""
        self._again.append(task)

    def ended(self) -> bool:
        """Whether the run is to end; asked when no worker has anything to do."""
        if self.runner.stop():
            return True
        return not self._again and not len(self.queue) and self._is_over()

    def _disk_full(self, name: str, error: DiskFullError) -> None:
        self._under_way.pop(name, None)
        self._full(name, error)

    def _gain_news(self) -> list[str]:
        return self.crew.news()

    def _in_hand(self) -> int:
        return len(self._taken)
