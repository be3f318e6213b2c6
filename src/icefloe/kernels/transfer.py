"""By what the interpolation of `kernels.warp` multiplies a spectrum."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from icefloe._types import ComplexArray, FloatArray

__all__ = ["interpolation_transfer"]


def interpolation_transfer(
    ky: FloatArray, kx: FloatArray, fractions: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return by what the interpolation multiplies the signal of a sum.

    The mean over the sum of the response of the taps. Where it is much less than their root mean
    square, at the corner of the spectrum, half of that instead: dividing by it then at most
    doubles the noise.

    Parameters
    ----------
    ky, kx
        (my,) and (mx,), frequencies in cycles per pixel.
    fractions
        (p, 2), displacements (y, x) found in the sum, pixels; their whole parts do not matter.
    weights
        (p,), how much each counts.

    Returns
    -------
    ndarray
        (my, mx), float32, positive. For even use of all fractions ``sinc(ky)^6 sinc(kx)^6``.
    """
    bins = 32
    index = np.rint(fractions * bins).astype(np.intp) % bins
    histogram = np.zeros((bins, bins))
    np.add.at(histogram, (index[:, 0], index[:, 1]), weights)
    histogram /= histogram.sum()
    vertical, horizontal = _tap_transfer(ky, bins), _tap_transfer(kx, bins).T
    left = np.einsum("yi,ij->yj", vertical, histogram)
    power = np.einsum("yi,ij->yj", np.abs(vertical) ** 2, histogram)
    parts = (left.real, left.imag, power)
    rows = np.stack(parts, axis=1).astype(np.float32)
    parts = (horizontal.real, horizontal.imag, np.abs(horizontal) ** 2)
    columns = np.stack(parts).astype(np.float32)
    out = np.empty((len(ky), len(kx)), np.float32)
    _response(rows, columns, out)
    return out


@njit(cache=True, nogil=True, parallel=True)
def _response(rows: FloatArray, columns: FloatArray, out: FloatArray) -> None:
    # Not a matrix product: BLAS rounds that differently with another number of threads.
    for y in prange(out.shape[0]):
        mean = np.zeros(out.shape[1], np.float32)
        power = np.zeros(out.shape[1], np.float32)
        for i in range(rows.shape[2]):
            _add_tap(rows[y, 0, i], rows[y, 1, i], columns[0, i], columns[1, i], mean)
            _add_scaled(rows[y, 2, i], columns[2, i], power)
        for x in range(out.shape[1]):
            out[y, x] = max(mean[x], np.float32(0.5) * np.sqrt(power[x]))


@njit(cache=True, nogil=True)
def _add_tap(
    a: np.float32, b: np.float32, real: FloatArray, imaginary: FloatArray, out: FloatArray
) -> None:
    for x in range(out.size):
        out[x] += a * real[x] - b * imaginary[x]


@njit(cache=True, nogil=True)
def _add_scaled(a: np.float32, values: FloatArray, out: FloatArray) -> None:
    for x in range(out.size):
        out[x] += a * values[x]


def _tap_transfer(k: FloatArray, bins: int) -> ComplexArray:
    # (len(k), bins): response of the six taps at each fraction, relative to an exact shift.
    t = np.arange(bins) / bins
    out = np.zeros((len(k), bins), np.complex128)
    for tap in range(-2, 4):
        distance = tap - t
        value = _bspline5(distance)
        out += value * np.exp(2j * np.pi * np.asarray(k)[:, None] * distance)
    return out


def _bspline5(x: FloatArray) -> FloatArray:
    total = np.zeros_like(x)
    for j in range(7):
        total += (-1) ** j * math.comb(6, j) * np.maximum(0.0, x + 3 - j) ** 5
    return total / 120.0
