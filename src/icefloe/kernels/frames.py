"""Loops over raw frames, compiled: sums, means of squares of pixels, pixels that stand out."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from icefloe._types import AnyArray, BoolArray, FloatArray

__all__ = ["bin_frame", "block_mean", "classify_pixels", "sum_frames"]


@njit(cache=True, nogil=True, parallel=True)
def sum_frames(stack: AnyArray) -> FloatArray:
    """Return the float32 sum (ny, nx) of frames (n, ny, nx), as recorded."""
    n, ny, nx = stack.shape
    out = np.zeros((ny, nx), np.float32)
    for y in prange(ny):
        for f in range(n):
            _add_row(stack[f, y], out[y])
    return out


@njit(cache=True, nogil=True)
def _add_row(row: AnyArray, out: FloatArray) -> None:
    for x in range(out.size):
        out[x] += np.float32(row[x])


@njit(cache=True, nogil=True, parallel=True)
def bin_frame(frame: AnyArray, gain: FloatArray, inverse: FloatArray, factor: int) -> FloatArray:
    """Return a frame averaged over squares of `factor` pixels, its bad pixels left out.

    Parameters
    ----------
    frame
        (ny, nx), raw counts.
    gain
        (ny, nx), float32, zero at bad pixels.
    inverse
        (ny // factor, nx // factor), float32: one over the number of good pixels of each square.
    factor
        Side of a square; left-over rows and columns are dropped.
    """
    by, bx = inverse.shape
    out = np.zeros((by, bx), np.float32)
    for r in prange(by):
        row = np.zeros(bx * factor, np.float32)
        for i in range(factor):
            _add_product(frame[r * factor + i], gain[r * factor + i], row)
        for c in range(bx):
            total = np.float32(0.0)
            for j in range(factor):
                total += row[c * factor + j]
            out[r, c] = total * inverse[r, c]
    return out


@njit(cache=True, nogil=True)
def _add_product(row: AnyArray, gain: FloatArray, out: FloatArray) -> None:
    for x in range(out.size):
        out[x] += np.float32(row[x]) * gain[x]


@njit(cache=True, nogil=True, parallel=True)
def block_mean(
    values: FloatArray, bad: BoolArray, block: int, most: float, level: float
) -> FloatArray:
    """Return the means of blocks of good pixels, float32.

    Parameters
    ----------
    values
        (ny, nx), float32.
    bad
        (ny, nx), pixels to leave out.
    block
        Side of a block; those at the far edges may be smaller.
    most
        Values are clipped to 0 ... `most`.
    level
        The mean of a block without good pixels; no mean is below a thousandth of it.
    """
    ny, nx = values.shape
    by, bx = (ny + block - 1) // block, (nx + block - 1) // block
    out = np.empty((by, bx), np.float32)
    for r in prange(by):
        for c in range(bx):
            total, count = 0.0, 0
            for y in range(r * block, min(ny, (r + 1) * block)):
                for x in range(c * block, min(nx, (c + 1) * block)):
                    if not bad[y, x]:
                        total += min(max(values[y, x], 0.0), most)
                        count += 1
            mean = total / count if count > 0 else level
            out[r, c] = max(mean, 1e-3 * level)
    return out


@njit(cache=True, nogil=True, parallel=True)
def classify_pixels(
    values: FloatArray, bad: BoolArray, means: FloatArray, block: int, limit: float
) -> AnyArray:
    """Return 1 where the root of a good pixel lies above that of its block's mean, -1 below.

    Parameters
    ----------
    values
        (ny, nx), float32.
    bad
        (ny, nx), pixels to leave at 0.
    means
        From `block_mean`.
    block
        Side of a block.
    limit
        By how much the roots must differ.

    Returns
    -------
    ndarray
        (ny, nx), int8.
    """
    ny, nx = values.shape
    out = np.zeros((ny, nx), np.int8)
    for y in prange(ny):
        row = means[y // block]
        for x in range(nx):
            if not bad[y, x]:
                root = math.sqrt(max(values[y, x], 0.0)) - math.sqrt(row[x // block])
                if root > limit:
                    out[y, x] = 1
                elif root < -limit:
                    out[y, x] = -1
    return out
