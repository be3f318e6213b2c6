"""Small micrographs with known Thon rings, made here so that tests do not lean on the simulator."""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray
from icefloe.optics import CtfParameters, wavelength


def thon_micrograph(
    p: CtfParameters,
    *,
    shape: tuple[int, int] = (1024, 1024),
    pixel_size: float = 1.0,
    signal: float = 1.0,
    bfactor: float = 60.0,
    seed: int = 0,
) -> FloatArray:
    """White noise plus a random object behind a CTF, whose formula is written out here again."""
    rng = np.random.default_rng(seed)
    ky = np.fft.fftfreq(shape[0], pixel_size)[:, None]
    kx = np.fft.rfftfreq(shape[1], pixel_size)[None, :]
    k2 = ky**2 + kx**2
    lam = wavelength(p.voltage)
    azimuth = np.arctan2(ky, kx) - np.radians(p.defocus_angle)
    defocus = p.defocus_u * np.cos(azimuth) ** 2 + p.defocus_v * np.sin(azimuth) ** 2
    chi = np.pi * lam * k2 * defocus - 0.5 * np.pi * p.cs * 1e7 * lam**3 * k2**2
    chi += np.radians(p.phase_shift) + np.arcsin(p.amplitude_contrast)
    structure = np.sqrt(1 + 250 * np.exp(-3000 * k2)) * np.exp(-0.25 * bfactor * k2)
    scattered = np.fft.rfft2(rng.standard_normal(shape)) * structure * np.sin(chi)
    image = rng.standard_normal(shape) - signal * np.fft.irfft2(scattered, s=shape)
    return np.asarray(image, dtype=np.float32)
