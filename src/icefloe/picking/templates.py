"""Blob templates: balls, hollow balls and ellipsoids as projected; Laplacians of Gaussians."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from icefloe._types import FloatArray
from icefloe.fourier import frequency_axes, rfft2

__all__ = ["RING_HOLLOW", "blob_template", "ellipse_template", "scale_template"]

# Inner over outer radius of the ring. 0.6 and 0.8 pick apoferritin equally well; viruses and
# cages lie between.
RING_HOLLOW = 0.75
# The mask reaches this far beyond the particle, in its diameters: enough of the surrounding ice to
# compare with, too little of the neighbours to be disturbed by them.
_RIM = 0.12
# Blur in diameters: what a resolution of about 20 A leaves of a particle's border.
_BLUR = 0.045
# Wider over narrower Gaussian of the difference that comes close to a Laplacian (Marr & Hildreth
# 1980, Proc. R. Soc. B 207, 187).
_DOG_RATIO = 1.6


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
    return _transform(gaussian_filter(profile, _BLUR * diameter, mode="constant"), mask, size)


def ellipse_template(
    diameter: float, aspect: float, angle: float, size: tuple[int, int]
) -> FloatArray:
    """Return the transform of the template of a lying ellipsoid.

    Parameters
    ----------
    diameter
        Of the long axis, pixels.
    aspect
        Long over short axis.
    angle
        Of the long axis from +x towards +y, degrees.
    size
        (ny, nx) of the map it will be correlated with.

    Returns
    -------
    ndarray
        As `blob_template`.
    """
    long, short = 0.5 * diameter, 0.5 * diameter / aspect
    rim = _RIM * diameter
    half = int(np.ceil(long + rim + 0.5))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along, across = c * x + s * y, c * y - s * x
    mask = np.clip(
        0.5 + (short + rim) * (1 - np.hypot(along / (long + rim), across / (short + rim))), 0, 1
    )
    profile = np.sqrt(np.maximum(1 - (along / long) ** 2 - (across / short) ** 2, 0))
    blurred = gaussian_filter(profile, _BLUR * diameter / aspect, mode="constant")
    return _transform(blurred, mask, size)


def scale_template(diameter: float, method: str, size: tuple[int, int]) -> FloatArray:
    """Return the transform of a Laplacian, or a difference, of Gaussians that fits a disc.

    Parameters
    ----------
    diameter
        Of the disc at whose centre the response is largest of all scales, pixels.
    method
        ``log``: sigma is the diameter over the root of 8 (Lindeberg 1998, Int. J. Comput. Vis. 30,
        79); ``dog``: two Gaussians around it.
    size
        (ny, nx) of the map it will be filtered with.

    Returns
    -------
    ndarray
        (ny, nx // 2 + 1) float32, positive where the disc is brighter.
    """
    ky, kx = frequency_axes(size)
    exponent = -2 * (np.pi * diameter) ** 2 / 8 * (ky**2 + kx**2)
    if method == "log":
        return np.asarray(-exponent * np.exp(exponent), dtype=np.float32)
    # sigma^2 halfway, in the logarithm, between those of the two.
    return np.asarray(np.exp(exponent / _DOG_RATIO) - np.exp(exponent * _DOG_RATIO), np.float32)


def _transform(profile: FloatArray, mask: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return the transform of a masked profile with mean 0 and energy 1, centred on [0, 0]."""
    flat = mask * (profile - np.sum(mask * profile) / np.sum(mask))
    flat /= np.sqrt(np.sum(flat**2))
    half = len(profile) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    whole = np.zeros(size, dtype=np.float32)
    np.add.at(whole, (y % size[0], x % size[1]), flat.astype(np.float32))
    return np.asarray(np.conj(rfft2(whole)))
