"""The part of a spectrum that is fitted, as flat arrays, and the phase of its Thon rings.

The fit works on the logarithm of the power: the periodogram's noise is multiplicative, so its
logarithm has one variance everywhere and a background becomes a sum. Weak Thon rings are then
``log P = background + E(k) m``, with the oscillation ``m = 2 CTF^2 - 1 = -cos(2 chi)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.ctf.sampling import lag_window
from icefloe.ctf.spectrum import Spectrum
from icefloe.errors import SettingsError
from icefloe.optics import CtfParameters, wavelength

__all__ = ["CROSS", "WIDE_CROSS", "Optics", "Samples", "take_samples"]

# Pixels left and right of the axes that are not fitted: edges, and rows of the detector.
CROSS = 5
# The same where the image has edges so strong that the cross spreads.
WIDE_CROSS = 16


@dataclass(frozen=True)
class Optics:
    """What is known about the microscope: kV, mm, fraction."""

    voltage: float
    cs: float
    amplitude_contrast: float

    def parameters(
        self, u: float, v: float, angle: float = 0.0, phase_shift: float = 0.0
    ) -> CtfParameters:
        """Return CTF parameters (A, A, degrees, degrees) with these optics."""
        return CtfParameters(
            u, v, angle, self.voltage, self.cs, self.amplitude_contrast, phase_shift
        ).normalised()

    def double_phase(self, k2: FloatArray, defocus: FloatArray | float) -> FloatArray:
        """Return ``2 chi`` without a phase plate, for k^2 (1/A^2) and defoci (A)."""
        lam = wavelength(self.voltage)
        w = self.amplitude_contrast
        constant = 2 * math.atan2(w, math.sqrt(max(0.0, 1 - w * w)))
        quartic = constant - (math.pi * lam**3 * self.cs * 1e7) * k2 * k2
        return np.asarray(quartic + (2 * math.pi * lam) * k2 * defocus)


@dataclass(frozen=True)
class Samples:
    """Fitted pixels of a spectrum.

    Attributes
    ----------
    log_power
        (m,), logarithm of the power, extreme values capped.
    k2
        (m,), squared frequency, 1/A^2.
    cos2, sin2
        (m,), cosine and sine of twice the azimuth.
    ring
        (m,), index of the ring a pixel belongs to, in rising order.
    ring_k
        (r,), frequency of the rings, 1/A.
    step
        Distance of the rings, 1/A.
    """

    log_power: FloatArray
    k2: FloatArray
    cos2: FloatArray
    sin2: FloatArray
    ring: np.ndarray[tuple[int], np.dtype[np.intp]]
    ring_k: FloatArray
    step: float

    @property
    def resolution(self) -> float:
        """Resolution of the last ring, A."""
        return float(1 / self.ring_k[-1])

    @cached_property
    def _borders(self) -> tuple[AnyArray, AnyArray]:
        """Where each ring begins, and whether it has pixels."""
        count = np.bincount(self.ring, minlength=len(self.ring_k))
        return np.minimum(np.cumsum(count) - count, len(self.ring) - 1), count > 0

    def ring_sum(self, values: FloatArray) -> FloatArray:
        """Return the sums (..., r) of values (..., m) over rings."""
        start, filled = self._borders
        return np.asarray(np.add.reduceat(values, start, axis=-1) * filled, np.float64)

    def damping(self, defocus: FloatArray | float, lam: float) -> FloatArray:
        """Return (..., r) what is left of Thon rings that become too narrow for the box."""
        # The phase 2 chi advances by 2 pi when k advances by 1 / (2 lambda D k).
        ripple = 2 * lam * np.abs(defocus) * self.ring_k
        return np.maximum(lag_window(ripple, 1, 1 / self.step), 0.02)


def take_samples(
    spectrum: Spectrum, low_resolution: float, high_resolution: float, cross: int = CROSS
) -> Samples:
    """Return the pixels between two resolutions (A, coarse and fine), without a cross.

    Raises
    ------
    SettingsError
        The range holds fewer than 16 rings.
    """
    ky, kx = spectrum.frequencies()
    n = spectrum.size
    step = 1 / (n * spectrum.pixel_size)
    k2 = ky**2 + kx**2
    low = max(1 / low_resolution, 4 * step)
    high = min(1 / high_resolution, 0.97 * 0.5 / spectrum.pixel_size)
    first, last = math.ceil(low / step), math.floor(high / step)
    if last - first < 16:
        raise SettingsError(
            f"Between {low_resolution:g} and {high_resolution:g} A a spectrum of {n} pixels of "
            f"{spectrum.pixel_size:.3g} A has {max(0, last - first)} rings",
            "16 or more",
            "Widen the resolution range, or enlarge the box",
        )
    ring = np.rint(np.sqrt(k2) / step).astype(np.intp)
    iy = np.abs(np.rint(ky / step))
    ix = np.rint(kx / step)
    keep = np.flatnonzero((ring >= first) & (ring <= last) & (iy > cross) & (ix > cross))
    keep = keep[np.argsort(ring.ravel()[keep], kind="stable")]
    y, x = ky[keep // ring.shape[1], 0], kx[0, keep % ring.shape[1]]
    kept_ring = ring.ravel()[keep] - first
    kept_k2 = k2.ravel()[keep]
    log_power = _capped(np.log(spectrum.power.ravel()[keep].astype(np.float64)), kept_ring)
    return Samples(
        log_power,
        kept_k2,
        (x * x - y * y) / kept_k2,
        2 * x * y / kept_k2,
        kept_ring,
        np.arange(first, last + 1) * step,
        step,
    )


def _capped(values: FloatArray, ring: AnyArray) -> FloatArray:
    """Return values limited to 4 standard deviations about their ring's mean.

    Crystals of ice or gold make single pixels hundreds of times brighter than their ring.
    """
    for _ in range(2):
        count = np.maximum(np.bincount(ring), 1)
        mean = np.bincount(ring, values) / count
        spread = np.sqrt(np.bincount(ring, (values - mean[ring]) ** 2) / count)
        values = np.clip(values, (mean - 4 * spread)[ring], (mean + 4 * spread)[ring])
    return values
