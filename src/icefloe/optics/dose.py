"""Radiation damage: how much signal an exposure has left, and the weights that follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import FloatArray
from icefloe.errors import SettingsError

__all__ = ["critical_dose", "dose_filters"]

# Where damage per electron was measured relative to 300 kV. 200 kV: 0.8 (Grant & Grigorieff
# 2015, and every program). 100 kV: RELION takes 0.64, cisTEM 0.532, MotionCor3 0.45; the middle
# one follows the inelastic cross-section. Between them linear, outside constant.
_VOLTAGES = (100.0, 200.0, 300.0)
_FACTORS = (0.532, 0.8, 1.0)


def critical_dose(k: ArrayLike, voltage: float = 300.0) -> FloatArray:
    """Return the dose, e/A^2, that damps the signal amplitude by ``1 / sqrt(e)``.

    ``N_e(k) = 0.24499 k^-1.6649 + 2.8141`` at 300 kV, for which the amplitude falls as
    ``exp(-N / (2 N_e))``. Grant & Grigorieff (2015), eLife 4:e06980, equation 3.

    Parameters
    ----------
    k
        Spatial frequencies, 1/A, any shape; infinite dose at zero.
    voltage
        Acceleration voltage, kV.
    """
    if voltage <= 0:
        raise SettingsError(f"The voltage is {voltage} kV", "a positive number")
    frequency = np.asarray(k, dtype=np.float64)
    factor = float(np.interp(voltage, _VOLTAGES, _FACTORS))
    with np.errstate(divide="ignore"):
        return np.asarray(factor * (0.24499 * frequency**-1.6649 + 2.8141))


def dose_filters(
    k: ArrayLike, doses: ArrayLike, voltage: float = 300.0, *, restore_noise: bool = True
) -> FloatArray:
    """Return the weight of each frame at each frequency.

    Parameters
    ----------
    k
        Spatial frequencies, 1/A, shape (...).
    doses
        Accumulated dose of each frame, e/A^2, shape (n,). Grant & Grigorieff and RELION use the
        dose at the end of the frame.
    voltage
        Acceleration voltage, kV.
    restore_noise
        Divide by ``sqrt(sum w^2)`` so that noise stays white in the sum.

    Returns
    -------
    ndarray
        Weights, float64, shape (n, ...).
    """
    frequency = np.asarray(k, dtype=np.float64)
    dose = np.asarray(doses, dtype=np.float64).reshape((-1,) + (1,) * frequency.ndim)
    weights = np.exp(-0.5 * dose / critical_dose(frequency, voltage))
    if restore_noise:
        weights /= np.sqrt(np.sum(weights**2, axis=0))
    return np.asarray(weights)
