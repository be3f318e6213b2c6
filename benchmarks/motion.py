"""Motion correction against RELION's own implementation, on simulated movies.

    python benchmarks/motion.py [--size full|medium|small] [--case NAME] [--keep DIR]
    python benchmarks/motion.py --cases [--size medium] [--resume FILE]
    python benchmarks/motion.py --scaling [--size full|small] [--repeats N] [--no-relion]
    python benchmarks/motion.py --split [--device cuda:0] [--movies N]
    python benchmarks/motion.py --k3 [--size full|small] [--keep DIR]
    python benchmarks/motion.py --kernels

Both programs run as separate processes on the same TIFF movie and gain with dose weighting on two
threads, RELION with 5 x 5 patches, Icefloe with as many as it chooses; wall time, CPU time and peak
memory are those of the process. Motion is read back from both STAR files and compared with the
truth: of each program the motion that it took out, which is RELION's polynomial and Icefloe's
tracks of patches. Beside the residuals stands the Cramer-Rao bound (`motion_truth.motion_bound`).
The spectral signal-to-noise of the plain and of the dose-weighted sums is taken against the
noise-free image, in shells up to Nyquist, each with its standard error (`motion_snr`).

`--cases` prints the residuals of all kinds of movies, each when it is known: no seed here was used
to choose a setting. With `--resume FILE` finished cases go into a file, and are not run again.

The other options are described in the modules `motion_scaling`, `motion_split`, `motion_k3` and
`motion_kernels`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import motion_k3
import motion_scaling
import motion_split
import numpy as np
from measure import measured
from motion_kernels import interpolation_table
from motion_programs import RELION, Programs, simulate, write_movie
from motion_snr import compare_shells, snr_table
from motion_truth import Tracks, motion_bound

SIZES: dict[str, dict[str, Any]] = {
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
SUMS = {"plain sum": "movie_noDW.mrc", "dose-weighted sum": "movie.mrc"}


def run(
    size: str,
    work: Path,
    programs: Programs,
    case: str = "plain",
    start: dict[str, dict[str, float]] | None = None,
) -> dict[str, Any]:
    """Simulate a movie, correct it with both programs and return the figures.

    RELION's part is left out where `relion_run_motioncorr` is not installed. `start`, from
    `Programs.start`, is measured where it is not given.
    """
    from icefloe.formats.image import read_image
    from icefloe.interop.relion_motion import read_motion_star
    from icefloe.scoring import residual_motion

    choices = {"dose_per_frame": programs.dose} | CASES[case]
    shape, n = SIZES[size]["shape"], round(SIZES[size]["n_frames"] * choices.pop("frames", 1))
    pixel = programs.pixel_size
    movie = simulate(f"benchmark-{size}", shape=shape, n_frames=n, pixel_size=pixel, **choices)
    dose = choices["dose_per_frame"]
    programs = replace(programs, dose=dose)
    write_movie(work, movie.frames, movie.gain, pixel)
    truth, bound = movie.truth, motion_bound(movie)
    del movie
    results: dict[str, Any] = {"case": case, "shape": shape, "frames": n, "dose": dose}
    results |= {"bound": bound, "start": start or programs.start(work), "snr": {}}
    commands = {"icefloe": programs.icefloe()} | ({"relion": programs.relion()} if RELION else {})
    for name, command in commands.items():
        # RELION does not do again what it finds done.
        for old in (work / name).glob("movie*"):
            old.unlink()
        figures = measured(command, work, programs.threads)
        star = work / name / "movie.star"
        found = Tracks.read(star) if name == "icefloe" else read_motion_star(star)
        score = residual_motion(truth.field, found, shape, n)
        figures |= {
            "residual": score.total,
            "residual_whole_frame": score.whole_frame,
            "residual_local": score.local,
            "input_motion": score.input_motion,
        }
        results[name] = figures
    for title, file in SUMS.items():
        images = [np.asarray(read_image(work / name / file).data, np.float32) for name in commands]
        results["snr"][title] = compare_shells(images, truth.clean, pixel)
    return results


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
    names: list[str] = [name for name in ("icefloe", "relion") if name in results]
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
        if key in ("wall", "cpu"):
            start = [results["start"][name][key] for name in names]
            lines.append(f"{'  of it start':26}" + "".join(f"{v:10.1f}" for v in start))
    b = results["bound"]
    lines.append(
        f"Cramer-Rao bound without priors, px RMS: {b['total']:.3f} "
        f"(whole frame {b['whole']:.3f}, local {b['local']:.3f})"
    )
    lines += ["\n" + snr_table(shells, names, title) for title, shells in results["snr"].items()]
    return "\n".join(lines)


def compare_cases(size: str, work: Path, programs: Programs, resume: Path | None) -> None:
    """Print the residuals of all kinds of movies of one size, each when it is known."""
    done: dict[str, dict[str, float]] = {}
    if resume is not None and resume.exists():
        done = json.loads(resume.read_text())
    columns = f"{'put in':>9}{'icefloe':>9}{'relion':>9}{'ratio':>9}{'bound':>9}"
    print(f"{'px RMS':8}{columns}  icefloe / bound", flush=True)
    start = None
    for case in CASES:
        key = f"{size} {case}"
        if key not in done:
            start = start or programs.start(work)
            found = run(size, work, programs, case, start)
            ours = found["icefloe"]
            done[key] = {
                "put in": ours["input_motion"],
                "icefloe": ours["residual"],
                "relion": found.get("relion", {}).get("residual", float("nan")),
                "bound": found["bound"]["total"],
            }
            if resume is not None:
                resume.write_text(json.dumps(done, indent=1))
        f = done[key]
        values = [f["put in"], f["icefloe"], f["relion"], f["icefloe"] / f["relion"], f["bound"]]
        line = f"{case:8}" + "".join(f"{v:9.3f}" for v in values)
        print(f"{line}{f['icefloe'] / f['bound']:9.2f}", flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", choices=SIZES, help="[full; medium with --cases]")
    add("--case", choices=CASES, default="plain")
    add("--keep", type=Path, help="keep the files in this directory")
    add("--threads", type=int, default=2)
    add("--device", default="cpu", help="of Icefloe: cpu, cuda:N or torch-cpu")
    add("--cases", action="store_true", help="residuals of all kinds of movies")
    add("--resume", type=Path, help="with --cases: a file of the cases that are done")
    add("--scaling", action="store_true", help="time and memory against frames and pixels")
    add("--repeats", type=int, default=1, help="with --scaling: least of so many runs")
    add("--no-relion", action="store_true", help="with --scaling: Icefloe alone")
    add("--split", action="store_true", help="start, read, align, integrate, write")
    add("--movies", type=int, default=1, help="with --split: copies of the movie in one run")
    add("--k3", action="store_true", help="a K3 super-resolution movie, binned by 2")
    add("--kernels", action="store_true", help="compare interpolation kernels")
    options = parser.parse_args()
    if options.kernels:
        print(interpolation_table())
        return
    size = options.size or ("medium" if options.cases else "full")
    small = "small" if size == "small" else "full"
    programs = Programs(threads=options.threads, device=options.device)
    with ExitStack() as stack:
        work = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        if options.cases:
            compare_cases(size, work, programs, options.resume)
        elif options.scaling:
            motion_scaling.run(
                small, work, programs, repeats=options.repeats, relion=not options.no_relion
            )
        elif options.split:
            print(motion_split.run(SIZES[size], work, programs, options.movies))
        elif options.k3:
            programs = replace(programs, pixel_size=0.5 * motion_k3.PIXEL, binning=2.0)
            print(motion_k3.run(small, work, programs))
        else:
            print(table(run(size, work, programs, options.case)))


if __name__ == "__main__":
    main()
