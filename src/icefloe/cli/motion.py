"""`icefloe motion`: correct the motion in movies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import output_options

if TYPE_CHECKING:
    from icefloe.motion import MotionSettings

__all__ = ["command"]


@click.command()
@click.argument(
    "movies", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@output_options
@click.option(
    "--pixel-size", type=float, help="Pixel size of the frames, A [from the movie's header]."
)
@click.option("--voltage", type=float, default=300.0, show_default=True, help="kV.")
@click.option("--cs", type=float, default=2.7, show_default=True, help="mm; for the STAR only.")
@click.option(
    "--amplitude-contrast", type=float, default=0.1, show_default=True, help="For the STAR only."
)
@click.option("--dose-per-frame", type=float, help="e/A^2; of a fraction for EER.")
@click.option("--total-dose", type=float, help="e/A^2 of the whole movie, instead of a frame's.")
@click.option(
    "--dose-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Doses of the frames instead, where they differ: a number a line, or SerialEM's .mdoc.",
)
@click.option("--pre-exposure", type=float, default=0.0, help="e/A^2 before the first frame.")
@click.option(
    "--gain", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Gain reference."
)
@click.option(
    "--gain-rotate",
    type=click.IntRange(0, 3),
    default=0,
    show_default=True,
    help="Quarter turns of the gain, as RELION's --gain_rot.",
)
@click.option(
    "--gain-flip",
    type=click.IntRange(0, 2),
    default=0,
    show_default=True,
    help="Then flip it: 1 up-down, 2 left-right, as RELION's --gain_flip.",
)
@click.option(
    "--defects",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Bad pixels: a map, or text with 'x y w h' in a line.",
)
@click.option("--bin", "binning", type=float, default=1.0, show_default=True, help="Binning.")
@click.option(
    "--patches",
    default="auto",
    show_default=True,
    help="Patches in x and y such as 7x5, 1x1 for whole-frame motion only, or auto.",
)
@click.option(
    "--bfactor-whole", type=float, help="B-factor of the search for whole-frame motion, A^2 [500]."
)
@click.option(
    "--bfactor-local",
    "--bfactor",
    "bfactor_local",
    type=float,
    help="B-factor of the fit of the motion field, A^2 [400].",
)
@click.option(
    "--alignment-dose", type=float, help="e/A^2 in a group of frames that is aligned as one [0.8]."
)
@click.option("--frames", help="Frames to use, such as 2-30, 2- or -30, counted from 1.")
@click.option(
    "--dose-weighting-at",
    type=click.Choice(["end", "mid"]),
    default="end",
    show_default=True,
    help="Dose that weighs a frame: at its end, or in its middle.",
)
@click.option("--no-dose-weighting", is_flag=True, help="Plain sums only.")
@click.option("--float16", is_flag=True, help="Write micrographs in half precision (mode 12).")
@click.option("--even-odd", is_flag=True, help="Also write sums of even and odd frames.")
@click.option(
    "--pictures/--no-pictures",
    default=True,
    show_default=True,
    help="Also write NAME_motion.svg: trajectories, frame and sum, spectra before and after.",
)
@click.option(
    "--eer-upsampling",
    type=click.Choice(["1", "2", "4"]),
    default="1",
    show_default=True,
    help="Render EER on the 4K, 8K or 16K grid; --pixel-size is that of this grid.",
)
@click.option("--eer-grouping", type=int, help="Camera frames in an EER fraction.")
@click.option(
    "--eer-dose-per-fraction", type=float, help="e/A^2 in an EER fraction; needs --total-dose."
)
def command(
    movies: tuple[Path, ...],
    out: Path,
    device: str,
    pixel_size: float | None,
    voltage: float,
    cs: float,
    amplitude_contrast: float,
    gain: Path | None,
    gain_rotate: int,
    gain_flip: int,
    defects: Path | None,
    float16: bool,
    pictures: bool,
    **options: Any,
) -> None:
    """Align the frames of MOVIES (MRC, TIFF, EER), whole and in patches, and add them up.

    For each movie NAME writes NAME.mrc (dose weighted), NAME_noDW.mrc, NAME_PS.mrc (power spectrum
    for the CTF), NAME.star (RELION's metadata, for polishing) and NAME_motion.svg (trajectories,
    a frame beside the sum, spectra before and after); and for all of them
    corrected_micrographs.star.
    """
    from concurrent.futures import ThreadPoolExecutor
    from importlib import import_module

    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.inputs import failure_text, failures_exit
    from icefloe.cli.motion_job import MotionJob
    from icefloe.formats.star import write_star
    from icefloe.interop.optics import OpticsGroup
    from icefloe.interop.relion_motion import corrected_micrographs

    console = Console(stderr=True, highlight=False)
    names = _names(movies)
    job = MotionJob(
        out=out,
        device=device,
        voltage=voltage,
        settings=_settings(options),
        pixel_size=pixel_size,
        dose_per_frame=options["dose_per_frame"],
        total_dose=options["total_dose"],
        gain=gain,
        gain_rotate=gain_rotate,
        gain_flip=gain_flip,
        defects=defects,
        float16=float16,
        pictures=pictures,
        dose_file=options["dose_file"],
        eer={
            "eer_upsampling": int(options["eer_upsampling"]),
            "eer_frames_per_fraction": options["eer_grouping"],
            "eer_dose_per_fraction": options["eer_dose_per_fraction"],
            "eer_total_dose": options["total_dose"],
        },
    )
    rows: list[dict[str, Any]] = []
    failed = 0
    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(1) as reader,
    ):
        task = progress.add_task("motion", total=len(movies))
        # The next movie is decoded while this one is computed.
        ahead = reader.submit(job.read, movies[0])
        # The compiled loops load while the first movie is decoded.
        import_module("icefloe.motion.correct")
        for i, (path, name) in enumerate(zip(movies, names, strict=True)):
            progress.update(task, description=name)
            current = ahead
            if i + 1 < len(movies):
                # Not before the last was taken: two movies at most are in memory.
                current.exception()
                ahead = reader.submit(job.read, movies[i + 1])
            try:
                row, line = job.process(current.result(), name)
            except Exception as error:  # whatever it is, the other movies are done
                failed += 1
                line = f"{path}: failed: {failure_text(error)}"
                console.print(line, style="red", soft_wrap=True, markup=False)
            else:
                rows.append(row)
                console.print(line, soft_wrap=True, markup=False)
            progress.advance(task)
    if rows:
        pixels = sorted({(r["movie_pixel_size"], r["pixel_size"]) for r in rows})
        groups = [
            OpticsGroup(
                voltage=voltage,
                cs=cs,
                amplitude_contrast=amplitude_contrast,
                original_pixel_size=movie,
                micrograph_pixel_size=micrograph,
                number=i,
                name=f"opticsGroup{i}",
            )
            for i, (movie, micrograph) in enumerate(pixels, 1)
        ]
        for r in rows:
            r["optics_group"] = 1 + pixels.index((r["movie_pixel_size"], r["pixel_size"]))
        write_star(out / "corrected_micrographs.star", corrected_micrographs(rows, groups))
    failures_exit(failed, len(movies))


def _names(movies: tuple[Path, ...]) -> list[str]:
    # Names without directory and suffixes, as the results are called; each only once.
    from icefloe.errors import InputError

    seen: dict[str, Path] = {}
    for path in movies:
        name = path.name
        for suffix in (".gz", ".bz2"):
            name = name.removesuffix(suffix)
        name = Path(name).stem
        if name in seen:
            raise InputError(
                f"{path} and {seen[name]} have the same name '{name}'",
                "names that differ, since results are written as NAME.mrc",
                "Rename one, or process them into two directories",
            )
        seen[name] = path
    return list(seen)


def _settings(options: dict[str, Any]) -> MotionSettings:
    from pydantic import ValidationError

    from icefloe.errors import SettingsError
    from icefloe.motion import MotionSettings

    values: dict[str, Any] = {
        "binning": options["binning"],
        "pre_exposure": options["pre_exposure"],
        "dose_weighting": not options["no_dose_weighting"],
        "dose_weighting_at": options["dose_weighting_at"],
        "even_odd": options["even_odd"],
        "patches": _patches(options["patches"]),
    }
    for option, setting in (
        ("bfactor_whole", "bfactor"),
        ("bfactor_local", "bfactor_local"),
        ("alignment_dose", "alignment_dose"),
    ):
        if options[option] is not None:
            values[setting] = options[option]
    if options["frames"]:
        values |= _frame_range(options["frames"])
    try:
        return MotionSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "the frames"
        raise SettingsError(f"{name} is {first['input']!r}: {first['msg']}") from None


def _patches(text: str) -> str | tuple[int, int]:
    from icefloe.errors import SettingsError

    if text == "auto":
        return text
    try:
        x, y = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise SettingsError(f"--patches is '{text}'", "two numbers such as 5x5, or auto") from None
    return y, x


def _frame_range(text: str) -> dict[str, int]:
    from icefloe.errors import SettingsError

    first, dash, last = text.partition("-")
    try:
        if not dash:
            raise ValueError
        found = {"first_frame": int(first)} if first else {}
        return found | ({"last_frame": int(last)} if last else {})
    except ValueError:
        raise SettingsError(
            f"--frames is '{text}'", "a range such as 2-30, 2- or -30, counted from 1"
        ) from None
