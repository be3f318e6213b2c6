"""A part of a micrograph as a picture, low-passed as asked: for zooming in to full resolution."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from icefloe._types import FloatArray
from icefloe.errors import IcefloeError
from icefloe.project import ExposureRecord, Project
from icefloe.report.summary import micrograph_geometry
from icefloe.web.exposure import micrograph_file

__all__ = ["CropIn", "crop"]

_MOST = 1200  # pixels along the longer side of a picture


class CropIn(BaseModel):
    """Which part of a micrograph is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    x: int = Field(ge=0, le=100_000, description="First column, pixels.")
    y: int = Field(ge=0, le=100_000, description="First row, pixels.")
    width: int = Field(ge=8, le=100_000, description="Columns.")
    height: int = Field(ge=8, le=100_000, description="Rows.")
    resolution: float = Field(ge=0, le=500, description="Finest detail shown, A; 0: all there is.")


def crop(project: Project, record: ExposureRecord, asked: CropIn) -> bytes | None:
    """Return a part of the micrograph as PNG; None if there is none.

    A part of up to 1200 pixels is shown pixel by pixel; of a larger one squares of pixels are
    averaged.
    """
    from icefloe.engine.preview import block_mean, to_grey
    from icefloe.fourier import apply_filter, gaussian_low_pass
    from icefloe.web.exposure import png

    path = micrograph_file(project, record)
    _, pixel_size = micrograph_geometry(record)
    if path is None:
        return None
    try:
        image = _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, IcefloeError):
        return None
    part = image[asked.y : asked.y + asked.height, asked.x : asked.x + asked.width]
    if min(part.shape) < 8:
        return None
    factor = -(-max(part.shape) // _MOST)
    part = np.asarray(part, dtype=np.float32)
    if factor > 1:
        part = block_mean(part, factor)
    if asked.resolution > 0:
        shape = (part.shape[0], part.shape[1])
        transfer = gaussian_low_pass(shape, (pixel_size or 1.0) * factor, asked.resolution)
        part = np.asarray(apply_filter(part, transfer))
    return png(to_grey(part))


@lru_cache(maxsize=1)
def _read(path: Path, _: int) -> FloatArray:
    from icefloe.formats.mrc import read_mrc

    image = read_mrc(path)[0]
    if image.ndim != 2:
        raise ValueError("not one image")
    return image
