"""`icefloe motion`: correct the motion in movies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import output_options

if TYPE_CHECKING:
    from icefloe._types import AnyArray, BoolArray, FloatArray
    from icefloe.motion import MotionResult, MotionSettings

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
@click.option("--bfactor", type=float, help="B-factor of the local fit, A^2 [400].")
@click.option("--frames", help="Frames to use, such as 2-30, 2- or -30, counted from 1.")
@click.option("--no-dose-weighting", is_flag=True, help="Plain sums only.")
@click.option("--float16", is_flag=True, help="Write micrographs in half precision (mode 12).")
@click.option("--even-odd", is_flag=True, help="Also write sums of even and odd frames.")
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
    **options: Any,
) -> None:
    """Align the frames of MOVIES (MRC, TIFF, EER), whole and in patches, and add them up.

    For each movie NAME writes NAME.mrc (dose weighted), NAME_noDW.mrc, NAME_PS.mrc (power spectrum
    for the CTF) and NAME.star (RELION's metadata, for polishing); and for all of them
    corrected_micrographs.star.
    """
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.inputs import failures_exit
    from icefloe.errors import IcefloeError
    from icefloe.formats.star import write_star
    from icefloe.interop.optics import OpticsGroup
    from icefloe.interop.relion_motion import corrected_micrographs

    console = Console(stderr=True, highlight=False)
    names = _names(movies)
    job = _Job(
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
        for i, (path, name) in enumerate(zip(movies, names, strict=True)):
            progress.update(task, description=name)
            current = ahead
            if i + 1 < len(movies):
                # Not before the last was taken: two movies at most are in memory.
                current.exception()
                ahead = reader.submit(job.read, movies[i + 1])
            try:
                row, line = job.process(current.result(), name)
                rows.append(row)
                console.print(line, soft_wrap=True)
            except IcefloeError as error:
                failed += 1
                console.print(f"{path}: failed: {error}", style="red", soft_wrap=True, markup=False)
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


@dataclass(frozen=True)
class _Read:
    """A decoded movie and what its file says."""

    path: Path
    stack: AnyArray
    dose_factors: FloatArray
    pixel_size: float | None
    camera_frames: int | None


@dataclass(frozen=True)
class _Job:
    """What all movies of one call share."""

    out: Path
    device: str
    voltage: float
    settings: MotionSettings
    pixel_size: float | None
    dose_per_frame: float | None
    total_dose: float | None
    gain: Path | None
    gain_rotate: int
    gain_flip: int
    defects: Path | None
    float16: bool
    eer: dict[str, Any]

    def __post_init__(self) -> None:
        from icefloe.errors import MissingMetadataError, SettingsError

        if (self.dose_per_frame is None) == (self.total_dose is None):
            raise MissingMetadataError(
                "No dose was given"
                if self.dose_per_frame is None
                else "Both --dose-per-frame and --total-dose were given",
                "one of --dose-per-frame and --total-dose, e/A^2",
            )
        for option, value in (
            ("--dose-per-frame", self.dose_per_frame),
            ("--total-dose", self.total_dose),
            ("--pixel-size", self.pixel_size),
            ("--voltage", self.voltage),
        ):
            if value is not None and not value > 0:
                raise SettingsError(f"{option} is {value}", "a positive number")
        if self.eer["eer_dose_per_fraction"] is not None and self.total_dose is None:
            raise MissingMetadataError(
                "--eer-dose-per-fraction was given without the dose of the movie",
                "--total-dose, e/A^2",
            )

    def read(self, path: Path) -> _Read:
        """Decode a movie."""
        from icefloe.formats.movie import open_movie

        with open_movie(path, **self.eer) as movie:
            camera = movie.details.get("camera frames")
            return _Read(
                path,
                movie.read(),
                movie.frame_dose_factors,
                movie.pixel_size,
                None if camera is None else int(camera),
            )

    def process(self, movie: _Read, name: str) -> tuple[dict[str, Any], str]:
        """Correct a movie and write its files; return its row of the STAR and a line to show."""
        from icefloe.errors import MissingMetadataError
        from icefloe.formats.mrc import write_mrc
        from icefloe.formats.star import write_star
        from icefloe.interop.relion_motion import motion_star
        from icefloe.motion import correct_motion

        pixel_size = self.pixel_size or movie.pixel_size
        if not pixel_size:
            raise MissingMetadataError(
                f"The pixel size of {movie.path} is not known: its header has none",
                hint="Give --pixel-size",
            )
        dose = self.dose_per_frame
        if dose is None:
            assert self.total_dose is not None
            dose = self.total_dose / float(movie.dose_factors.sum())
        shape = (int(movie.stack.shape[1]), int(movie.stack.shape[2]))
        gain, notice = self._gain(shape, movie.camera_frames is not None)
        mask = self._mask(shape)
        result = correct_motion(
            movie.stack,
            pixel_size=pixel_size,
            dose_per_frame=dose,
            voltage=self.voltage,
            gain=gain,
            defects=mask,
            frame_dose_factors=movie.dose_factors,
            settings=self.settings,
            device=self.device,
            name=name,
        )
        numbers = result.numbers()
        files = self._images(result, name)
        star = self.out / f"{name}.star"
        if gain is not None:
            write_mrc(self.out / "gain.mrc", self._for_relion(gain, movie), pixel_size)
        if mask is not None:
            write_mrc(self.out / "defects.mrc", mask.astype("int8"), pixel_size)
        blocks = motion_star(
            numbers,
            movie_name=str(movie.path),
            gain_name=None if gain is None else str(self.out / "gain.mrc"),
            defect_name=None if mask is None else str(self.out / "defects.mrc"),
            eer=self._eer_facts(movie),
        )
        write_star(star, blocks)
        row = {
            **files,
            "metadata": star,
            "numbers": numbers,
            "movie_pixel_size": float(pixel_size),
            "pixel_size": result.pixel_size,
        }
        notes = [*result.flags, *([notice] if notice else [])]
        return row, (
            f"{name}: motion {numbers['motion_total']:.1f} A, "
            f"first 4 e/A^2 {numbers['motion_early']:.1f} A, "
            f"{sum(result.timings.values()):.1f} s" + "".join(f"; {note}" for note in notes)
        )

    def _images(self, result: MotionResult, name: str) -> dict[str, Path]:
        from icefloe.formats.mrc import write_mrc

        files = {"micrograph": self.out / f"{name}.mrc"}
        write_mrc(files["micrograph"], result.micrograph, result.pixel_size, float16=self.float16)
        extra = {"even": result.even, "odd": result.odd}
        suffix = {"even": "EVN", "odd": "ODD", "no_dw": "noDW"}
        if self.settings.dose_weighting:
            extra["no_dw"] = result.plain
        for role, image in extra.items():
            if image is not None:
                files[role] = self.out / f"{name}_{suffix[role]}.mrc"
                write_mrc(files[role], image, result.pixel_size, float16=self.float16)
        # Always float32: CTFFIND does not read half precision.
        files["power_spectrum"] = self.out / f"{name}_PS.mrc"
        write_mrc(files["power_spectrum"], result.power_spectrum, result.power_spectrum_pixel_size)
        return files

    def _gain(self, shape: tuple[int, int], for_eer: bool) -> tuple[FloatArray | None, str | None]:
        if self.gain is None:
            return None, None
        from icefloe.formats.gain import fit_gain, orient_gain, read_gain

        gain = orient_gain(read_gain(self.gain, for_eer=for_eer), self.gain_rotate, self.gain_flip)
        return fit_gain(gain, shape)

    def _for_relion(self, gain: FloatArray, movie: _Read) -> FloatArray:
        # An MRC gain multiplies, but that of an EER movie divides, in RELION and here.
        if movie.camera_frames is None:
            return gain
        import numpy as np

        return np.divide(1.0, gain, out=np.zeros_like(gain), where=gain != 0)

    def _mask(self, shape: tuple[int, int]) -> BoolArray | None:
        if self.defects is None:
            return None
        from icefloe.formats.defects import read_defects

        return read_defects(self.defects, shape)

    def _eer_facts(self, movie: _Read) -> dict[str, int] | None:
        if movie.camera_frames is None:
            return None
        grouping = self.eer["eer_frames_per_fraction"]
        dose = self.eer["eer_dose_per_fraction"]
        if grouping is None and dose is not None:
            grouping = max(1, round(dose * movie.camera_frames / self.total_dose))
        if grouping is None:
            grouping = max(1, round(movie.camera_frames / len(movie.stack)))
        return {
            # RELION counts the grids 1, 2, 3: 4K, 8K, 16K.
            "upsampling": {1: 1, 2: 2, 4: 3}[self.eer["eer_upsampling"]],
            "grouping": int(grouping),
            "camera_frames": movie.camera_frames,
        }


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
        "even_odd": options["even_odd"],
        "patches": _patches(options["patches"]),
    }
    if options["bfactor"] is not None:
        values["bfactor_local"] = options["bfactor"]
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
