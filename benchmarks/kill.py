"""Kills a session with SIGKILL at random moments and compares what comes of it, byte for byte.

    python benchmarks/kill.py [--kills 10] [--movies 6] [--size 512] [--seed 1]

A small simulated session is run once undisturbed, with templates made from its first exposures. A
second one is killed and started again as often as asked; then every file that a user opens must
have the same bytes in both, and nothing that was finished before a kill may have been done again.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# So that enough particles for templates fit into a small field.
PIXEL = 2.0
_USER_FILES = ("micrographs", "picks", "particles", "relion", "exposures")


@dataclass(frozen=True)
class KillReport:
    """What came of it.

    Attributes
    ----------
    kills
        Runs that were killed while they worked.
    moments
        Seconds after their start.
    done_at_kill
        Stages that were finished at each kill.
    compared
        Number of files compared.
    different
        Files that differ, or are there only once.
    repeated
        Sidecars that were finished before a kill and written again afterwards.
    seconds
        Duration of the undisturbed run.
    """

    kills: int
    moments: list[float]
    done_at_kill: list[int]
    compared: int
    different: list[str]
    repeated: list[str]
    seconds: float


def make_movies(directory: Path, movies: int, size: int, frames: int) -> list[str]:
    """Write small TIFF movies with a gain; return the options of `icefloe run` for them."""
    import numpy as np

    from icefloe.formats.mrc import write_mrc
    from icefloe.formats.tiff import write_tiff_movie
    from icefloe.simulate import SimulationSettings, simulate_movie

    directory.mkdir(parents=True, exist_ok=True)
    for index in range(movies):
        settings = SimulationSettings(
            shape=(size, size),
            n_frames=frames,
            pixel_size=PIXEL,
            dose_per_frame=8.0,
            debris=0.1,
            contrast=1.0,
            drift=3.0,
            defocus=12000.0 + 2500.0 * index,
        )
        simulated = simulate_movie(settings, f"movie_{index + 1}")
        write_tiff_movie(directory / f"movie_{index + 1}.tiff", simulated.frames, PIXEL)
        if index == 0:
            write_mrc(directory / "gain.mrc", np.asarray(simulated.gain, np.float32), PIXEL)
    return [
        str(directory / "movie_*.tiff"),
        *("--pixel-size", str(PIXEL), "--dose-per-frame", "8", "--cs", "2.7"),
        *("--gain", str(directory / "gain.mrc"), "--diameter", "120", "--box", "96"),
        # Templates are made half-way, and what was done before them is picked then.
        *("--set", f"pick.reference_exposures={max(1, movies // 2)}"),
        *("--device", "cpu"),
    ]


def run(
    work: Path, *, kills: int = 10, movies: int = 6, size: int = 512, frames: int = 8, seed: int = 1
) -> KillReport:
    """Run both sessions in `work` and compare them."""
    options = make_movies(work / "raw", movies, size, frames)
    begin = time.perf_counter()
    _icefloe("run", *options, "--project", str(work / "undisturbed"))
    seconds = time.perf_counter() - begin
    moments, done, repeated = _disturb(work / "killed", options, kills, 5 * movies, seed)
    for name in ("undisturbed", "killed"):
        _icefloe("export", "relion", "--project", str(work / name))
    compared, different = compare(work / "undisturbed", work / "killed")
    return KillReport(len(moments), moments, done, compared, different, repeated, seconds)


def _disturb(
    project: Path, options: list[str], kills: int, stages: int, seed: int
) -> tuple[list[float], list[int], list[str]]:
    """Run and kill: each time when a random number of stages is done, and a moment later."""
    rng = random.Random(seed)
    moments: list[float] = []
    done: list[int] = []
    repeated: list[str] = []
    for target in sorted(rng.sample(range(stages), min(kills, stages))):
        before = _finished(project)
        # Where the last run came further than it was to, this one first needs time to start.
        late = 1.0 if len(before) >= target else 0.0
        begin = time.perf_counter()
        process = _start("run", *options, "--project", str(project))
        while process.poll() is None and len(_finished(project)) < target:
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            process.wait(late + rng.uniform(0, 0.6))
        process.kill()
        if process.wait() == -signal.SIGKILL:
            moments.append(round(time.perf_counter() - begin, 2))
            done.append(len(_finished(project)))
        repeated += _repeated(before, project)
    before = _finished(project)
    _icefloe("run", *options, "--project", str(project))
    return moments, done, repeated + _repeated(before, project)


def _repeated(before: dict[str, int], project: Path) -> list[str]:
    after = _finished(project)
    return [path for path, stamp in before.items() if after.get(path) != stamp]


def compare(one: Path, other: Path) -> tuple[int, list[str]]:
    """Return how many files were compared, and which differ."""
    names = {
        path.relative_to(root).as_posix()
        for root in (one, other)
        for part in _USER_FILES
        for path in (root / part).rglob("*")
        if path.is_file()
    }
    different = [n for n in sorted(names) if _content(one / n) != _content(other / n)]
    return len(names), different


def _content(path: Path) -> bytes | str | None:
    if not path.is_file():
        return None
    if path.suffix == ".json":  # duration and the run's id differ from run to run, nothing else may
        content = json.loads(path.read_text())
        for key in ("seconds", "run", "checksum"):
            content.pop(key, None)
        return json.dumps(content, sort_keys=True)
    return path.read_bytes()


def _finished(project: Path) -> dict[str, int]:
    return {
        path.relative_to(project).as_posix(): path.stat().st_mtime_ns
        for path in sorted((project / "exposures").glob("*/*.json"))
        if not path.name.startswith(".partial-")
    }


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "icefloe", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _icefloe(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "icefloe", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"icefloe {arguments[0]} ended with {done.returncode}:\n{done.stderr}")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--movies", type=int, default=6)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        report = run(Path(directory), **vars(arguments))
    print(f"undisturbed run: {report.seconds:.1f} s")
    print(f"killed {report.kills} times, after {report.moments} s")
    print(f"stages finished then: {report.done_at_kill}")
    print(f"done again although finished: {report.repeated or 'nothing'}")
    print(f"{report.compared} files compared, different: {report.different or 'none'}")
    sys.exit(1 if report.different or report.repeated else 0)


if __name__ == "__main__":
    main()
