"""Lets a live run wait while the disk is full."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icefloe.engine.disk_space import DiskSpace
    from icefloe.engine.live_news import LiveNews

__all__ = ["DiskPause"]

_RETRY_FULL = 60.0  # s after a disk was full though space seemed left


@dataclass
class DiskPause:
    """Says whether to wait, and tells when a pause begins and ends.

    Attributes
    ----------
    space
        Watches the disk.
    news
        Is told.
    """

    space: DiskSpace
    news: LiveNews
    _retry_at: float = 0.0

    def full(self, reason: str) -> None:
        """Take note that writing failed for want of space."""
        self._retry_at = time.monotonic() + _RETRY_FULL
        self.news.pause(reason)

    def __call__(self) -> bool:
        """Return whether the run must wait."""
        shortage = self.space.shortage()
        if shortage is None and time.monotonic() < self._retry_at:
            shortage = self.news.paused  # a quota, for example, which only writing shows
        if shortage is None:
            self.news.go_on()
            return False
        self.news.pause(shortage)
        return True
