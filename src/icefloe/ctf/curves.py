"""One-dimensional spectra of a fit, and how far they agree with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.spectrum import Spectrum
from icefloe.optics import CtfParameters, ctf_1d, defocus_at_angle, wavelength

__all__ = ["Curves", "equiphase_frequency", "local_correlation", "make_curves", "ring_period"]


@dataclass(frozen=True)
class Curves:
    """Curves over frequency, all of shape (n // 2 + 1,), from 0 to Nyquist.

    Attributes
    ----------
    frequency
        1/A.
    experimental
        Rotational average, background removed, Thon rings scaled to between 0 and 1.
    equiphase
        The same along lines of equal phase, so that astigmatism does not blur it.
    model
        CTF^2 at the mean defocus.
    correlation
        Correlation of `equiphase` with `model` in a window around each frequency.
    noise
        What `correlation` exceeds by chance in 2.3 % of the cases: two standard deviations.
    """

    frequency: FloatArray
    experimental: FloatArray
    equiphase: FloatArray
    model: FloatArray
    correlation: FloatArray
    noise: FloatArray


def equiphase_frequency(k2: FloatArray, azimuth: FloatArray, p: CtfParameters) -> FloatArray:
    """Return the frequency, 1/A, at which the mean defocus has the phase of each pixel.

    Solves ``D u - c u^2 = D(azimuth) k^2 - c k^4`` for u = k'^2, with ``c = lambda^2 Cs / 2``.
    Where the aberration has turned round and there is no solution, the frequency itself.
    """
    c = 0.5 * wavelength(p.voltage) ** 2 * p.cs * 1e7
    mean = p.defocus
    target = defocus_at_angle(p, azimuth) * k2 - c * k2 * k2
    if abs(mean) < 1.0:
        return np.sqrt(k2)
    # The stable form of the root that goes to `target / mean` as c goes to 0.
    inside = 1 - 4 * c * target / mean**2
    u = 2 * target / mean / (1 + np.sqrt(np.maximum(inside, 0.0)))
    before_turn = (inside > 0) & (2 * c * k2 < abs(mean)) & (u > 0)
    return np.asarray(np.sqrt(np.where(before_turn, u, k2)))


def make_curves(spectrum: Spectrum, p: CtfParameters, low_resolution: float) -> Curves:
    """Return the curves of a spectrum for fitted parameters."""
    n = spectrum.size
    step = 1 / (n * spectrum.pixel_size)
    ky, kx = spectrum.frequencies()
    k2 = ky**2 + kx**2
    # The axes carry the edges of the image; the half plane's column 0 would count twice.
    keep = (np.abs(np.rint(ky / step)) > 2) & (np.rint(kx / step) > 2)
    keep &= k2 < (0.5 / spectrum.pixel_size) ** 2 * 1.2
    k2 = k2[keep]
    azimuth = np.arctan2(*np.broadcast_arrays(ky, kx))[keep]
    values = np.log(spectrum.power[keep].astype(np.float64))
    bins = n // 2 + 1
    plain = _ring_mean(np.sqrt(k2) / step, values, bins)
    equal = _ring_mean(equiphase_frequency(k2, azimuth, p) / step, values, bins)

    frequency = np.arange(bins) * step
    model = ctf_1d(p, frequency) ** 2
    period = ring_period(frequency, step, p)
    # At low frequency half a Thon ring is the whole rise of the spectrum; there a window of one
    # ring would leave the particle's form factor in.
    width = np.clip(period, 5.0, n * spectrum.pixel_size / low_resolution * 1.5)
    flat_equal, flat_plain = _detrend(equal, width), _detrend(plain, width)
    flat_model = _detrend(model, width)
    scale = np.sqrt(2 * _moving_mean(flat_equal**2, 2 * width))
    scale = np.maximum(scale, 1e-9)
    # Two rings or N/40 bins, whichever is more.
    window = np.maximum(n / 40, 2 * width)
    correlation = local_correlation(flat_equal / scale, flat_model, window)
    return Curves(
        frequency,
        np.clip(0.5 + 0.5 * flat_plain / scale, -0.5, 1.5),
        np.clip(0.5 + 0.5 * flat_equal / scale, -0.5, 1.5),
        model,
        correlation,
        2 / np.sqrt(2 * np.round(window / 2) + 1),
    )


def _ring_mean(position: FloatArray, values: FloatArray, bins: int) -> FloatArray:
    """Return the mean over rings, each pixel shared between its two nearest; gaps are filled."""
    low = np.floor(position).astype(np.intp)
    high_part = position - low
    inside = (low >= 0) & (low < bins - 1)
    low, high_part, values = low[inside], high_part[inside], values[inside]
    total = np.bincount(low, values * (1 - high_part), minlength=bins)
    total += np.bincount(low + 1, values * high_part, minlength=bins)
    count = np.bincount(low, 1 - high_part, minlength=bins)
    count += np.bincount(low + 1, high_part, minlength=bins)
    good = count > 0.5
    index = np.arange(bins)
    return np.asarray(np.interp(index, index[good], total[good] / count[good]))


def ring_period(frequency: FloatArray, step: float, p: CtfParameters) -> FloatArray:
    """Return the width of a Thon ring in bins: half a turn of chi."""
    lam = wavelength(p.voltage)
    slope = 2 * lam * frequency * (p.defocus - lam**2 * p.cs * 1e7 * frequency**2)
    return np.asarray(1 / np.maximum(np.abs(slope) * step, 1e-3))


def _moving_mean(values: FloatArray, width: FloatArray) -> FloatArray:
    """Return means over windows of varying odd width, narrowed (evenly) at the ends."""
    n = len(values)
    index = np.arange(n)
    half = np.minimum(np.round(width / 2).astype(np.intp), np.minimum(index, n - 1 - index))
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((total[index + half + 1] - total[index - half]) / (2 * half + 1))


def _detrend(values: FloatArray, width: FloatArray) -> FloatArray:
    """Return values less their mean over about one Thon ring, twice smoothed."""
    return values - _moving_mean(_moving_mean(values, width), width)


def local_correlation(a: FloatArray, b: FloatArray, width: FloatArray) -> FloatArray:
    """Return the correlation coefficient of two curves in windows of varying width."""
    n = len(a)
    index = np.arange(n)
    half = np.round(width / 2).astype(np.intp)
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, n)
    # Centred first, so that differences of running sums lose no digits.
    a, b = a - a.mean(), b - b.mean()

    def mean(values: FloatArray) -> FloatArray:
        total = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray((total[last] - total[first]) / (last - first))

    mean_a, mean_b = mean(a), mean(b)
    covariance = mean(a * b) - mean_a * mean_b
    variances = np.maximum(mean(a * a) - mean_a**2, 0) * np.maximum(mean(b * b) - mean_b**2, 0)
    norm = np.sqrt(variances)
    return np.asarray(np.where(norm > 1e-12, covariance / np.maximum(norm, 1e-12), 0.0))
