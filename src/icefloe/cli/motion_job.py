"""The work of `icefloe motion` on one movie: decode, correct, write."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icefloe._types import AnyArray, BoolArray, FloatArray
    from icefloe.motion import MotionResult, MotionSettings

__all__ = ["DecodedMovie", "MotionJob"]


@dataclass(frozen=True)
class DecodedMovie:
    """A decoded movie and what its file says."""

    path: Path
    stack: AnyArray
    dose_factors: FloatArray
    pixel_size: float | None
    camera_frames: int | None


@dataclass(frozen=True)
class MotionJob:
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
    pictures: bool = True
    shared: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """What was read or written for one movie and holds for the others."""
    dose_file: Path | None = None

    def __post_init__(self) -> None:
        from icefloe.errors import MissingMetadataError, SettingsError

        given = [
            option
            for option, value in (
                ("--dose-per-frame", self.dose_per_frame),
                ("--total-dose", self.total_dose),
                ("--dose-file", self.dose_file),
            )
            if value is not None
        ]
        if len(given) != 1:
            raise MissingMetadataError(
                f"{' and '.join(given)} were given" if given else "No dose was given",
                "one of --dose-per-frame, --total-dose and --dose-file, e/A^2",
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

    def read(self, path: Path) -> DecodedMovie:
        """Decode a movie."""
        from icefloe.formats.movie import open_movie
        from icefloe.fourier import get_threads

        with open_movie(path, **self.eer) as movie:
            camera = movie.details.get("camera frames")
            return DecodedMovie(
                path,
                movie.read(get_threads()),
                movie.frame_dose_factors,
                movie.pixel_size,
                None if camera is None else int(camera),
            )

    def process(self, movie: DecodedMovie, name: str) -> tuple[dict[str, Any], str]:
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
        dose, factors = self._dose(movie)
        shape = (int(movie.stack.shape[1]), int(movie.stack.shape[2]))
        # Read again for the picture, in a hundredth of a second: while the frames are added up,
        # memory matters more. Nothing here holds what is given to `correct_motion`.
        gain, notice = self._gain(shape, movie.camera_frames is not None)
        given = [gain]
        del gain
        mask = self._mask(shape)
        result = correct_motion(
            movie.stack,
            pixel_size=pixel_size,
            dose_per_frame=dose,
            voltage=self.voltage,
            gain=given.pop(),
            defects=mask,
            frame_dose_factors=factors,
            settings=self.settings,
            device=self.device,
            name=name,
        )
        gain = self._gain(shape, movie.camera_frames is not None)[0]
        numbers = result.numbers()
        star = self.out / f"{name}.star"
        # Writing waits for the disk most of its time.
        with ThreadPoolExecutor(4) as pool:
            files, pending = self._images(result, name, pool)
            if gain is not None and "written" not in self.shared:
                # One for all movies; it would be the same bytes each time.
                self.shared["written"] = True
                path, image = self.out / "gain.mrc", self._for_relion(gain, movie)
                pending.append(pool.submit(write_mrc, path, image, pixel_size))
            if mask is not None:
                path = self.out / "defects.mrc"
                pending.append(pool.submit(write_mrc, path, mask.astype("int8"), pixel_size))
            blocks = motion_star(
                numbers,
                movie_name=str(movie.path),
                gain_name=None if gain is None else str(self.out / "gain.mrc"),
                defect_name=None if mask is None else str(self.out / "defects.mrc"),
                eer=self._eer_facts(movie),
            )
            write_star(star, blocks)
            if self.pictures:
                from icefloe.cli.motion_pictures import motion_picture
                from icefloe.formats.atomic import write_bytes

                svg = motion_picture(name, movie.stack, result, numbers, gain=gain, defects=mask)
                write_bytes(self.out / f"{name}_motion.svg", svg)
            for one in pending:
                one.result()
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

    def _dose(self, movie: DecodedMovie) -> tuple[float, FloatArray]:
        # Dose of a frame, and of each relative to it. Where a file gives them it is their mean,
        # since RELION knows one for all.
        if self.dose_file is not None:
            from icefloe.formats.frame_doses import read_frame_doses

            doses = read_frame_doses(self.dose_file, movie.path)
            return float(doses.mean()), doses / doses.mean()
        if self.dose_per_frame is not None:
            return self.dose_per_frame, movie.dose_factors
        assert self.total_dose is not None
        return self.total_dose / float(movie.dose_factors.sum()), movie.dose_factors

    def _images(
        self, result: MotionResult, name: str, pool: ThreadPoolExecutor
    ) -> tuple[dict[str, Path], list[Future[None]]]:
        from icefloe.formats.mrc import write_mrc

        images = {"micrograph": ("", result.micrograph)}
        if self.settings.dose_weighting:
            images["no_dw"] = ("_noDW", result.plain)
        if result.even is not None and result.odd is not None:
            images |= {"even": ("_EVN", result.even), "odd": ("_ODD", result.odd)}
        files = {role: self.out / f"{name}{suffix}.mrc" for role, (suffix, _) in images.items()}
        pending = [
            pool.submit(write_mrc, files[role], image, result.pixel_size, float16=self.float16)
            for role, (_, image) in images.items()
        ]
        # Always float32: CTFFIND does not read half precision.
        files["power_spectrum"] = path = self.out / f"{name}_PS.mrc"
        spectrum, pixel_size = result.power_spectrum, result.power_spectrum_pixel_size
        pending.append(pool.submit(write_mrc, path, spectrum, pixel_size))
        return files, pending

    def _gain(self, shape: tuple[int, int], for_eer: bool) -> tuple[FloatArray | None, str | None]:
        if self.gain is None:
            return None, None
        from icefloe.formats.gain import fit_gain, orient_gain, read_gain

        gain = read_gain(self.gain, for_eer=for_eer)
        return fit_gain(orient_gain(gain, self.gain_rotate, self.gain_flip), shape)

    def _for_relion(self, gain: FloatArray, movie: DecodedMovie) -> FloatArray:
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

    def _eer_facts(self, movie: DecodedMovie) -> dict[str, int] | None:
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
