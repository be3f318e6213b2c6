"""Windows out of a micrograph, and their grey levels.

One pass over a window while it is in the cache replaces a dozen over all of them. The accelerator
does the same with whole arrays, in `extraction.windows` and `extraction.normalise`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from icefloe._types import AnyArray, BoolArray, FloatArray

__all__ = ["cut_windows", "normalise_windows"]


@njit(cache=True, nogil=True, parallel=True)
def cut_windows(image: FloatArray, y: AnyArray, x: AnyArray, out: FloatArray) -> None:
    """Fill `out` (n, box, box) with windows; outside the image its border repeats.

    Parameters
    ----------
    image
        (ny, nx) float32.
    y, x
        (n,) int, pixel of the image that becomes ``out[:, box // 2, box // 2]``.
    """
    ny, nx = image.shape
    n, box, _ = out.shape
    for i in prange(n):
        top, left = y[i] - box // 2, x[i] - box // 2
        inside = left >= 0 and left + box <= nx
        for row in range(box):
            source = image[min(max(top + row, 0), ny - 1)]
            if inside:
                out[i, row] = source[left : left + box]
            else:
                for column in range(box):
                    out[i, row, column] = source[min(max(left + column, 0), nx - 1)]


@njit(cache=True, nogil=True, parallel=True)
def normalise_windows(
    images: FloatArray, mask: BoolArray, inverse: FloatArray, sign: float, flat: BoolArray
) -> None:
    """Subtract the plane through the background and divide by its deviation, in place.

    Parameters
    ----------
    images
        (n, box, box) float32.
    mask
        (box, box), True in the background.
    inverse
        (3, 3) float64, inverse of the sums over the background of the products of 1, y and x, with
        y and x counted from ``box // 2``.
    sign
        1, or -1 to invert.
    flat
        (n,), set True for images without variation, of which only the plane is subtracted.
    """
    n, box, _ = images.shape
    half = box // 2
    for i in prange(n):
        image = images[i]
        level = np.float64(image[0, 0])  # a large offset would cost the sums their digits
        s0, sy, sx, count = 0.0, 0.0, 0.0, 0
        for row in range(box):
            row_sum = 0.0
            for column in range(box):
                if mask[row, column]:
                    value = image[row, column] - level
                    row_sum += value
                    sx += value * (column - half)
                    count += 1
            s0 += row_sum
            sy += row_sum * (row - half)
        a = inverse[0, 0] * s0 + inverse[0, 1] * sy + inverse[0, 2] * sx + level
        b = inverse[1, 0] * s0 + inverse[1, 1] * sy + inverse[1, 2] * sx
        c = inverse[2, 0] * s0 + inverse[2, 1] * sy + inverse[2, 2] * sx
        mean, square = 0.0, 0.0
        for row in range(box):
            start = a + b * (row - half)
            for column in range(box):
                value = image[row, column] - (start + c * (column - half))
                image[row, column] = value
                if mask[row, column]:
                    mean += value
                    square += value * value
        mean /= count
        deviation = math.sqrt(max(square / count - mean * mean, 0.0))
        flat[i] = deviation < 1e-10
        factor = sign if flat[i] else sign / deviation
        for row in range(box):
            for column in range(box):
                image[row, column] = (image[row, column] - mean) * factor
