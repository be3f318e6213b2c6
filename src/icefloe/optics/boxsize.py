"""How large a particle's box must be: its diameter and what defocus spreads around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from icefloe.errors import SettingsError
from icefloe.optics.wavelength import wavelength

__all__ = ["BoxAdvice", "advise_box", "good_size"]


@dataclass(frozen=True)
class BoxAdvice:
    """A box and why.

    Attributes
    ----------
    delocalisation
        Distance, A, by which defocus displaces information at `resolution`: ``lambda dF / d``.
    minimum
        ``D + 2 lambda dF / d``, A.
    pixels
        Even box that transforms fast and holds `minimum`; None without a pixel size.
    size
        That box, A; `minimum` without a pixel size.
    """

    diameter: float
    defocus: float
    resolution: float
    voltage: float
    delocalisation: float
    minimum: float
    pixels: int | None
    size: float


def good_size(minimum: float) -> int:
    """Return the smallest even number >= `minimum` with no prime factor above 7."""
    n = max(2, 2 * math.ceil(minimum / 2 - 1e-9))
    while True:
        rest = n
        for p in (2, 3, 5, 7):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += 2


def advise_box(
    diameter: float,
    defocus: float,
    resolution: float,
    voltage: float = 300.0,
    pixel_size: float | None = None,
) -> BoxAdvice:
    """Return the box that keeps a particle's signal up to a resolution.

    ``D + 2 lambda dF / d``; Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721.

    Parameters
    ----------
    diameter
        Longest diameter of the particle, A.
    defocus
        Largest defocus in the data, A.
    resolution
        Resolution aimed at, A.
    voltage
        Acceleration voltage, kV.
    pixel_size
        Pixel size of the micrograph, A.
    """
    for name, value in (("diameter", diameter), ("resolution", resolution)):
        if not value > 0:
            raise SettingsError(f"The {name} is {value} A", "a positive length")
    if pixel_size is not None and not pixel_size > 0:
        raise SettingsError(f"The pixel size is {pixel_size} A", "a positive length")
    spread = wavelength(voltage) * abs(defocus) / resolution
    minimum = diameter + 2 * spread
    pixels = None if pixel_size is None else good_size(minimum / pixel_size)
    size = minimum if pixels is None or pixel_size is None else pixels * pixel_size
    return BoxAdvice(diameter, defocus, resolution, voltage, spread, minimum, pixels, size)
