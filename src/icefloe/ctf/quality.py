"""Numbers that say how good a spectrum and a fit are, comparable with other programs'."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from icefloe._types import FloatArray
from icefloe.ctf.spectrum import Spectrum
from icefloe.fourier import rotational_average
from icefloe.optics import CtfParameters, ctf_2d

__all__ = ["figure_of_merit", "flattened", "ice_ring_density", "iciness"]

# Pixels beside the axes that CTFFIND leaves out of its score.
_CROSS = 10


def flattened(spectrum: Spectrum, low_resolution: float) -> FloatArray:
    """Return the centred log amplitude (n, n) less a local mean, in standard deviations.

    The window is that of CTFFIND: as wide as the ring of `low_resolution` (A), times sqrt(2).
    """
    log = np.log(spectrum.centred().astype(np.float64))
    n = spectrum.size
    middle = n // 2
    width = int(n * spectrum.pixel_size / low_resolution * np.sqrt(2)) | 1
    flat = log - uniform_filter(log, width, mode="wrap")
    radius = np.hypot(*np.ogrid[-middle : n - middle, -middle : n - middle])
    typical = flat[(radius > width / 2) & (radius < middle)].std()
    return np.asarray(np.clip(flat / max(typical, 1e-12), -8, 8))


def figure_of_merit(
    spectrum: Spectrum,
    flat: FloatArray,
    p: CtfParameters,
    low_resolution: float,
    high_resolution: float,
) -> float:
    """Return the normalised correlation of the spectrum with ``CTF^2``.

    `flat`, from `flattened`, is taken over the half plane between two resolutions (A), without the
    axes; the model keeps its mean in the norm, as in CTFFIND's score, to which the numbers are
    close (docs/ctf.md). Rohou & Grigorieff (2015), J. Struct. Biol. 192, 216.
    """
    n = spectrum.size
    values = np.fft.ifftshift(flat)[:, : n // 2 + 1]
    ky, kx = spectrum.frequencies()
    k = np.sqrt(ky**2 + kx**2)
    step = 1 / (n * spectrum.pixel_size)
    keep = (k > 1 / low_resolution) & (k < 1 / high_resolution)
    keep &= (np.abs(ky) > (_CROSS + 0.5) * step) & (kx > (_CROSS + 0.5) * step)
    data = values[keep] - values[keep].mean()
    model = np.square(ctf_2d(p, (n, n), spectrum.pixel_size).astype(np.float64)[keep])
    norm = np.sqrt(np.sum(model**2) * np.sum(data**2))
    return float(np.sum(data * model) / norm) if norm > 0 else 0.0


def iciness(spectrum: Spectrum) -> float:
    """Return the power at 3.9-3.5 A relative to that at 30-6 A; NaN where that is out of reach.

    CTFFIND5's definition, the squared ratio of mean amplitudes; Elferich et al. (2024), eLife
    13:RP97227.
    """
    ky, kx = spectrum.frequencies()
    k = np.sqrt(ky**2 + kx**2)
    if 0.5 / spectrum.pixel_size < 1 / 3.5:
        return float("nan")
    amplitude = np.sqrt(spectrum.power)
    ice = amplitude[(k > 1 / 3.9) & (k < 1 / 3.5)]
    reference = amplitude[(k > 1 / 30) & (k < 1 / 6)]
    return float((ice.mean() / reference.mean()) ** 2)


def ice_ring_density(spectrum: Spectrum, flat: FloatArray) -> float:
    """Return the sum of the rotational average's modulus over 0.25-0.28 1/A; NaN out of reach.

    The quantity of RELION's rlnCtfIceRingDensity, of a spectrum `flat` from `flattened`, so in
    standard deviations of a pixel.
    """
    n = spectrum.size
    if 0.5 / spectrum.pixel_size < 0.28:
        return float("nan")
    frequency, average = rotational_average(np.fft.ifftshift(flat), (n, n), real=False)
    frequency = frequency / spectrum.pixel_size
    return float(np.sum(np.abs(average[(frequency >= 0.25) & (frequency <= 0.28)])))
