"""Two-dimensional real transforms: scipy.fft with threads for arrays, torch.fft for tensors."""

from __future__ import annotations

import numpy as np
import scipy.fft

from icefloe._types import Tensor
from icefloe.fourier.device import get_threads, is_tensor

__all__ = ["irfft2", "rfft2"]


def rfft2(image: Tensor) -> Tensor:
    """Return the transform of real images.

    Parameters
    ----------
    image
        (..., ny, nx), any real type; single precision unless it is float64.

    Returns
    -------
    array or tensor
        (..., ny, nx // 2 + 1), complex, zero frequency at [0, 0], not normalised.
    """
    if is_tensor(image):
        import torch

        return torch.fft.rfft2(image if image.is_floating_point() else image.to(torch.float32))
    array = np.asarray(image)
    if array.dtype != np.float64:
        array = array.astype(np.float32, copy=False)
    return scipy.fft.rfft2(array, workers=get_threads())


def irfft2(spectrum: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the real images (..., ny, nx) of half-plane spectra; inverse of `rfft2`."""
    if is_tensor(spectrum):
        import torch

        return torch.fft.irfft2(spectrum, s=shape)
    return scipy.fft.irfft2(spectrum, s=shape, workers=get_threads())
