"""A session that follows a simulated microscope, compared byte for byte with a batch run.

    python benchmarks/live.py [--movies 30] [--every 3] [--size 512] [--frames 6] [--seed 1]

Movies arrive one by one, with the XML of EPU beside them; one is half there at first and is
completed later. In the middle the run gets SIGTERM, and the same command is started again. Then
everything that a user opens must be as in a session that was run at once, and a table shows how
long each movie took from a whole file to recorded picks.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
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
    stop_seconds
        Between SIGTERM and the end of the run.
    latencies
        By exposure, s.
    waited
        By exposure, from a whole file to the begin of the work, s.
    per_hour
        Throughput over the exposures done last.
    batch_seconds
        Duration of the batch run.
    output
        What the live runs printed.
    """

    compared: int
    different: list[str]
    stop_seconds: float
    latencies: dict[str, float]
    waited: dict[str, float]
    per_hour: float | None
    batch_seconds: float
    output: str


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
) -> LiveReport:
    """Let movies arrive, stop and go on, and compare with a batch run."""
    from icefloe.project import Project
    from icefloe.project.live_log import live_figures, read_entries

    kill = _neighbour("kill")
    kill.make_movies(work / "made", movies, size, frames)
    camera = work / "camera"
    camera.mkdir()
    shutil.copy(work / "made" / "gain.mrc", work / "gain.mrc")
    options = ["--gain", str(work / "gain.mrc"), "--diameter", "120", "--box", "96"]
    options += ["--set", "motion.patches=[1, 1]", "--set", "pick.method=blob", "--device", "cpu"]
    live = [
        *("run", "--watch", str(camera / "*_Fractions.tiff"), *options),
        *("--project", str(work / "live"), "--poll", str(poll), "--until-quiet", str(quiet)),
    ]
    log = work / "live.log"
    process = _start(live, log)
    late, half = movies // 3, movies // 2
    stop_seconds = 0.0
    for index in range(movies):
        _arrive(work / "made", camera, index, frames, seed, whole=index != late)
        if index == late + 3:
            _arrive(work / "made", camera, late, frames, seed, whole=True)
        if index == half:
            begin = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
            stop_seconds = time.perf_counter() - begin
            if status not in (0, 128 + signal.SIGTERM):  # the latter before it began to watch
                raise RuntimeError(f"status {status} after SIGTERM:\n{log.read_text()}")
            process = _start(live, log)
        time.sleep(every)
    if process.wait(600):
        raise RuntimeError(f"the live run failed:\n{log.read_text()}")
    begin = time.perf_counter()
    _icefloe("run", str(camera / "*_Fractions.tiff"), *options, "--project", str(work / "batch"))
    batch_seconds = time.perf_counter() - begin
    for name in ("live", "batch"):
        _icefloe("export", "relion", "--project", str(work / name))
    compared, different = kill.compare(work / "batch", work / "live")
    entries = read_entries(Project.open(work / "live"))
    figures = live_figures(entries)
    fresh = [e for e in entries if e.fresh and e.latency is not None]
    return LiveReport(
        compared,
        different,
        stop_seconds,
        {e.name: e.latency for e in fresh if e.latency is not None},
        {e.name: e.taken - e.complete for e in fresh},
        None if figures is None else figures.per_hour,
        batch_seconds,
        log.read_text(),
    )


def _arrive(made: Path, camera: Path, index: int, frames: int, seed: int, *, whole: bool) -> None:
    """Write a movie as a camera's computer does: piece by piece under its final name."""
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
    parser.add_argument("--log", action="store_true", help="print what the live runs said")
    arguments = vars(parser.parse_args())
    show = arguments.pop("log")
    with tempfile.TemporaryDirectory() as directory:
        report = run(Path(directory), **arguments)
    if show:
        print(report.output)
    values = sorted(report.latencies.values())
    waits = sorted(report.waited.values())
    print(f"{len(values)} fresh movies, one every {arguments['every']:g} s:")
    for title, found in (("whole file to picks", values), ("waiting before", waits)):
        middle = found[len(found) // 2]
        print(f"{title:<22} median {middle:.1f} s  longest {found[-1]:.1f} s")
    print(f"throughput {report.per_hour:.0f} an hour (batch: {report.batch_seconds:.0f} s in all)")
    print(f"ended {report.stop_seconds:.1f} s after SIGTERM")
    print(f"{report.compared} files compared, different: {report.different or 'none'}")
    sys.exit(1 if report.different else 0)


if __name__ == "__main__":
    main()
