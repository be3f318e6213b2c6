"""How thick the ice is, as far as a micrograph alone and one reference value tell.

`icefloe.ctf.thickness` gives a length where the rings have a node. Otherwise there are two relative
measures, and neither is a length without calibration on the microscope.
"""

from __future__ import annotations

import math

import numpy as np

from icefloe.ctf.spectrum import Spectrum
from icefloe.errors import SettingsError
from icefloe.fourier import rotational_average

__all__ = ["transmission_thickness", "water_ring"]

# 1/A: the first peak of vitreous water, and its neighbourhood on both sides.
_RING, _BELOW, _ABOVE = (1 / 3.95, 1 / 3.45), (1 / 5.2, 1 / 4.6), (1 / 3.15, 1 / 2.95)


def water_ring(spectrum: Spectrum, dose: float) -> float:
    """Return the power of water's ring above its surroundings, relative to them, per dose.

    Counted electrons have a white noise whose power is the dose, while the contrast of water
    grows with its thickness: ``(P_ring - P_around) / P_around / dose`` is proportional to the
    thickness as long as noise outweighs water. The factor depends on camera, aperture, and on
    the dose, since water moves meanwhile: compare micrographs of one session.

    Parameters
    ----------
    spectrum
        From `power_spectrum`; of a micrograph of counts, not dose weighted.
    dose
        e/A^2, of the whole exposure.

    Returns
    -------
    float
        A^2 per electron; NaN where the spectrum ends before 2.95 A.
    """
    if not (math.isfinite(dose) and dose > 0):
        raise SettingsError(f"The dose is {dose} e/A^2", "a positive number")
    if 0.5 / spectrum.pixel_size < _ABOVE[1]:
        return math.nan
    n = spectrum.size
    frequency, power = rotational_average(spectrum.power, (n, n))
    k = frequency / spectrum.pixel_size

    def mean(low: float, high: float) -> float:
        return float(np.mean(np.log(power[(k >= low) & (k <= high)])))

    below, ring, above = (mean(*band) for band in (_BELOW, _RING, _ABOVE))
    middle = [0.5 * (low + high) for low, high in (_BELOW, _RING, _ABOVE)]
    share = (middle[1] - middle[0]) / (middle[2] - middle[0])
    around = (1 - share) * below + share * above
    return math.expm1(ring - around) / dose


def transmission_thickness(intensity: float, vacuum: float, mean_free_path: float) -> float:
    """Return the thickness that aperture and filter see, A: ``L ln(I0 / I)``.

    Electrons scattered beyond the objective aperture, or out of the energy filter's slit, do not
    arrive. Rice et al. (2018), J. Struct. Biol. 204, 38; there are no defaults, because the mean
    free path must be measured for the aperture and the filter in use.

    Parameters
    ----------
    intensity
        Mean counts over ice.
    vacuum
        Mean counts of the same exposure through a hole without ice.
    mean_free_path
        A.

    Returns
    -------
    float
        Negative where the ice is brighter than the reference, by chance or by a changed beam.
    """
    for name, value in (
        ("mean intensity", intensity),
        ("intensity in vacuum", vacuum),
        ("mean free path", mean_free_path),
    ):
        if not (math.isfinite(value) and value > 0):
            raise SettingsError(f"The {name} is {value}", "a positive number")
    return mean_free_path * math.log(vacuum / intensity)
