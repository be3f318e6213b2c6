"""Picks one exposure with the session's method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import BoolArray
from icefloe.engine.arrays import image_of, pixel_size_of
from icefloe.engine.pick_candidates import Candidates, candidates_of, choose
from icefloe.engine.stage import Work
from icefloe.errors import InputError, MissingMetadataError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from icefloe.engine.session import Session
    from icefloe.optics import CtfParameters
    from icefloe.picking import Picks, TemplateBank
    from icefloe.project import ExposureRecord

__all__ = [
    "PickedExposure",
    "given_mask",
    "network_diameter",
    "pick_choices",
    "pick_exposure",
    "recorded_ctf",
    "uses_ctf",
]


# Choices about blobs that there were from the beginning.
_FIRST_CHOICES = {"diameter", "shape", "threshold", "min_distance", "max_picks", "edge"}
_FIRST_CHOICES |= {"max_contrast", "contrast", "local_window", "samples"}


@dataclass(frozen=True)
class PickedExposure:
    """Picks as they are recorded.

    Attributes
    ----------
    numbers
        Of `Picks.numbers()`, with method, contrast of each pick and what was masked.
    flags
        Of the picks.
    mask
        The junk mask that was found, (my, mx); None where a person's was used, or none is made.
    candidates
        The picks before `pick.limits` chose, and the best peaks below the threshold.
    """

    numbers: Mapping[str, Any]
    flags: tuple[str, ...]
    mask: BoolArray | None = None
    candidates: Candidates | None = None


def uses_ctf(session: Session) -> bool:
    """Return whether picking shows templates through each micrograph's CTF."""
    pick = session.settings.pick
    if pick.own_templates:
        stored = session.reference()
        return stored is not None and stored.reference.ctf and stored.weights is None
    return pick.method == "template" and pick.template_ctf


def given_mask(session: Session, name: str) -> Path | None:
    """Return the mask that a person made for an exposure, if there is one."""
    path = session.project.masks / f"{name}_mask.mrc"
    return path if path.is_file() else None


def pick_choices(session: Session) -> Mapping[str, Any]:
    """Return what picks depend on beside the exposure."""
    limits = session.settings.pick.limits
    chosen = _method_choices(session)
    # Only where some are set: sessions of before there were limits keep their results.
    return chosen if limits.none else {**chosen, "limits": limits.model_dump(mode="json")}


def _method_choices(session: Session) -> Mapping[str, Any]:
    pick = session.settings.pick
    match = pick.match_settings().model_dump(mode="json")
    if pick.method == "blob":
        # As before there were methods, further choices only where they are made: sessions of then
        # keep their results.
        chosen = pick.blob_settings().model_dump(mode="json")
        default = type(pick.blob_settings())().model_dump(mode="json")
        later = set(chosen) - _FIRST_CHOICES
        return {"pick": {k: v for k, v in chosen.items() if k not in later or v != default[k]}}
    if pick.method == "template":
        return {
            "templates": session.identity(pick.templates),
            "pixel_size": pick.template_pixel_size,
            "ctf": pick.template_ctf,
            "diameter": pick.diameter,
            "match": match,
        }
    if pick.method == "network":
        return {
            "model": session.model_identity(),
            "diameter": network_diameter(session),
            "network": pick.network_settings().model_dump(mode="json"),
        }
    found = session.reference()
    blob = found is not None and found.reference.method == "blob"
    chosen = pick.blob_settings().model_dump(mode="json") if blob else match
    if found is not None and found.weights is not None:
        return {
            "reference": found.identity,
            "diameter": pick.diameter,
            "network": pick.network_settings().model_dump(mode="json"),
        }
    return {
        "reference": None if found is None else found.identity,
        "diameter": pick.diameter,
        "match": chosen,
    }


def pick_exposure(work: Work, **changes: object) -> PickedExposure:
    """Pick an exposure with the method of its session.

    Parameters
    ----------
    work
        The exposure.
    changes
        Settings of the picker in place of the session's, such as ``threshold``.
    """
    session = work.session
    pick = session.settings.pick
    stored = session.reference() if pick.own_templates else None
    flags: tuple[str, ...] = ()
    if pick.method == "network" or (stored is not None and stored.weights is not None):
        picks, mask = _network(work, changes), None
    elif pick.method == "template":
        ctf = _ctf(work) if uses_ctf(session) else None
        picks, mask = _match(work, session.templates(), ctf, changes)
    elif stored is not None and stored.reference.bank is not None:
        ctf = _ctf(work) if stored.reference.ctf else None
        picks, mask = _match(work, stored.reference.bank, ctf, changes)
        if pick.method == "learn":  # why it is not the network that picks
            flags = stored.reference.flags
    else:
        diameter, mask = pick.diameter, None
        if stored is not None:
            flags = stored.reference.flags
            if diameter is None and stored.reference.diameter is not None:
                diameter = (stored.reference.diameter, stored.reference.diameter)
        picks = _blobs(work, diameter, changes)
    given = given_mask(session, work.name)
    numbers = {"contrast": np.round(picks.contrast, 3).tolist(), **picks.numbers()}
    numbers |= {"method": pick.method, "shape_found": picks.shape, "separation": picks.separation}
    if mask is not None:
        numbers["masked"] = round(float(mask.mean()), 4)
        numbers["mask_given"] = given is not None
    flags = (*flags, *picks.flags)
    candidates = candidates_of(picks)
    if not pick.limits.none and not changes:
        numbers, flags = choose(candidates, pick.limits, numbers, flags)
    return PickedExposure(numbers, flags, mask if given is None else None, candidates)


def _blobs(
    work: Work, diameter: tuple[float, float] | None, changes: Mapping[str, object]
) -> Picks:
    from icefloe.picking import pick_blobs

    session = work.session
    settings = session.settings.pick.blob_settings(diameter)
    settings = settings.model_copy(update=_known(settings, changes))
    picks = pick_blobs(
        image_of(work), pixel_size=pixel_size_of(work), settings=settings, device=session.device
    )
    mask = _given(work)
    return picks if mask is None else _outside(picks, mask)


def network_diameter(session: Session) -> float | None:
    """Return the particles' longest diameter, A, for a network; None where none is known yet.

    It is the one given, else the one that the model was trained for, else that of the reference.
    A network that learned from the reference knows one size only, which is that of its templates.
    """
    given = session.settings.pick.diameter
    if given is not None and session.settings.pick.method != "learn":
        return given[1]
    trained = session.model_card().diameter
    if trained is not None:
        return float(trained)
    stored = session.reference()
    return None if stored is None else stored.reference.diameter


def _network(work: Work, changes: Mapping[str, object]) -> Picks:
    from icefloe.network import pick_network

    session = work.session
    diameter = network_diameter(session)
    if diameter is None:
        raise MissingMetadataError("No particle diameter is known", "one in A", "Give --diameter")
    settings = session.settings.pick.network_settings()
    picks = pick_network(
        image_of(work),
        pixel_size=pixel_size_of(work),
        diameter=diameter,
        model=session.model(),
        settings=settings.model_copy(update=_known(settings, changes)),
        device=session.device,
    )
    if session.settings.pick.diameter is not None:
        picks = replace(picks, diameter_range=session.settings.pick.diameter)
    mask = _given(work)
    return picks if mask is None else _outside(picks, mask)


def _match(
    work: Work, bank: TemplateBank, ctf: CtfParameters | None, changes: Mapping[str, object]
) -> tuple[Picks, BoolArray | None]:
    from icefloe.picking import pick_templates, whole_mask

    pick = work.session.settings.pick
    settings = pick.match_settings()
    image, pixel_size = image_of(work), pixel_size_of(work)
    mask = _given(work)
    if mask is None and settings.junk:
        mask = whole_mask(
            image,
            (settings.diameter or bank.diameter) / pixel_size,
            pixel_size=pixel_size,
            bright=settings.contrast == "bright",
        )
    settings = settings.model_copy(update=_known(settings, changes))
    picks = pick_templates(
        image,
        bank,
        pixel_size=pixel_size,
        settings=settings,
        ctf=ctf,
        mask=mask,
        device=work.session.device,
    )
    if pick.diameter is not None:  # the box must hold the largest
        picks = replace(picks, diameter_range=pick.diameter)
    return picks, mask


def _known(settings: BaseModel, changes: Mapping[str, object]) -> dict[str, object]:
    """Return the changes that a picker knows."""
    return {k: v for k, v in changes.items() if k in type(settings).model_fields}


def _given(work: Work) -> BoolArray | None:
    """Return a person's mask, True where nothing may be picked."""
    from icefloe.formats.mrc import read_mrc

    path = given_mask(work.session, work.name)
    if path is None:
        return None
    data, _ = read_mrc(path)
    if data.ndim != 2:
        raise InputError(f"{path} has the shape {data.shape}", "one image")
    return np.asarray(data > 0.5)


def _outside(picks: Picks, mask: BoolArray) -> Picks:
    """Return the picks that do not lie on a mask over the whole micrograph."""
    from icefloe.picking.junk import on_junk

    ny, nx = picks.shape_yx
    y = (picks.y + 0.5) / ny * mask.shape[0] - 0.5
    x = (picks.x + 0.5) / nx * mask.shape[1] - 0.5
    free = ~on_junk(mask, y, x)
    n = len(picks)
    # Whatever a pick has, it has once for each.
    parts: dict[str, Any] = {
        key: value[free]
        for key, value in vars(picks).items()
        if isinstance(value, np.ndarray) and value.shape[:1] == (n,)
    }
    weaker = None if picks.weaker is None else _outside(picks.weaker, mask)
    return replace(picks, **parts, weaker=weaker)


def _ctf(work: Work) -> CtfParameters | None:
    from icefloe.project import load_record

    project = work.session.project
    return recorded_ctf(load_record(project, work.name, project.listed(work.source)))


def recorded_ctf(record: ExposureRecord) -> CtfParameters | None:
    """Return the CTF of a micrograph as a whole; None if its fit is not to be used."""
    from icefloe.interop.particle_ctf import particle_ctf

    numbers = record.ctf
    if numbers is None:
        return None
    whole = {key: value for key, value in numbers.items() if key != "local"}
    found = particle_ctf(whole, np.zeros(1), np.zeros(1))
    return found if not isinstance(found, list) else None
