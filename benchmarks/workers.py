"""Kills workers and their coordinator at random moments and compares what comes of the session.

    python benchmarks/workers.py [--kills 50] [--movies 16] [--workers 2] [--seed 1] [--light]
                                 [--runs 0.3]

A small simulated session is run once undisturbed in one process, and once undisturbed by workers.
Then a third one is run by workers of which one, or (in the part --runs of the cases) the run
itself, is killed with SIGKILL again and again; a run that was killed is started again, and when a
run came to its end the records of some exposures are removed, so that there is work until all kills
are done. At the end every file that a user opens must have the same bytes in all three sessions,
and no stage that was recorded may have been done again. --light takes stages that only write text
(`tests/slow_session.py`), for many kills.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from kill import (
    SLOW,
    compare,
    finished,
    make_movies,
    make_texts,
    repeated_stages,
    workers_of,
)

from icefloe.project import Project, load_records


@dataclass
class Report:
    """What happened."""

    workers: int = 0
    runs: int = 0
    failed: list[str] = field(default_factory=list)
    starts: int = 0
    # Stages that were recorded, and recorded again.
    repeated: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def look(self, project: Path) -> None:
        """Compare when each stage was recorded with the last time."""
        self.repeated += repeated_stages(self._known, project)
        self._known = finished(project)

    def forget(self, project: Path) -> None:
        """Compare no further: records were removed."""
        self._known = finished(project)


def disturb(
    program: list[str],
    project: Path,
    options: list[str],
    kills: int,
    workers: int,
    seed: int,
    runs: float,
) -> Report:
    """Run and kill until `kills` processes were killed, then once more to the end."""
    rng = random.Random(seed)
    report = Report()
    command = [*options, "--workers", str(workers), "--project", str(project), "--retry-failed"]
    process: subprocess.Popen[bytes] | None = None
    while report.workers + report.runs < kills:
        if process is None or process.poll() is not None:
            if process is not None and process.returncode == 0:
                report.look(project)
                _forget(project, rng)
                report.forget(project)
            process = _start(program, *command)
            report.starts += 1
        report.look(project)
        victims = workers_of(project)
        if not victims:  # not up yet
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
            continue
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.3, 4.0))
        if process.poll() is not None:
            continue
        if rng.random() < runs:
            process.kill()
            process.wait()
            report.runs += 1
        elif victims := workers_of(project):
            with suppress(psutil.NoSuchProcess):
                rng.choice(victims).kill()
                report.workers += 1
    if process is not None and process.poll() is None:
        process.wait()
    done = subprocess.run(
        [*program, "run", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    report.look(project)
    report.failed = [line for line in done.stderr.splitlines() if "failed:" in line]
    return report


def _forget(project: Path, rng: random.Random) -> None:
    """Remove the records of half the exposures."""
    names = sorted(path for path in (project / "exposures").iterdir() if path.is_dir())
    for path in rng.sample(names, max(1, len(names) // 2)):
        shutil.rmtree(path)


def _start(program: list[str], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*program, "run", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _icefloe(program: list[str], *arguments: str) -> float:
    begin = time.perf_counter()
    subprocess.run([*program, *arguments], capture_output=True, check=True)
    return time.perf_counter() - begin


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--movies", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=float, default=0.3, help="how often the run is killed")
    parser.add_argument("--light", action="store_true", help="stages that only write text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        if arguments.light:
            program = [sys.executable, str(SLOW), "0.15"]
            options = make_texts(work / "raw", arguments.movies)
        else:
            program = [sys.executable, "-m", "icefloe"]
            options = make_movies(work / "raw", arguments.movies, 512, 8)
        alone = _icefloe(program, "run", *options, "--project", str(work / "alone"))
        count = str(arguments.workers)
        pool = _icefloe(
            program, "run", *options, "--workers", count, "--project", str(work / "pool")
        )
        print(f"undisturbed: {alone:.1f} s in one process, {pool:.1f} s by {count} workers")
        project = work / "killed"
        report = disturb(
            program,
            project,
            options,
            arguments.kills,
            arguments.workers,
            arguments.seed,
            arguments.runs,
        )
        for name in () if arguments.light else ("alone", "pool", "killed"):
            _icefloe(program, "export", "relion", "--project", str(work / name))
        print(
            f"{report.workers} workers and {report.runs} runs killed; {report.starts} starts; "
            f"failed at the end: {report.failed or 'none'}; "
            f"done again although recorded: {report.repeated or 'nothing'}"
        )
        lost = [r.name for r in load_records(Project(project)) if r.state != "done"]
        print(f"exposures lost: {', '.join(lost) or 'none'}")
        bad = [*report.failed, *report.repeated, *lost]
        for name in ("pool", "killed"):
            compared, different = compare(work / "alone", work / name)
            print(f"{name}: {compared} files compared, different: {different or 'none'}")
            made = [
                work / one / "picks" / "reference" / "reference.json" for one in ("alone", name)
            ]
            if made[0].is_file() and made[1].is_file():
                # One that was given up is not among them; nor does it come in later.
                inputs = [json.loads(path.read_text())["inputs"] for path in made]
                if inputs[0] != inputs[1]:
                    print(f"reference made from {inputs[1]}, undisturbed from {inputs[0]}")
            bad += different
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
