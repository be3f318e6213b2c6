"""Find pixels that count too much or nothing."""

from __future__ import annotations

import numpy as np

from icefloe._types import BoolArray, FloatArray
from icefloe.errors import EmptyMovieError
from icefloe.kernels.frames import block_mean, classify_pixels

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
    bad = np.zeros(total.shape, dtype=bool) if known is None else known
    counts = np.ascontiguousarray(total, dtype=np.float32)
    means = block_mean(counts, bad, _BLOCK, 4 * level, level)
    ys, xs = (np.arange(0, n, 3) for n in total.shape)
    root = np.sqrt(np.clip(counts[::3, ::3], 0, None))
    root -= np.sqrt(means[np.ix_(ys // _BLOCK, xs // _BLOCK)])
    picked = root[good[::3, ::3]]
    spread = float(np.subtract(*np.percentile(picked, [75, 25]))) / _IQR
    # Few counts: the quartiles of a handful of integers may coincide.
    spread = max(spread, 0.5 * float(np.std(np.clip(picked, -1e30, 4 * np.sqrt(level)))))
    found = classify_pixels(counts, bad, means, _BLOCK, sigma * spread)
    return found > 0, found < 0
