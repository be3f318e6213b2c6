"""Resampling in Fourier space, exact for every combination of odd and even sizes.

An even size has one Nyquist row that stands for both +N/2 and -N/2. Padding gives each half of
it, cropping adds the two; so padding and then cropping is the identity, and a band-limited image
is resampled exactly.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from icefloe._types import FloatArray, Tensor
from icefloe.fourier.device import get_threads, is_tensor
from icefloe.fourier.transforms import irfft2, rfft2

__all__ = ["crop_rfft", "resize"]

# Rows transformed at a time: what a processor's cache holds.
_ROWS = 128


def crop_rfft(spectrum: Tensor, shape: tuple[int, int], new_shape: tuple[int, int]) -> Tensor:
    """Crop or pad half-plane spectra to those of another image size.

    Parameters
    ----------
    spectrum
        (..., ny, nx // 2 + 1), from `rfft2` of images of `shape`.
    shape, new_shape
        Real-space sizes (ny, nx) before and after.

    Returns
    -------
    array or tensor
        (..., new_ny, new_nx // 2 + 1), scaled so that grey values are kept.
    """
    (ny, nx), (my, mx) = shape, new_shape
    if spectrum.shape[-2:] != (ny, nx // 2 + 1):
        raise ValueError(f"spectrum {tuple(spectrum.shape)} is not of an image {shape}")
    if (ny, nx) == (my, mx):
        return spectrum
    out = _resize_columns(spectrum, nx, mx)
    out = _resize_rows(out, ny, my)
    return out * ((my * mx) / (ny * nx))


def resize(image: Tensor, new_shape: tuple[int, int]) -> Tensor:
    """Return images (..., ny, nx) Fourier-resampled to `new_shape`, grey values kept."""
    shape = (int(image.shape[-2]), int(image.shape[-1]))
    if shape == tuple(new_shape):
        return image
    if not is_tensor(image) and image.ndim == 2 and new_shape[0] < shape[0]:
        return _shrink(np.asarray(image), new_shape)
    return irfft2(crop_rfft(rfft2(image), shape, new_shape), new_shape)


def _shrink(image: FloatArray, new_shape: tuple[int, int]) -> FloatArray:
    """Return a resized image whose rows are cropped before its columns are transformed.

    The same as `resize` with some half of its time: columns that are cropped are not transformed.
    """
    (ny, nx), (my, mx) = image.shape, new_shape
    array = image if image.dtype == np.float64 else image.astype(np.float32, copy=False)
    half = np.empty((ny, mx // 2 + 1), np.complex128 if array.dtype == np.float64 else np.complex64)
    for y in range(0, ny, _ROWS):
        part = scipy.fft.rfft(array[y : y + _ROWS], axis=1, workers=get_threads())
        if mx >= nx:
            half[y : y + _ROWS] = _resize_columns(part, nx, mx)
            continue
        half[y : y + _ROWS] = part[:, : mx // 2 + 1]
        if mx % 2 == 0:
            # -M/2 joins +M/2; of a real row it is the conjugate.
            half[y : y + _ROWS, -1] *= 2
            half[y : y + _ROWS, -1].imag = 0
    spectrum = scipy.fft.fft(half, axis=0, overwrite_x=True, workers=get_threads())
    scaled = _resize_rows(spectrum, ny, my) * np.float32((my * mx) / (ny * nx))
    return np.asarray(irfft2(scaled, new_shape))


def _zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    if is_tensor(like):
        return like.new_zeros(shape)
    return np.zeros(shape, dtype=like.dtype)


def _resize_columns(f: Tensor, nx: int, mx: int) -> Tensor:
    if mx == nx:
        return f
    lead = tuple(f.shape[:-1])
    if mx < nx:
        out = f[..., : mx // 2 + 1]
        if mx % 2 == 0:
            out = out.clone() if is_tensor(out) else out.copy()
            column = f[..., mx // 2]
            if is_tensor(f):
                mirrored = column.flip(-1).roll(1, -1).conj()
            else:
                mirrored = np.roll(column[..., ::-1], 1, axis=-1).conj()
            # F(ky, -M/2) of a real image is the conjugate of F(-ky, +M/2).
            out[..., -1] = column + mirrored
        return out
    out = _zeros(f, (*lead, mx // 2 + 1))
    out[..., : nx // 2 + 1] = f
    if nx % 2 == 0:
        out[..., nx // 2] *= 0.5
    return out


def _resize_rows(f: Tensor, ny: int, my: int) -> Tensor:
    if my == ny:
        return f
    n = min(ny, my)
    positive, negative = (n + 1) // 2, n // 2  # rows 0..positive-1 and -negative..-1
    out = _zeros(f, (*f.shape[:-2], my, f.shape[-1]))
    out[..., :positive, :] = f[..., :positive, :]
    if negative:
        out[..., my - negative :, :] = f[..., ny - negative :, :]
    if n % 2 == 0:
        half = n // 2
        if my < ny:
            out[..., half, :] = f[..., half, :] + f[..., ny - half, :]
        else:
            nyquist = 0.5 * f[..., half, :]
            out[..., half, :] = nyquist
            out[..., my - half, :] = nyquist
    return out
