"""A network that learns the session's particle from what its templates find, with nobody's marks.

Templates made from the data know how large the particles are and how they look on average; the
general network knows what particles and dirt look like, whatever they are. A network trained on the
picks of the one, from the other on, has both (self-training: Lee 2013, ICML workshop on challenges
in representation learning; with unlabelled places as a mixture, Kiryo et al. 2017,
arXiv:1703.00593).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from icefloe._types import BoolArray, FloatArray
from icefloe.errors import InputError
from icefloe.network._torch import require_torch
from icefloe.network.checks import FEWEST
from icefloe.network.settings import TrainSettings
from icefloe.network.train import Training, TrainStep, train_network
from icefloe.picking.match_settings import MatchSettings
from icefloe.picking.template import pick_templates

if TYPE_CHECKING:
    from icefloe.optics import CtfParameters
    from icefloe.picking.bank import TemplateBank

__all__ = ["ENOUGH", "LEARNING", "MICROGRAPHS", "Learned", "learn_particle"]

# Templates see particles near the border less well, diameters: nothing is learned there.
_MARGIN = 0.5
# A session is the same by however many workers and threads it is done.
_THREADS = 2
# Picks with which no further micrographs are looked at, and the least and most that are.
ENOUGH, _LEAST, MICROGRAPHS = 400, 3, 10
# Share of the particles that templates miss, which the objective does not hold against the network;
# and that of the general network in the result: more than with a person's marks, since templates
# have their own blind spots, borders and crowds.
LEARNING = TrainSettings(missing=0.1, first=0.3)


@dataclass(frozen=True)
class Learned:
    """A network trained on what templates found.

    Attributes
    ----------
    training
        The network, and how it came about; its scores are chances to be what the templates take.
    picks
        How many picks it learned from in each micrograph.
    """

    training: Training
    picks: tuple[int, ...]


def learn_particle(
    images: Iterable[FloatArray],
    bank: TemplateBank,
    *,
    pixel_size: float,
    match: MatchSettings | None = None,
    settings: TrainSettings | None = None,
    ctfs: Sequence[CtfParameters | None] | None = None,
    masks: Sequence[BoolArray | None] | None = None,
    device: str = "cpu",
    progress: Callable[[TrainStep], None] | None = None,
) -> Learned:
    """Train the general network on what templates find in some micrographs.

    Parameters
    ----------
    images
        Micrographs (ny, nx), any real type; they are read one after the other until there are
        three and `ENOUGH` picks in them, or `MICROGRAPHS` of them.
    bank
        Templates, of the diameter that the network is trained for.
    pixel_size
        A, of all micrographs.
    match
        How the templates pick.
    settings
        How the network is trained, `LEARNING` by default.
    ctfs
        Of each micrograph, if the templates shall be seen through it.
    masks
        Of each micrograph, True where nothing may be picked; None: found.
    device
        ``cpu`` or ``cuda:N``.
    progress
        Called after each validation.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    InputError
        Fewer than 20 picks.
    """
    require_torch()
    match = match or MatchSettings()
    settings = (settings or LEARNING).model_copy(update={"contrast": match.contrast})
    diameter = float(match.diameter or bank.diameter)
    used: list[FloatArray] = []
    marks: list[tuple[FloatArray, FloatArray]] = []
    total = 0
    for index, image in enumerate(islice(images, MICROGRAPHS)):
        found = pick_templates(
            image,
            bank,
            pixel_size=pixel_size,
            settings=match,
            ctf=ctfs[index] if ctfs else None,
            mask=masks[index] if masks else None,
            device=device,
        )
        if len(found):
            used.append(image)
            marks.append((found.y, found.x))
            total += len(found)
        if total >= ENOUGH and len(used) >= _LEAST:
            break
    if total < FEWEST:
        raise InputError(
            f"The templates find {total} particles, too few for a network to learn from",
            f"at least {FEWEST}",
            "Give more micrographs, or pick with the templates alone (`icefloe pick auto`)",
        )
    done = train_network(
        used,
        marks,
        pixel_size=pixel_size,
        diameter=diameter,
        settings=settings,
        device=device,
        name="learned",
        margin=_MARGIN,
        threads=_THREADS,
        progress=progress,
    )
    card = done.model.card.model_copy(update={"data": "what templates from the data find"})
    model = replace(done.model, card=card)
    return Learned(replace(done, model=model), tuple(len(y) for y, _ in marks))
