"""Tilted micrographs made here: strips of a random object, each behind the CTF of its height."""

from __future__ import annotations

import math

import numpy as np

from icefloe._types import FloatArray
from icefloe.optics import CtfParameters, wavelength


def tilted_micrograph(
    gradient: tuple[float, float],
    *,
    defocus: float = 15000.0,
    size: int = 1024,
    pixel_size: float = 2.0,
    signal: float = 1.2,
    seed: int = 0,
    p: CtfParameters | None = None,
) -> FloatArray:
    """Return an image whose defocus grows by `gradient` A per A along y and x."""
    p = p or CtfParameters(defocus + 150, defocus - 150, 30)
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * pixel_size
    step = 100.0
    height = (gradient[0] * y + gradient[1] * x) / step
    ky = np.fft.fftfreq(size, pixel_size)[:, None]
    kx = np.fft.rfftfreq(size, pixel_size)[None, :]
    k2 = ky**2 + kx**2
    lam = wavelength(p.voltage)
    azimuth = np.arctan2(ky, kx) - math.radians(p.defocus_angle)
    object_ = rng.standard_normal((size, size))
    out = rng.standard_normal((size, size))
    for n in range(math.floor(height.min()), math.ceil(height.max()) + 1):
        weight = np.maximum(0, 1 - np.abs(height - n))
        local = p.defocus + 0.5 * p.astigmatism * np.cos(2 * azimuth) + n * step
        chi = np.pi * lam * k2 * local - 0.5 * np.pi * p.cs * 1e7 * lam**3 * k2**2
        transfer = np.sin(chi + np.arcsin(p.amplitude_contrast)) * np.exp(-15 * k2)
        strip = np.fft.irfft2(np.fft.rfft2(object_ * weight) * transfer, s=(size, size))
        out -= signal * strip
    return out.astype(np.float32)
