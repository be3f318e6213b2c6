"""Particle windows: cut, bin, normalise, invert."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.extraction.box import binned_box, box_warning, choose_box
    from icefloe.extraction.extract import ParticleStack, extract_particles
    from icefloe.extraction.settings import ExtractSettings
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "binned_box": "box",
            "box_warning": "box",
            "choose_box": "box",
            "ParticleStack": "extract",
            "extract_particles": "extract",
            "ExtractSettings": "settings",
        },
    )

__all__ = [
    "ExtractSettings",
    "ParticleStack",
    "binned_box",
    "box_warning",
    "choose_box",
    "extract_particles",
]
