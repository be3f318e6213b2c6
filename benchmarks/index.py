"""Measures the index of a large session: rebuilding, bringing up to date, and reading it.

    python benchmarks/index.py [--exposures 20000] [--commands]

The session has synthetic sidecars of the size that real ones have, and empty files beside them.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

FILES = {
    "motion": {
        "micrograph": "micrographs/{}.mrc",
        "unweighted": "micrographs/{}_noDW.mrc",
        "power_spectrum": "micrographs/{}_PS.mrc",
        "preview": "exposures/{}/micrograph.png",
    },
    "ctf": {
        "diagnostic": "micrographs/{}.ctf",
        "text": "micrographs/{}_ctf.txt",
        "curves": "micrographs/{}_ctf_avrot.txt",
        "preview": "exposures/{}/ctf.png",
    },
    "pick": {"picks": "picks/{}_picks.star"},
    "extract": {"particles": "particles/{}.mrcs"},
}


def make(root: Path, exposures: int) -> None:
    """Write a session of `exposures` movies that are done."""
    import fake_session
    from icefloe.project import STAGES, FileIdentity, Project, Sidecar
    from icefloe.project.sidecar import WrittenFile, plain_json, write_sidecar

    rng = np.random.default_rng(1)
    numbers = {
        "import": {"kind": "movie", "shape": [3838, 3710], "n_frames": 40, "pixel_size": 1.05},
        "motion": plain_json(fake_session.motion_numbers(rng)),
        "ctf": plain_json(fake_session.ctf_numbers(rng, 15000.0)),
        "look": {f"number_{i}": float(i) / 7 for i in range(25)},
        "pick": plain_json(fake_session.pick_numbers(rng, 250)),
        "extract": {"n_particles": 250, "n_dropped": 0, "box": 64, "pixel_size": 4.2},
    }
    project = Project.create(root)
    project.settings_file.write_text("schema = 1\n[pick]\ndiameter = [100.0, 120.0]\n")
    names = [f"movie_{i:05d}" for i in range(exposures)]
    project.write_registry({name: f"/data/{name}.tiff" for name in names})
    texts = {}
    for stage in STAGES:
        files = {role: path.format("NAME") for role, path in FILES.get(stage, {}).items()}
        record = Sidecar(
            stage=stage,
            status="done",
            exposure="NAME",
            settings_hash="0" * 32,
            fingerprint="0" * 32,
            upstream={} if stage == "import" else {"import": "0" * 32},
            input=FileIdentity("/data/NAME.tiff", 570_000_000, 1) if stage == "import" else None,
            numbers=numbers[stage],
            files=files,
            seconds=1.5,
            version="0.1.0",
            written={role: WrittenFile(0, "crc32:00000000") for role in files},
            run="20261124T000000-00000000",
        )
        write_sidecar(root / f"{stage}.json", record)
        texts[stage] = (root / f"{stage}.json").read_text()
        (root / f"{stage}.json").unlink()
    print(f"sidecars of an exposure: {sum(map(len, texts.values())) / 1000:.0f} kB")
    for name in names:
        (project.exposures / name).mkdir()
        for stage, text in texts.items():
            project.sidecar(name, stage).write_text(text.replace("NAME", name))
            for path in FILES.get(stage, {}).values():
                (root / path.format(name)).touch()


def timed(title: str, work: Callable[[], object]) -> None:
    """Do something in a process of its own and print time and memory."""
    import os

    begin = time.perf_counter()
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    print(
        f"{title:<46} {time.perf_counter() - begin:7.2f} s  "
        f"{usage.ru_utime + usage.ru_stime:7.2f} CPU s  {usage.ru_maxrss / 1024:6.0f} MB",
        flush=True,
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--exposures", type=int, default=20000)
    parser.add_argument("--commands", action="store_true", help="Time the commands, too.")
    parser.add_argument("--keep", type=Path, help="Leave the session here, or use the one there.")
    arguments = parser.parse_args()
    root = arguments.keep or Path(tempfile.mkdtemp())
    try:
        if not (root / "exposures.json").exists():
            begin = time.perf_counter()
            make(root, arguments.exposures)
            print(f"{arguments.exposures} exposures written in {time.perf_counter() - begin:.0f} s")
        measure(root, arguments.exposures)
        if arguments.commands:
            time_commands(root)
    finally:
        if arguments.keep is None:
            shutil.rmtree(root)


def measure(root: Path, exposures: int) -> None:
    """Time what is done with a session."""
    from icefloe.curation.indexed import session_index
    from icefloe.curation.store import load_figures
    from icefloe.project import Project
    from icefloe.project.index import Index, index_path, open_index

    project = Project.open(root)
    for path in root.glob("index.sqlite*"):
        path.unlink()
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory before: {baseline:.0f} MB")

    def refreshed() -> None:
        with open_index(project):
            pass

    def read() -> None:
        with session_index(project) as index:
            assert len(index.records()) == exposures

    def changed() -> None:
        for i in range(0, exposures, max(1, exposures // 100)):
            path = project.sidecar(f"movie_{i:05d}", "pick")
            path.write_bytes(path.read_bytes())
        begin = time.perf_counter()
        index = Index(project, index_path(project))
        count = index.refresh()
        print(f"  {count} exposures read again in {time.perf_counter() - begin:.2f} s")

    timed("records from the sidecars", lambda: load_figures(project))
    timed("index: rebuilt", refreshed)
    print(f"index.sqlite: {index_path(project).stat().st_size / 1e6:.0f} MB")
    timed("index: refreshed, nothing changed", refreshed)
    timed("index: refreshed, 100 exposures changed", changed)
    timed("index: refreshed and all records read", read)


def time_commands(root: Path) -> None:
    """Time commands when they must make the index first, and when it is there."""
    for words in (["status"], ["curate"], ["report", "--project"]):
        for path in root.glob("index.sqlite*"):
            path.unlink()
        for title in ("index made first", "index there"):
            begin = time.perf_counter()
            call = [sys.executable, "-m", "icefloe", *words, str(root)]
            subprocess.run(call, check=True, capture_output=True)
            print(f"icefloe {words[0]:<8} {title:<18} {time.perf_counter() - begin:7.2f} s")


if __name__ == "__main__":
    main()
