"""Looks for movies that arrive in directories, by asking again and again.

File servers send no events over the network, so directories are polled. What makes that cheap: a
directory is listed again only when its time has changed, and of the files only those are asked
for their size that are not done with. A movie is taken when size and time were the same in two
polls and it opens whole.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from icefloe.errors import IcefloeError
from icefloe.formats.whole import check_whole
from icefloe.project.layout import natural_key

__all__ = ["Arrival", "Incomplete", "Watcher"]

# Directory times may be rough or cached by the network: now and then all are listed again.
_FULL_EVERY = 12
# Files that were taken are asked again in turns, in case one is written once more.
_TURN = 100
# A file that did not open is tried again after this long even if nothing about it changed, s.
_RETRY = 60.0
# So many files are opened in one poll at most: the first ones of a backlog need not wait for all.
_OPENED = 500
_MAGIC = "*?["

Stamp = tuple[int, int]  # size, time of change in ns
_UNSEEN = (-1, 0)


@dataclass(frozen=True)
class Arrival:
    """A file that is whole.

    Attributes
    ----------
    path
        The file.
    mtime_ns
        Time of its last change, by the file server.
    complete
        When it became whole, s since 1970 by this machine's clock; known to within a poll.
    fresh
        False for what was there when the watch began.
    """

    path: Path
    mtime_ns: int
    complete: float
    fresh: bool


@dataclass(frozen=True)
class Incomplete:
    """A file that does not open.

    Attributes
    ----------
    path
        The file.
    reason
        What opening it says.
    since
        When its size last changed, s since 1970.
    mtime_ns
        Time of its last change, by the file server.
    """

    path: Path
    reason: str
    since: float
    mtime_ns: int


@dataclass
class _Pending:
    stamp: Stamp
    complete: float
    fresh: bool
    reason: str | None = None
    tried: float = 0.0


@dataclass
class _Directory:
    mtime_ns: int = -1
    resting: bool = False
    files: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)


class Watcher:
    """Finds files that match patterns, when they are whole.

    Parameters
    ----------
    patterns
        Files, or patterns such as ``/data/*/Images-Disc1/**/*_Fractions.tiff``; ``**`` stands for
        any number of directories. They need not match anything yet.
    taken
        Size and time of files that were taken before, by absolute path: they come again only when
        they change.
    check
        Raises an `IcefloeError` for a file that is not whole.
    clock
        Returns s since 1970.
    timer
        Returns s since some moment; unlike a clock it is never set.
    """

    def __init__(
        self,
        patterns: Sequence[str | Path],
        *,
        taken: Mapping[str, Stamp] | None = None,
        check: Callable[[Path], None] = check_whole,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patterns = [_split(os.path.abspath(p)) for p in patterns]  # noqa: PTH100
        self._check, self._clock, self._timer = check, clock, timer
        self._directories: dict[str, _Directory] = {}
        self._pending: dict[str, _Pending] = {}
        self._taken: dict[str, Stamp] = dict(taken or {})
        self._order: deque[str] = deque(self._taken)  # of those taken, for asking again in turns
        self._polls = 0
        self._last_poll = self._clock()
        self._last_change = self._timer()

    @property
    def incomplete(self) -> list[Incomplete]:
        """Files that rest and do not open, in natural order."""
        # A copy in one step: another thread may be polling.
        found = [
            Incomplete(Path(path), p.reason, p.complete, p.stamp[1])
            for path, p in list(self._pending.items())
            if p.reason is not None
        ]
        return sorted(found, key=lambda one: natural_key(str(one.path)))

    @property
    def unsettled(self) -> int:
        """Number of files that are seen, and not yet known to be whole or not."""
        return sum(p.reason is None for p in list(self._pending.values()))

    @property
    def quiet_seconds(self) -> float:
        """How long ago a file was last seen to arrive or to grow, s."""
        return self._timer() - self._last_change

    def poll(self) -> list[Arrival]:
        """Look once; return the files that are whole since the last time, in natural order.

        Never raises for a directory or file that is away: a share may be gone for a while.
        """
        now, tick = self._clock(), self._timer()
        self._polls += 1
        for path in self._found():
            if path not in self._taken and path not in self._pending:
                self._pending[path] = _Pending(_UNSEEN, now, fresh=self._polls > 1)
        self._ask_again(now)
        ready: list[Arrival] = []
        opened = 0
        for path, pending in list(self._pending.items()):
            if opened >= _OPENED and pending.stamp != _UNSEEN:
                continue  # its turn comes in a later poll
            stamp = _stamp(path)
            if stamp is None:
                del self._pending[path]
                continue
            if stamp != pending.stamp:
                pending.stamp, pending.reason, pending.tried = stamp, None, 0.0
                # The server's clock may be wrong; the time lies between two polls all the same.
                pending.complete = min(max(stamp[1] / 1e9, self._last_poll), now)
                self._last_change = tick
                continue
            if pending.reason is not None and tick - pending.tried < _RETRY:
                continue
            opened += 1
            pending.tried = tick
            try:
                self._check(Path(path))
            except IcefloeError as error:
                pending.reason = str(error)
                continue
            del self._pending[path]
            self._taken[path] = stamp
            self._order.append(path)
            ready.append(Arrival(Path(path), stamp[1], pending.complete, pending.fresh))
        self._last_poll = now
        return sorted(ready, key=lambda one: natural_key(str(one.path)))

    def _ask_again(self, now: float) -> None:
        """Take back files that changed after they were taken: the newest, and some in turn."""
        turn = [self._order[-1 - i] for i in range(min(_TURN, len(self._order)))]
        for _ in range(min(_TURN, len(self._order) - len(turn))):
            turn.append(self._order[0])
            self._order.rotate(-1)
        for path in turn:
            stamp = _stamp(path)
            if stamp is not None and path in self._taken and stamp != self._taken[path]:
                del self._taken[path]
                self._order.remove(path)
                self._pending[path] = _Pending(_UNSEEN, now, fresh=True)

    def _found(self) -> Iterator[str]:
        for base, parts in self._patterns:
            if parts:
                yield from self._walk(base, parts)
            elif Path(base).is_file():
                yield base

    def _walk(self, base: str, parts: tuple[str, ...]) -> Iterator[str]:
        head, rest = parts[0], parts[1:]
        if head == "**":
            # No directory at all, or one more.
            yield from self._walk(base, rest or ("*",))
            for name in self._listed(base).directories:
                if not name.startswith("."):
                    yield from self._walk(f"{base}/{name}", parts)
            return
        if not any(c in head for c in _MAGIC) and rest:
            yield from self._walk(f"{base}/{head}", rest)
            return
        listing = self._listed(base)
        hidden = head.startswith(".")
        for name in listing.directories if rest else listing.files:
            if fnmatchcase(name, head) and (hidden or not name.startswith(".")):
                if rest:
                    yield from self._walk(f"{base}/{name}", rest)
                else:
                    yield f"{base}/{name}"

    def _listed(self, path: str) -> _Directory:
        known = self._directories.setdefault(path, _Directory())
        with suppress(OSError):
            mtime_ns = os.stat(path).st_mtime_ns  # noqa: PTH116 - a Path costs more than the call
            changed = mtime_ns != known.mtime_ns
            # A file may come right after the listing, within the same tick of the clock: a
            # directory is listed until its time was the same twice.
            if changed or not known.resting or self._polls % _FULL_EVERY == 0:
                files: list[str] = []
                directories: list[str] = []
                with os.scandir(path) as entries:
                    for entry in entries:
                        (directories if entry.is_dir() else files).append(entry.name)
                known.files, known.directories = files, sorted(directories)
                known.mtime_ns, known.resting = mtime_ns, not changed
        return known


def _split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Return the directory that a pattern begins in, and its parts from the first wildcard on."""
    parts = pattern.split("/")
    for index, part in enumerate(parts):
        if any(c in part for c in _MAGIC):
            return "/".join(parts[:index]) or "/", tuple(parts[index:])
    return pattern, ()


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
