"""When each movie came and was done: `live.jsonl`, one line an exposure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields

from icefloe.formats.jsonl import append_lines, read_lines
from icefloe.project.layout import Project

__all__ = [
    "LiveEntry",
    "LiveFigures",
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


def live_figures(entries: Sequence[LiveEntry]) -> LiveFigures | None:
    """Return latency and throughput; None without an entry."""
    if not entries:
        return None
    fresh = [e for e in entries if e.fresh and e.latency is not None]
    latencies = sorted(e.latency for e in fresh if e.latency is not None)
    last = sorted(e.done for e in entries)[-_LAST:]
    span = last[-1] - last[0]
    rank = max(0, -(-9 * len(latencies) // 10) - 1)
    return LiveFigures(
        count=len(latencies),
        latency=statistics.median(latencies) if latencies else None,
        slow=latencies[rank] if latencies else None,
        slowest=latencies[-1] if latencies else None,
        waited=statistics.median(e.taken - e.complete for e in fresh) if fresh else None,
        per_hour=3600 * (len(last) - 1) / span if span > 0 else None,
    )


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
