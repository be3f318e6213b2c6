"""What a picker found in one micrograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.picking.threshold import ScoreSplit

__all__ = ["Picks", "weaker_count"]

_FEWEST_WEAKER = 200


def weaker_count(picked: int) -> int:
    """Return how many peaks below the threshold are kept beside so many picks."""
    return max(_FEWEST_WEAKER, picked)


@dataclass(frozen=True)
class Picks:
    """Particles of one micrograph, best first.

    Attributes
    ----------
    y, x
        Centres, (n,), pixels of the micrograph, 0-based, sub-pixel.
    score
        (n,), how far each stands out, in standard deviations of the response map; for templates
        the correlation coefficient.
    contrast
        (n,), contrast relative to the median pick.
    diameter
        (n,), apparent diameter, A, of the template that fitted best.
    threshold
        Lowest score that was kept.
    separation
        Distance between the scores of particles and of noise, in their standard deviation; below
        about 2.2 the two cannot be told apart.
    diameter_range
        Smallest and largest diameter searched, A.
    shape
        ``disc`` or ``ring``: the template that was used; ``template`` for given ones; ``network``.
    shape_yx
        Size (ny, nx) of the micrograph.
    flags
        What went wrong or was done instead.
    psi
        (n,), in-plane angle, degrees, -180 to 180, as RELION's rlnAnglePsi; None for blobs.
    template
        (n,), number of the template that fitted best, from 1; None for blobs.
    power
        (n,), mean square of the pixels about the centre, relative to the median pick; None for
        blobs.
    split
        How the scores of all peaks, picked or not, part into noise and particles.
    weaker
        What a lower threshold would have picked, too: the best of it, best first, in the same
        units. None with `max_picks`.
    """

    y: FloatArray
    x: FloatArray
    score: FloatArray
    contrast: FloatArray
    diameter: FloatArray
    threshold: float
    separation: float
    diameter_range: tuple[float, float]
    shape: str
    shape_yx: tuple[int, int]
    flags: tuple[str, ...] = ()
    psi: FloatArray | None = None
    template: AnyArray | None = None
    power: FloatArray | None = None
    split: ScoreSplit | None = None
    weaker: Picks | None = None

    def __len__(self) -> int:
        return len(self.y)

    def numbers(self) -> dict[str, Any]:
        """Return the figures that a sidecar records."""
        numbers = {
            "diameter_min": float(self.diameter_range[0]),
            "diameter_max": float(self.diameter_range[1]),
            "threshold": round(float(self.threshold), 4),
            "n_picks": len(self),
            "y": np.round(self.y, 2).tolist(),
            "x": np.round(self.x, 2).tolist(),
            "score": np.round(self.score, 4).tolist(),
            "diameter": np.round(self.diameter, 2).tolist(),
            "median_score": round(float(np.median(self.score)), 4) if len(self) else None,
        }
        if self.split is not None:
            numbers["split"] = self.split.numbers()
        if self.psi is not None:
            numbers["psi"] = np.round(self.psi, 2).tolist()
        if self.template is not None:
            numbers["template"] = np.asarray(self.template).astype(int).tolist()
        if self.power is not None:
            numbers["power"] = np.round(self.power, 3).tolist()
        return numbers
