"""The picture in which a person judges a fit."""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.curves import Curves, equiphase_frequency
from icefloe.ctf.spectrum import Spectrum
from icefloe.optics import CtfParameters, ctf_2d

__all__ = ["diagnostic_image"]


def diagnostic_image(
    spectrum: Spectrum,
    flat: FloatArray,
    p: CtfParameters,
    curves: Curves,
    low_resolution: float,
    high_resolution: float,
) -> FloatArray:
    """Return measured and fitted rings side by side.

    The right half is the measured spectrum, background removed. On the left, the quadrant of
    rising rows is ``CTF^2`` within the fitted range, that of falling rows the equiphase average
    spread along lines of equal phase. Rings that run on smoothly over the borders are fitted.

    Parameters
    ----------
    spectrum, flat, p, curves
        What was fitted, the same from `flattened`, the result, and its curves.
    low_resolution, high_resolution
        Fitted range, A.

    Returns
    -------
    ndarray
        (n, n), float32, zero frequency at [n // 2, n // 2], grey values of about 0 to 1.
    """
    n = spectrum.size
    half = n // 2
    out = np.clip(0.5 + flat / 6, 0, 1)
    axis = (np.arange(n) - half) / (n * spectrum.pixel_size)
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    k2 = ky**2 + kx**2
    model = np.fft.fftshift(ctf_2d(p, (n, n), spectrum.pixel_size, real=False)) ** 2
    fitted = (k2 >= 1 / low_resolution**2) & (k2 <= 1 / high_resolution**2)
    where = equiphase_frequency(k2, np.arctan2(ky, kx), p)
    average = np.interp(where, curves.frequency, curves.equiphase, right=0.5)
    upper, left = slice(half, n), slice(0, half)
    out[upper, left] = np.where(fitted, model, 0.5)[upper, left]
    out[:half, left] = np.clip(average, 0, 1)[:half, left]
    return np.asarray(out, dtype=np.float32)
