"""Cryo-EM single-particle preprocessing, from raw movies to extracted particles."""

__version__ = "0.1.0"
