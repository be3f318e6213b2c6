"""Particle windows: cut, bin, normalise, invert."""

from icefloe.extraction.box import binned_box, choose_box
from icefloe.extraction.extract import ParticleStack, extract_particles
from icefloe.extraction.settings import ExtractSettings

__all__ = ["ExtractSettings", "ParticleStack", "binned_box", "choose_box", "extract_particles"]
