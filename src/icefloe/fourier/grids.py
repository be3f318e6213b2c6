"""Frequencies of the pixels of a transform, and the phases of a shift."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike

from icefloe._types import FloatArray, Tensor
from icefloe.fourier.device import is_tensor

__all__ = ["fast_size", "frequency_axes", "frequency_grid", "shift_phases"]


def fast_size(minimum: int) -> int:
    """Return the smallest even size >= `minimum` that transforms fast."""
    n = minimum + minimum % 2
    while True:
        fast = int(scipy.fft.next_fast_len(n, real=True))
        if fast % 2 == 0:
            return fast
        n = fast + 1


def frequency_axes(
    shape: tuple[int, int], pixel_size: float = 1.0, *, real: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Return ky of shape (ny, 1) and kx of shape (1, nx // 2 + 1), or (1, nx); in 1/A."""
    ny, nx = shape
    kx = scipy.fft.rfftfreq(nx, pixel_size) if real else scipy.fft.fftfreq(nx, pixel_size)
    return scipy.fft.fftfreq(ny, pixel_size)[:, None], kx[None, :]


def frequency_grid(
    shape: tuple[int, int], pixel_size: float = 1.0, *, real: bool = True
) -> FloatArray:
    """Return the magnitude of the frequency, 1/A, of every pixel of a transform; float32."""
    ky, kx = frequency_axes(shape, pixel_size, real=real)
    return np.sqrt(ky**2 + kx**2).astype(np.float32)


def shift_phases(spectrum: Tensor, shape: tuple[int, int], shifts: ArrayLike) -> Tensor:
    """Move images by whole or fractional pixels.

    Parameters
    ----------
    spectrum
        (..., ny, nx // 2 + 1), from `rfft2` of images of `shape`.
    shape
        Real-space size (ny, nx).
    shifts
        (..., 2), pixels in (y, x): what was at p is afterwards at p + shift.
    """
    ky, kx = frequency_axes(shape)
    s = np.asarray(shifts, dtype=np.float64)
    py = np.exp(-2j * np.pi * ky[:, 0] * s[..., :1])
    px = np.exp(-2j * np.pi * kx[0] * s[..., 1:])
    if is_tensor(spectrum):
        import torch

        ty = torch.from_numpy(py).to(spectrum)[..., :, None]
        tx = torch.from_numpy(px).to(spectrum)[..., None, :]
        return spectrum * ty * tx
    dtype = spectrum.dtype
    return spectrum * py.astype(dtype)[..., :, None] * px.astype(dtype)[..., None, :]
