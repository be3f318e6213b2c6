"""Loops over transforms, compiled: filters of sums, tiles of the power spectrum."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from icefloe._types import AnyArray, ComplexArray, FloatArray

__all__ = ["combine", "cut_tiles", "divide", "tile_power"]


@njit(cache=True, nogil=True, parallel=True)
def combine(
    spectra: ComplexArray, ky: FloatArray, kx: FloatArray, step: float,
    curves: FloatArray, factors: FloatArray,
) -> None:  # fmt: skip
    """Combine transforms of sums into a filtered and a plain one, in place.

    Parameters
    ----------
    spectra
        (K + 1, ny, mx), complex64: K transforms and room for another. The first becomes
        ``sum_j curves[j](k) spectra[j]``, the last ``sum_j factors[j] spectra[j]``.
    ky, kx
        (ny,) and (mx,), frequencies.
    step
        Spacing of the curves in the same unit.
    curves
        (K, bins), float32, from frequency zero on; interpolated linearly.
    factors
        (K,), float32.
    """
    count, bins = curves.shape
    last = bins - 2
    for i in prange(ky.size):
        for j in range(kx.size):
            position = math.sqrt(ky[i] * ky[i] + kx[j] * kx[j]) / step
            b = min(int(position), last)
            t = np.float32(position - b)
            weighted = plain = np.complex64(0.0)
            for k in range(count):
                value = spectra[k, i, j]
                weighted += (curves[k, b] + t * (curves[k, b + 1] - curves[k, b])) * value
                plain += factors[k] * value
            spectra[0, i, j] = weighted
            spectra[count, i, j] = plain


@njit(cache=True, nogil=True, parallel=True)
def divide(spectrum: ComplexArray, ky: FloatArray, kx: FloatArray, table: FloatArray) -> None:
    """Divide a transform by a smooth response, in place.

    Parameters
    ----------
    spectrum
        (ny, mx), complex64.
    ky, kx
        (ny,) and (mx,), frequencies in cycles per pixel, -0.5 to 0.5 and 0 to 0.5.
    table
        (2 n + 1, n + 1), float32: the response at even steps of these ranges, ends included;
        interpolated linearly.
    """
    n = table.shape[1] - 1
    for i in prange(ky.size):
        position = (ky[i] + 0.5) * (2 * n)
        a = min(int(position), 2 * n - 1)
        t = np.float32(position - a)
        line = table[a] + t * (table[a + 1] - table[a])
        for j in range(kx.size):
            place = kx[j] * (2 * n)
            b = min(int(place), n - 1)
            response = line[b] + np.float32(place - b) * (line[b + 1] - line[b])
            spectrum[i, j] *= np.float32(1.0) / response


@njit(cache=True, nogil=True)
def cut_tiles(
    image: FloatArray, y: int, columns: AnyArray, window: FloatArray, mean: float,
    tiles: FloatArray,
) -> None:  # fmt: skip
    """Cut a row of tiles, their mean taken off and faded at the edges.

    Parameters
    ----------
    image
        (ny, nx), float32.
    y
        First row.
    columns
        (T,), first column of each.
    window
        (S, S), float32.
    mean
        What is taken off.
    tiles
        (T, R, R), float32, R >= S: written to the first S rows and columns.
    """
    size = window.shape[0]
    value = np.float32(mean)
    for t in range(columns.size):
        x = columns[t]
        for i in range(size):
            _cut_row(image[y + i, x : x + size], window[i], value, tiles[t, i, :size])


@njit(cache=True, nogil=True)
def _cut_row(row: FloatArray, window: FloatArray, value: np.float32, out: FloatArray) -> None:
    for j in range(out.size):
        out[j] = (row[j] - value) * window[j]


@njit(cache=True, nogil=True)
def tile_power(spectra: ComplexArray, size: int) -> FloatArray:
    """Return the summed power of transforms, their high frequencies left out.

    Parameters
    ----------
    spectra
        (T, R, size // 2 + 1), complex64, R >= size.
    size
        Of the image that the result is a spectrum of.

    Returns
    -------
    ndarray
        (size, size // 2 + 1), float64.
    """
    columns = spectra.shape[2]
    power = np.zeros((size, columns))
    half = size // 2
    for i in range(size):
        row = i if i < half else spectra.shape[1] - size + i
        for t in range(spectra.shape[0]):
            for j in range(columns):
                value = spectra[t, row, j]
                power[i, j] += value.real * value.real + value.imag * value.imag
    return power
