"""Simulated movies as files: the movie, its gain, its defects, its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from icefloe._types import BoolArray, FloatArray
from icefloe.errors import SettingsError
from icefloe.formats.atomic import atomic_path, output_directory, write_text
from icefloe.simulate.movie import SimulatedMicrograph, SimulatedMovie
from icefloe.simulate.truth import MovieTruth

__all__ = ["MovieFiles", "disorient_gain", "write_micrograph", "write_movie"]

MovieFormat = Literal["mrc", "tiff", "eer"]
_SUFFIX = {"mrc": ".mrc", "tiff": ".tiff", "eer": ".eer"}


@dataclass(frozen=True)
class MovieFiles:
    """Where a simulated movie was written; None for what was not."""

    movie: Path
    gain: Path | None
    defects: Path | None
    truth: Path | None


def disorient_gain(gain: FloatArray, rotate: int, flip: int) -> FloatArray:
    """Return the gain as a camera would store it, for RELION's --gain_rot and --gain_flip.

    ``formats.gain.orient_gain(stored, rotate, flip)``, which rotates and then flips as RELION
    does, gives `gain` back.
    """
    from icefloe.formats.gain import orient_gain

    unflipped = orient_gain(gain, 0, flip)
    return np.ascontiguousarray(orient_gain(unflipped, -rotate % 4, 0))


def write_movie(
    simulated: SimulatedMovie,
    out_dir: str | Path,
    format: MovieFormat = "tiff",  # noqa: A002 - the word a user types
    *,
    gain: bool = True,
    defects: bool = True,
    truth: bool = True,
    side_dir: str | Path | None = None,
    raw_per_frame: int = 40,
) -> MovieFiles:
    """Write a simulated movie.

    Parameters
    ----------
    simulated
        The movie.
    out_dir
        Directory, made where needed.
    format
        ``mrc``, ``tiff`` (LZW, stored upside down as TIFF movies are) or ``eer``.
    gain
        Write ``gain.mrc``, multiplicative; for EER ``gain.gain``, a TIFF, as the camera does.
        Its orientation is the one that `gain_rotate` and `gain_flip` of the settings put right.
    defects
        Write ``defects.txt`` with lines ``x y width height``.
    truth
        Write ``NAME_truth.npz``.
    side_dir
        Directory of gain, defects and truth, where it is not `out_dir`.
    raw_per_frame
        Camera frames in a frame of an EER movie.
    """
    if format not in _SUFFIX:
        raise SettingsError(f"The movie format is '{format}'", f"one of {', '.join(_SUFFIX)}")
    directory = output_directory(out_dir)
    side = directory if side_dir is None else output_directory(side_dir)
    movie = directory / f"{simulated.name}{_SUFFIX[format]}"
    pixel_size = simulated.truth.pixel_size
    if format == "eer":
        from icefloe.simulate.eer_output import write_eer

        write_eer(movie, simulated.frames, raw_per_frame=raw_per_frame, name=simulated.name)
    elif format == "tiff":
        from icefloe.formats.tiff import write_tiff_movie

        write_tiff_movie(movie, simulated.frames, pixel_size)
    else:
        from icefloe.formats.mrc import write_mrc

        # MRC has no unsigned bytes: mode 0 is signed, mode 6 unsigned of two bytes.
        kind = np.int8 if simulated.frames.max() <= 127 else np.uint16
        write_mrc(movie, simulated.frames.astype(kind), pixel_size)
    return MovieFiles(
        movie,
        _write_gain(simulated, side, format) if gain else None,
        _write_defects(simulated.defects, side) if defects else None,
        _write_truth(simulated.truth, side) if truth else None,
    )


def write_micrograph(
    simulated: SimulatedMicrograph,
    out_dir: str | Path,
    *,
    truth: bool = True,
    side_dir: str | Path | None = None,
) -> MovieFiles:
    """Write a simulated micrograph as NAME.mrc, and its truth."""
    from icefloe.formats.mrc import write_mrc

    directory = output_directory(out_dir)
    path = directory / f"{simulated.name}.mrc"
    write_mrc(path, simulated.image, simulated.truth.pixel_size)
    side = directory if side_dir is None else output_directory(side_dir)
    return MovieFiles(path, None, None, _write_truth(simulated.truth, side) if truth else None)


def _write_truth(truth: MovieTruth, directory: Path) -> Path:
    path = directory / f"{truth.name}_truth.npz"
    truth.save(path)
    return path


def _write_gain(simulated: SimulatedMovie, directory: Path, kind: str) -> Path:
    settings = simulated.truth.settings
    stored = disorient_gain(simulated.gain, settings.gain_rotate, settings.gain_flip)
    if kind != "eer":
        from icefloe.formats.mrc import write_mrc

        write_mrc(directory / "gain.mrc", stored, settings.movie_pixel_size)
        return directory / "gain.mrc"
    import tifffile

    with atomic_path(directory / "gain.gain") as temporary:
        tifffile.imwrite(temporary, stored, software="", metadata=None)
    return directory / "gain.gain"


def _write_defects(mask: BoolArray, directory: Path) -> Path:
    path = directory / "defects.txt"
    write_text(path, "".join(f"{x} {y} {w} {h}\n" for x, y, w, h in _rectangles(mask)))
    return path


def _rectangles(mask: BoolArray) -> list[tuple[int, int, int, int]]:
    """Return x, y, width, height of whole columns, then of the single pixels left."""
    ny, _ = mask.shape
    columns = np.nonzero(mask.all(axis=0))[0]
    rest = mask.copy()
    rest[:, columns] = False
    return [(int(x), 0, 1, ny) for x in columns] + [
        (int(x), int(y), 1, 1) for y, x in zip(*np.nonzero(rest), strict=True)
    ]
