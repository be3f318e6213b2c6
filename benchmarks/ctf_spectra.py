"""Smoothed periodograms with a known truth, made directly: hundreds of cases in a minute.

A pixel of the box is the mean of about ``(micrograph / box)^2`` amplitudes of the periodogram,
each Rayleigh distributed, so it scatters as a gamma variate of that many degrees of freedom.
Full images, which cost a hundred times more, are in `ctf.py`; both scatter alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.sampling import lag_window
from icefloe.ctf.spectrum import Spectrum
from icefloe.optics import CtfParameters, defocus_at_angle, phase_aberration, wavelength

__all__ = ["Case", "random_case", "spectrum_of", "true_resolution"]

BOX, PIXEL = 512, 1.4
# Variance of a Rayleigh variate over its squared mean.
RAYLEIGH = 4 / np.pi - 1


@dataclass(frozen=True)
class Case:
    """A micrograph.

    Attributes
    ----------
    optics
        The truth.
    strength
        Power of the Thon rings' signal over that of the noise at low frequency.
    bfactor
        A^2: the ratio falls as ``exp(-B k^2 / 2)``.
    length
        Side of the micrograph, A.
    particle
        Diameter of a shell whose form factor modulates the signal, A; 0: none.
    """

    optics: CtfParameters
    strength: float = 0.4
    bfactor: float = 40.0
    length: float = 4096.0
    particle: float = 0.0


def random_case(seed: int, phase_plate: bool = False) -> Case:
    """Return a case of 0.5 to 4 um, 100 to 300 kV, Cs 0 to 2.7 mm, weak or strong rings."""
    rng = np.random.default_rng(seed)
    defocus = float(np.exp(rng.uniform(np.log(5300), np.log(40000))))
    half = 0.5 * float(np.abs(rng.normal(0, 400)))
    return Case(
        CtfParameters(
            defocus + half,
            defocus - half,
            float(rng.uniform(-90, 90)),
            float(rng.choice([100, 200, 300])),
            float(rng.choice([0.0, 0.01, 2.7])),
            float(rng.choice([0.07, 0.1])),
            float(rng.uniform(20, 160)) if phase_plate else 0.0,
        ).normalised(),
        float(np.exp(rng.uniform(np.log(0.15), np.log(1.5)))),
        float(rng.uniform(20, 100)),
        float(rng.choice([1860.0, 3000.0, 4096.0])),
        float(rng.choice([0.0, 120.0, 180.0])),
    )


def _modulation(case: Case, k: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return power without rings, and the ratio of signal (before the CTF) to it."""
    ratio = case.strength * np.exp(-0.5 * case.bfactor * k * k)
    if case.particle:
        ratio = ratio * (0.35 + 0.65 * np.sinc(case.particle * k) ** 2 * (case.particle * k) ** 0.5)
        ratio = ratio * (1 + 2 * np.exp(-((k * case.particle / 2) ** 2)))
    noise = np.exp(-8 * k * k) * (1 + 1.5 * np.exp(-900 * k * k)) + 0.3
    return np.asarray(noise), np.asarray(ratio)


def spectrum_of(case: Case, seed: int = 0) -> Spectrum:
    """Return the spectrum of a case, (512, 257) at 1.4 A."""
    rng = np.random.default_rng([seed, 1])
    p = case.optics
    ky, kx = np.fft.fftfreq(BOX, PIXEL)[:, None], np.fft.rfftfreq(BOX, PIXEL)[None, :]
    k2 = ky**2 + kx**2
    k = np.sqrt(k2)
    defocus = defocus_at_angle(p, np.arctan2(ky, kx))
    chi = phase_aberration(p, k2, defocus)
    lam = wavelength(p.voltage)
    # The period of the rings in frequency, which a box narrower than its inverse cannot show.
    lag = 2 * lam * k * np.abs(defocus - lam**2 * p.cs * 1e7 * k2)
    rings = -np.cos(2 * chi) * lag_window(lag, BOX, PIXEL)
    noise, ratio = _modulation(case, k)
    power = noise * (1 + 0.5 * ratio * (1 + rings))
    averaged = max(1.0, (case.length / (BOX * PIXEL)) ** 2) / RAYLEIGH
    amplitude = np.sqrt(power) * rng.gamma(averaged, 1 / averaged, power.shape)
    amplitude[1:, 0] = 0.5 * (amplitude[1:, 0] + amplitude[:0:-1, 0])
    return Spectrum(np.square(amplitude).astype(np.float32), PIXEL)


def true_resolution(case: Case, level: float = 0.5) -> float:
    """Return where the expected correlation of a ring average with the rings falls to `level`, A.

    ``rho^2 = S / (S + N)`` with S the variance of the rings in the log power and N that of the
    mean over a ring's pixels. The last crossing counts: a zero of the form factor is no end.
    """
    p = case.optics
    k = np.arange(10, BOX // 2 + 1) / (BOX * PIXEL)
    _, ratio = _modulation(case, k)
    lam = wavelength(p.voltage)
    lag = 2 * lam * k * np.abs(p.defocus - lam**2 * p.cs * 1e7 * k * k)
    swing = 0.5 * ratio / (1 + 0.5 * ratio) * lag_window(lag, BOX, PIXEL)
    averaged = max(1.0, (case.length / (BOX * PIXEL)) ** 2) / RAYLEIGH
    noise = 4 / averaged / (np.pi * k * BOX * PIXEL)
    rho = np.sqrt(0.5 * swing**2 / (0.5 * swing**2 + noise))
    above = np.flatnonzero(rho >= level)
    return float(1 / k[above[-1]]) if len(above) else float("inf")
