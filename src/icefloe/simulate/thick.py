"""Thick ice, slab by slab: every slab scatters at its own defocus.

The water of each slab has molecules of its own, so its wave has random phases of its own; the
slabs' contrasts add up, as weak phases do. Nothing here knows the closed formula for thick
specimens that a fit may use.
"""

from __future__ import annotations

import math

import numpy as np

from icefloe._types import FloatArray
from icefloe.fourier import irfft2
from icefloe.simulate.lens import Lens
from icefloe.simulate.loops import poisson_counts
from icefloe.simulate.seeds import key
from icefloe.simulate.settings import SimulationSettings
from icefloe.simulate.specimen import phase_of_water

__all__ = ["simulate_thick_ice"]

# A; within one, the phase changes by 0.2 rad at 4 A and 300 kV.
_SLAB = 50.0
# Mean square displacement of water along one axis, A^2 per e/A^2, as in the scenes.
_DIFFUSION = 1 / 3


def simulate_thick_ice(
    settings: SimulationSettings | None = None, name: str = "ice", *, slab: float = _SLAB
) -> FloatArray:
    """Return the counts of a micrograph, (ny, nx) float32, of ice without particles.

    The mean defocus is that of the ice's middle. What moves within the exposure, the water, is
    blurred as in `simulate_micrograph`; there is no tilt and no contamination.

    Parameters
    ----------
    settings
        Microscope, thickness, dose and size.
    name
        Seeds the molecules and the counts.
    slab
        Thickness of a slab, A.
    """
    settings = settings or SimulationSettings()
    lens = Lens(settings.model_copy(update={"tilt": 0.0}), name, settings.movie_shape, 0)
    dose = settings.total_dose
    n = max(1, math.ceil(settings.thickness / slab))
    depth = settings.thickness / n
    power = 4 * phase_of_water(lens.k, settings.voltage, depth) * lens.envelope**2
    power = power * settings.ice_strength**2 * _time_average(lens.k2, dose)
    amplitude = lens.amplitude(power)
    total = np.zeros(lens.k.shape, dtype=np.complex64)
    for i in range(n):
        height = (i + 0.5) * depth - 0.5 * settings.thickness
        total += lens.noise(f"slab {i}") * (amplitude * lens.ctf(height))
    expected = np.maximum(irfft2(total, lens.shape) + 1, 0.02).astype(np.float32)
    expected *= np.float32(dose * settings.movie_pixel_size**2)
    counts = np.empty(settings.movie_shape, dtype=np.uint32)
    poisson_counts(expected, key(name, settings.seed, "counts"), counts)
    return counts.astype(np.float32)


def _time_average(k2: FloatArray, dose: float) -> FloatArray:
    """Return what is left of the power after averaging over molecules that diffuse."""
    x = np.maximum(2 * math.pi**2 * _DIFFUSION * k2 * dose, 1e-3).astype(np.float64)
    return np.asarray(2 * (x + np.expm1(-x)) / x**2)
