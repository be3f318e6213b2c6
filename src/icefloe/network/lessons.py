"""What the marked micrographs of a user teach, batch by batch.

A particle that a crop's border cuts, with its mark outside of the crop, looks like one that the
micrograph's border cuts: a network would learn that there are none at borders. So nothing is
learned from marks in the rim of a crop. There the network is held to the opinion of the one that
training began with (learning without forgetting: Li & Hoiem 2016, arXiv:1606.09282), as it is
everywhere about junk, of which picks say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from icefloe.network.loop import logits_of
from icefloe.network.maps import answer_maps
from icefloe.network.model import PickerModel
from icefloe.network.objective import centre_odds, objective_value
from icefloe.network.partial import MISSING
from icefloe.network.samples import HEAT_SIGMA, Sample, Variation, crops, heat_map
from icefloe.network.settings import SAMPLES, TrainSettings
from icefloe.network.validation import Part

__all__ = ["Lessons", "samples_of"]

# A crop is varied by up to this much; see `samples.Variation`.
_NOISE, _CONTRAST, _BLUR = 0.3, 0.15, 0.8
# Weights of staying with the first network's opinion: on junk, and on particles in the rim.
_JUNK, _RIM = 0.1, 0.1
# Pixels of that rim: half a diameter.
_WIDE = SAMPLES // 2


@dataclass(frozen=True)
class Lessons:
    """Batches, and what to make small in each.

    Attributes
    ----------
    samples
        See `samples_of`.
    settings
        Of the training.
    first
        The torch module that training began with, to which the rim is held; None where the trained
        one will not pick near borders: then all of a crop is learned from.
    chance
        torch's source of chance.
    place
        The device.
    """

    samples: Sequence[Sample]
    settings: TrainSettings
    first: Any
    chance: Any
    place: str

    def loss(self, net: Any, step: int) -> Any:
        """Return the scalar to make small in a batch, 1 the first."""
        settings = self.settings
        images, heat, junk = crops(
            self.samples,
            np.random.default_rng((settings.seed, step)),
            settings.batch,
            settings.crop,
            Variation(settings.scale, _NOISE, _CONTRAST, _BLUR),
        )
        logits = logits_of(net, images, self.place)
        heat, junk = heat.to(self.place), junk.to(self.place)
        missing = MISSING if settings.missing is None else settings.missing
        centres = centre_odds(logits)
        odds = logits[:, 2] - torch.logsumexp(logits[:, :2], dim=1)
        known = functional.binary_cross_entropy_with_logits(odds, junk * (1 - heat))
        if self.first is None:
            loss = objective_value(settings.objective, centres, heat, missing, self.chance)
            return loss + _JUNK * known
        inner = (slice(None), slice(_WIDE, -_WIDE), slice(_WIDE, -_WIDE))
        loss = objective_value(
            settings.objective, centres[inner], heat[inner], missing, self.chance
        )
        rim = torch.ones_like(centres, dtype=torch.bool)
        rim[inner] = False
        with torch.no_grad():
            opinion = centre_odds(logits_of(self.first, images, self.place)).sigmoid()
        held = functional.binary_cross_entropy_with_logits(centres[rim], opinion[rim])
        return loss + _JUNK * known + _RIM * held


def samples_of(part: Part, start: PickerModel, place: str) -> list[Sample]:
    """Return what lies on both sides of the strip, with the first network's view of junk."""
    _, junk, _ = answer_maps(start, part.field.pixels, place)
    ny, nx = part.shape
    heat = heat_map((ny, nx), part.yx, HEAT_SIGMA * SAMPLES)
    spots = np.rint(255 * junk).astype(np.uint8)
    rows, columns = part.checked.any(axis=1), part.checked.any(axis=0)
    everything = slice(None)
    if rows.all():
        first, last = np.flatnonzero(columns)[[0, -1]]
        cuts = [(everything, slice(0, first)), (everything, slice(last + 1, nx))]
    else:
        first, last = np.flatnonzero(rows)[[0, -1]]
        cuts = [(slice(0, first), everything), (slice(last + 1, ny), everything)]
    return [
        Sample(part.field.pixels[:, cut[0], cut[1]], heat[cut], spots[cut])
        for cut in cuts
        if min(heat[cut].shape) >= SAMPLES
    ]
