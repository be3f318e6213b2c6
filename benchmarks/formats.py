"""STAR tables, TIFF directories and LZW: ours against the libraries that could replace them.

    python benchmarks/formats.py [--rows 500000] [--pages 4000] [--frames 4] [--movie MOVIE.tif]

A particle table of a large data set is written and read (peer: the starfile package, if it is
installed), the directory of an EER movie with thousands of camera frames is walked (peer:
tifffile), and the LZW strips of a movie are unpacked by one thread (peer: imagecodecs): a simulated
one of 1.2 electrons a pixel, and a real one if given. These measurements are the reason why the
three are ours. Codecs that stay the library's, and writing an MRC, are timed beside them.
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


def seconds(
    work: Callable[[], Any], repeats: int = 3, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the least time of some runs."""
    best = np.inf
    for _ in range(repeats):
        begin = clock()
        work()
        best = min(best, clock() - begin)
    return best


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the least CPU time of some runs."""
    return seconds(work, clock=time.process_time)


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


def strips_of(path: Path, frames: int) -> list[tuple[bytes, int]]:
    """Return the LZW strips of a movie's first frames, each with its number of pixels."""
    import tifffile

    found = []
    with tifffile.TiffFile(path) as tif, path.open("rb") as handle:
        for page in tif.pages[:frames]:
            rows, columns = page.shape
            for index, (offset, size) in enumerate(
                zip(page.dataoffsets, page.databytecounts, strict=True)
            ):
                handle.seek(offset)
                count = min(page.rowsperstrip, rows - index * page.rowsperstrip)
                found.append((handle.read(size), count * columns))
    return found


def lzw_times(path: Path, frames: int) -> dict[str, float]:
    """Return MB of unpacked data a CPU second, of the decoders and of whole frames."""
    import imagecodecs
    import tifffile

    from icefloe.formats import open_movie
    from icefloe.kernels.lzw import STREAM_MARGIN, unpack_lzw

    strips = strips_of(path, frames)
    streams = [np.frombuffer(data + bytes(STREAM_MARGIN), np.uint8) for data, _ in strips]
    room = np.empty(max(count for _, count in strips) + 8, np.uint8)
    total = sum(count for _, count in strips) / 1e6

    def ours() -> None:
        for (data, count), stream in zip(strips, streams, strict=True):
            assert unpack_lzw(stream, 0, len(data), room[: count + 8]) == count

    def peer() -> None:
        for data, count in strips:
            imagecodecs.lzw_decode(data, out=room[:count])

    with open_movie(path) as movie, tifffile.TiffFile(path) as tif:
        pages = tif.pages[:frames]
        return {
            "LZW strips, icefloe": total / cpu_seconds(ours),
            "LZW strips, imagecodecs": total / cpu_seconds(peer),
            "LZW frames, icefloe": total
            / cpu_seconds(lambda: [movie[i] for i in range(len(pages))]),
            "LZW frames, tifffile": total
            / cpu_seconds(lambda: [p.asarray(maxworkers=1) for p in pages]),
        }


def other_codecs(frames: np.ndarray, folder: Path) -> dict[str, float]:
    """Return MB a CPU second of frames that the library decodes, MB/s of writing a float MRC."""
    import tifffile

    from icefloe.formats import open_movie, write_mrc

    out = {}
    for codec in ("zlib", "zstd"):
        path = folder / f"{codec}.tif"
        options = {"compression": codec, "rowsperstrip": 64, "photometric": "minisblack"}
        tifffile.imwrite(path, frames, **options)
        with open_movie(path) as movie:
            reading = cpu_seconds(lambda movie=movie: [movie[i] for i in range(len(frames))])
        out[f"{codec} frames (imagecodecs)"] = frames.nbytes / 1e6 / reading
    image = frames[0].astype(np.float32)
    writing = seconds(lambda: write_mrc(folder / "image.mrc", image, 1.0))
    return out | {"MRC write, to the disk": image.nbytes / 1e6 / writing}


def simulated_counts(frames: int) -> np.ndarray:
    """Return frames of 1.2 electrons a pixel."""
    return np.random.default_rng(1).poisson(1.2, (frames, 3838, 3710)).astype(np.uint8)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--pages", type=int, default=4_000)
    parser.add_argument("--frames", type=int, default=4, help="frames of the movie to unpack")
    parser.add_argument("--movie", type=Path, help="an LZW movie, beside the simulated one")
    options = parser.parse_args()
    from icefloe.formats import write_tiff_movie

    with tempfile.TemporaryDirectory() as name:
        times = star_times(options.rows, Path(name)) | page_times(options.pages, Path(name))
        frames = simulated_counts(options.frames)
        path = Path(name) / "movie.tif"
        write_tiff_movie(path, frames, 1.0)
        rates = lzw_times(path, options.frames) | other_codecs(frames, Path(name))
        if options.movie:
            real = lzw_times(options.movie, options.frames)
            rates |= {f"{what}, {options.movie.name}": rate for what, rate in real.items()}
    print(f"{options.rows} particle rows of 12 columns; {options.pages} camera frames")
    for what, value in times.items():
        print(f"{what:28s} {value:7.2f} s")
    for what, value in rates.items():
        print(f"{what:28s} {value:7.0f} MB/s")


if __name__ == "__main__":
    main()
