"""Electron optics: wavelength, contrast transfer, delocalisation, radiation damage."""

from icefloe.optics.boxsize import BoxAdvice, advise_box, good_size
from icefloe.optics.ctf import CtfParameters, ctf_1d, ctf_2d, defocus_at_angle, phase_aberration
from icefloe.optics.dose import critical_dose, dose_filters
from icefloe.optics.wavelength import wavelength

__all__ = [
    "BoxAdvice",
    "CtfParameters",
    "advise_box",
    "critical_dose",
    "ctf_1d",
    "ctf_2d",
    "defocus_at_angle",
    "dose_filters",
    "good_size",
    "phase_aberration",
    "wavelength",
]
