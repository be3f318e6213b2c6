"""Marks of a part of the particles only, told by what the first network finds beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icefloe.network.model import PickerModel
from icefloe.network.pick import field_peaks
from icefloe.network.settings import SAMPLES
from icefloe.scoring import match_picks

if TYPE_CHECKING:
    from icefloe.network.validation import Part

__all__ = ["MISSING", "PARTIAL", "Unmarked", "find_unmarked"]

# Share of the particles without a mark where nothing tells otherwise.
MISSING = 0.1
# What the first network is that sure of counts as particles, if it finds so many of the marks: one
# that does not know the particle says nothing about how many there are.
_SURE, _KNOWN = 0.5, 0.3
# From this share on marks are taken as incomplete: below it, what is not marked may as well not be
# wanted, and training is to learn that.
PARTIAL, _MOST = 0.5, 0.95


@dataclass(frozen=True)
class Unmarked:
    """How complete marks are.

    Attributes
    ----------
    missing
        Share of the particles without a mark.
    flags
        What was taken for what.
    """

    missing: float
    flags: tuple[str, ...] = ()


def find_unmarked(parts: Sequence[Part], start: PickerModel, device: str = "cpu") -> Unmarked:
    """Estimate how many particles were not marked.

    Parameters
    ----------
    parts
        Micrographs with marks.
    start
        The network that training begins with.
    device
        ``cpu`` or ``cuda:N``.
    """
    from icefloe.network.maps import answer_maps
    from icefloe.network.validation import RIGHT

    found = marked = known = 0
    for part in parts:
        centres, _, _ = answer_maps(start, part.field.pixels, device)
        yx, heights = field_peaks(centres)
        yx = yx[start.probability(heights) >= _SURE]
        hit = match_picks(yx, np.ones(len(yx)), part.yx, RIGHT * SAMPLES) >= 0
        found, marked, known = found + len(yx), marked + len(part.yx), known + int(hit.sum())
    missing = (found - known) / max(1, found)
    if known < _KNOWN * marked or missing < PARTIAL:
        return Unmarked(MISSING)
    missing = min(round(missing, 2), _MOST)
    flag = (
        f"the model {start.card.name} finds {found - known} particles beside the {marked} marked: "
        f"the marks are taken for a part of the particles ({100 * missing:.0f} % missing; "
        f"--missing {MISSING:g} if all are marked). What was not marked counts as wrong in the "
        f"average precision: about {1 - missing:.2f} is the most that it can be"
    )
    return Unmarked(missing, (flag,))
