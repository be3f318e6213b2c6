"""How time and memory of motion correction grow with frames and with pixels.

    python benchmarks/motion.py --scaling [--size full|small] [--repeats N] [--no-relion]

Each point is a process of its own on a TIFF movie cut or tiled from one simulated movie. The
exponent is the slope of log(figure - start) over log(size), where `start` is the figure of a movie
of 256 x 256 x 3: 1 is linear growth, and below 1 a part of the cost does not grow at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import measured
from motion_programs import RELION, Programs, Tiles, simulate, tiled, write_movie

STUDIES: dict[str, dict[str, Any]] = {
    "full": {
        "frames": (10, 20, 40, 80), "side": 2048,
        "sides": (1024, 2048, 3072, 4096), "frames_of_sides": 20,
    },
    # RELION needs 718 pixels for its power spectrum of 512 pixels of 1.4 A.
    "small": {
        "frames": (5, 10, 20, 40), "side": 768,
        "sides": (768, 1024, 1536, 2048), "frames_of_sides": 10,
    },
}  # fmt: skip
COLUMNS = {"cpu": "CPU s", "wall": "wall s", "memory": "GB"}


def exponent(sizes: Sequence[float], figures: Sequence[float], start: float) -> tuple[float, float]:
    """Return the slope of log(figure - start) over log(size), and its standard error.

    NaN where fewer than two figures lie above `start`; the error is NaN for two.
    """
    x, y = np.asarray(sizes, float), np.asarray(figures, float) - start
    x, y = np.log(x[y > 0]), np.log(y[y > 0])
    if len(x) < 2:
        return float("nan"), float("nan")
    x = x - x.mean()
    slope = float(np.sum(x * y) / np.sum(x * x))
    if len(x) == 2:
        return slope, float("nan")
    rest = y - y.mean() - slope * x
    return slope, float(np.sqrt(np.sum(rest**2) / (len(x) - 2) / np.sum(x * x)))


def run(
    size: str, work: Path, programs: Programs, *, repeats: int = 1, relion: bool = True
) -> None:
    """Measure and print both studies, each line as soon as it is known."""
    study = STUDIES[size]
    side, n = study["side"], max(*study["frames"], study["frames_of_sides"])
    movie = simulate(
        "scaling", shape=(side, side), n_frames=n, dose_per_frame=programs.dose,
        pixel_size=programs.pixel_size,
    )  # fmt: skip
    frames, gain = movie.frames, movie.gain
    del movie
    start = programs.start(work)
    if not (relion and RELION):
        start.pop("relion", None)
    print(
        f"one simulated movie of {side} x {side} x {n}, cut and tiled; {programs.threads} threads, "
        f"{programs.device}; least of {repeats}"
    )
    by_frames = [(k, (side, side)) for k in study["frames"]]
    by_pixels = [(study["frames_of_sides"], (s, s)) for s in study["sides"]]
    for label, points in (("frames", by_frames), ("pixels", by_pixels)):
        print(f"\nagainst {label}:\n" + _head(list(start)), flush=True)
        print(_line("start", 0.0, start), flush=True)
        rows = []
        for k, shape in points:
            write_movie(work, Tiles(frames, k, shape), tiled(gain, shape), programs.pixel_size)  # type: ignore[arg-type]
            rows.append({name: _least(name, programs, work, repeats) for name in start})
            decoded = k * shape[0] * shape[1] * frames.itemsize / 1e9
            print(_line(f"{shape[1]} x {shape[0]} x {k}", decoded, rows[-1]), flush=True)
        sizes = [k if label == "frames" else shape[0] * shape[1] for k, shape in points]
        print(_exponents(sizes, rows, start), flush=True)


def _least(name: str, programs: Programs, work: Path, repeats: int) -> dict[str, float]:
    # Other work on the machine only adds to what a program needs.
    command = programs.icefloe() if name == "icefloe" else programs.relion()
    found = []
    for _ in range(repeats):
        # RELION does not do again what it finds done.
        shutil.rmtree(work / name, ignore_errors=True)
        found.append(measured(command, work, programs.threads))
    return {key: min(f[key] for f in found) for key in COLUMNS}


def _head(names: list[str]) -> str:
    columns = "".join(f"{label:>9}" for label in COLUMNS.values())
    return (
        f"{'':20}{'':>8}"
        + "".join(f"{name:>27}" for name in names)
        + (f"\n{'movie':20}{'raw GB':>8}" + columns * len(names))
    )


def _line(label: str, decoded: float, figures: dict[str, dict[str, float]]) -> str:
    values = "".join(f"{f[key]:9.2f}" for f in figures.values() for key in COLUMNS)
    return f"{label:20}{decoded:8.3f}{values}"


def _exponents(
    sizes: list[int], rows: list[dict[str, dict[str, float]]], start: dict[str, dict[str, float]]
) -> str:
    pairs = [
        exponent(sizes, [row[name][key] for row in rows], start[name][key])
        for name in start
        for key in COLUMNS
    ]
    last = [
        exponent(sizes[-2:], [row[name][key] for row in rows[-2:]], start[name][key])[0]
        for name in start
        for key in COLUMNS
    ]
    return "\n".join(
        f"{label:28}" + "".join(f"{v:9.2f}" for v in values)
        for label, values in (
            ("exponent", [p[0] for p in pairs]),
            ("  its standard error", [p[1] for p in pairs]),
            ("  of the two largest", last),
        )
    )
