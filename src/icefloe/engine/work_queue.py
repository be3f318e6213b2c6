"""Which exposure is next while movies arrive."""

from __future__ import annotations

import heapq
from typing import Literal

from icefloe.project.layout import natural_key

__all__ = ["Order", "WorkQueue"]

Order = Literal["newest", "oldest"]

# While fresh movies come faster than they are done, every fifth is still one of the backlog.
_SHARE = 5


class WorkQueue:
    """Exposures that wait: fresh ones first, those of the backlog in between.

    Parameters
    ----------
    order
        Whether the newest or the oldest file comes first, of both kinds.
    """

    def __init__(self, order: Order = "newest") -> None:
        self._sign = -1 if order == "newest" else 1
        self._fresh: list[tuple[int, tuple[tuple[int, int | str], ...], str]] = []
        self._backlog: list[tuple[int, tuple[tuple[int, int | str], ...], str]] = []
        self._waiting: dict[str, bool] = {}
        self._since_backlog = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, name: str, mtime_ns: int, *, fresh: bool) -> None:
        """Let an exposure wait; one that waits already in the backlog may become fresh."""
        known = self._waiting.get(name)
        if known or known == fresh:
            return
        self._waiting[name] = fresh
        heap = self._fresh if fresh else self._backlog
        heapq.heappush(heap, (self._sign * mtime_ns, natural_key(name), name))

    def pop_first_named(self) -> str | None:
        """Return the one whose name comes first, whatever its age; None if none waits."""
        name = min(self._waiting, key=natural_key, default=None)
        if name is not None:
            del self._waiting[name]  # its entry in a heap is passed over later
        return name

    def pop(self) -> str | None:
        """Return the next one, None if none waits."""
        turns: list[tuple[list[tuple[int, tuple[tuple[int, int | str], ...], str]], bool]]
        turns = [(self._fresh, True), (self._backlog, False)]
        if self._since_backlog >= _SHARE - 1:
            turns.reverse()
        for heap, fresh in turns:
            while heap:
                _, _, name = heapq.heappop(heap)
                # It may have changed sides since.
                if self._waiting.get(name) is not fresh:
                    continue
                del self._waiting[name]
                self._since_backlog = self._since_backlog + 1 if fresh else 0
                return name
        return None
