"""Tilt, defocus of particles, and thickness against the truth: `python benchmarks/ctf_local.py`.

Two ways to fit a plane are compared: all tiles together (what `estimate_local_ctf` does), and each
tile by itself, with a plane laid through the tiles' defoci by least squares with Tukey's weights.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf import estimate_ctf, estimate_thickness, power_spectrum, refine_locally
from icefloe.ctf.samples import Optics
from icefloe.ctf.surface import DefocusSurface
from icefloe.ctf.tiles import cut_tiles
from icefloe.ctf.tilt import tabulate
from icefloe.simulate import SimulationSettings, simulate_micrograph
from icefloe.simulate.lens import plane_height
from icefloe.simulate.thick import simulate_thick_ice

PIXEL = 1.2
TILTS = (0.0, 10.0, 15.0, 30.0, 45.0, 60.0)
AXES = (20.0, 85.0, -60.0)
THICKNESSES = (500.0, 750.0, 1000.0, 1500.0, 2000.0, 3000.0)


def independent(image: FloatArray, length: float) -> DefocusSurface:
    """Return the robust plane through the best defocus of each tile by itself."""
    tiles = cut_tiles(image, PIXEL, length=length, low_resolution=30, high_resolution=5, degree=6)
    defoci, table = tabulate(tiles, Optics(300, 2.7, 0.1), (3000, 30000), step=100.0)
    best = defoci[np.argmax(table, axis=1)]
    surface = DefocusSurface((0.0, 0.0, 0.0), tiles.shape, PIXEL)
    terms = surface.terms(tiles.y, tiles.x)
    weight = np.ones(len(best))
    plane = np.zeros(3)
    for _ in range(30):
        root = np.sqrt(weight)[:, None]
        plane = np.linalg.lstsq(terms * root, best * root[:, 0], rcond=None)[0]
        rest = np.abs(best - terms @ plane)
        scale = max(float(np.median(rest)) / 0.6745, 30.0)
        weight = np.square(np.maximum(1 - np.square(rest / (4.685 * scale)), 0))
        weight += 1e-9
    return DefocusSurface(tuple(map(float, plane)), tiles.shape, PIXEL)


def turn(found: float, true: float) -> float:
    """Return the difference of two directed axes, degrees."""
    return abs((found - true + 180) % 360 - 180)


def tilt_case(size: int, tilt: float, axis: float, defocus: float) -> dict[str, float]:
    """Return the errors on one micrograph."""
    settings = SimulationSettings.make(
        shape=(size, size),
        pixel_size=PIXEL,
        tilt=tilt,
        tilt_axis=axis,
        defocus=defocus,
        thickness=250,
        dose_per_frame=2,
        n_frames=20,
    )
    movie = simulate_micrograph(settings, f"tilt {tilt} {axis} {defocus}")
    result = estimate_ctf(movie.image, pixel_size=PIXEL)
    begin = time.perf_counter()
    again, local = refine_locally(result, movie.image, pixel_size=PIXEL)
    seconds = time.perf_counter() - begin
    truth = movie.truth
    error = local.surface.at(truth.y, truth.x) - truth.defocus
    plane = defocus + plane_height(settings, truth.y, truth.x)
    middle = local.surface.at(truth.y, truth.x) - plane
    whole = result.parameters.defocus - truth.defocus
    alone = independent(movie.image, 600.0)
    return {
        "tilt": tilt,
        "axis": axis,
        "tilt found": local.tilt_angle,
        "tilt error": local.tilt_error,
        "axis error": turn(local.tilt_axis, axis),
        "axis stated": local.axis_error,
        "gain": local.tilt_gain,
        "used": float(local.significant),
        "particles rms": float(np.sqrt(np.mean(error**2))),
        "particles 99": float(np.quantile(np.abs(error), 0.99)),
        "surface max": float(np.max(np.abs(middle))),
        "one defocus rms": float(np.sqrt(np.mean(whole**2))),
        "alone tilt": alone.tilt,
        "alone axis error": turn(alone.axis, axis),
        "global failed": float(result.failed),
        "failed": float(again.failed),
        "seconds": seconds,
    }


def tilts(size: int, n_axes: int) -> list[dict[str, float]]:
    """Print and return the table of tilts."""
    print(f"\ntilt, {size} px of {PIXEL} A, 300 kV, 15000 A, 40 e/A^2; errors in degrees and A")
    print(
        "tilt axis | found  +-    axis   +-   gain | particles rms  99 %  plane max | one defocus"
    )
    rows = []
    for tilt in TILTS:
        for axis in AXES[: n_axes if tilt else 1]:
            row = tilt_case(size, tilt, axis, 15000.0)
            rows.append(row)
            print(
                f"{tilt:4.0f} {axis:4.0f} | {row['tilt found']:5.2f} {row['tilt error']:4.2f} "
                f"{row['axis error']:6.1f} {row['axis stated']:5.1f} {row['gain']:6.0f} | "
                f"{row['particles rms']:9.0f} {row['particles 99']:9.0f} "
                f"{row['surface max']:9.0f} | {row['one defocus rms']:6.0f}"
                f"{' (failed)' if row['global failed'] else ''} | tiles alone: tilt "
                f"{row['alone tilt']:5.2f} axis {row['alone axis error']:5.1f} | "
                f"{row['seconds']:.1f} s",
                flush=True,
            )
    tilted = [r for r in rows if r["tilt"] >= 15]
    for name, found, angle in (
        ("together", "tilt found", "axis error"),
        ("alone", "alone tilt", "alone axis error"),
    ):
        d = np.array([r[found] - r["tilt"] for r in tilted])
        a = np.array([r[angle] for r in tilted])
        print(
            f"from 15 degrees on, tiles {name}: tilt rms {math.sqrt(np.mean(d**2)):.2f}, largest "
            f"{np.abs(d).max():.2f}; axis rms {math.sqrt(np.mean(a**2)):.1f}, largest {a.max():.1f}"
        )
    pulls = [(r["tilt found"] - r["tilt"]) / r["tilt error"] for r in tilted]
    print(
        f"error of the tilt in units of the stated: rms {math.sqrt(np.mean(np.square(pulls))):.2f}"
    )
    return rows


def thicknesses(size: int) -> list[dict[str, Any]]:
    """Print and return the table of thicknesses."""
    print(f"\nthickness, {size} px of {PIXEL} A, 300 kV, 12000 A, ice in slabs of 50 A")
    print("  true |  found   +-   node  gain | defocus error")
    rows = []
    for thickness in (200.0, *THICKNESSES):
        settings = SimulationSettings.make(
            shape=(size, size),
            pixel_size=PIXEL,
            thickness=thickness,
            dose_per_frame=2,
            n_frames=20,
            defocus=12000,
        )
        image = simulate_thick_ice(settings, f"thick {thickness}")
        result = estimate_ctf(image, pixel_size=PIXEL)
        fit = estimate_thickness(power_spectrum(image, PIXEL, 512), result.parameters)
        rows.append({"true": thickness, **fit.numbers()})
        print(
            f"{thickness:6.0f} | {fit.thickness:6.0f} {fit.error:5.0f} {fit.node:5.1f} "
            f"{fit.gain:6.0f} | {fit.defocus - 12000:5.0f} | upper {fit.upper:.0f} "
            f"{', '.join(fit.flags)}",
            flush=True,
        )
    return rows


def run(size: int = 2048, n_axes: int = 2) -> dict[str, Any]:
    """Run everything, print the tables, and return their rows."""
    return {"tilt": tilts(size, n_axes), "thickness": thicknesses(size)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="side of the micrographs, pixels")
    parser.add_argument("--axes", type=int, default=2, help="axes for each tilt")
    given = parser.parse_args()
    run(given.size, given.axes)
