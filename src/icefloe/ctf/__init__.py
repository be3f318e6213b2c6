"""Estimation of the contrast transfer function from Thon rings."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.ctf.curves import Curves
    from icefloe.ctf.estimate import NO_RINGS, CtfResult, estimate_ctf, estimate_ctf_from_spectrum
    from icefloe.ctf.settings import CtfSettings
    from icefloe.ctf.spectrum import Spectrum, power_spectrum, tiled_power_spectrum
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "Curves": "curves",
            "NO_RINGS": "estimate",
            "CtfResult": "estimate",
            "estimate_ctf": "estimate",
            "estimate_ctf_from_spectrum": "estimate",
            "CtfSettings": "settings",
            "Spectrum": "spectrum",
            "power_spectrum": "spectrum",
            "tiled_power_spectrum": "spectrum",
        },
    )

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
