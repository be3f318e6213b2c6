"""Whether coordinates count rows from the top or from the bottom of an image."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from scipy.ndimage import gaussian_filter

from icefloe._types import AnyArray, FloatArray
from icefloe.errors import InputError
from icefloe.extraction.windows import clean_image
from icefloe.fourier import resize

__all__ = ["combined_evidence", "flip_evidence"]

# Pixels a particle after reduction: enough for its contrast.
_PER_PARTICLE = 8.0


def flip_evidence(
    image: AnyArray, y: FloatArray, x: FloatArray, diameter: float
) -> tuple[float, int]:
    """Return by how much the picks fit the image better as they are than upside down.

    The contrast of a particle against its surroundings, without a sign, at the picks and at their
    mirror images; pairs of the two are compared by their mean difference over its standard error.
    Particles lie where the contrast is, and their mirror images anywhere.

    Parameters
    ----------
    image
        (ny, nx).
    y, x
        (n,) pixels.
    diameter
        Of the particles, pixels.

    Returns
    -------
    z
        Standard errors: positive as they are, negative upside down, 0 with fewer than 5 picks.
    n
        Number of picks inside the image.

    Raises
    ------
    InputError
        Not one image.
    """
    cleaned, _ = clean_image(image)
    if not diameter > 0:
        raise InputError(f"The diameter is {diameter} pixels", "a positive number")
    ny, nx = cleaned.shape
    shrink = min(1.0, _PER_PARTICLE / diameter)
    shape = (max(8, 2 * round(0.5 * ny * shrink)), max(8, 2 * round(0.5 * nx * shrink)))
    small = np.asarray(resize(cleaned, shape), dtype=np.float64)
    width = diameter * shrink
    near, far = gaussian_filter(small, width / 4), gaussian_filter(small, width / 1.5)
    middle = np.median(near - far)
    contrast = near - far - middle
    spread = 1.4826 * float(np.median(np.abs(contrast))) or 1.0
    # Contamination has many times a particle's contrast and would decide alone.
    contrast = np.clip(contrast / spread, -3, 3)
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    if np.count_nonzero(inside) < 5:
        return 0.0, int(np.count_nonzero(inside))
    here = _at(contrast, y[inside], x[inside], (ny, nx))
    mirrored = _at(contrast, ny - 1 - y[inside], x[inside], (ny, nx))
    # Particles are all dark or all bright; the stronger mean of the two says which.
    sign = math.copysign(1.0, max(here.mean(), mirrored.mean(), key=abs))
    difference = sign * (here - mirrored)
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return (float(difference.mean()) / error if error > 0 else 0.0), len(difference)


def combined_evidence(found: Iterable[tuple[float, int]]) -> float:
    """Return the standard errors of all micrographs together, weighted by their picks."""
    pairs = [(z, n) for z, n in found if n >= 5]
    total = sum(n for _, n in pairs)
    return sum(z * math.sqrt(n) for z, n in pairs) / math.sqrt(total) if total else 0.0


def _at(values: FloatArray, y: FloatArray, x: FloatArray, shape: tuple[int, int]) -> FloatArray:
    rows = np.clip(np.rint(y * values.shape[0] / shape[0]), 0, values.shape[0] - 1).astype(np.intp)
    columns = np.clip(np.rint(x * values.shape[1] / shape[1]), 0, values.shape[1] - 1)
    return np.asarray(values[rows, columns.astype(np.intp)])
