"""A session that follows a simulated microscope, compared byte for byte with a batch run.

    python benchmarks/live.py [--movies 30] [--every 3] [--size 512] [--frames 6] [--seed 1]
    python benchmarks/live.py --workers 2 --movies 100 --kill-workers 8 --kill-coordinator 2

Movies arrive one by one, with the XML of EPU beside them; one is half there at first and is
completed later. In the middle the run gets SIGTERM, and the same command is started again. Workers
and the run itself may be killed with SIGKILL, too, at random moments while they work. Then
everything that a user opens and all that is recorded, but for times and the runs' names, must be as
in a session that was run at once in one process. A table shows the faults and what was lost, and
how long each movie took from a whole file to recorded picks.

Picks are made with a diameter (--pick blob). With --pick auto the reference depends on which
exposures were there when it was made: the same where movies come in the order of their names, not
with --shuffle.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

XML = """<MicroscopeImage><CustomData><KeyValue><Key>Dose</Key><Value>{dose}</Value></KeyValue>
</CustomData><microscopeData><gun><AccelerationVoltage>300000</AccelerationVoltage></gun>
<optics><BeamShift><_x>{x}</_x><_y>{y}</_y></BeamShift></optics></microscopeData>
<SpatialScale><pixelSize><x><numericValue>{pixel}E-10</numericValue></x></pixelSize></SpatialScale>
</MicroscopeImage>
"""


@dataclass(frozen=True)
class LiveReport:
    """What came of it.

    Attributes
    ----------
    compared, different
        Number of files compared with the batch run, and those that differ.
    faults
        What was done to the run, and how many movies had come then.
    stop_seconds
        Between SIGTERM and the end of the run; None without one.
    lost
        Exposures that are not done in the end.
    wrong
        What `icefloe verify` found wrong.
    repeated
        Stages that were recorded before a fault and again afterwards.
    latencies
        By exposure, from its whole file to its recorded picks, s, by the clock of the file system;
        all that came, also while no run was there.
    waited
        By exposure, from a whole file to the begin of the work on it, s, as the session says.
    per_hour
        Movies an hour, from the first that came to the last that was done.
    batch_seconds
        Duration of the batch run, in one process.
    seconds
        Duration of everything.
    output
        What the live runs printed.
    """

    compared: int
    different: list[str]
    faults: list[tuple[str, int]]
    stop_seconds: float | None
    lost: list[str]
    wrong: list[str]
    repeated: list[str]
    latencies: dict[str, float]
    waited: dict[str, float]
    per_hour: float
    batch_seconds: float
    seconds: float
    output: str


class _Camera(threading.Thread):
    """Writes movies as a camera's computer does, piece by piece under their final names."""

    def __init__(
        self, made: Path, target: Path, order: list[int], every: float, frames: int, seed: int
    ) -> None:
        super().__init__(name="camera", daemon=True)
        self._made, self._target, self._order = made, target, order
        self._every, self._frames, self._seed = every, frames, seed
        self.came: dict[str, float] = {}
        self.error: Exception | None = None

    def run(self) -> None:
        """Let them come; one is completed late."""
        late = self._order[len(self._order) // 3]
        arrive = partial(_arrive, self._made, self._target, frames=self._frames, seed=self._seed)
        try:
            for position, index in enumerate(self._order):
                arrive(index, whole=index != late)
                if index != late:
                    self.came[f"FoilHole_{index + 1:03d}_Fractions"] = time.time()
                if position == min(len(self._order) // 3 + 3, len(self._order) - 1):
                    arrive(late, whole=True)
                    self.came[f"FoilHole_{late + 1:03d}_Fractions"] = time.time()
                time.sleep(self._every)
        except Exception as error:  # must reach the other thread
            self.error = error


class _Session:
    """A live run that is disturbed, and started again with the same command."""

    def __init__(self, command: list[str], project: Path, log: Path) -> None:
        self._command, self._project, self._log = command, project, log
        self._kill = _neighbour("kill")
        self._seen: dict[str, int] = {}
        self.repeated: set[str] = set()
        self.stop_seconds: float | None = None
        self.process = _start(command, log)

    def disturb(self, fault: str, rng: random.Random) -> bool:
        """Do it; return False if there was nobody to do it to."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the live run ended:\n{self._log.read_text()}")
        self.look()
        if fault == "kill -9 of a worker":
            victims = self._kill.workers_of(self._project)
            if not victims:
                return False
            rng.choice(victims).kill()
            return True
        if fault == "kill -9 of the run":
            self.process.kill()
            self.process.wait()
        else:
            begin = time.perf_counter()
            self.process.send_signal(signal.SIGTERM)
            status = self.process.wait(60)
            self.stop_seconds = time.perf_counter() - begin
            if status not in (0, 128 + signal.SIGTERM):  # the latter before it began to watch
                raise RuntimeError(f"status {status} after SIGTERM:\n{self._log.read_text()}")
        self.process = _start(self._command, self._log)
        return True

    def look(self) -> None:
        """Take note of stages that are done again."""
        self.repeated.update(self._kill.repeated_stages(self._seen, self._project))
        self._seen |= self._kill.finished(self._project)

    def finish(self) -> None:
        """Wait for its end."""
        if self.process.wait(900):
            raise RuntimeError(f"the live run failed:\n{self._log.read_text()}")
        self.look()


def run(
    work: Path,
    *,
    movies: int = 30,
    every: float = 3.0,
    size: int = 512,
    frames: int = 6,
    poll: float = 1.0,
    quiet: float = 0.15,
    seed: int = 1,
    workers: int = 0,
    kill_workers: int = 0,
    kill_coordinator: int = 0,
    stop: bool = True,
    pick: str = "blob",
    shuffle: bool = False,
    export: bool = True,
) -> LiveReport:
    """Let movies arrive, disturb the run, go on, and compare with a batch run."""
    from icefloe.project import Project, load_records
    from icefloe.project.live_log import read_entries
    from icefloe.project.verify import verify_project

    begin = time.perf_counter()
    kill = _neighbour("kill")
    kill.make_movies(work / "made", movies, size, frames)
    camera_disk = work / "camera"
    camera_disk.mkdir()
    shutil.copy(work / "made" / "gain.mrc", work / "gain.mrc")
    options = ["--gain", str(work / "gain.mrc"), "--diameter", "120", "--box", "96"]
    options += ["--set", "motion.patches=[1, 1]", "--pick", pick, "--device", "cpu"]
    project = Project(work / "live")
    live = [
        *("run", "--watch", str(camera_disk / "*_Fractions.tiff"), *options),
        *("--project", str(project.root), "--poll", str(poll), "--until-quiet", str(quiet)),
        *(("--workers", str(workers)) if workers else ()),
    ]
    rng = random.Random(seed)
    order = list(range(movies))
    if shuffle:
        rng.shuffle(order)
    plan = ["kill -9 of a worker"] * kill_workers + ["kill -9 of the run"] * kill_coordinator
    rng.shuffle(plan)
    plan[len(plan) // 2 : len(plan) // 2] = ["SIGTERM"] * stop
    session = _Session(live, project.root, work / "live.log")
    camera = _Camera(work / "made", camera_disk, order, every, frames, seed)
    camera.start()
    faults: list[tuple[str, int]] = []
    for number, fault in enumerate(plan):
        # Spread over the time in which movies come, each at a random moment of its part.
        due = movies * (number + rng.uniform(0.3, 1.0)) / (len(plan) + 0.5)
        while len(camera.came) < due and camera.is_alive():
            time.sleep(0.05)
        # At any moment of a movie, and when something is at work.
        time.sleep(rng.uniform(0, every))
        limit = time.monotonic() + 180
        done = len(kill.finished(project.root))
        while len(kill.finished(project.root)) == done or not session.disturb(fault, rng):
            if time.monotonic() > limit:
                raise RuntimeError(f"no {fault} possible:\n{(work / 'live.log').read_text()}")
            time.sleep(0.05)
        faults.append((fault, len(camera.came)))
    camera.join()
    if camera.error is not None:
        raise camera.error
    session.finish()
    picked = {
        name: project.sidecar(name, "pick").stat().st_mtime
        for name in camera.came
        if project.sidecar(name, "pick").exists()
    }
    last = max(p.stat().st_mtime for p in project.exposures.glob("*/extract.json"))
    batch = time.perf_counter()
    pattern = str(camera_disk / "*_Fractions.tiff")
    _icefloe("run", pattern, *options, "--project", str(work / "batch"))
    batch_seconds = time.perf_counter() - batch
    for name in ("live", "batch") if export else ():
        _icefloe("export", "relion", "--project", str(work / name))
    compared, different = kill.compare(work / "batch", project.root)
    fresh = [e for e in read_entries(project) if e.fresh and e.latency is not None]
    return LiveReport(
        compared=compared,
        different=different,
        faults=faults,
        stop_seconds=session.stop_seconds,
        lost=[r.name for r in load_records(project) if r.state != "done"]
        + sorted(set(camera.came) - set(project.read_registry())),
        wrong=[f"{f.path} {f.text}" for f in verify_project(project).findings],
        repeated=sorted(session.repeated),
        latencies={name: when - camera.came[name] for name, when in picked.items()},
        waited={e.name: e.taken - e.complete for e in fresh},
        per_hour=3600 * (movies - 1) / (last - min(camera.came.values())),
        batch_seconds=batch_seconds,
        seconds=time.perf_counter() - begin,
        output=(work / "live.log").read_text(),
    )


def _arrive(made: Path, camera: Path, index: int, frames: int, seed: int, *, whole: bool) -> None:
    """Write a movie piece by piece under its final name; or only its first half."""
    import numpy as np

    data = (made / f"movie_{index + 1}.tiff").read_bytes()
    name = f"FoilHole_{index + 1:03d}"
    hole = index % 9
    jitter = np.random.default_rng([seed, index]).normal(0, 0.002, 2)
    x, y = 0.05 * (hole % 3 - 1) + jitter[0], 0.05 * (hole // 3 - 1) + jitter[1]
    with (camera / f"{name}_Fractions.tiff").open("wb") as handle:
        handle.write(data[: len(data) // 2])
        if whole:
            handle.flush()
            time.sleep(0.05)
            handle.write(data[len(data) // 2 :])
    text = XML.format(dose=8e20 * frames, x=x, y=y, pixel=_neighbour("kill").PIXEL)
    (camera / f"{name}.xml").write_text(text)


def _start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as handle:
        return subprocess.Popen(
            [sys.executable, "-m", "icefloe", *arguments],
            stdout=handle,
            stderr=handle,
            env={**os.environ},
        )


def _icefloe(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "icefloe", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"icefloe {arguments[0]} ended with {done.returncode}:\n{done.stderr}")


def _neighbour(name: str) -> ModuleType:
    key = f"{name}_benchmark"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[key] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[key]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--movies", type=int, default=30)
    parser.add_argument("--every", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--poll", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--kill-workers", type=int, default=0, metavar="N")
    parser.add_argument("--kill-coordinator", type=int, nargs="?", const=1, default=0, metavar="N")
    parser.add_argument("--no-stop", dest="stop", action="store_false", help="without SIGTERM")
    parser.add_argument("--pick", default="blob", choices=("blob", "auto"))
    parser.add_argument("--shuffle", action="store_true", help="in no order of their names")
    parser.add_argument("--log", action="store_true", help="print what the live runs said")
    arguments = vars(parser.parse_args())
    show = arguments.pop("log")
    with tempfile.TemporaryDirectory() as directory:
        report = run(Path(directory), **arguments)
    if show:
        print(report.output)
    values, waits = sorted(report.latencies.values()), sorted(report.waited.values())
    print(
        f"{len(values)} movies, one every {arguments['every']:g} s, all in {report.seconds:.0f} s:"
    )
    for title, found in (("whole file to picks", values), ("waiting before", waits)):
        middle, slow = found[len(found) // 2], found[int(0.95 * len(found))]
        print(f"{title:<20} median {middle:.1f} s  95 % {slow:.1f} s  longest {found[-1]:.1f} s")
    print(f"throughput {report.per_hour:.0f} an hour (batch: {report.batch_seconds:.0f} s in all)")
    if report.stop_seconds is not None:
        print(f"ended {report.stop_seconds:.1f} s after SIGTERM")
    print("| fault | injected | when so many movies had come |\n|---|---|---|")
    for fault in dict.fromkeys(fault for fault, _ in report.faults):
        when = [came for what, came in report.faults if what == fault]
        print(f"| {fault} | {len(when)} | {', '.join(map(str, when))} |")
    print("| a movie that is half there at first | 1 | |")
    print(f"exposures lost: {report.lost or 'none'}; verify: {report.wrong or 'nothing wrong'}")
    print(f"recorded stages done again: {report.repeated or 'none'}")
    print(f"{report.compared} files compared, different: {report.different or 'none'}")
    sys.exit(1 if report.different or report.lost or report.wrong or report.repeated else 0)


if __name__ == "__main__":
    main()
