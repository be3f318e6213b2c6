"""The picture in which a person judges a fit."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from icefloe._types import FloatArray
from icefloe.ctf.curves import Curves, equiphase_frequency
from icefloe.ctf.spectrum import Spectrum
from icefloe.optics import CtfParameters, ctf_2d

__all__ = ["diagnostic_image"]

# Pixels; rings of 4 pixels and more survive it.
_BLUR = 0.7
# Standard deviation, degrees, of the smoothing along the rings. A ring is far longer than it is
# wide: this takes the speckle and leaves the rings, astigmatic ones too.
_ARC = 2.0


def diagnostic_image(
    spectrum: Spectrum,
    flat: FloatArray,
    p: CtfParameters,
    curves: Curves,
    low_resolution: float,
    high_resolution: float,
) -> FloatArray:
    """Return measured and fitted rings side by side.

    The right half is the measured spectrum, background removed, smoothed a little along the rings
    and with the same contrast at every radius. On the left, the quadrant of
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
    out = np.clip(0.5 + 0.17 * _even_contrast(_smooth_along_rings(flat)), 0, 1)
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


def _smooth_along_rings(flat: FloatArray) -> FloatArray:
    """Return the image smoothed in azimuth, by way of polar coordinates."""
    n = flat.shape[0]
    centre = n // 2
    source = gaussian_filter(flat.astype(np.float32), _BLUR, mode="wrap")
    angles, radii = 2 * n, int(np.hypot(centre, centre)) + 2
    step = 2 * np.pi / angles
    azimuth, radius = np.arange(angles)[:, None] * step, np.arange(radii)[None, :]
    rays = [centre + radius * np.sin(azimuth), centre + radius * np.cos(azimuth)]
    polar = map_coordinates(source, rays, order=1, mode="nearest")
    polar = gaussian_filter1d(polar, np.deg2rad(_ARC) / step, axis=0, mode="wrap")
    y, x = np.mgrid[:n, :n] - centre
    back = [np.arctan2(y, x) % (2 * np.pi) / step, np.hypot(y, x)]
    # A whole turn later comes the first ray again.
    polar = np.concatenate([polar, polar[:1]])
    return np.asarray(map_coordinates(polar, back, order=1, mode="nearest"))


def _even_contrast(image: FloatArray) -> FloatArray:
    """Return the image divided by the standard deviation of its neighbourhood in radius."""
    n = image.shape[0]
    y, x = np.mgrid[:n, :n] - n // 2
    ring = np.rint(np.hypot(y, x)).astype(np.intp)
    count = np.bincount(ring.ravel())
    power = np.bincount(ring.ravel(), np.square(image, dtype=np.float64).ravel()) / count
    # Over a ring and its neighbours, since a ring alone is all bright or all dark.
    deviation = np.sqrt(gaussian_filter1d(power, n / 40, mode="nearest"))
    return np.asarray(image / np.maximum(deviation, 1e-9)[ring])
