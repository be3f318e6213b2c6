"""Relativistic wavelength of the electron."""

from __future__ import annotations

import math

from icefloe.errors import SettingsError

__all__ = ["wavelength"]

# CODATA 2018, exact by definition but for the electron mass.
_PLANCK = 6.62607015e-34
_MASS = 9.1093837015e-31
_CHARGE = 1.602176634e-19
_LIGHT = 299792458.0


def wavelength(voltage: float) -> float:
    """Return the relativistic wavelength of the electron.

    Parameters
    ----------
    voltage
        Acceleration voltage, kV.

    Returns
    -------
    float
        Wavelength, A: ``h / sqrt(2 m e V (1 + e V / 2 m c^2))``.

    Raises
    ------
    SettingsError
        The voltage is not a positive number.
    """
    if not (math.isfinite(voltage) and voltage > 0):
        raise SettingsError(
            f"The voltage is {voltage} kV", "a positive number, usually 100, 200 or 300"
        )
    energy = _CHARGE * voltage * 1e3
    momentum = math.sqrt(2 * _MASS * energy * (1 + energy / (2 * _MASS * _LIGHT**2)))
    return _PLANCK / momentum * 1e10
