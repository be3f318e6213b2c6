"""Curves that a person looks at beside a fit: score against defocus, and the ring of ice."""

from __future__ import annotations

from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.samples import Optics, Samples, take_samples
from icefloe.ctf.search import sector_means
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.spectrum import Spectrum
from icefloe.optics import CtfParameters, wavelength

__all__ = ["ctf_view", "defocus_scores", "ice_curve"]

_SECTORS = 24
# Degree of the background in k that is projected out, in each sector.
_DEGREE = 5
# A^2; rings are weighed by exp(-B k^2 / 2), about as fast as they fade.
_BFACTOR = 100.0
# A, range of the curve about the ring of ice; the reference of CTFFIND5's iciness.
_ICE = (4.6, 3.0)
_REFERENCE = (30.0, 6.0)


def ctf_view(
    spectrum: Spectrum,
    p: CtfParameters,
    settings: CtfSettings,
    *,
    fitted_to: float | None = None,
) -> dict[str, Any]:
    """Return JSON-able curves of a fitted spectrum for the pictures of a report.

    Parameters
    ----------
    spectrum, p
        What was fitted, and the result.
    settings
        Of the fit: its ranges of defocus and resolution.
    fitted_to
        A; the finest detail that was fitted in the end, where not as in the settings.

    Returns
    -------
    dict
        ``range``, the fitted resolutions, A; ``search`` with ``defocus``, A, ``score`` and
        ``noise`` from `defocus_scores`; ``ice`` with ``frequency``, 1/A, and ``amplitude`` from
        `ice_curve`.
    """
    samples = take_samples(spectrum, settings.low_resolution, settings.high_resolution)
    low, high, step = settings.defocus_min, settings.defocus_max, settings.defocus_step
    defoci = low + step * np.arange(int((high - low) / step + 1e-6) + 1)
    score, noise = defocus_scores(samples, p, defoci)
    frequency, amplitude = ice_curve(spectrum)
    return {
        "range": [settings.low_resolution, round(fitted_to or settings.high_resolution, 2)],
        "search": {
            "defocus": defoci.round(2).tolist(),
            "score": score.round(4).tolist(),
            "noise": round(noise, 4),
        },
        "ice": {
            "frequency": frequency.round(6).tolist(),
            "amplitude": amplitude.round(4).tolist(),
        },
    }


def defocus_scores(
    samples: Samples, p: CtfParameters, defoci: FloatArray
) -> tuple[FloatArray, float]:
    """Return the correlation of a spectrum with Thon rings for many mean defoci.

    Astigmatism and phase shift stay as fitted: a cut through the space of the search. The log
    power is averaged in sectors, and a polynomial background is projected out of it and of the
    rings in each.

    Parameters
    ----------
    samples
        From `take_samples`.
    p
        The fitted parameters.
    defoci
        (d,), A.

    Returns
    -------
    score : ndarray
        (d,), from -1 to 1.
    noise : float
        What a spectrum of white noise exceeds at one defocus in 0.3 % of the cases: three standard
        deviations.
    """
    rings = len(samples.ring_k)
    mean, count = sector_means(samples, _SECTORS)

    optics = Optics(p.voltage, p.cs, p.amplitude_contrast)
    k2 = np.square(samples.ring_k)
    shift = 2 * np.radians(p.phase_shift)
    fade = np.exp(-0.5 * _BFACTOR * k2)
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, rings), _DEGREE)
    dot, norm2, energy = np.zeros(len(defoci)), np.zeros(len(defoci)), 0.0
    for s in range(_SECTORS):
        middle = (s + 0.5) * np.pi / _SECTORS - np.radians(p.defocus_angle)
        here = defoci + 0.5 * p.astigmatism * np.cos(2 * middle)
        phase = optics.double_phase(k2[None, :], here[:, None]) + shift
        damping = samples.damping(here[:, None], wavelength(p.voltage))
        weight = np.sqrt(count[s])
        q = np.linalg.qr(basis * weight[:, None])[0]
        wave = -np.cos(phase) * fade * damping * weight
        wave -= (wave @ q) @ q.T
        values = weight * mean[s]
        values = values - q @ (q.T @ values)
        dot += wave @ values
        norm2 += np.sum(wave**2, axis=1)
        energy += float(values @ values)
    score = dot / np.sqrt(np.maximum(norm2, 1e-12) * max(energy, 1e-12))
    return score, 3 / float(np.sqrt(_SECTORS * (rings - _DEGREE - 1)))


def ice_curve(spectrum: Spectrum) -> tuple[FloatArray, FloatArray]:
    """Return the mean amplitude of rings from 4.6 to 3 A, relative to that at 30-6 A.

    Its mean over 3.9-3.5 A, squared, is nearly CTFFIND5's iciness (there pixels are averaged, not
    rings).

    Returns
    -------
    frequency, amplitude : ndarray
        1/A and the amplitude; both end at Nyquist where that comes first, and are empty where it
        is coarser than 4.6 A.
    """
    ky, kx = spectrum.frequencies()
    k = np.hypot(ky, kx)
    step = 1 / (spectrum.size * spectrum.pixel_size)
    amplitude = np.sqrt(spectrum.power.astype(np.float64))
    reference = amplitude[(k > 1 / _REFERENCE[0]) & (k < 1 / _REFERENCE[1])].mean()
    # The axes carry the edges of the image; column 0 would count its two halves twice.
    clear = (np.abs(ky) > 1.5 * step) & (kx > 1.5 * step)
    ring = np.rint(k[clear] / step).astype(np.intp)
    mean = np.bincount(ring, amplitude[clear]) / np.maximum(np.bincount(ring), 1)
    last = min(1 / _ICE[1], 0.5 / spectrum.pixel_size)
    index = np.arange(np.ceil(1 / (_ICE[0] * step)), np.floor(last / step) + 1, dtype=np.intp)
    return index * step, np.asarray(mean[index] / reference)
