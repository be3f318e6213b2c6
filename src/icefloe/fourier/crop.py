"""Resampling in Fourier space, exact for every combination of odd and even sizes.

An even size has one Nyquist row that stands for both +N/2 and -N/2. Padding gives each half of
it, cropping adds the two; so padding and then cropping is the identity, and a band-limited image
is resampled exactly.
"""

from __future__ import annotations

import numpy as np

from icefloe._types import Tensor
from icefloe.fourier.device import is_tensor
from icefloe.fourier.transforms import irfft2, rfft2

__all__ = ["crop_rfft", "resize"]


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
    return irfft2(crop_rfft(rfft2(image), shape, new_shape), new_shape)


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
