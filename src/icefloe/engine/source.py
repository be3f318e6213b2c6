"""Looks into an exposure's file: is it a movie or a micrograph, and what is in it?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icefloe._types import AnyArray, FloatArray

if TYPE_CHECKING:
    from icefloe.engine.settings import DataSettings
    from icefloe.formats.movie import Movie

__all__ = ["Source", "open_source", "read_frames", "read_micrograph"]


@dataclass(frozen=True)
class Source:
    """What an exposure's file holds.

    Attributes
    ----------
    kind
        ``movie`` if it has several frames (an EER file always), else ``micrograph``.
    form
        ``mrc``, ``tiff``, ``eer``, ``png`` or ``jpeg``.
    shape
        (ny, nx) of a frame.
    n_frames
        Number of frames, or of EER fractions.
    pixel_size
        In A, as the header says; None if it does not.
    frame_dose_factors
        Dose of each frame relative to a full one; only a last EER fraction is below 1.
    is_plain_mrc
        Whether other programs read the file as it is: an MRC that is not compressed.
    camera_frames_per_fraction
        Of EER movies whose fractions have one length; else None.
    """

    kind: str
    form: str
    shape: tuple[int, int]
    n_frames: int
    pixel_size: float | None
    frame_dose_factors: tuple[float, ...]
    is_plain_mrc: bool
    camera_frames_per_fraction: int | None = None


def open_source(path: Path, data: DataSettings) -> Source:
    """Return what a file holds.

    Raises
    ------
    InputError
        It cannot be read.
    """
    from icefloe.formats.movie import file_kind

    form = file_kind(path)
    if form in ("png", "jpeg"):
        ny, nx = read_micrograph(path).shape
        return Source("micrograph", form, (ny, nx), 1, None, (1.0,), False)
    with _open(path, data) as movie:
        grouping = movie.details.get("camera frames a fraction")
        return Source(
            kind="movie" if len(movie) > 1 or form == "eer" else "micrograph",
            form=form,
            shape=(int(movie.shape[0]), int(movie.shape[1])),
            n_frames=len(movie),
            pixel_size=movie.pixel_size,
            frame_dose_factors=tuple(float(f) for f in movie.frame_dose_factors),
            is_plain_mrc=form == "mrc" and path.suffix.lower() == ".mrc",
            camera_frames_per_fraction=int(grouping) if grouping is not None else None,
        )


def read_frames(path: Path, data: DataSettings) -> list[AnyArray]:
    """Return the decoded frames of a movie, in the type in which they were counted."""
    from icefloe.fourier import get_threads

    with _open(path, data) as movie:
        return list(movie.read(get_threads()))


def read_micrograph(path: Path) -> FloatArray:
    """Return a finished micrograph as float32 (ny, nx)."""
    from icefloe.formats.image import read_image

    return np.asarray(read_image(path).data, dtype=np.float32)


def _open(path: Path, data: DataSettings) -> Movie:
    from icefloe.formats.movie import open_movie

    return open_movie(
        path,
        eer_upsampling=data.eer_upsampling,
        eer_frames_per_fraction=data.eer_frames_per_fraction,
        eer_dose_per_fraction=data.eer_dose_per_fraction,
        eer_total_dose=data.total_dose if data.eer_dose_per_fraction is not None else None,
    )
