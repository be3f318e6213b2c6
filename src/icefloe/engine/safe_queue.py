"""Queues between a manager and its workers that outlive a worker which is killed.

A process that waits at a queue of `multiprocessing` holds the queue's lock, a semaphore, and one
that is killed then never gives it back: no other worker gets a task any more. The lock on a file
the operating system does give back. So Parsl's queues get such locks, in the manager's process,
before it makes them.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Any

__all__ = ["FileLock", "SafeQueue", "install"]

_LOOK_AGAIN = 0.02  # s
_TO_END = 3.0  # s


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


class SafeQueue(Queue):  # type: ignore[type-arg]
    """A queue whose locks are free again when a process that holds one dies."""

    def __init__(self, maxsize: int = 0, *, ctx: Any) -> None:
        super().__init__(maxsize, ctx=ctx)
        self._rlock: Any = FileLock()
        self._wlock: Any = FileLock()


def install() -> None:
    """Let Parsl's manager of workers, in this process, make such queues and counters.

    It also ends when its own helper dies, which keeps what each worker is at: without it no worker
    can go on, and the manager would wait for them for ever.
    """
    from parsl.multiprocessing import SpawnContext

    value, helper = SpawnContext.Value, SpawnContext.Manager

    def counter(kind: str, *arguments: Any) -> Any:
        return value(kind, *arguments, lock=FileLock())

    def watched() -> Any:
        made = helper()
        threading.Thread(target=_end_with, args=(made._process,), daemon=True).start()
        return made

    SpawnContext.Manager = watched
    SpawnContext.Queue = lambda maxsize=0: SafeQueue(maxsize, ctx=SpawnContext)
    SpawnContext.Value = counter


def _end_with(process: Any) -> None:
    process.join()
    time.sleep(_TO_END)  # in case that the manager is ending by itself
    os._exit(1)
