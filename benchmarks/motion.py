"""Motion correction against RELION's own implementation, on one simulated movie.

    python benchmarks/motion.py [--size full|medium|small] [--case NAME] [--keep DIR]
    python benchmarks/motion.py --cases [--size medium]
    python benchmarks/motion.py --kernels

Both programs run as separate processes on the same TIFF movie and gain with dose weighting on two
threads, RELION with 5 x 5 patches, Icefloe with as many as it chooses; wall time, CPU time and peak
memory are those of the process. Motion is read back from both STAR files and compared with the
truth: of each program the motion that it took out, which is RELION's polynomial and Icefloe's
tracks of patches. The spectral signal-to-noise of the plain sums is taken against the noise-free
image. Beside the residuals stands the Cramer-Rao bound (`motion_truth.motion_bound`).

`--cases` prints the residuals of all kinds of movies: no seed here was used to choose a setting.

`--kernels` compares interpolation kernels instead: how much of the signal-to-noise at each
frequency a sum of many frames keeps, all fractions of a pixel occurring alike.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import measured
from motion_truth import Tracks, motion_bound

SIZES = {
    "small": {"shape": (1024, 1024), "n_frames": 20},
    "medium": {"shape": (2048, 2048), "n_frames": 30},
    "full": {"shape": (3838, 3710), "n_frames": 40},
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "fine": {"dose_per_frame": 0.6, "frames": 2.0},
    "drift": {"drift": 30.0, "doming": 2.0, "packing": 0.2, "contrast": 0.6},
    "weak": {"doming": 2.5, "packing": 0.15, "contrast": 0.55},
}
"""Kinds of movies: settings of the simulator; `frames` multiplies the number of frames."""
DOSE = 1.2
THREADS = 2


def run(size: str = "small", directory: Path | None = None, case: str = "plain") -> dict[str, Any]:
    """Simulate a movie, correct it with both programs and return the figures.

    RELION's part is left out where `relion_run_motioncorr` is not installed.
    """
    work = Path(tempfile.mkdtemp()) if directory is None else directory
    work.mkdir(parents=True, exist_ok=True)
    try:
        return _run(size, work, case)
    finally:
        if directory is None:
            shutil.rmtree(work)


def _run(size: str, work: Path, case: str) -> dict[str, Any]:
    from icefloe.formats.image import read_image
    from icefloe.formats.mrc import write_mrc
    from icefloe.formats.tiff import write_tiff_movie
    from icefloe.interop.relion_motion import read_motion_star
    from icefloe.scoring import residual_motion, spectral_snr
    from icefloe.simulate import SimulationSettings, simulate_movie

    choices = {"dose_per_frame": DOSE} | CASES[case]
    shape, n = SIZES[size]["shape"], round(SIZES[size]["n_frames"] * choices.pop("frames", 1))
    settings = SimulationSettings.make(shape=shape, n_frames=n, **choices)
    dose = settings.dose_per_frame
    movie = simulate_movie(settings, name=f"benchmark-{size}")
    write_tiff_movie(work / "movie.tiff", movie.frames, settings.pixel_size)
    write_mrc(work / "gain.mrc", movie.gain, settings.pixel_size)
    truth = movie.truth
    bound = motion_bound(movie)
    del movie
    programs = {"icefloe": _icefloe(dose)}
    if shutil.which("relion_run_motioncorr"):
        programs["relion"] = _relion(shutil.which("relion_run_motioncorr") or "", dose)
    results: dict[str, Any] = {"case": case, "shape": shape, "frames": n, "dose": dose}
    results["bound"] = bound
    # The compiled loops are made once after installation; that is not what is measured.
    _warm_up()
    for name, command in programs.items():
        figures = measured(command, work, THREADS)
        image = np.asarray(read_image(work / name / "movie_noDW.mrc").data, dtype=np.float32)
        star = work / name / "movie.star"
        found = Tracks.read(star) if name == "icefloe" else read_motion_star(star)
        score = residual_motion(truth.field, found, shape, n)
        frequency, snr = spectral_snr(image, truth.clean, settings.pixel_size, n_shells=20)
        figures |= {
            "residual": score.total,
            "residual_whole_frame": score.whole_frame,
            "residual_local": score.local,
            "input_motion": score.input_motion,
            "frequency": [float(k) for k in frequency],
            "snr": [float(s) for s in snr],
        }
        results[name] = figures
    return results


def _icefloe(dose: float) -> list[str]:
    return [
        sys.executable, "-m", "icefloe", "motion", "movie.tiff", "--out", "icefloe",
        "--gain", "gain.mrc", "--pixel-size", "1.0", "--voltage", "300",
        "--dose-per-frame", str(dose),
        "--device", "cpu", "--threads", str(THREADS),
    ]  # fmt: skip


def _relion(program: str, dose: float) -> list[str]:
    return [
        program, "--use_own", "--i", "movie.tiff", "--o", "relion", "--gainref", "gain.mrc",
        "--angpix", "1.0", "--voltage", "300", "--dose_per_frame", str(dose),
        "--dose_weighting", "--save_noDW", "--patch_x", "5", "--patch_y", "5",
        "--grouping_for_ps", "3", "--j", str(THREADS),
    ]  # fmt: skip


def _warm_up() -> None:
    from icefloe.motion import correct_motion

    frames = np.random.default_rng(0).poisson(1.0, (3, 256, 256)).astype(np.uint8)
    correct_motion(frames, pixel_size=1.0, dose_per_frame=1.0)


def table(results: dict[str, Any]) -> str:
    """Return the figures as text."""
    rows = [
        ("wall time, s", "wall", 1),
        ("CPU time, s", "cpu", 1),
        ("peak memory, GB", "memory", 2),
        ("residual motion, px RMS", "residual", 3),
        ("  whole frame", "residual_whole_frame", 3),
        ("  local", "residual_local", 3),
    ]
    ny, nx = results["shape"]
    names = [name for name in ("icefloe", "relion") if name in results]
    lines = [
        f"{nx} x {ny} x {results['frames']} frames, {results['dose']} e/A^2 each; "
        f"{results['icefloe']['input_motion']:.2f} px RMS of motion put in",
        f"{'':26}" + "".join(f"{name:>10}" for name in names)
        + ("     ratio" if len(names) == 2 else ""),
    ]  # fmt: skip
    for label, key, digits in rows:
        values = [results[name][key] for name in names]
        text = f"{label:26}" + "".join(f"{v:10.{digits}f}" for v in values)
        if len(values) == 2:
            text += f"{values[0] / values[1]:10.3f}"
        lines.append(text)
    b = results["bound"]
    lines.append(
        f"Cramer-Rao bound without priors, px RMS: {b['total']:.3f} "
        f"(whole frame {b['whole']:.3f}, local {b['local']:.3f})"
    )
    if len(names) == 2:
        lines.append("spectral SNR of the plain sum, Icefloe / RELION, by shell:")
        ours, theirs = results["icefloe"], results["relion"]
        for k, a, b in zip(ours["frequency"], ours["snr"], theirs["snr"], strict=True):
            if k > 0 and b > 1e-3:
                lines.append(f"  {1 / k:7.2f} A  {a:9.4f} {b:9.4f} {a / b:8.3f}")
    return "\n".join(lines)


def compare_cases(size: str) -> str:
    """Return the residuals of all kinds of movies of one size."""
    lines = [f"{'px RMS':8}  put in  icefloe   relion    ratio    bound  icefloe / bound"]
    for case in CASES:
        found = run(size, case=case)
        ours, bound = found["icefloe"], found["bound"]["total"]
        theirs = found.get("relion", {}).get("residual", float("nan"))
        values = [ours["input_motion"], ours["residual"], theirs, ours["residual"] / theirs, bound]
        line = f"{case:8}" + "".join(f"{v:9.3f}" for v in values)
        lines.append(f"{line}{ours['residual'] / bound:9.2f}")
    return "\n".join(lines)


def interpolation_table() -> str:
    """Return the efficiency of interpolation kernels, |mean H|^2 / mean |H|^2 along one axis.

    H is the response at a fraction of a pixel. The signal of a sum is multiplied by the mean of
    H, its noise power by the mean of |H|^2; a filter afterwards changes neither ratio, so that
    this is the part of the signal-to-noise ratio that is left whatever is done later.
    """
    from scipy.interpolate import BSpline

    def cubic(x: np.ndarray, a: float) -> np.ndarray:
        x = np.abs(x)
        inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
        outer = a * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x < 1, inner, np.where(x < 2, outer, 0))

    def spline(x: np.ndarray, degree: int) -> np.ndarray:
        knots = np.arange(degree + 2) - 0.5 * (degree + 1)
        return np.nan_to_num(BSpline.basis_element(knots, extrapolate=False)(x))

    def lanczos(x: np.ndarray, taps: int) -> np.ndarray:
        return np.where(np.abs(x) < taps, np.sinc(x) * np.sinc(x / taps), 0)

    kernels = {
        "bilinear": (2, lambda x: np.maximum(0, 1 - np.abs(x))),
        "Catmull-Rom": (4, lambda x: cubic(x, -0.5)),
        "Keys a = -0.75": (4, lambda x: cubic(x, -0.75)),
        "cubic B-spline": (4, lambda x: spline(x, 3)),
        "Lanczos 3": (6, lambda x: lanczos(x, 3)),
        "quintic B-spline": (6, lambda x: spline(x, 5)),
        "Lanczos 4": (8, lambda x: lanczos(x, 4)),
        "septic B-spline": (8, lambda x: spline(x, 7)),
    }
    k = np.array([0.125, 0.25, 0.333, 0.4, 0.45, 0.475])
    t = (np.arange(256) + 0.5) / 256
    lines = [f"{'cycles/pixel':18}taps" + "".join(f"{v:8.3f}" for v in k)]
    for name, (taps, kernel) in kernels.items():
        distance = np.arange(-taps, taps + 1)[None, :] - t[:, None]
        phase = np.exp(-2j * np.pi * k[:, None, None] * distance)
        response = np.sum(kernel(distance) * phase, axis=-1)
        kept = np.abs(response.mean(1)) ** 2 / np.mean(np.abs(response) ** 2, axis=1)
        lines.append(f"{name:18}{taps:4}" + "".join(f"{v:8.3f}" for v in kept))
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--case", choices=CASES, default="plain")
    parser.add_argument("--cases", action="store_true", help="residuals of all kinds of movies")
    parser.add_argument("--keep", type=Path, help="keep the files in this directory")
    parser.add_argument("--kernels", action="store_true", help="compare interpolation kernels")
    options = parser.parse_args()
    if options.kernels:
        print(interpolation_table())
        return
    if options.cases:
        print(compare_cases(options.size))
        return
    print(table(run(options.size, options.keep, options.case)))


if __name__ == "__main__":
    main()
