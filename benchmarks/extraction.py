"""Extraction against RELION's `relion_preprocess`, and in bounded memory.

    python benchmarks/extraction.py [--micrographs 20] [--particles 100] [--repeats 3]
    python benchmarks/extraction.py --memory [--total 100000]

The first form cuts the same coordinates out of the same micrographs with both programs, one
directly after the other, in pairs, each as a process of its own from start to end. It shows the
wall and CPU time with their ratios, the smallest correlation of a particle with RELION's, and mean
and standard deviation of both backgrounds. The second writes many particles of 64 pixels and shows
peak memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import measured
from numpy.typing import NDArray

from icefloe.formats import StarTable, read_mrc, write_mrc, write_star
from icefloe.interop.optics import OpticsGroup, optics_table
from icefloe.interop.relion_picks import coordinate_files

PIXEL = 1.1
SHAPE = (3710, 3838)  # a K2 micrograph
BOX = 256
OPTICS = OpticsGroup(300.0, 2.7, 0.1, PIXEL, PIXEL)


@dataclass(frozen=True)
class Case:
    """Options of both programs that mean the same."""

    name: str
    relion: tuple[str, ...]
    icefloe: tuple[str, ...]
    size: int = BOX


def _normalised(size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    radius = round(0.375 * size)
    diameter = 2 * radius * PIXEL * BOX / size
    return ("--norm", "--bg_radius", str(radius)), ("--background-diameter", str(diameter))


def cases() -> list[Case]:
    """Return the options that are compared."""
    (norm, ours), (norm64, ours64) = _normalised(BOX), _normalised(64)
    small = ("--bin-to", str(PIXEL * BOX / 64))
    return [
        Case("plain", norm, (*ours, "--no-invert")),
        Case("inverted", (*norm, "--invert_contrast"), ours),
        Case(
            "rescaled, inverted",
            (*norm64, "--invert_contrast", "--scale", "64"),
            (*ours64, *small),
            64,
        ),
        Case("grey levels", (), ("--no-normalise", "--no-invert")),
        Case(
            "times CTF in 384",
            (*norm, "--invert_contrast", "--premultiply_ctf", "--premultiply_extract_size", "384"),
            (*ours, "--ctf-correct", "multiply", "--ctf-box", "384"),
        ),
    ]


def make_set(folder: Path, micrographs: int, particles: int, shape: tuple[int, int]) -> None:
    """Write micrographs with a slope, noise and balls, their CTFs and their coordinates."""
    rng = np.random.default_rng(3)
    rows, listed = [], []
    (folder / "mics").mkdir()
    offset = np.arange(-60, 61)
    r2 = offset[:, None] ** 2 + offset[None, :] ** 2
    ball = np.sqrt(np.maximum(1 - r2 / 55.0**2, 0)).astype(np.float32)
    slope = np.linspace(0, 3, shape[1], dtype=np.float32)
    for i in range(micrographs):
        name = f"mics/m{i:03d}"
        image = rng.standard_normal(shape, dtype=np.float32) + 10 + slope
        y, x = (rng.uniform(70, n - 70, particles) for n in shape)
        for cy, cx in zip(y.astype(int), x.astype(int), strict=True):
            image[cy - 60 : cy + 61, cx - 60 : cx + 61] -= 0.5 * ball
        write_mrc(folder / f"{name}.mrc", image, PIXEL)
        columns = {"rlnCoordinateX": x, "rlnCoordinateY": y}
        write_star(folder / f"{name}_picks.star", {"": StarTable(columns)})
        listed.append((f"{name}.mrc", f"{name}_picks.star"))
        rows.append(
            {
                "rlnMicrographName": f"{name}.mrc",
                "rlnOpticsGroup": 1,
                "rlnDefocusU": 12000.0 + 500 * i,
                "rlnDefocusV": 11000.0 + 500 * i,
                "rlnDefocusAngle": 30.0,
            }
        )
    blocks = {"optics": optics_table([OPTICS]), "micrographs": StarTable.from_rows(rows)}
    write_star(folder / "micrographs_ctf.star", blocks)
    write_star(folder / "picks.star", coordinate_files(listed))


def extract_command(*options: str) -> list[str]:
    """Return the command line of `icefloe extract`, with Python's own start."""
    return [str(Path(sys.executable).parent / "icefloe"), "extract", *options]


def pair(folder: Path, case: Case, repeat: int, threads: int) -> dict[str, dict[str, float]]:
    """Run both programs, the order alternating; return their time and memory."""
    relion = [
        "relion_preprocess", "--i", "micrographs_ctf.star", "--coord_dir", "./",
        "--coord_suffix", "_picks.star", "--part_star", "RP/particles.star", "--part_dir", "RP/",
        "--extract", "--extract_size", str(BOX), *case.relion,
    ]  # fmt: skip
    ours = extract_command(
        "micrographs_ctf.star", "--picks", "picks.star", "--box", str(BOX), "--out", "ex",
        "--threads", str(threads), "--device", "cpu", *case.icefloe,
    )  # fmt: skip
    both = {"RELION": relion, "icefloe": ours}
    order = list(both) if repeat % 2 else list(both)[::-1]
    return {name: measured(both[name], folder, threads) for name in order}


def agreement(folder: Path, case: Case) -> tuple[float, float, NDArray[np.float64]]:
    """Return the smallest correlation, the largest difference, and background statistics.

    The difference is in standard deviations of RELION's particle; statistics are the range of mean
    and standard deviation outside the circle, (2 programs, 4).
    """
    size = case.size
    c = np.arange(size) - size // 2
    outside = c[:, None] ** 2 + c[None, :] ** 2 > round(0.375 * size) ** 2
    correlations, differences = [], []
    spread: list[list[tuple[float, float]]] = [[], []]
    for theirs_path in sorted((folder / "RP" / "mics").glob("*.mrcs")):
        theirs = read_mrc(theirs_path)[0]
        ours = read_mrc(folder / "ex" / "Particles" / theirs_path.name)[0]
        for a, b in zip(theirs, ours, strict=True):
            correlations.append(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]))
            differences.append(float(np.abs(a - b).max() / a.std()))
            for kind, image in enumerate((a, b)):
                spread[kind].append((float(image[outside].mean()), float(image[outside].std())))
    table = np.array(spread)
    statistics = np.concatenate([table.min(axis=1), table.max(axis=1)], axis=1)
    return min(correlations), max(differences), statistics


def compare(folder: Path, chosen: list[Case], repeats: int, threads: int) -> None:
    """Print a line for each case."""
    heads = ("RELION s", "icefloe s", "ratio", "CPU s", "ratio", "least corr.", "max diff.")
    widths = (9, 9, 6, 13, 6, 11, 9)
    titles = " ".join(f"{head:>{width}s}" for head, width in zip(heads, widths, strict=True))
    print(f"{'case':20s} {titles}  background mean, sd (RELION | icefloe)")
    for case in chosen:
        runs = [pair(folder, case, i, threads) for i in range(repeats)]
        wall = {n: float(np.median([r[n]["wall"] for r in runs])) for n in runs[0]}
        cpu = {n: float(np.median([r[n]["cpu"] for r in runs])) for n in runs[0]}
        ratio = float(np.median([r["icefloe"]["wall"] / r["RELION"]["wall"] for r in runs]))
        work = float(np.median([r["icefloe"]["cpu"] / r["RELION"]["cpu"] for r in runs]))
        least, most, stats = agreement(folder, case)
        ranges = " | ".join(
            f"{s[0]:+.1e}..{s[2]:+.1e}, {s[1]:.5f}..{s[3]:.5f}" for s in stats.tolist()
        )
        print(f"{case.name:20s} {wall['RELION']:9.2f} {wall['icefloe']:9.2f} {ratio:6.2f} "
              f"{cpu['RELION']:6.2f}/{cpu['icefloe']:6.2f} {work:6.2f} {least:11.7f} {most:9.1e}  "
              f"{ranges}", flush=True)  # fmt: skip


def memory(folder: Path, total: int, threads: int) -> None:
    """Write `total` particles of 64 pixels and print time and peak memory."""
    each, shape = 200, (1024, 1024)
    n = max(1, total // each)
    make_set(folder, 1, each, shape)
    rows, listed = [], []
    for i in range(n):  # one image under many names: the disk is not what is measured
        name = f"mics/n{i:04d}.mrc"
        os.link(folder / "mics/m000.mrc", folder / name)
        rows.append({"rlnMicrographName": name, "rlnOpticsGroup": 1})
        listed.append((name, "mics/m000_picks.star"))
    blocks = {"optics": optics_table([OPTICS]), "micrographs": StarTable.from_rows(rows)}
    write_star(folder / "many.star", blocks)
    write_star(folder / "many_picks.star", coordinate_files(listed))
    use = measured(
        extract_command("many.star", "--picks", "many_picks.star", "--box", "64", "--out", "ex",
                        "--device", "cpu"), folder, threads,
    )  # fmt: skip
    written = sum(p.stat().st_size for p in (folder / "ex").rglob("*.mrcs"))
    print(f"{n * each} particles of 64 pixels, {written / 1e9:.2f} GB: {use['wall']:.0f} s, "
          f"{use['cpu']:.0f} s of CPU, peak memory {use['memory']:.2f} GB")  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--micrographs", type=int, default=20)
    parser.add_argument("--particles", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    names = [case.name for case in cases()]
    parser.add_argument("--cases", nargs="+", choices=names, default=names)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--total", type=int, default=100_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        if chosen.memory:
            memory(folder, chosen.total, chosen.threads)
        else:
            make_set(folder, chosen.micrographs, chosen.particles, SHAPE)
            wanted = [case for case in cases() if case.name in chosen.cases]
            compare(folder, wanted, chosen.repeats, chosen.threads)


if __name__ == "__main__":
    main()
