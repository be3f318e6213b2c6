"""The strips of a user's micrographs that are kept for validation, and what picks there tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from icefloe._types import BoolArray, FloatArray
from icefloe.network.field import NetworkField
from icefloe.network.maps import mean_maps
from icefloe.network.pick import field_peaks
from icefloe.network.samples import HEAT_SIGMA, heat_map
from icefloe.network.settings import SAMPLES
from icefloe.scoring import PickScore, match_picks, pool_picks

__all__ = ["RIGHT", "Part", "Strips", "look", "strip"]

# A pick is right within this many diameters of a mark.
RIGHT = 0.3


@dataclass(frozen=True)
class Part:
    """A micrograph with its marks and the strip that is kept for validation."""

    field: NetworkField
    yx: FloatArray  # of the marks, pixels of the field
    checked: BoolArray  # (ny, nx)

    @property
    def shape(self) -> tuple[int, int]:
        """Size (ny, nx) of the field."""
        return int(self.checked.shape[0]), int(self.checked.shape[1])

    def in_strip(self, yx: FloatArray) -> BoolArray:
        """Return which of these places (n, 2) are validated."""
        index = np.clip(np.rint(yx).astype(np.intp), 0, np.asarray(self.shape) - 1)
        return np.asarray(self.checked[index[:, 0], index[:, 1]])


@dataclass(frozen=True)
class Strips:
    """What a network says of all strips.

    Attributes
    ----------
    loss
        Cross-entropy a pixel.
    sets
        For each micrograph its picks (n, 2), their heights (n,) and the marks (m, 2).
    """

    loss: float
    sets: list[tuple[FloatArray, FloatArray, FloatArray]]

    def score(self) -> PickScore:
        """Return precision and recall of all picks together."""
        return pool_picks(self.sets, RIGHT * SAMPLES)

    def judged(self) -> tuple[FloatArray, BoolArray]:
        """Return the heights of all picks, and whether each is right."""
        right = [match_picks(yx, h, marks, RIGHT * SAMPLES) >= 0 for yx, h, marks in self.sets]
        return np.concatenate([h for _, h, _ in self.sets]), np.concatenate(right)


def strip(shape: tuple[int, ...], index: int, share: float) -> BoolArray:
    """Return the strip for validation: inside, where picks are complete, at four places in turn."""
    ny, nx = shape
    checked: BoolArray = np.zeros((ny, nx), dtype=np.bool_)
    across = checked.T if index % 2 else checked
    start = min((0.2, 0.55)[index // 2 % 2], 1 - share)
    n = across.shape[1]
    across[:, round(start * n) : round((start + share) * n)] = True
    return checked


def look(net: Any, parts: list[Part], place: str, views: int = 1) -> Strips:
    """Return what a torch module on a device says of the strips, seen in so many turns."""
    loss, count, sets = 0.0, 0, []
    for part in parts:
        with torch.inference_mode():
            centres, _ = mean_maps(net, part.field.pixels, place, views)
        heat = heat_map(part.shape, part.yx, HEAT_SIGMA * SAMPLES)[part.checked] / 255
        p = np.clip(centres[part.checked].astype(np.float64), 1e-6, 1 - 1e-6)
        loss -= float(np.sum(heat * np.log(p) + (1 - heat) * np.log(1 - p)))
        count += p.size
        yx, heights = field_peaks(centres)
        inside = part.in_strip(yx)
        sets.append((yx[inside], heights[inside], part.yx[part.in_strip(part.yx)]))
    return Strips(loss / max(1, count), sets)
