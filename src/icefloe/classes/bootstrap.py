"""Templates from first picks: windows, classes, the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icefloe._types import FloatArray
from icefloe.classes.classify import classify_particles
from icefloe.classes.result import Classification
from icefloe.classes.settings import ClassifySettings
from icefloe.classes.templates import select_templates, templates_of
from icefloe.errors import InputError
from icefloe.extraction import ExtractSettings, extract_particles
from icefloe.optics import CtfParameters

if TYPE_CHECKING:
    from icefloe.picking import TemplateBank

__all__ = ["TemplatesFromPicks", "templates_from_picks"]

# Particles that are enough for templates at 20 A.
_ENOUGH = 2000
_PER_CLASS = 60
_BOX = 1.8


@dataclass(frozen=True)
class TemplatesFromPicks:
    """Templates, and the classes they were chosen from.

    Attributes
    ----------
    bank
        For `pick_templates`.
    classification
        All classes; its particles are the picks that were used, micrograph by micrograph.
    chosen
        0-based numbers of the classes in the bank.
    """

    bank: TemplateBank
    classification: Classification
    chosen: tuple[int, ...]


def templates_from_picks(
    images: Sequence[FloatArray],
    picks: Sequence[tuple[FloatArray, FloatArray]],
    ctfs: Sequence[CtfParameters | None] | None,
    pixel_size: float,
    diameter: float,
    *,
    bright: bool = False,
    settings: ClassifySettings | None = None,
    device: str = "cpu",
) -> TemplatesFromPicks:
    """Cut out picks at 4 to 5 A, classify them and take the best averages as templates.

    Parameters
    ----------
    images
        Micrographs (ny, nx), particles dark.
    picks
        y and x, (n,) each, pixels, of every micrograph; evenly thinned out beyond 2,000.
    ctfs
        Of each micrograph; without all of them averages are not corrected for the CTF.
    pixel_size
        Of the micrographs, A.
    diameter
        Of the particle, A.
    bright
        Whether particles are brighter than the ice.
    settings
        Choices; by default a class for 60 particles, 10 to 50 of them.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.

    Raises
    ------
    InputError
        Lists of unequal length, or fewer than 20 picks.
    """
    if len(images) != len(picks) or (ctfs is not None and len(ctfs) != len(images)):
        raise InputError(
            f"{len(images)} micrographs, {len(picks)} lists of picks and "
            f"{len(ctfs) if ctfs is not None else 'no'} CTFs", "as many of each"
        )  # fmt: skip
    total = sum(len(y) for y, _ in picks)
    keep = min(1.0, _ENOUGH / max(1, total))
    target = max(pixel_size, min(5.0, diameter / 24))
    box = 2 * int(np.ceil(0.5 * _BOX * diameter / pixel_size))
    cut = ExtractSettings(
        box=box, bin_to=target if target > pixel_size else None, invert=not bright,
        background_diameter=min(1.3 * diameter, 0.95 * box * pixel_size), edge="drop",
    )  # fmt: skip
    stacks, lenses, size = [], [], pixel_size
    for i, (image, (y, x)) in enumerate(zip(images, picks, strict=True)):
        every = np.floor(np.arange(0, len(y), 1 / keep)).astype(np.intp)
        some = np.unique(every[every < len(y)])
        stack = extract_particles(image, np.asarray(y)[some], np.asarray(x)[some],
                                  pixel_size=pixel_size, settings=cut, device=device)  # fmt: skip
        stacks.append(stack.images)
        lenses += [ctfs[i] if ctfs is not None else None] * len(stack)
        size = stack.pixel_size
    everything = np.concatenate(stacks)
    known = [lens for lens in lenses if lens is not None]
    if settings is None:
        classes = int(np.clip(len(everything) // _PER_CLASS, 10, 50))
        settings = ClassifySettings(classes=classes, diameter=diameter, resolution=15.0)
    result = classify_particles(
        everything, known if len(known) == len(everything) else None,
        pixel_size=size, settings=settings, device=device,
    )  # fmt: skip
    chosen = select_templates(result)
    return TemplatesFromPicks(templates_of(result, chosen), result, tuple(chosen))
