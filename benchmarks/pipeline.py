"""From one simulated movie to picks: every step against RELION where RELION has one.

    python benchmarks/pipeline.py [--size small|medium|full] [--threads 2]

The same TIFF movie and gain go through `icefloe motion`, `ctf`, `pick blob`, `extract`, and through
Debian's relion_run_motioncorr, relion_autopick (LoG) and relion_preprocess; each program is a
process of its own whose time and memory are measured, and each result is scored against the truth.
RELION has no CTF estimation of its own (it calls CTFFIND, which Debian has not): Icefloe's stands
alone here; `benchmarks/ctf.py` compares it with CTFFIND's recorded answers.
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

SIZES = {
    "small": {"shape": (1024, 1024), "n_frames": 20},
    "medium": {"shape": (2048, 2048), "n_frames": 30},
    "full": {"shape": (3838, 3710), "n_frames": 40},
}
PIXEL, DOSE, DIAMETER, BOX, SMALL_BOX = 1.2, 1.2, 120.0, 256, 64


def icefloe(*words: object) -> list[str]:
    """Return the command line of an icefloe step."""
    return [sys.executable, "-m", "icefloe", *map(str, words), "--device", "cpu"]


def icefloe_steps(threads: int) -> dict[str, list[str]]:
    """Return Icefloe's steps in order."""
    n = ["--threads", threads]
    return {
        "motion": icefloe(
            "motion", "movie.tiff", "--out", "motion", "--gain", "gain.mrc", "--pixel-size", PIXEL,
            "--dose-per-frame", DOSE, "--patches", "5x5", *n,
        ),
        "ctf": icefloe("ctf", "motion/corrected_micrographs.star", "--out", "ctf", *n),
        "pick": icefloe(
            "pick", "blob", "ctf/micrographs_ctf.star", "--diameter",
            f"{0.9 * DIAMETER},{1.1 * DIAMETER}", "--out", "pick", *n,
        ),
        "extract": icefloe(
            "extract", "pick/picks.star", "--ctf", "ctf/micrographs_ctf.star", "--box", BOX,
            "--bin-to", PIXEL * BOX / SMALL_BOX, "--out", "extract", *n,
        ),
    }  # fmt: skip


def relion_steps(threads: int) -> dict[str, list[str]]:
    """Return RELION's steps in order; empty where it is not installed."""
    if not shutil.which("relion_run_motioncorr"):
        return {}
    return {
        "motion": [
            "relion_run_motioncorr", "--use_own", "--i", "movie.tiff", "--o", "MotionCorr",
            "--gainref", "gain.mrc", "--angpix", str(PIXEL), "--voltage", "300",
            "--dose_per_frame", str(DOSE), "--dose_weighting", "--save_noDW",
            "--patch_x", "5", "--patch_y", "5", "--grouping_for_ps", "3", "--j", str(threads),
        ],
        "pick": [
            "relion_autopick", "--i", "micrographs.star", "--odir", "AutoPick/",
            "--pickname", "autopick", "--LoG", "--LoG_diam_min", str(0.9 * DIAMETER),
            "--LoG_diam_max", str(1.1 * DIAMETER), "--shrink", "0", "--lowpass", "20",
        ],
        "extract": [
            "relion_preprocess", "--i", "micrographs.star", "--coord_dir", "AutoPick/",
            "--coord_suffix", "_autopick.star", "--part_star", "Extract/particles.star",
            "--part_dir", "Extract/", "--extract", "--extract_size", str(BOX),
            "--scale", str(SMALL_BOX), "--norm", "--bg_radius", str(int(0.375 * SMALL_BOX)),
            "--invert_contrast",
        ],
    }  # fmt: skip


def run(size: str = "small", threads: int = 2) -> dict[str, Any]:
    """Return time, memory and scores by step and program."""
    from icefloe.formats import write_mrc, write_tiff_movie
    from icefloe.simulate import SimulationSettings, simulate_movie

    settings = SimulationSettings(pixel_size=PIXEL, dose_per_frame=DOSE, **SIZES[size])
    movie = simulate_movie(settings, name=f"pipeline-{size}")
    truth = movie.truth
    results: dict[str, Any] = {"settings": settings}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_tiff_movie(work / "movie.tiff", movie.frames, PIXEL)
        write_mrc(work / "gain.mrc", movie.gain, PIXEL)
        del movie
        for step, command in icefloe_steps(threads).items():
            measured(command, work, threads)  # compiled loops are made once after installation
            results["icefloe", step] = measured(command, work, threads)
        results["icefloe", "motion"] |= motion_scores(work / "motion", truth)
        results["icefloe", "ctf"] |= ctf_scores(work / "ctf" / "micrographs_ctf.star", truth)
        results["icefloe", "pick"] |= pick_scores(work / "pick" / "movie_picks.star", truth)
        for step, command in relion_steps(threads).items():
            if step == "pick":
                relion_micrographs(work)
            results["relion", step] = measured(command, work, threads)
        if ("relion", "motion") in results:
            results["relion", "motion"] |= motion_scores(work / "MotionCorr", truth)
            found = next((work / "AutoPick").rglob("*_autopick.star"))
            results["relion", "pick"] |= pick_scores(found, truth)
    return results


def relion_micrographs(work: Path) -> None:
    """Write the STAR from which RELION picks and extracts on its own micrograph."""
    shutil.copy(work / "MotionCorr" / "movie.mrc", work / "movie.mrc")
    (work / "AutoPick").mkdir(exist_ok=True)
    (work / "Extract").mkdir(exist_ok=True)
    (work / "micrographs.star").write_text(
        "\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n"
        "_rlnMicrographOriginalPixelSize #3\n_rlnVoltage #4\n_rlnSphericalAberration #5\n"
        "_rlnAmplitudeContrast #6\n_rlnMicrographPixelSize #7\n"
        f"opticsGroup1 1 {PIXEL} 300 2.7 0.1 {PIXEL}\n\n"
        "data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\nmovie.mrc 1\n"
    )


def motion_scores(folder: Path, truth: Any) -> dict[str, float]:
    """Return residual motion, px, and the mean spectral SNR between 20 and 5 A."""
    from icefloe.formats import read_image
    from icefloe.interop.relion_motion import read_motion_star
    from icefloe.scoring import residual_motion, spectral_snr

    field = read_motion_star(folder / "movie.star")
    score = residual_motion(truth.field, field, truth.settings.shape, truth.settings.n_frames)
    image = np.asarray(read_image(folder / "movie.mrc").data, dtype=np.float32)
    k, snr = spectral_snr(image, truth.clean, PIXEL)
    band = (k > 1 / 20) & (k < 1 / 5)
    return {"residual motion, px": score.total, "SNR of 20-5 A": float(snr[band].mean())}


def ctf_scores(path: Path, truth: Any) -> dict[str, float]:
    """Return the error of the defocus, A."""
    from icefloe.formats import read_star

    row = next(read_star(path)["micrographs"].rows())
    return {
        "defocus error, A": 0.5 * (row["rlnDefocusU"] + row["rlnDefocusV"]) - truth.ctf.defocus,
        "fit resolution, A": row["rlnCtfMaxResolution"],
    }


def pick_scores(path: Path, truth: Any) -> dict[str, float]:
    """Return AP and F1 of the picks in a STAR."""
    from icefloe.formats import read_star
    from icefloe.scoring import score_picks

    table = next(iter(read_star(path).values()))
    found = np.stack([table["rlnCoordinateY"], table["rlnCoordinateX"]], axis=-1)
    values = table["rlnAutopickFigureOfMerit"]
    score = score_picks(found, values, truth.yx, 0.3 * truth.diameter / PIXEL)
    return {"AP": score.average_precision, "F1": score.f1}


def table(results: dict[str, Any]) -> str:
    """Return the figures as text."""
    s = results["settings"]
    lines = [
        f"{s.shape[1]} x {s.shape[0]} x {s.n_frames} frames, {PIXEL} A, {DOSE} e/A^2 a frame",
        f"{'step':8} {'figure':22} {'icefloe':>10} {'relion':>10} {'ratio':>7}",
    ]
    for step in ("motion", "ctf", "pick", "extract"):
        ours, theirs = results["icefloe", step], results.get(("relion", step), {})
        for key, value in ours.items():
            other = theirs.get(key)
            label = {"wall": "wall, s", "cpu": "CPU, s", "memory": "peak memory, GB"}.get(key, key)
            text = f"{step:8} {label:22} {value:10.3f}"
            text += f" {other:10.3f} {value / other:7.2f}" if other else f" {'-':>10}"
            lines.append(text)
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="medium")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(table(run(options.size, options.threads)))


if __name__ == "__main__":
    main()
