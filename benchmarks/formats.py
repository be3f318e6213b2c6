"""STAR tables and TIFF directories: our readers against the libraries that could replace them.

    python benchmarks/formats.py [--rows 500000] [--pages 4000]

A particle table of a large data set is written and read (peer: the starfile package, if it is
installed), and the directory of an EER movie with thousands of camera frames is walked (peer:
tifffile). These measurements are the reason why both are ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def particle_columns(rows: int) -> dict[str, Any]:
    """Return the columns of an extracted particle table."""
    rng = np.random.default_rng(0)
    micrograph = rng.integers(0, 5000, rows)
    return {
        "rlnCoordinateX": rng.uniform(0, 5760, rows),
        "rlnCoordinateY": rng.uniform(0, 4092, rows),
        "rlnAutopickFigureOfMerit": rng.uniform(3, 9, rows),
        "rlnClassNumber": np.zeros(rows, dtype=np.int64),
        "rlnAnglePsi": rng.uniform(-180, 180, rows),
        "rlnImageName": np.array(
            [f"{i % 100 + 1:06d}@particles/movie_{m:05d}.mrcs" for i, m in enumerate(micrograph)]
        ),
        "rlnMicrographName": np.array([f"micrographs/movie_{m:05d}.mrc" for m in micrograph]),
        "rlnOpticsGroup": np.ones(rows, dtype=np.int64),
        "rlnDefocusU": rng.uniform(5000, 25000, rows),
        "rlnDefocusV": rng.uniform(5000, 25000, rows),
        "rlnDefocusAngle": rng.uniform(-90, 90, rows),
        "rlnCtfMaxResolution": rng.uniform(3, 6, rows),
    }


def seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Return the least wall time of some runs."""
    best = np.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


def star_times(rows: int, folder: Path) -> dict[str, float]:
    """Return seconds for writing and reading a particle table."""
    from icefloe.formats.star import StarTable, read_star, write_star

    columns = particle_columns(rows)
    path = folder / "ours.star"
    table = StarTable(columns)
    out = {
        "STAR write, icefloe": seconds(lambda: write_star(path, {"particles": table})),
        "STAR read, icefloe": seconds(lambda: read_star(path)),
    }
    if importlib.util.find_spec("starfile") is not None:
        import pandas as pd
        import starfile

        frame = pd.DataFrame(columns)
        peer = folder / "peer.star"
        out["STAR write, starfile"] = seconds(lambda: starfile.write(frame, peer, overwrite=True))
        out["STAR read, starfile"] = seconds(lambda: starfile.read(path))
    return out


def page_times(pages: int, folder: Path) -> dict[str, float]:
    """Return seconds for finding the frames of an EER movie."""
    import tifffile

    from icefloe.formats._tiff_pages import walk_pages
    from icefloe.formats.frames import RandomAccess
    from icefloe.simulate.eer_output import write_eer

    path = folder / "movie.eer"
    write_eer(path, np.ones((pages // 50, 64, 64), np.uint8), raw_per_frame=50, name="pages")

    def ours() -> None:
        file = RandomAccess(path)
        assert len(walk_pages(file)) == pages // 50 * 50

    def peer() -> None:
        with tifffile.TiffFile(path) as tif:
            assert len([page.dataoffsets for page in tif.pages]) == pages // 50 * 50

    return {"EER pages, icefloe": seconds(ours), "EER pages, tifffile": seconds(peer)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--pages", type=int, default=4_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        times = star_times(options.rows, Path(name)) | page_times(options.pages, Path(name))
    print(f"{options.rows} particle rows of 12 columns; {options.pages} camera frames")
    for what, value in times.items():
        print(f"{what:24s} {value:7.2f} s")


if __name__ == "__main__":
    main()
