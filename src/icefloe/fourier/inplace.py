"""Transforms of one large image in its own memory.

A transform and its inverse each need another array as large as the image, and SciPy's 2D
functions one more between the two directions. At the size of super-resolution movies that is
gigabytes, so here the rows are done a few at a time.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from icefloe._types import ComplexArray, FloatArray
from icefloe.fourier.device import get_threads

__all__ = ["irfft2_window", "rfft2_in_place"]

_ROWS = 512


def rfft2_in_place(padded: FloatArray) -> ComplexArray:
    """Transform an image, overwriting it.

    Parameters
    ----------
    padded
        (ny, nx + 2), float32, contiguous, nx even: the image and two columns that do not count.

    Returns
    -------
    ndarray
        (ny, nx // 2 + 1), complex64, a view of the same memory; as `rfft2` of ``padded[:, :nx]``.
    """
    ny, width = padded.shape
    out = padded.view(np.complex64)
    for y in range(0, ny, _ROWS):
        rows = padded[y : y + _ROWS, : width - 2]
        out[y : y + _ROWS] = scipy.fft.rfft(rows, axis=-1, workers=get_threads())
    return _in_place(scipy.fft.fft, out)


def irfft2_window(spectrum: ComplexArray, nx: int, rows: slice, columns: slice) -> FloatArray:
    """Return a window of the image that a transform is of, overwriting the transform.

    Parameters
    ----------
    spectrum
        (ny, nx // 2 + 1), complex64.
    nx
        Columns of the image.
    rows, columns
        The window, with both ends given.

    Returns
    -------
    ndarray
        float32, a part of ``irfft2(spectrum, (ny, nx))``.
    """
    spectrum = _in_place(scipy.fft.ifft, spectrum)
    out = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    for y in range(0, len(out), _ROWS):
        part = spectrum[rows][y : y + _ROWS]
        image = scipy.fft.irfft(part, nx, axis=-1, workers=get_threads())
        out[y : y + _ROWS] = image[:, columns]
    return out


def _in_place(transform, array: ComplexArray) -> ComplexArray:  # type: ignore[no-untyped-def]
    result = transform(array, axis=0, overwrite_x=True, workers=get_threads())
    # SciPy may, and today does, use the memory that it is allowed to overwrite.
    if not np.shares_memory(result, array):
        array[...] = result
    return array
