"""The picture in which a person judges a fit."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from icefloe._types import FloatArray
from icefloe.ctf.curves import Curves, equiphase_frequency
from icefloe.ctf.spectrum import Spectrum
from icefloe.optics import CtfParameters, ctf_2d

__all__ = ["diagnostic_image", "visible_part"]

# Pixels; rings of 4 pixels and more survive it.
_BLUR = 0.7
# Standard deviation, degrees, of the smoothing along lines of equal phase. A ring is far longer
# than it is wide: this takes the speckle and leaves the rings. Along circles, rings of 800 A
# astigmatism at 2 um would blur from the eighth on, so the lines are those of the fit; where the
# fit is wrong, they cut the true rings and these vanish from the picture.
_ARC = 8.0


def diagnostic_image(
    spectrum: Spectrum,
    flat: FloatArray,
    p: CtfParameters,
    curves: Curves,
    low_resolution: float,
    high_resolution: float,
) -> FloatArray:
    """Return measured and fitted rings side by side.

    The right half is the measured spectrum, background removed, smoothed along lines of equal
    phase and with the same contrast at every radius. On the left, the quadrant of rising rows is
    ``CTF^2`` within the fitted range, that of falling rows the equiphase average spread along
    lines of equal phase. Rings that run on smoothly over the borders are fitted.

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
    out = np.empty((n, n))
    rings = _smooth_along_rings(flat, spectrum.pixel_size, p)
    out[:, half:] = np.clip(0.5 + 0.2 * rings, 0, 1)
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


def visible_part(
    diagnostic: FloatArray, pixel_size: float, fit_resolution: float
) -> tuple[FloatArray, float]:
    """Return the middle of the picture, a little beyond the fit, and its edge in 1/A.

    Rings are a few pixels wide: in a small picture of the whole they cannot be seen.

    Parameters
    ----------
    diagnostic
        From `diagnostic_image`.
    pixel_size
        Effective pixel size of the spectrum, A.
    fit_resolution
        A; taken as 5 A where coarser, 3.3 A where finer, 4.5 A where not finite.
    """
    n = len(diagnostic)
    limit = float(np.clip(fit_resolution, 3.3, 5.0)) if np.isfinite(fit_resolution) else 4.5
    half = min(n // 2, round(1.15 / limit * n * pixel_size))
    middle = slice(n // 2 - half, n // 2 + half)
    return diagnostic[middle, middle], half / (n * pixel_size)


def _smooth_along_rings(flat: FloatArray, pixel_size: float, p: CtfParameters) -> FloatArray:
    """Return the right half (n, n // 2), smoothed along lines of equal phase, even in contrast."""
    n = flat.shape[0]
    centre, step = n // 2, 1 / (n * pixel_size)
    source = gaussian_filter(flat.astype(np.float32), _BLUR, mode="wrap")
    # Half a turn, since the spectrum of a real image is point symmetric.
    turn = np.pi / n
    azimuth = np.arange(n)[:, None] * turn - 0.5 * np.pi
    # To the corners, and a little farther since astigmatism stretches.
    radii = np.arange(int(1.2 * np.hypot(centre, centre)) + 2, dtype=np.float64)
    mean = equiphase_frequency((radii * step)[None, :] ** 2, azimuth, p) / step
    radius = np.stack([np.interp(radii, row, radii) for row in np.maximum.accumulate(mean, axis=1)])
    rays = [centre + radius * np.sin(azimuth), centre + radius * np.cos(azimuth)]
    polar = map_coordinates(source, rays, order=1, mode="nearest")
    polar = gaussian_filter1d(polar, np.deg2rad(_ARC) / turn, axis=0, mode="wrap")
    # Over a ring and its neighbours, since a ring alone is all bright or all dark.
    power = np.mean(np.square(polar, dtype=np.float64), axis=0)
    polar /= np.sqrt(np.maximum(gaussian_filter1d(power, n / 80, mode="nearest"), 1e-18))
    y, x = np.mgrid[:n, : n - centre]
    y = y - centre
    angle = np.arctan2(y, x)
    where = equiphase_frequency((y * y + x * x) * step**2, angle, p) / step
    # Half a turn later comes the first ray again.
    polar = np.concatenate([polar, polar[:1]])
    back = [(angle + 0.5 * np.pi) / turn, where]
    return np.asarray(map_coordinates(polar, back, order=1, mode="nearest"))
