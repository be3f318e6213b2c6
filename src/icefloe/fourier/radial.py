"""Averages over rings of equal frequency."""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray
from icefloe.fourier.grids import frequency_axes

__all__ = ["rotational_average"]


def rotational_average(
    values: FloatArray, shape: tuple[int, int], n_bins: int | None = None, *, real: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Average real values on a transform's grid over rings.

    Parameters
    ----------
    values
        (..., ny, nx // 2 + 1), or (..., ny, nx) with ``real=False``; zero frequency at [0, 0].
    shape
        Real-space size (ny, nx).
    n_bins
        Number of rings from 0 to Nyquist; by default one per pixel of the longer side, that is
        ``max(shape) // 2 + 1``.
    real
        Whether `values` is a half plane, whose inner columns then count twice.

    Returns
    -------
    frequency : ndarray
        (n_bins,), ring centres in cycles per pixel, from 0 to 0.5.
    average : ndarray
        (..., n_bins), float64. Corners beyond Nyquist are left out; empty rings are NaN.
    """
    bins = n_bins or max(shape) // 2 + 1
    ky, kx = frequency_axes(shape, real=real)
    index = np.rint(np.sqrt(ky**2 + kx**2) * 2 * (bins - 1)).astype(np.intp)
    weight = np.ones(index.shape)
    if real:
        last = shape[1] // 2 if shape[1] % 2 == 0 else shape[1] // 2 + 1
        weight[:, 1:last] = 2.0
    inside = index < bins
    index, weight = index[inside], weight[inside]
    count = np.bincount(index, weight, minlength=bins)
    flat = values.reshape((-1, *values.shape[-2:]))[:, inside]
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = [np.bincount(index, weight * row, minlength=bins) / count for row in flat]
    average = np.stack(rows).reshape((*values.shape[:-2], bins))
    return np.arange(bins) / (2.0 * (bins - 1)), average
