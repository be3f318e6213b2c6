"""Kills a session with SIGKILL at random moments and compares what comes of it, byte for byte.

    python benchmarks/kill.py [--kills 10] [--movies 6] [--size 512] [--seed 1] [--signal KILL]
    python benchmarks/kill.py --light --kills 50 --movies 12

A small simulated session is run once undisturbed, with templates made from its first exposures. A
second one is killed and started again as often as asked; then every file that a user opens must
have the same bytes in both, and nothing that was finished before a kill may have been done again.
`icefloe verify` must find nothing wrong either. --light takes stages that only write text
(`tests/slow_session.py`), for many kills.
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
from typing import Any

SLOW = Path(__file__).resolve().parents[1] / "tests" / "slow_session.py"
# So that enough particles for templates fit into a small field.
PIXEL = 2.0
_USER_FILES = ("micrographs", "picks", "particles", "relion", "exposures", "exposures.json")


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
    lost
        Exposures that are not done in the end.
    begun_again
        Stages that were under way when the run was killed: the work that was lost.
    wrong
        What `icefloe verify` found wrong in the end.
    """

    kills: int
    moments: list[float]
    done_at_kill: list[int]
    compared: int
    different: list[str]
    repeated: list[str]
    seconds: float
    lost: list[str]
    begun_again: int
    wrong: list[str]


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
            defocus=12000.0 + 2500.0 * (index % 12),  # within the range that is searched
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
        *("--pick", "auto", "--set", f"pick.reference_exposures={max(1, movies // 2)}"),
        *("--device", "cpu"),
    ]


def run(
    work: Path,
    *,
    kills: int = 10,
    movies: int = 6,
    size: int = 512,
    frames: int = 8,
    seed: int = 1,
    light: bool = False,
    number: signal.Signals = signal.SIGKILL,
) -> KillReport:
    """Run both sessions in `work` and compare them."""
    from icefloe.project import Project, load_records
    from icefloe.project.verify import verify_project

    program = [sys.executable, str(SLOW), "0.2"] if light else [sys.executable, "-m", "icefloe"]
    if light:
        options = make_texts(work / "raw", movies)
    else:
        options = make_movies(work / "raw", movies, size, frames)
    begin = time.perf_counter()
    _icefloe(program, "run", *options, "--project", str(work / "undisturbed"))
    seconds = time.perf_counter() - begin
    stages = 6 * movies
    moments, done, repeated = _disturb(
        work / "killed", [*program, "run", *options], kills, stages, seed, number
    )
    for name in () if light else ("undisturbed", "killed"):
        _icefloe(program, "export", "relion", "--project", str(work / name))
    compared, different = compare(work / "undisturbed", work / "killed")
    killed = Project(work / "killed")
    return KillReport(
        kills=len(moments),
        moments=moments,
        done_at_kill=done,
        compared=compared,
        different=different,
        repeated=repeated,
        seconds=seconds,
        lost=[r.name for r in load_records(killed) if r.state != "done"],
        begun_again=sum(0 < count < stages for count in done),
        wrong=[f"{f.path} {f.text}" for f in verify_project(killed).findings],
    )


def make_texts(directory: Path, movies: int) -> list[str]:
    """Write the inputs of `tests/slow_session.py`; return the options for them."""
    directory.mkdir(parents=True)
    for index in range(movies):
        (directory / f"movie_{index + 1}.txt").write_text(f"movie {index + 1}")
    return [str(directory / "movie_*.txt"), "--diameter", "100"]


def _disturb(
    project: Path,
    command: list[str],
    kills: int,
    stages: int,
    seed: int,
    number: signal.Signals,
) -> tuple[list[float], list[int], list[str]]:
    """Run and kill: each time when a random number of stages is done, and a moment later."""
    rng = random.Random(seed)
    moments: list[float] = []
    done: list[int] = []
    repeated: list[str] = []
    for target in sorted(rng.sample(range(stages), min(kills, stages))):
        before = finished(project)
        # Where the last run came further than it was to, this one comes one stage further, or is
        # killed while it starts.
        if len(before) >= target and rng.random() < 0.8:
            target = len(before) + 1
        begin = time.perf_counter()
        process = _start(command, "--project", str(project))
        while process.poll() is None and len(finished(project)) < target:
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 0.6))
        process.send_signal(number)
        status = process.wait()
        if status in (-number, 128 + number):
            moments.append(round(time.perf_counter() - begin, 2))
            done.append(len(finished(project)))
        repeated += repeated_stages(before, project)
    before = finished(project)
    _icefloe(command, "--project", str(project))
    return moments, done, repeated + repeated_stages(before, project)


def repeated_stages(before: dict[str, int], project: Path) -> list[str]:
    """Return the stages that were recorded before and have been recorded again since."""
    after = finished(project)
    return [path for path, stamp in before.items() if after.get(path) != stamp]


def compare(one: Path, other: Path) -> tuple[int, list[str]]:
    """Return how many files were compared, and which differ."""
    names = {
        path.relative_to(root).as_posix()
        for root in (one, other)
        for part in _USER_FILES
        for path in (root / part, *(root / part).rglob("*"))
        if path.is_file()
    }
    different = [n for n in sorted(names) if _content(one / n) != _content(other / n)]
    return len(names), different


def _content(path: Path) -> bytes | str | None:
    if not path.is_file():
        return None
    if path.suffix == ".json":  # durations differ from run to run, and the run's name
        content = json.loads(path.read_text())
        for key in ("seconds", "run", "checksum"):
            content.pop(key, None)
        return json.dumps(content, sort_keys=True)
    return path.read_bytes()


def finished(project: Path) -> dict[str, int]:
    """Return when each stage was recorded, by its sidecar, ns since 1970."""
    return {
        path.relative_to(project).as_posix(): path.stat().st_mtime_ns
        for path in sorted((project / "exposures").glob("*/*.json"))
        if not path.name.startswith(".partial-")
    }


def workers_of(project: Path) -> list[Any]:
    """Return the workers of a session's run, as psutil has them: children of Parsl's manager."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if "engine.manager" in command and f"--logdir={project}/" in command:
                found += [c for c in process.children() if "spawn_main" in " ".join(c.cmdline())]
    return found


def _start(command: list[str], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _icefloe(command: list[str], *arguments: str) -> None:
    words = [*command, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--movies", type=int, default=6)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--light", action="store_true", help="Stages that only write text.")
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT", "HUP"), default="KILL")
    arguments = vars(parser.parse_args())
    number = signal.Signals[f"SIG{arguments.pop('signal')}"]
    with tempfile.TemporaryDirectory() as directory:
        report = run(Path(directory), **arguments, number=number)
    print(f"undisturbed run: {report.seconds:.1f} s")
    print(f"killed {report.kills} times, after {report.moments} s")
    print(f"stages finished then: {report.done_at_kill}")
    print(f"done again although finished: {report.repeated or 'nothing'}")
    print(f"begun and killed, so done again: {report.begun_again} stages")
    print(f"exposures lost: {report.lost or 'none'}; verify: {report.wrong or 'nothing wrong'}")
    print(f"{report.compared} files compared, different: {report.different or 'none'}")
    failed = report.different or report.repeated or report.lost or report.wrong
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
