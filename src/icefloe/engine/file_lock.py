"""A lock between processes that the operating system frees when its holder is killed."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from types import TracebackType

__all__ = ["FileLock"]

_LOOK_AGAIN = 0.02  # s


class FileLock:
    """A lock between processes, reentrant, that is free when its holder dies.

    It can be handed on to processes that are started while the one that made it lives.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            # Leaves nothing behind, whatever ends the process.
            self._made = os.memfd_create("icefloe-lock")
            self._open(f"/proc/{os.getpid()}/fd/{self._made}")
        else:
            self._file = tempfile.NamedTemporaryFile(prefix="icefloe-lock-")  # noqa: SIM115
            self._open(self._file.name)

    def _open(self, path: str) -> None:
        # Each process opens it for itself: whoever inherits a descriptor shares what it holds.
        self._path, self._descriptor = path, os.open(path, os.O_RDWR)
        self._threads, self._depth = threading.RLock(), 0

    def __getstate__(self) -> str:
        return self._path

    def __setstate__(self, path: str) -> None:
        self._open(path)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take the lock, as `multiprocessing.Lock.acquire` does."""
        begin = time.monotonic()
        limit = 0.0 if not block else timeout
        if not self._threads.acquire(block, -1 if limit is None or not block else max(0.0, limit)):
            return False
        if self._depth == 0 and not self._lock_file(begin, limit):
            self._threads.release()
            return False
        self._depth += 1
        return True

    def _lock_file(self, begin: float, limit: float | None) -> bool:
        if limit is None:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            return True
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                left = begin + limit - time.monotonic()
                if left <= 0:
                    return False
                time.sleep(min(left, _LOOK_AGAIN))
            else:
                return True

    def release(self) -> None:
        """Give it back."""
        self._depth -= 1
        if self._depth == 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
