"""Templates as they appear in a micrograph: turned, seen through the lens, mean 0 and energy 1."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import fft
from scipy.ndimage import map_coordinates, spline_filter

from icefloe._types import FloatArray
from icefloe.fourier import fast_size, get_threads

__all__ = ["disc_mask", "modulation_box", "standardised", "turned_templates"]


def disc_mask(half: int) -> FloatArray:
    """Return the round mask of a box of ``2 half + 1`` pixels, with a soft edge of one pixel."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return np.asarray(np.clip(half - np.hypot(y, x), 0, 1), dtype=np.float32)


def standardised(stack: FloatArray, mask: FloatArray) -> FloatArray:
    """Return (..., n, n) images under a mask, each with mean 0 and energy 1."""
    mean = np.sum(mask * stack, axis=(-2, -1), keepdims=True) / np.sum(mask)
    flat = mask * (stack - mean)
    norm = np.sqrt(np.sum(flat**2, axis=(-2, -1), keepdims=True))
    return np.asarray(flat / np.maximum(norm, 1e-12), dtype=np.float32)


def modulation_box(half: int) -> tuple[int, int]:
    """Return the size in which templates are filtered: with room for what the CTF spreads."""
    n = fast_size(4 * half + 2)
    return n, n


def turned_templates(
    images: FloatArray, turns: int, modulation: FloatArray | None = None
) -> FloatArray:
    """Return every template at every angle.

    Parameters
    ----------
    images
        (k, n, n), n odd.
    turns
        Number of angles, evenly over 360 degrees, from +x towards +y.
    modulation
        Real transfer function on the half plane of `modulation_box`; it is applied after turning,
        since a micrograph's astigmatism does not turn with the particle.

    Returns
    -------
    ndarray
        (k, turns, n, n) float32, under `disc_mask`, each with mean 0 and energy 1.
    """
    k, n = len(images), images.shape[-1]
    half = n // 2
    mask = disc_mask(half)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    # Templates are sampled coarsely: a cubic spline keeps what bilinear interpolation would blur.
    splines = [spline_filter(image, order=3, output=np.float32, mode="mirror") for image in images]
    out = np.empty((k, turns, n, n), dtype=np.float32)

    def turn(j: int) -> None:
        angle = 2 * np.pi * j / turns
        c, s = np.cos(angle), np.sin(angle)
        places = np.stack([c * y - s * x + half, s * y + c * x + half])
        views = np.empty((k, n, n), dtype=np.float32)
        for i in range(k):
            views[i] = images[i]
            if j:
                map_coordinates(
                    splines[i], places, output=views[i], order=3, mode="mirror", prefilter=False
                )
        if modulation is not None:
            box = (modulation.shape[0], modulation.shape[0])
            spectra = fft.rfft2(views, box) * modulation
            views = fft.irfft2(spectra, box)[:, :n, :n]
        out[:, j] = standardised(views, mask)

    with ThreadPoolExecutor(max(1, min(get_threads(), turns))) as pool:
        list(pool.map(turn, range(turns)))
    return out
