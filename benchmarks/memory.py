"""Does a session's memory grow with the number of its exposures?

    python benchmarks/memory.py [--exposures 500] [--workers 0] [--live] [--size 256] [--frames 4]

Small simulated movies (a few of them, under many names) go through all stages. After each exposure
the resident memory of the run's own process, and with workers of each of its helpers, is sampled.
Of the run's own process also what is in use and what the C library holds free (both by glibc), and
how many blocks Python's objects take. Printed are the samples on the way, and the slope after a
warm-up with its standard error, of the least over blocks of exposures: what is held at rest. The
exit status is 1 if a process grows by more than --limit MB in 1,000 exposures, beyond three
standard errors.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from kill import PIXEL, make_movies, workers_of

_BLOCK = 25
_KINDS = 6


class _Sampler:
    """An observer of batch and live runs that looks at the memory after each exposure."""

    def __init__(self, out: Path, project: Path | None) -> None:
        import psutil

        self._process = psutil.Process()
        self._handle = out.open("w")
        self._project = project

    def planned(self, total: int, todo: int) -> None:
        """Take no note."""

    def started(self, name: str, stage: str) -> None:
        """Take no note."""

    def warned(self, message: str) -> None:
        """Take no note."""

    def making_reference(self, what: str) -> None:
        """Take no note."""

    def watching(self, state: object) -> None:
        """Take no note."""

    def logged(self, entry: object) -> None:
        """Take no note."""

    def alarmed(self, event: object) -> None:
        """Take no note."""

    def finished(self, name: str, failure: Any, seconds: float) -> None:
        """Write a line: memory by process, MB."""
        import psutil

        found = {"run": self._process.memory_info().rss / 1e6, **_allocator()}
        workers = workers_of(self._project) if self._project else []
        for number, worker in enumerate(sorted(workers, key=lambda worker: worker.pid)):
            with suppress(psutil.Error):
                found[f"worker {number + 1}"] = worker.memory_info().rss / 1e6
        failed = None if failure is None else failure.message
        self._handle.write(json.dumps({"rss": found, "failed": failed}) + "\n")
        self._handle.flush()


class _Mallinfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _allocator() -> dict[str, float]:
    """Return what of this process's memory is in use and what lies free in the C library, MB.

    Free memory that was given back to the system still counts as free here.
    """
    with suppress(OSError, AttributeError):
        function = ctypes.CDLL(None).mallinfo2
        function.restype = _Mallinfo
        info = function()
        return {
            "run: malloc, in use": (info.uordblks + info.hblkhd) / 1e6,
            "run: malloc, free": info.fordblks / 1e6,
            "run: Python's objects, 1000": sys.getallocatedblocks() / 1e3,
        }
    return {}


def _one(directory: Path, workers: int, live: bool, out: Path) -> None:
    """Run the session in this process."""
    from icefloe.engine import Session, run_session
    from icefloe.engine.live import run_live
    from icefloe.engine.live_options import LiveOptions
    from icefloe.engine.pool import WorkerPool
    from icefloe.engine.pool_config import local_config
    from icefloe.fourier import set_threads

    set_threads(1 if workers > 1 else 2)
    session = Session.open(directory)
    sampler = _Sampler(out, directory if workers else None)
    pool = WorkerPool(local_config(workers, directory / "parsl"), device="cpu") if workers else None
    with pool or nullcontext():
        if live:
            options = LiveOptions(
                (str(directory.parent / "raw" / "*.tiff"),), poll_seconds=1, quiet_minutes=0.02
            )
            run_live(session, options, observer=sampler, pool=pool)
        else:
            run_session(session, observer=sampler, pool=pool)


def run(
    work: Path, *, exposures: int, workers: int, live: bool, size: int, frames: int
) -> dict[str, np.ndarray]:
    """Run a session; return the memory after each exposure by process, MB; NaN where not there."""
    from icefloe.engine.exposures import register
    from icefloe.engine.setup import open_or_create

    make_movies(work / "made", _KINDS, size, frames)
    raw = work / "raw"
    raw.mkdir()
    for index in range(exposures):
        source = work / "made" / f"movie_{index % _KINDS + 1}.tiff"
        os.link(source, raw / f"movie_{index + 1:04d}.tiff")
    changes: dict[str, Any] = {
        "data": {
            "pixel_size": PIXEL,
            "dose_per_frame": 8.0,
            "gain": str(work / "made" / "gain.mrc"),
        },
        "motion": {"patches": [1, 1]},
        "ctf": {"box": 256},
        "pick": {"method": "blob", "diameter": [120.0]},
        "extract": {"box": 96},
    }
    project, _ = open_or_create(work / "session", changes, may_create=True)
    if not live:
        register(project, sorted(raw.iterdir()))
    out = work / "memory.jsonl"
    command = [sys.executable, __file__, "--one", str(project.root), "--out", str(out)]
    command += ["--workers", str(workers), *(["--live"] if live else [])]
    subprocess.run(command, check=True)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    failed = [line["failed"] for line in lines if line["failed"]]
    if len(lines) != exposures or failed:
        raise RuntimeError(f"{len(lines)} of {exposures} done, failed: {failed[:3]}")
    roles = list(dict.fromkeys(role for line in lines for role in line["rss"]))
    return {role: np.array([line["rss"].get(role, np.nan) for line in lines]) for role in roles}


def slope(samples: np.ndarray, warm_up: int) -> tuple[float, float]:
    """Return growth, MB in 1,000 exposures, and its standard error.

    Of each block of exposures the least is taken: a worker is met within its exposure, too, with
    arrays that are gone afterwards.
    """
    count = (len(samples) - warm_up) // _BLOCK
    if count < 3:
        return np.nan, np.nan
    blocks = samples[len(samples) - count * _BLOCK :].reshape(count, _BLOCK).min(1)
    x = (np.arange(count) - (count - 1) / 2) * _BLOCK / 1000
    growth = float((x * blocks).sum() / (x**2).sum())
    residual = blocks - blocks.mean() - growth * x
    return growth, float(np.sqrt((residual**2).sum() / (count - 2) / (x**2).sum()))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--exposures", type=int, default=500)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--live", action="store_true", help="a live run in place of a batch run")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--limit", type=float, default=20.0)
    parser.add_argument("--one", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = vars(parser.parse_args())
    one, out, limit = (arguments.pop(key) for key in ("one", "out", "limit"))
    if one is not None:
        _one(one, arguments["workers"], arguments["live"], out)
        return
    with tempfile.TemporaryDirectory() as directory:
        found = run(Path(directory), **arguments)
    total = arguments["exposures"]
    marks = [n for n in (10, 50, *range(100, total, 100), total) if n <= total]
    print(f"resident, MB: least of the last {_BLOCK} exposures")
    print("| after | " + " | ".join(map(str, marks)) + " | slope, MB in 1,000 |")
    print("|---" * (len(marks) + 2) + "|")
    grows = False
    for role, samples in found.items():
        growth, error = slope(samples, min(100, total // 5))
        grows |= ":" not in role and growth - 3 * error > limit
        values = " | ".join(f"{np.nanmin(samples[max(0, n - _BLOCK) : n]):.0f}" for n in marks)
        print(f"| {role} | {values} | {growth:+.1f} ± {error:.1f} |")
    sys.exit(1 if grows else 0)


if __name__ == "__main__":
    main()
