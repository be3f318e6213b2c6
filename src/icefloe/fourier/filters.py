"""Filters as float32 arrays on the half plane of a real transform."""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray, Tensor
from icefloe.fourier.device import is_tensor
from icefloe.fourier.grids import frequency_grid
from icefloe.fourier.transforms import irfft2, rfft2

__all__ = ["apply_filter", "band_pass", "bfactor_filter", "gaussian_low_pass"]


def gaussian_low_pass(shape: tuple[int, int], pixel_size: float, resolution: float) -> FloatArray:
    """Return a Gaussian that falls to 1/2 at `resolution` (A)."""
    k = frequency_grid(shape, pixel_size)
    return np.asarray(np.exp(-np.log(2.0) * (k * resolution) ** 2), dtype=np.float32)


def bfactor_filter(shape: tuple[int, int], pixel_size: float, bfactor: float) -> FloatArray:
    """Return ``exp(-B k^2 / 4)``, isotropic in 1/A, for a B-factor in A^2."""
    k = frequency_grid(shape, pixel_size)
    return np.asarray(np.exp(-0.25 * bfactor * k**2), dtype=np.float32)


def band_pass(
    shape: tuple[int, int],
    pixel_size: float,
    low_resolution: float | None = None,
    high_resolution: float | None = None,
    edge: float = 0.1,
) -> FloatArray:
    """Return a band-pass with raised-cosine edges.

    Parameters
    ----------
    shape
        Real-space size (ny, nx).
    pixel_size
        Pixel size, A.
    low_resolution, high_resolution
        Limits, A (coarse and fine); None leaves that side open. The filter is 1/2 there.
    edge
        Width of an edge relative to its frequency.
    """
    k = frequency_grid(shape, pixel_size).astype(np.float64)
    out = np.ones_like(k)
    if high_resolution:
        out *= _fall(k, 1 / high_resolution, edge)
    if low_resolution:
        out *= 1 - _fall(k, 1 / low_resolution, edge)
    return out.astype(np.float32)


def apply_filter(image: Tensor, transfer: FloatArray) -> Tensor:
    """Return images (..., ny, nx) multiplied in Fourier space by `transfer`."""
    shape = (int(image.shape[-2]), int(image.shape[-1]))
    if is_tensor(image):
        import torch

        return irfft2(rfft2(image) * torch.from_numpy(transfer).to(image.device), shape)
    return irfft2(rfft2(image) * transfer, shape)


def _fall(k: FloatArray, cut: float, edge: float) -> FloatArray:
    position = np.clip((k / cut - 1) / edge + 0.5, 0, 1)
    return np.asarray(0.5 * (1 + np.cos(np.pi * position)))
