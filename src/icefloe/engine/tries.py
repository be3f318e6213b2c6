"""What is done about an exposure whose worker died.

A movie that kills each worker is to cost only itself; a worker that was killed by chance, or for
want of memory while others were at work, is to cost nothing. Who killed it cannot be known. But
what kills does so at one stage, so deaths are counted as long as nothing new is recorded; and
before an exposure is given up, it is tried as often again while no other worker does anything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from icefloe.engine.worker import ExposureTask

__all__ = ["Pending", "Verdict"]

# A node that goes down takes the tasks of all its workers along, none of which is to blame.
_NODE_TRIES = 10
# After so many deaths it does not matter any more whether it got further meanwhile.
_DEATHS = 10


class Verdict(Enum):
    """What becomes of a task whose worker died."""

    AGAIN = "give it out again"
    ALONE = "give it out again when nobody else works"
    LOST = "give it up"


@dataclass
class Pending:
    """A task that was given out.

    Attributes
    ----------
    task
        It.
    alone
        Nothing else is to be given out with it.
    since
        When this was decided, s of the monotonic clock.
    deaths
        Workers that died with it.
    """

    task: ExposureTask
    alone: bool = False
    since: float = 0.0
    deaths: int = 0
    _tries: int = 1
    _nodes: int = 1
    _recorded: frozenset[str] | None = None

    def worker_died(self, most: int) -> Verdict:
        """Return what to do when a worker died, where a stage may kill `most` in a row."""
        self.deaths += 1
        recorded = self._stages()
        if self._recorded not in (None, recorded) and self.deaths < _DEATHS:
            self._tries = 1
        self._recorded = recorded
        if self._tries < most:
            self._tries += 1
            return Verdict.AGAIN
        if self.alone or self._hung():
            return Verdict.LOST
        self.alone, self.since, self._tries = True, time.monotonic(), 1
        return Verdict.ALONE

    def node_died(self) -> Verdict:
        """Return what to do when a node went down."""
        if self._nodes == _NODE_TRIES:
            return Verdict.LOST
        self._nodes += 1
        return Verdict.AGAIN

    @property
    def given_to(self) -> int:
        """How many workers began with it, or how many nodes had it, whichever is more."""
        return max(self.deaths, self._nodes)

    def _stages(self) -> frozenset[str]:
        files = self._directory().glob("*.json")
        return frozenset(path.name for path in files if not path.name.startswith("."))

    def _hung(self) -> bool:
        """Return whether the time limit ended the last worker: a hang is no chance."""
        try:
            return (self._directory() / ".hang.txt").stat().st_size > 0
        except OSError:
            return False

    def _directory(self) -> Path:
        return Path(self.task.project) / "exposures" / self.task.name
