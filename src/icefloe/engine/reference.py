"""The templates that a session's own micrographs give.

`make_reference` is the one place where micrographs become a reference; how a reference was made
does not matter to what follows. `icefloe.engine.reference_files` keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import IcefloeError

if TYPE_CHECKING:
    from icefloe.classes import Refinement
    from icefloe.engine.pick_settings import PickSettings
    from icefloe.network import PickerModel
    from icefloe.optics import CtfParameters
    from icefloe.picking import MatchSettings, TemplateBank

__all__ = ["Reference", "learned_reference", "make_reference"]


@dataclass(frozen=True)
class Reference:
    """What to pick with.

    Attributes
    ----------
    method
        ``template``; ``blob`` where no templates could be made but a diameter is known; ``none``
        where there is neither.
    diameter
        Of the particles, A; None with method ``none``.
    bank
        The templates, of method ``template``.
    ctf
        Whether they are shown through each micrograph's CTF: averages that were corrected for it.
    numbers
        How it came about, JSON-able: sizes tried and their evidence, particles averaged, under
        ``classes`` whether class averages were taken and why, and under ``network`` what a network
        learned from.
    flags
        What went wrong or was done instead.
    """

    method: Literal["template", "blob", "none"]
    diameter: float | None
    bank: TemplateBank | None = None
    ctf: bool = False
    numbers: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def make_reference(
    images: Sequence[FloatArray],
    *,
    pixel_size: float,
    settings: PickSettings,
    ctfs: Sequence[CtfParameters | None] | None = None,
) -> Reference:
    """Return the reference that some micrographs give.

    A round template is found first. What it finds is classified, and the best averages take its
    place where they tell particles better from noise. Too few particles are no error: what can be
    said is returned, with a flag.

    Parameters
    ----------
    images
        Micrographs, (ny, nx) each.
    pixel_size
        Theirs, A.
    settings
        A diameter given there is used.
    ctfs
        Of the micrographs; None where one cannot be used. Averages are corrected if all are known.
    """
    from icefloe.picking import bootstrap_bank

    match = settings.match_settings()
    try:
        found = bootstrap_bank(images, pixel_size=pixel_size, settings=match)
    except Exception as error:  # a session goes on without a reference, and says why
        return _without_templates(images, pixel_size, settings, error)
    numbers: dict[str, Any] = {
        "sizes": np.round(found.sizes, 2),
        "evidence": np.round(found.evidence, 4),
        "shape": found.shape,
        "n_particles": int(found.n_windows),
    }
    bank, ctf = found.bank, False
    if settings.reference_classes:
        known = [lens for lens in ctfs or () if lens is not None]
        corrected = len(known) == len(images)
        refined = _refined(images, known if corrected else None, bank, pixel_size, match)
        numbers["classes"] = {
            "taken": refined.bank is not None,
            "reason": refined.reason,
            "ctf": corrected,
            **refined.numbers,
        }
        if refined.bank is not None:
            bank, ctf = refined.bank, corrected
    return Reference("template", float(match.diameter or bank.diameter), bank, ctf, numbers)


def learned_reference(
    reference: Reference,
    images: Sequence[FloatArray],
    *,
    pixel_size: float,
    settings: PickSettings,
    ctfs: Sequence[CtfParameters | None] | None = None,
    device: str = "cpu",
) -> tuple[Reference, PickerModel | None]:
    """Return a network that learned from what the templates find, and what to note of it.

    Where it cannot be trained, the templates pick, and a flag says so.

    Parameters
    ----------
    reference
        Of method ``template``.
    images, pixel_size, settings, ctfs
        As of `make_reference`.
    device
        ``cpu`` or ``cuda:N``.
    """
    from icefloe.network import learn_particle

    assert reference.bank is not None
    try:
        learned = learn_particle(
            images,
            reference.bank,
            pixel_size=pixel_size,
            match=settings.match_settings(),
            ctfs=ctfs if reference.ctf else None,
            device=device,
        )
    except Exception as error:  # the templates do, too
        why = error.found if isinstance(error, IcefloeError) else f"{type(error).__name__}: {error}"
        flag = f"no network could be trained ({why}); the templates pick instead"
        return replace(reference, flags=(*reference.flags, flag)), None
    done = learned.training
    numbers = {
        "picks": list(learned.picks),
        "batches": done.history[done.best].step,
        "average_precision": [round(s.average_precision, 4) for s in done.history],
        "notes": list(done.flags),
    }
    return replace(reference, numbers={**reference.numbers, "network": numbers}), done.model


def _refined(
    images: Sequence[FloatArray],
    ctfs: Sequence[CtfParameters] | None,
    bank: TemplateBank,
    pixel_size: float,
    settings: MatchSettings,
) -> Refinement:
    from icefloe.classes import Refinement, refine_templates

    try:
        return refine_templates(images, ctfs, bank, pixel_size=pixel_size, settings=settings)
    except Exception as error:  # the round template does, too
        why = error.found if isinstance(error, IcefloeError) else f"{type(error).__name__}: {error}"
        return Refinement(None, f"no classes could be made ({why})", {})


def _without_templates(
    images: Sequence[FloatArray], pixel_size: float, settings: PickSettings, error: Exception
) -> Reference:
    """Return what to pick with where particles are too few for templates."""
    from icefloe.picking.bootstrap import size_evidence

    why = error.found if isinstance(error, IcefloeError) else f"{type(error).__name__}: {error}"
    reason = f"no templates could be made ({why})"
    numbers: dict[str, Any] = {}
    diameter = None if settings.diameter is None else settings.diameter[1]
    try:
        each = [
            size_evidence(image, pixel_size=pixel_size, bright=settings.contrast == "bright")
            for image in images
        ]
    except IcefloeError:  # micrographs too small to look for sizes
        each = []
    if each:
        sizes = each[0][0]
        # One micrograph in which they stand out is enough to go on with.
        evidence = np.max(
            [np.interp(sizes, s, np.maximum(disc, ring)) for s, disc, ring in each], axis=0
        )
        numbers = {"sizes": np.round(sizes, 2), "evidence": np.round(evidence, 4)}
        if diameter is None and evidence.max() > 0:
            diameter = float(sizes[int(evidence.argmax())])
    if diameter is None:
        flags = (f"{reason}; nothing is picked",)
        return Reference("none", None, numbers=numbers, flags=flags)
    what = f"{reason}; discs and rings of {diameter:.0f} A are picked instead"
    return Reference("blob", diameter, numbers=numbers, flags=(what,))
