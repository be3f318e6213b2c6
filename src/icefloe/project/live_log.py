"""When each movie came and was done: `live.jsonl`, one line an exposure."""

from __future__ import annotations

import heapq
from array import array
from bisect import insort
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields

from icefloe.formats.jsonl import append_lines, read_lines
from icefloe.project.layout import Project

__all__ = [
    "LiveEntry",
    "LiveFigures",
    "LiveTally",
    "append_entry",
    "figures_text",
    "live_figures",
    "read_entries",
]

_FILE = "live.jsonl"
# Throughput is that of the exposures done last.
_LAST = 30


@dataclass(frozen=True)
class LiveEntry:
    """One exposure of a live run; times in s since 1970 by the machine that ran.

    Attributes
    ----------
    name
        The exposure.
    complete
        When its file was whole.
    taken
        When work on it began.
    picked
        When its picks were recorded (its CTF where nothing is picked); None if that failed.
    done
        When all its stages were recorded.
    fresh
        False for what was there before the run began: its latency says nothing.
    failed
        Whether a stage failed.
    """

    name: str
    complete: float
    taken: float
    picked: float | None
    done: float
    fresh: bool = True
    failed: bool = False

    @property
    def latency(self) -> float | None:
        """Seconds from a whole file to recorded picks."""
        return None if self.picked is None else self.picked - self.complete


@dataclass(frozen=True)
class LiveFigures:
    """How a live run keeps up.

    Attributes
    ----------
    count
        Number of fresh exposures that `latency` and `slowest` are of.
    latency
        Median seconds from a whole file to recorded picks.
    slow
        The latency that nine of ten keep below.
    slowest
        The longest.
    waited
        Median seconds between a whole file and the begin of the work on it.
    per_hour
        Exposures an hour, over the last ones done; None for a single one.
    """

    count: int
    latency: float | None
    slow: float | None
    slowest: float | None
    waited: float | None
    per_hour: float | None


def append_entry(project: Project, entry: LiveEntry) -> None:
    """Add a line.

    Raises
    ------
    DiskFullError, OutputError
    """
    append_lines(project.root / _FILE, [asdict(entry)])


def read_entries(project: Project) -> list[LiveEntry]:
    """Return what live runs recorded, in the order in which exposures were done."""
    known = {f.name for f in fields(LiveEntry)}
    found = []
    for item in read_lines(project.root / _FILE)[0]:
        with suppress(TypeError):
            found.append(LiveEntry(**{k: v for k, v in item.items() if k in known}))
    return found


class LiveTally:
    """Latency and throughput of exposures that are added one by one.

    An exposure costs as much after 20,000 others as the first one did, but for moving some bytes.

    Parameters
    ----------
    entries
        The first ones.
    """

    def __init__(self, entries: Iterable[LiveEntry] = ()) -> None:
        known = list(entries)
        fresh = [e for e in known if e.fresh and e.latency is not None]
        # Sorted, eight bytes each.
        self._latencies = array("d", sorted(e.latency or 0.0 for e in fresh))
        self._waits = array("d", sorted(e.taken - e.complete for e in fresh))
        self._last = heapq.nlargest(_LAST, (e.done for e in known))
        heapq.heapify(self._last)

    def add(self, entry: LiveEntry) -> None:
        """Count an exposure that is done."""
        if entry.fresh and entry.latency is not None:
            insort(self._latencies, entry.latency)
            insort(self._waits, entry.taken - entry.complete)
        if len(self._last) < _LAST:
            heapq.heappush(self._last, entry.done)
        else:
            heapq.heappushpop(self._last, entry.done)

    def figures(self) -> LiveFigures | None:
        """Return latency and throughput; None without an exposure."""
        if not self._last:
            return None
        count = len(self._latencies)
        span = max(self._last) - self._last[0]
        return LiveFigures(
            count=count,
            latency=_median(self._latencies),
            slow=self._latencies[-(-9 * count // 10) - 1] if count else None,
            slowest=self._latencies[-1] if count else None,
            waited=_median(self._waits),
            per_hour=3600 * (len(self._last) - 1) / span if span > 0 else None,
        )


def live_figures(entries: Sequence[LiveEntry]) -> LiveFigures | None:
    """Return latency and throughput; None without an entry."""
    return LiveTally(entries).figures()


def _median(ordered: Sequence[float]) -> float | None:
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def figures_text(figures: LiveFigures) -> str:
    """Return latency and throughput in a few words; empty if there is none."""
    parts = []
    if figures.latency is not None and figures.slow is not None:
        parts.append(
            f"picks {_duration(figures.latency)} after the file (9 of 10 within "
            f"{_duration(figures.slow)})"
        )
    if figures.per_hour is not None:
        parts.append(f"{figures.per_hour:.0f} exposures an hour")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
