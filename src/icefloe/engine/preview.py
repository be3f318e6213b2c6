"""Small pictures of results, for reports and pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.formats.atomic import atomic_path
from icefloe.fourier import apply_filter, gaussian_low_pass, resize

__all__ = ["micrograph_preview", "to_grey"]

# Finer detail than this is noise in one micrograph, and would hide the particles.
_RESOLUTION = 20.0


def micrograph_preview(image: FloatArray, pixel_size: float, size: int = 512) -> AnyArray:
    """Return a low-passed 8-bit picture of a micrograph.

    Parameters
    ----------
    image
        (ny, nx).
    pixel_size
        Its pixel size, A.
    size
        Largest extent of the picture, pixels.
    """
    # Averaging blocks first spares a transform of the whole image.
    factor = max(1, max(image.shape) // (2 * size))
    small = block_mean(image, factor)
    scale = size / max(small.shape)
    pixel_size = pixel_size * factor
    if scale < 1:
        ny, nx = (max(1, round(n * scale)) for n in small.shape)
        pixel_size = pixel_size * small.shape[0] / ny
        small = np.asarray(resize(small, (ny, nx)))
    transfer = gaussian_low_pass((small.shape[0], small.shape[1]), pixel_size, _RESOLUTION)
    return to_grey(np.asarray(apply_filter(small, transfer)))


def to_grey(image: FloatArray, low: float = 0.5, high: float = 99.5) -> AnyArray:
    """Return an image as uint8, with the given percentiles at black and white."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return np.zeros(image.shape, dtype=np.uint8)
    black, white = np.percentile(finite, (low, high))
    scaled = (np.nan_to_num(image, nan=black) - black) / max(float(white - black), 1e-12)
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), dtype=np.uint8)


def write_png(path: Path, image: AnyArray) -> None:
    """Write an 8-bit grey image, row 0 on top."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", optimize=True)


def block_mean(image: AnyArray, factor: int) -> FloatArray:
    """Return an image averaged over squares of `factor` pixels; rows and columns left over go."""
    ny, nx = image.shape[0] // factor, image.shape[1] // factor
    # Whole rows first: that is several times faster than both axes at once.
    rows = image[: ny * factor, : nx * factor].reshape(ny, factor, nx * factor)
    total = rows.sum(axis=1, dtype=np.float32).reshape(ny, nx, factor).sum(axis=2)
    return np.asarray(total / np.float32(factor**2), dtype=np.float32)
