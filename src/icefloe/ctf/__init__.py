"""Estimation of the contrast transfer function from Thon rings."""

from icefloe.ctf.curves import Curves
from icefloe.ctf.estimate import (
    NO_RINGS,
    CtfResult,
    estimate_ctf,
    estimate_ctf_from_spectrum,
)
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.spectrum import Spectrum, power_spectrum, tiled_power_spectrum

__all__ = [
    "NO_RINGS",
    "CtfResult",
    "CtfSettings",
    "Curves",
    "Spectrum",
    "estimate_ctf",
    "estimate_ctf_from_spectrum",
    "power_spectrum",
    "tiled_power_spectrum",
]
