"""Find pixels that count too much or nothing."""

from __future__ import annotations

import numpy as np

from icefloe._types import BoolArray, FloatArray
from icefloe.errors import EmptyMovieError

__all__ = ["find_outliers"]

_BLOCK = 16
# A robust standard deviation is the interquartile range over this.
_IQR = 1.349


def find_outliers(
    total: FloatArray, known: BoolArray | None = None, sigma: float = 6.0
) -> tuple[BoolArray, BoolArray]:
    """Find hot and dead pixels in the unaligned, gain-corrected sum of a movie.

    The square root of counts has the same spread everywhere; a pixel is an outlier when its root
    lies more than `sigma` robust standard deviations from that of its surroundings (the mean of
    a 16 x 16 block).

    Parameters
    ----------
    total
        (ny, nx), sum over frames.
    known
        Pixels known to be bad; they are left out of the statistics and of the result.
    sigma
        Threshold.

    Returns
    -------
    hot, dead : ndarray
        (ny, nx), bool.
    """
    good = np.ones(total.shape, dtype=bool) if known is None else ~known
    sample = total[::7, ::5][good[::7, ::5]]
    if sample.size == 0:
        sample = total[good]
    level = float(np.median(sample)) if sample.size else 0.0
    if not level > 0 and not bool(np.any(total[good] > 0)):
        raise EmptyMovieError(
            "The frames hold no counts",
            "counts above zero in most pixels",
            "Check the movie, its gain and its defect file",
        )
    # Few counts a pixel: the median may be zero where the mean is not.
    level = max(level, float(np.mean(np.minimum(sample, 50 * max(level, 1e-12)))))
    clipped = np.clip(np.where(good, total, 0), 0, 4 * level)
    smooth = _block_mean(clipped, good, level)
    root = np.sqrt(np.clip(total, 0, None)) - np.sqrt(smooth)
    picked = root[::3, ::3][good[::3, ::3]]
    spread = float(np.subtract(*np.percentile(picked, [75, 25]))) / _IQR
    # Few counts: the quartiles of a handful of integers may coincide.
    spread = max(spread, 0.5 * float(np.std(np.clip(picked, -1e30, 4 * np.sqrt(level)))))
    hot = good & (root > sigma * spread)
    dead = good & (root < -sigma * spread)
    return hot, dead


def _block_mean(values: FloatArray, good: BoolArray, level: float) -> FloatArray:
    ny, nx = values.shape
    b = _BLOCK
    ys, xs = np.arange(0, ny, b), np.arange(0, nx, b)
    total = np.add.reduceat(np.add.reduceat(values, ys, axis=0, dtype=np.float64), xs, axis=1)
    count = np.add.reduceat(np.add.reduceat(good, ys, axis=0, dtype=np.float64), xs, axis=1)
    mean = np.where(count > 0, total / np.maximum(count, 1), level)
    mean = np.maximum(mean, 1e-3 * level)
    return np.repeat(np.repeat(mean, b, axis=0)[:ny], b, axis=1)[:, :nx].astype(np.float32)
