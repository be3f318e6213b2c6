"""All peaks of a micrograph, picked or not, found again with the picker that made the picks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray

if TYPE_CHECKING:
    from icefloe.cli.extract_inputs import Picked
    from icefloe.engine import Session
    from icefloe.interop.optics import OpticsGroup
    from icefloe.picking.threshold import ScoreSplit
    from icefloe.project import ExposureRecord

__all__ = ["Candidates", "from_star", "of_session", "of_star"]

# Scores of noise begin here: a robust standard deviation of 0, a correlation of 0.
_LOWEST = 0.0
_NO_LIMITS: dict[str, Any] = {
    "threshold": _LOWEST,
    "max_contrast": 0.0,
    "max_picks": 0,
    "max_score": None,
    "min_power": None,
    "max_power": None,
}
# So much of the recorded picks must be found again for the search to be the same.
_SAME = 0.95


@dataclass(frozen=True)
class Candidates:
    """A micrograph with all its peaks.

    Attributes
    ----------
    name
        Of the micrograph.
    listed
        As lists name it.
    image
        (ny, nx).
    pixel_size
        A.
    numbers
        Lists of all peaks, the highest score first, as `Picks.numbers()` has them.
    threshold, limit
        Lowest score and largest contrast that were picked; 0 is no limit.
    reason
        Where the threshold comes from.
    mask
        Junk, over the whole micrograph.
    remarks
        What went otherwise.
    optics, row
        Of the micrograph, for lists.
    split
        How the scores part into noise and particles; None if that is not known.
    """

    name: str
    listed: str
    image: FloatArray
    pixel_size: float
    numbers: Mapping[str, Any]
    threshold: float
    limit: float
    reason: str
    mask: BoolArray | None = None
    remarks: tuple[str, ...] = ()
    optics: OpticsGroup | None = None
    row: Mapping[str, Any] | None = None
    split: ScoreSplit | None = None

    def kept(self, threshold: float | None = None, limit: float | None = None) -> BoolArray:
        """Return which peaks are picked, with the limits that were used or others."""
        score = np.asarray(self.numbers["score"], dtype=np.float64)
        keep = score >= (self.threshold if threshold is None else threshold) - 1e-4
        most = self.limit if limit is None else limit
        contrast = np.asarray(self.numbers.get("contrast") or [], dtype=np.float64)
        if most and len(contrast) == len(score):
            keep &= np.abs(contrast) <= most
        return np.asarray(keep)

    def chosen(self, keep: BoolArray) -> dict[str, Any]:
        """Return the numbers of some peaks only."""
        n = len(keep)
        return {
            k: [v for v, use in zip(values, keep, strict=True) if use]
            if isinstance(values, list) and len(values) == n
            else values
            for k, values in self.numbers.items()
        }


def of_session(session: Session, names: list[str]) -> Iterator[Candidates]:
    """Yield the peaks of picked exposures of a session."""
    from icefloe.engine.arrays import image_of, pixel_size_of
    from icefloe.engine.picking import pick_exposure
    from icefloe.engine.stage import Work
    from icefloe.formats.mrc import read_mrc
    from icefloe.picking.threshold import ScoreSplit
    from icefloe.project import load_record

    registry = session.project.read_registry()
    pick = session.settings.pick
    for name in names:
        record = load_record(session.project, name, registry[name])
        recorded = record.numbers["pick"]
        work = Work(session, name, session.project.locate(registry[name]))
        work.numbers.update(record.numbers)
        shape = recorded.get("shape_found", "disc")
        section = shape if shape in ("template", "network") else "blob"
        part: Any = getattr(pick, section)
        found = pick_exposure(work, **_NO_LIMITS)
        given = session.project.masks / f"{name}_mask.mrc"
        path = given if given.is_file() else record.file("pick", "mask")
        mask = None if path is None else np.asarray(read_mrc(path)[0] > 0.5)
        # Sessions of before did not record it.
        split = recorded.get("split") or found.numbers.get("split")
        reason = (
            f"Threshold {recorded['threshold']:.3g}: pick.{section}.threshold."
            if part.threshold is not None
            else _found_reason(split)
        )
        yield _candidates(
            Candidates(
                name=name,
                listed=session.project.listed(_micrograph(record)),
                image=image_of(work),
                pixel_size=pixel_size_of(work),
                numbers=found.numbers,
                threshold=float(recorded["threshold"]),
                limit=float(getattr(part, "max_contrast", 0.0)),
                reason=reason,
                mask=mask,
                remarks=record.flags.get("pick", ()),
                split=None if split is None else ScoreSplit.from_numbers(split),
            ),
            recorded,
            recorded,
        )


@dataclass(frozen=True)
class HowPicked:
    """What a list says of how it was made: diameters, A, and `TemplateBank.usual`."""

    star: Path
    sizes: tuple[float, float] | None = None
    usual: tuple[float, float, float] | None = None


def of_star(star: Path, given: Mapping[str, float | None]) -> tuple[list[Picked], HowPicked]:
    """Return the micrographs that a list of picks names, and how they were picked."""
    from icefloe.cli.extract_inputs import list_picked
    from icefloe.formats.star import read_star
    from icefloe.interop.relion_picks import USUAL

    listing = list_picked(star, None, None, given, recentre=False)
    block = read_star(star).get("icefloe")
    if block is None or "icefloeDiameterMin" not in block:
        return listing.items, HowPicked(star)
    low, high = (float(block.value(f"icefloeDiameter{end}")) for end in ("Min", "Max"))
    if not all(name in block for name in USUAL):
        return listing.items, HowPicked(star, (low, high))
    noise, particles, width = (float(block.value(name)) for name in USUAL)
    return listing.items, HowPicked(star, (low, high), (noise, particles, width))


def from_star(item: Picked, how: HowPicked) -> Candidates:
    """Return the peaks of one micrograph of a list.

    They are looked for with the templates beside the list, as `icefloe pick auto` leaves them, or
    as discs and rings of the diameter in it. Where that does not find the listed picks again,
    they were made otherwise, and only they are returned.
    """
    from icefloe.formats.image import read_image
    from icefloe.formats.mrc import read_mrc
    from icefloe.picking import (
        BlobSettings,
        MatchSettings,
        pick_blobs,
        pick_templates,
        whole_mask,
    )

    listed, sizes, star = item.picks(), how.sizes, how.star
    pixel_size = item.micrograph.optics.micrograph_pixel_size
    image = np.asarray(read_image(item.micrograph.path).data, dtype=np.float32)
    size = sizes[1] if sizes is not None else 0.0
    recorded: dict[str, Any] = {
        "y": listed.y.tolist(),
        "x": listed.x.tolist(),
        "score": listed.score.tolist(),
        "diameter": [size or 20 * pixel_size] * len(listed.y),
    }
    recorded |= {
        key: np.asarray(listed.columns[name]).tolist()
        for name, key in (("rlnClassNumber", "template"), ("rlnAnglePsi", "psi"))
        if name in listed.columns
    }
    threshold = float(np.nanmin(listed.score)) if np.isfinite(listed.score).any() else 0.0
    base = Candidates(
        item.micrograph.name, item.listed_name, image, pixel_size, recorded, threshold, 0.0,
        f"Threshold {threshold:.3g}: the lowest score in the list.",
        optics=item.micrograph.optics, row=item.micrograph.row,
    )  # fmt: skip
    templates = star.parent / "template.mrcs"
    folder = star.parent
    mask_file = folder / "masks" / f"{base.name}_mask.mrc"
    mask = np.asarray(read_mrc(mask_file)[0] > 0.5) if mask_file.is_file() else None
    if templates.is_file() and size:
        from icefloe.picking import TemplateBank

        images, header = read_mrc(templates)
        bank = TemplateBank(
            np.asarray(images, np.float32), float(header or 0), size, turns=False,
            usual=how.usual,
        )  # fmt: skip
        if mask is None:
            mask = whole_mask(image, size / pixel_size, pixel_size=pixel_size)
        found, usual = (
            pick_templates(image, bank, pixel_size=pixel_size, settings=match, mask=mask)
            for match in (MatchSettings(threshold=_LOWEST, max_contrast=0.0), MatchSettings())
        )
        limit = MatchSettings().max_contrast
    elif sizes is not None:
        blobs = BlobSettings(diameter=sizes)
        lowest = blobs.model_copy(update={"threshold": _LOWEST, "max_contrast": 0.0})
        found, usual = (
            pick_blobs(image, pixel_size=pixel_size, settings=settings)
            for settings in (lowest, blobs)
        )
        limit = blobs.max_contrast
    else:
        remark = "The list does not say with what was picked: what was not picked is not shown."
        return replace(base, remarks=(remark,))
    peaks, picked = (
        {"contrast": np.round(p.contrast, 3).tolist(), **p.numbers()} for p in (found, usual)
    )
    reason = _found_reason(picked.get("split"))
    full = replace(base, numbers=peaks, limit=limit, mask=mask, reason=reason, split=usual.split)
    return _candidates(full, recorded, picked)


def _candidates(
    full: Candidates, recorded: Mapping[str, Any], usual: Mapping[str, Any]
) -> Candidates:
    """Return all peaks, their contrast in the unit of `usual`, or the recorded picks alone."""
    score = np.asarray(full.numbers["score"], dtype=np.float64)
    contrast = np.asarray(full.numbers["contrast"], dtype=np.float64)
    if len(score) and usual.get("contrast"):
        index, distance = _nearest(full.numbers, usual)
        measured = np.asarray(usual["contrast"], dtype=np.float64)
        fit = (distance < 1.0) & (np.abs(contrast[index]) > 0.2)
        if fit.any():
            # The unit is that of the picks that were made: noise among the peaks is not in it.
            contrast = contrast * float(np.median(measured[fit] / contrast[index][fit]))
    full = replace(full, numbers={**full.numbers, "contrast": np.round(contrast, 3).tolist()})
    if _found_again(full, recorded):
        # What was left out for lying beside contamination is no peak of any threshold.
        beside = full.kept()
        if recorded["y"] and beside.any():
            beside[_nearest(full.numbers, recorded)[0]] = False
        return replace(full, numbers=full.chosen(~beside))
    remark = "The picks were made otherwise than could be repeated here: only they are shown."
    return replace(
        full,
        numbers={k: v for k, v in recorded.items() if k != "threshold"},
        limit=0.0,
        split=None,
        reason=f"Threshold {full.threshold:.3g}: the lowest score of the picks.",
        remarks=(*full.remarks, remark),
    )


def _nearest(peaks: Mapping[str, Any], picks: Mapping[str, Any]) -> tuple[AnyArray, FloatArray]:
    """Return the peak nearest to each pick, and how far it is, pixels."""
    from scipy.spatial import cKDTree

    places = np.stack([peaks["y"], peaks["x"]], axis=1)
    distance, index = cKDTree(places).query(np.stack([picks["y"], picks["x"]], axis=1))
    return np.asarray(index), np.asarray(distance)


def _found_again(full: Candidates, recorded: Mapping[str, Any]) -> bool:
    if not recorded["y"]:
        return True
    if not full.numbers["y"]:
        return False
    index, distance = _nearest(full.numbers, recorded)
    score = np.asarray(full.numbers["score"], dtype=np.float64)[index]
    same = np.abs(score - np.asarray(recorded["score"])) < 0.02 * np.abs(score) + 1e-3
    return bool((same & (distance < 1.0)).mean() >= _SAME)


def _found_reason(split: Mapping[str, Any] | None) -> str:
    why = (split or {}).get("reason") or "found in this micrograph"
    return f"Threshold: {why}."


def _micrograph(record: ExposureRecord) -> Path:
    found = record.file("motion" if record.kind == "movie" else "import", "micrograph")
    assert found is not None  # it was picked
    return found
