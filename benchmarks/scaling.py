"""What a session of many exposures costs the process that gives them out.

    python benchmarks/scaling.py [--exposures 20000] [--workers 2] [--keep DIR]
    python benchmarks/scaling.py --live [--exposures 20000]
    python benchmarks/scaling.py --resume [--exposures 20000] [--numbers 4000]

The stages do nothing but return a number, so that all that is measured is planning, giving out,
recording and resuming. Prints, for several sizes, seconds and CPU seconds of the coordinator for
each exposure, its peak memory, and the same for a run that finds everything done.

--live does the same in a live run with its display: all movies lie there already, so that the run
never waits, and each is recorded as one that came.

--resume only measures the latter, on a session whose sidecars are copies of one exposure's, with so
many --numbers in each as a real one has (250 picks and the curves of a CTF: 4,000, 33 kB): without
an index, with the one that this left, and when that misses half of the exposures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class _Nothing:
    """A stage that only says that it was there."""

    version = 1

    def __init__(self, name: str, needs: tuple[str, ...]) -> None:
        self.name, self.needs = name, needs

    def upstream(self, session: Any, kind: str) -> tuple[str, ...] | None:
        return self.needs

    def choices(self, session: Any) -> Mapping[str, Any]:
        return {}

    def prefetch(self, work: Any) -> None:
        if self.name == "import":
            work.numbers["import"] = {"kind": "movie"}

    def run(self, work: Any) -> Any:
        from icefloe.engine import Outcome

        return Outcome({"kind": "movie", "value": 1.5, "n_picks": 7})


STAGES = (
    _Nothing("import", ()),
    _Nothing("motion", ("import",)),
    _Nothing("ctf", ("motion",)),
    _Nothing("look", ("motion",)),
    _Nothing("pick", ("motion",)),
    _Nothing("extract", ("pick",)),
)


def _one(directory: Path, workers: int) -> None:
    """Run the session; called in a process of its own, prints its own cost."""
    import scaling

    from icefloe.engine import Session, run_session
    from icefloe.engine.pool import WorkerPool
    from icefloe.engine.pool_config import local_config

    session = Session.open(directory)
    begin, cpu = time.perf_counter(), time.process_time()
    if workers:
        config = local_config(workers, directory / "parsl")
        with WorkerPool(config, device="cpu", stages="scaling:STAGES") as pool:
            summary = run_session(session, stages=scaling.STAGES, pool=pool)
    else:
        summary = run_session(session, stages=scaling.STAGES)
    _tell(summary, begin, cpu)


def _tell(summary: Any, begin: float, cpu: float) -> None:
    print(
        json.dumps(
            {
                "ran": summary.ran,
                "failed": len(summary.failures),
                "wall": time.perf_counter() - begin,
                "cpu": time.process_time() - cpu,
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
            }
        )
    )


def _live(directory: Path) -> None:
    """Do the session in a live run; called in a process of its own, prints its own cost."""
    import scaling

    from icefloe.cli.live_display import LiveDisplay
    from icefloe.engine import Session, live_loop
    from icefloe.engine.live import run_live
    from icefloe.engine.live_options import LiveOptions
    from icefloe.engine.watch import Watcher

    class Fresh(Watcher):
        """Calls what is there at first fresh, too."""

        def poll(self) -> Any:
            return [replace(arrival, fresh=True) for arrival in super().poll()]

    live_loop.Watcher = Fresh  # type: ignore[misc]
    session = Session.open(directory)
    options = LiveOptions(
        (str(directory.parent / "raw" / "*.mrc"),), poll_seconds=0.5, quiet_minutes=0.02
    )
    begin, cpu = time.perf_counter(), time.process_time()
    with LiveDisplay(session) as display:
        summary = run_live(session, options, observer=display, stages=scaling.STAGES)
    _tell(summary, begin, cpu)


def _measure(directory: Path, workers: int, *options: str) -> dict[str, float]:
    environment = os.environ | {
        "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent / 'src'}",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, "--one", str(directory), "--workers", str(workers)]
    command += options
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _session(root: Path, exposures: int) -> Path:
    from icefloe.engine.setup import open_or_create

    raw, directory = root / "raw", root / "session"
    raw.mkdir(parents=True)
    project, _ = open_or_create(directory, {}, may_create=True)
    sources = {}
    for i in range(exposures):
        name = f"movie_{i:05d}"
        (raw / f"{name}.tiff").touch()
        sources[name] = str(raw / f"{name}.tiff")
    project.write_registry(sources)
    return directory


def _live_sizes(sizes: list[int], keep: Path | None) -> None:
    """Measure live runs of tiny micrographs."""
    import numpy as np

    from icefloe.engine.setup import open_or_create
    from icefloe.formats.mrc import write_mrc

    for size in sizes:
        with tempfile.TemporaryDirectory(dir=keep, prefix="scaling-") as name:
            root = Path(name)
            (root / "raw").mkdir()
            write_mrc(root / "one.mrc", np.zeros((8, 8), np.float32), 1.0)
            for i in range(size):
                os.link(root / "one.mrc", root / "raw" / f"movie_{i:05d}.mrc")
            choices = {"pick": {"method": "blob", "diameter": [100.0]}}
            open_or_create(root / "session", choices, may_create=True)
            r = _measure(root / "session", 0, "--live")
            assert (r["ran"], r["failed"]) == (size, 0), r
            print(
                f"| {size} | live, in one process | {r['wall']:.1f} | "
                f"{1000 * r['cpu'] / size:.2f} | {r['memory']:.0f} |",
                flush=True,
            )


def _resume(root: Path, exposures: int, numbers: int) -> None:
    """Measure runs that find everything done."""
    directory = _session(root, exposures)
    stamp = 1_700_000_000_000_000_000
    for path in (root / "raw").iterdir():
        os.utime(path, ns=(stamp, stamp))
    registry = json.loads((directory / "exposures.json").read_text())
    first = next(iter(registry["exposures"]))
    alone = {**registry, "exposures": {first: registry["exposures"][first]}}
    (directory / "exposures.json").write_text(json.dumps(alone))
    assert _measure(directory, 0)["ran"] == 1
    (directory / "exposures.json").write_text(json.dumps(registry))
    texts = {}
    for path in (directory / "exposures" / first).glob("*.json"):
        content = json.loads(path.read_text())
        content["numbers"]["curve"] = [round(i * 0.37 % 1, 5) for i in range(numbers // 6)]
        texts[path.name] = json.dumps(content)
    for name in registry["exposures"]:
        target = directory / "exposures" / name
        target.mkdir(exist_ok=True)
        for stage, text in texts.items():
            (target / stage).write_text(text.replace(first, name))
    size = sum(map(len, texts.values())) / 1000
    print(f"sidecars of an exposure: {size:.0f} kB")
    print("| exposures | index | wall, s | CPU, s | peak memory, MB |\n|---|---|---|---|---|")

    def show(title: str) -> None:
        r = _measure(directory, 0)
        assert (r["ran"], r["failed"]) == (0, 0), r
        print(
            f"| {exposures} | {title} | {r['wall']:.1f} | {r['cpu']:.1f} | {r['memory']:.0f} |",
            flush=True,
        )

    (directory / "index.sqlite").unlink(missing_ok=True)
    show("none")
    show("up to date")
    for name in list(registry["exposures"])[::2]:
        for path in (directory / "exposures" / name).glob("*.json"):
            path.write_text(path.read_text())
    show("old for half of them")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--exposures", type=int, default=20000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--numbers", type=int, default=4000)
    parser.add_argument("--one", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        if arguments.live:
            _live(arguments.one)
        else:
            _one(arguments.one, arguments.workers)
        return
    if arguments.resume:
        with tempfile.TemporaryDirectory(dir=arguments.keep, prefix="scaling-") as directory:
            _resume(Path(directory), arguments.exposures, arguments.numbers)
        return
    sizes = sorted({max(100, arguments.exposures // 16), arguments.exposures // 4,
                    arguments.exposures})  # fmt: skip
    print("| exposures | run | wall, s | coordinator CPU, ms an exposure | peak memory, MB |")
    print("|---|---|---|---|---|")
    if arguments.live:
        _live_sizes(sizes, arguments.keep)
        return
    for workers in sorted({0, arguments.workers}):
        for size in sizes:
            root = Path(tempfile.mkdtemp(dir=arguments.keep, prefix="scaling-"))
            try:
                directory = _session(root, size)
                for name in ("first", "nothing to do"):
                    r = _measure(directory, workers)
                    assert r["ran"] == (size if name == "first" else 0), r
                    assert r["failed"] == 0, r
                    who = f"{workers} workers" if workers else "in one process"
                    print(
                        f"| {size} | {name}, {who} | {r['wall']:.1f} | "
                        f"{1000 * r['cpu'] / size:.2f} | {r['memory']:.0f} |",
                        flush=True,
                    )
            finally:
                shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
