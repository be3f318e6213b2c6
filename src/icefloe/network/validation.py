"""What judges a network in training: a strip of each micrograph, kept from the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.network.pick import field_peaks
from icefloe.network.settings import SAMPLES
from icefloe.scoring import match_picks, pool_picks

__all__ = [
    "RIGHT",
    "Part",
    "check",
    "checked_marks",
    "strip",
    "validation_picks",
    "validation_sets",
]

# A pick is right within this many diameters of a mark.
RIGHT = 0.3


@dataclass(frozen=True)
class Part:
    """A micrograph with its marks and the strip that is kept for validation."""

    pixels: AnyArray  # (2, ny, nx), as a `NetworkField` has them
    yx: FloatArray  # of the marks, pixels of the field
    checked: BoolArray  # (ny, nx)

    def in_strip(self, yx: FloatArray) -> BoolArray:
        """Return which places, (n, 2), lie in the strip."""
        limit = np.asarray(self.checked.shape) - 1
        index = np.clip(np.rint(yx).astype(np.intp), 0, limit)
        return np.asarray(self.checked[index[:, 0], index[:, 1]])


def strip(shape: tuple[int, ...], index: int, share: float) -> BoolArray:
    """Return the strip for validation: inside, where picks are complete, at four places in turn."""
    ny, nx = shape
    checked: BoolArray = np.zeros((ny, nx), dtype=np.bool_)
    across = checked.T if index % 2 else checked
    start = min((0.2, 0.55)[index // 2 % 2], 1 - share)
    n = across.shape[1]
    across[:, round(start * n) : round((start + share) * n)] = True
    return checked


def checked_marks(parts: list[Part]) -> int:
    """Return how many marks lie in the strips."""
    return sum(int(part.in_strip(part.yx).sum()) for part in parts)


def validation_sets(
    net: Any, parts: list[Part], place: str
) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Return for each micrograph places and heights of the picks to be judged, and the marks."""
    import torch

    from icefloe.network.maps import class_maps

    found = []
    for part in parts:
        with torch.inference_mode():
            centres, _ = class_maps(net, part.pixels, place)
        yx, heights = field_peaks(centres)
        inside = part.in_strip(yx)
        found.append((yx[inside], heights[inside], part.yx[part.in_strip(part.yx)]))
    return found


def validation_picks(net: Any, parts: list[Part], place: str) -> tuple[FloatArray, BoolArray]:
    """Return heights of the validation picks, and whether each was right."""
    heights, right = [], []
    for yx, values, truth in validation_sets(net, parts, place):
        heights.append(values)
        right.append(match_picks(yx, values, truth, RIGHT * SAMPLES) >= 0)
    return np.concatenate(heights), np.concatenate(right)


def check(net: Any, parts: list[Part], place: str) -> tuple[float, float]:
    """Return cross-entropy and average precision on the validation strips."""
    import torch

    from icefloe.network.maps import class_maps
    from icefloe.network.samples import HEAT_SIGMA, heat_map

    loss, count, sets = 0.0, 0, []
    for part in parts:
        with torch.inference_mode():
            centres, _ = class_maps(net, part.pixels, place)
        shape = (int(part.checked.shape[0]), int(part.checked.shape[1]))
        heat = heat_map(shape, part.yx, HEAT_SIGMA * SAMPLES)[part.checked] / 255
        p = np.clip(centres[part.checked].astype(np.float64), 1e-6, 1 - 1e-6)
        loss -= float(np.sum(heat * np.log(p) + (1 - heat) * np.log(1 - p)))
        count += p.size
        yx, heights = field_peaks(centres)
        inside = part.in_strip(yx)
        sets.append((yx[inside], heights[inside], part.yx[part.in_strip(part.yx)]))
    score = pool_picks(sets, RIGHT * SAMPLES)
    return loss / max(1, count), score.average_precision
