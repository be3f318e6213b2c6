"""Estimation of the contrast transfer function from Thon rings."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.ctf.corrected import further_numbers, refine_locally
    from icefloe.ctf.curves import Curves
    from icefloe.ctf.estimate import NO_RINGS, CtfResult, estimate_ctf, estimate_ctf_from_spectrum
    from icefloe.ctf.halves import errors_from_halves
    from icefloe.ctf.ice import transmission_thickness, water_ring
    from icefloe.ctf.local import NO_LOCAL_RINGS, LocalCtf, estimate_local_ctf, local_defocus
    from icefloe.ctf.settings import CtfSettings
    from icefloe.ctf.spectrum import Spectrum, power_spectrum, tiled_power_spectrum
    from icefloe.ctf.surface import DefocusSurface
    from icefloe.ctf.thickness import NO_NODE, ThicknessFit, estimate_thickness
    from icefloe.ctf.uncertainty import CtfErrors
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
            "DefocusSurface": "surface",
            "LocalCtf": "local",
            "NO_LOCAL_RINGS": "local",
            "NO_NODE": "thickness",
            "ThicknessFit": "thickness",
            "estimate_local_ctf": "local",
            "estimate_thickness": "thickness",
            "further_numbers": "corrected",
            "local_defocus": "local",
            "refine_locally": "corrected",
            "transmission_thickness": "ice",
            "water_ring": "ice",
            "CtfErrors": "uncertainty",
            "errors_from_halves": "halves",
            "Spectrum": "spectrum",
            "power_spectrum": "spectrum",
            "tiled_power_spectrum": "spectrum",
        },
    )

__all__ = [
    "NO_LOCAL_RINGS",
    "NO_NODE",
    "NO_RINGS",
    "CtfErrors",
    "CtfResult",
    "CtfSettings",
    "Curves",
    "DefocusSurface",
    "LocalCtf",
    "Spectrum",
    "ThicknessFit",
    "errors_from_halves",
    "estimate_ctf",
    "estimate_ctf_from_spectrum",
    "estimate_local_ctf",
    "estimate_thickness",
    "further_numbers",
    "local_defocus",
    "power_spectrum",
    "refine_locally",
    "tiled_power_spectrum",
    "transmission_thickness",
    "water_ring",
]
