"""Looks for movies again and again beside the run's own work."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icefloe.engine.watch import Arrival, Watcher

__all__ = ["Poller"]


class Poller:
    """Polls in a thread, since a file server may take its time to answer.

    Parameters
    ----------
    watcher
        Looks for files.
    seconds
        Time between two looks.

    Attributes
    ----------
    polls
        Number of looks so far.
    error
        What ended the thread; `take` raises it.
    """

    def __init__(self, watcher: Watcher, seconds: float) -> None:
        self._watcher, self._seconds = watcher, seconds
        self._lock = threading.Lock()
        self._found: list[Arrival] = []
        self._end = threading.Event()
        self.polls = 0
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._work, name="watch", daemon=True).start()

    def end(self) -> None:
        """Look no more."""
        self._end.set()

    @property
    def waiting(self) -> bool:
        """Whether something was found that nobody has taken yet."""
        with self._lock:
            return bool(self._found)

    def take(self) -> list[Arrival]:
        """Return what was found since the last time."""
        if self.error is not None:
            raise self.error
        with self._lock:
            found, self._found = self._found, []
        return found

    def _work(self) -> None:
        try:
            while not self._end.is_set():
                found = self._watcher.poll()
                with self._lock:
                    self._found += found
                self.polls += 1
                self._end.wait(self._seconds)
        except Exception as error:  # must reach the run's thread
            self.error = error
