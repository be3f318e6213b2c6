"""Rotationally symmetric templates: the projections of a ball and of a hollow ball."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from icefloe._types import FloatArray
from icefloe.fourier import rfft2

__all__ = ["RING_HOLLOW", "blob_template"]

# Inner over outer radius of the ring. 0.6 and 0.8 pick apoferritin equally well; viruses and
# cages lie between.
RING_HOLLOW = 0.75
# The mask reaches this far beyond the particle, in its diameters: enough of the surrounding ice to
# compare with, too little of the neighbours to be disturbed by them.
_RIM = 0.12
# Blur in diameters: what a resolution of about 20 A leaves of a particle's border.
_BLUR = 0.045


def blob_template(diameter: float, shape: str, size: tuple[int, int]) -> FloatArray:
    """Return the transform of a zero-mean, unit-energy template centred on pixel [0, 0].

    Parameters
    ----------
    diameter
        Outer diameter, pixels.
    shape
        ``disc``: thickness of a ball along the beam; ``ring``: that of a hollow ball.
    size
        (ny, nx) of the map it will be correlated with.

    Returns
    -------
    ndarray
        (ny, nx // 2 + 1) complex64. Multiplied with the transform of a map of unit variance it
        gives the correlation coefficient of map and template times the root of the number of
        pixels in the mask.
    """
    radius = 0.5 * diameter
    reach = radius + _RIM * diameter
    half = int(np.ceil(reach + 0.5))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    r2 = (y * y + x * x).astype(np.float64)
    mask = np.clip(reach + 0.5 - np.sqrt(r2), 0, 1)
    profile = np.sqrt(np.maximum(radius**2 - r2, 0))
    if shape == "ring":
        profile -= np.sqrt(np.maximum((RING_HOLLOW * radius) ** 2 - r2, 0))
    profile = gaussian_filter(profile, _BLUR * diameter, mode="constant")
    profile = mask * (profile - np.sum(mask * profile) / np.sum(mask))
    profile /= np.sqrt(np.sum(profile**2))
    whole = np.zeros(size, dtype=np.float32)
    np.add.at(whole, (y % size[0], x % size[1]), profile.astype(np.float32))
    return np.asarray(np.conj(rfft2(whole)))
