"""What a classification found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import AnyArray, FloatArray

if TYPE_CHECKING:
    from icefloe.classes.ranking import ClassRank

__all__ = ["Classification"]


@dataclass(frozen=True)
class Classification:
    """Class averages, best first, and where each particle belongs.

    A particle's image shows its class turned by `psi` and then moved by `place`.

    Attributes
    ----------
    images
        (K, b, b) float32, corrected for the CTF, filtered, centred.
    pixel_size
        Of the averages, A.
    diameter
        Of the particle, as given or assumed, A.
    classes
        (n,) int, 0-based; -1 for particles that were left out.
    psi
        (n,) degrees from +x towards +y (row index up).
    place
        (n, 2) y and x of the class's middle, A from the middle of the image.
    score
        (n,) standard deviations of what noise gives; NaN for particles that were left out.
    halves
        (n,) 0 or 1, the half set of the resolution.
    counts
        (K,) particles.
    resolution
        (K,) A, where the two halves of a class correlate by 0.143.
    frc
        (K, b // 2 + 1) that correlation on rings.
    ranks
        Why each class is where it is.
    flags
        What went wrong or was done instead.
    """

    images: FloatArray
    pixel_size: float
    diameter: float
    classes: AnyArray
    psi: FloatArray
    place: FloatArray
    score: FloatArray
    halves: AnyArray
    counts: AnyArray
    resolution: FloatArray
    frc: FloatArray
    ranks: tuple[ClassRank, ...]
    flags: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def numbers(self) -> dict[str, Any]:
        """Return the figures that a sidecar records."""
        return {
            "n_classes": len(self),
            "n_particles": int(np.count_nonzero(self.classes >= 0)),
            "n_left_out": int(np.count_nonzero(self.classes < 0)),
            "pixel_size": self.pixel_size,
            "diameter": self.diameter,
            "classes": [rank.numbers() for rank in self.ranks],
            "flags": list(self.flags),
        }
