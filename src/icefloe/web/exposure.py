"""What the page shows of one exposure: its numbers, picks, pictures and figures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icefloe.errors import IcefloeError
from icefloe.project import ExposureRecord, Project
from icefloe.project.sidecar import plain_json
from icefloe.report.summary import micrograph_geometry, reliable_numbers
from icefloe.web.numbers import describe

__all__ = ["FIGURES", "PICTURES", "exposure_detail", "figure", "hand_picks_path"]
__all__ += ["micrograph_file", "pick_candidates", "picture", "png"]

_THUMBNAIL = 160
_PICK = ("x", "y", "score", "diameter", "power")
# What may be asked for, and the file beside the exposure's sidecars: never a path from outside.
_MASK = "mask"
PICTURES = {
    "preview": "micrograph.png",
    "thumbnail": "micrograph.png",
    "spectrum": "ctf.png",
    "frames": "motion.png",
    _MASK: "",  # made from the mask itself
}


def exposure_detail(project: Project, record: ExposureRecord) -> dict[str, Any]:
    """Return what the page needs of an exposure, as JSON's own types.

    Parameters
    ----------
    project
        The session.
    record
        The exposure, with its lists.
    """
    numbers = reliable_numbers(record)
    shape, pixel_size = micrograph_geometry(record)
    picks = numbers.get("pick", {})
    flags = {stage: list(found) for stage, found in record.flags.items() if found}
    failure = record.failure
    detail = {
        "name": record.name,
        "source": str(record.source),
        "kind": record.kind,
        "state": record.state,
        "status": dict(record.status),
        "seconds": dict(record.seconds),
        "flags": flags,
        "failure": None if failure is None else [failure.stage, failure.message],
        "shape": shape,
        "pixel_size": pixel_size,
        "picks": {key: picks.get(key) or [] for key in _PICK},
        "candidates": pick_candidates(project, record),
        "threshold": picks.get("threshold"),
        "limits": picks.get("limits"),
        "method": "blob" if picks.get("shape_found") != "template" else "template",
        "zoom": micrograph_file(project, record) is not None,
        "numbers": _rows(record),
        "figures": [name for name in FIGURES if _draw(name, numbers) is not None],
        "pictures": [name for name in PICTURES if _file(project, record, name) is not None],
        "advice": [str(line) for line in numbers.get("ctf", {}).get("advice") or ()],
        "hand_picks": read_hand_picks(project, record.name),
    }
    found: dict[str, Any] = plain_json(detail)
    return found


def pick_candidates(project: Project, record: ExposureRecord) -> dict[str, Any] | None:
    """Return all peaks that limits of picks choose from; None where picking kept none of them."""
    from icefloe.engine.pick_candidates import CANDIDATES, read_candidates

    path = record.file("pick", CANDIDATES)
    if path is None or not path.resolve().is_relative_to(project.root.resolve()):
        return None
    found = read_candidates(path)
    if found is None:
        return None
    lists = {key: found.columns[key].tolist() if key in found.columns else [] for key in _PICK}
    return {**lists, "picked": found.picked, "threshold": found.threshold}


def _rows(record: ExposureRecord) -> list[dict[str, Any]]:
    from icefloe.curation.measures import number_names, values_of

    rows = []
    for name in number_names([record]):
        text = describe(name)
        value = float(values_of([record], name)[0])
        rows.append(
            {"name": name, "label": text.label, "unit": text.unit, "about": text.about}
            | {"value": value, "main": text.main}
        )
    return rows


def picture(project: Project, record: ExposureRecord, name: str) -> bytes | None:
    """Return a picture as PNG; None if there is none.

    Parameters
    ----------
    project
        The session; files outside it are not opened.
    record
        The exposure.
    name
        A key of `PICTURES`.
    """
    path = _file(project, record, name)
    if path is None:
        return None
    try:
        if name == _MASK:
            return _mask(path)
        if name == "thumbnail":
            return _thumbnail(path)
        return path.read_bytes()
    except (OSError, ValueError, SyntaxError, IcefloeError):
        return None


def _file(project: Project, record: ExposureRecord, name: str) -> Path | None:
    if name not in PICTURES:
        return None
    root = project.root.resolve()
    if name == _MASK:
        # A person's own mask counts before the one that was found.
        own = project.masks / f"{record.name}_mask.mrc"
        found = own if own.is_file() else record.file("pick", "mask")
        inside = found is not None and found.is_file() and found.resolve().is_relative_to(root)
        return found if inside else None
    path = project.exposures / record.name / PICTURES[name]
    # A link, or a name in a list that someone wrote by hand, must not lead elsewhere.
    return path if path.is_file() and path.resolve().is_relative_to(root) else None


def micrograph_file(project: Project, record: ExposureRecord) -> Path | None:
    """Return the micrograph that was made, or else given; None if there is none to be read."""
    root = project.root.resolve()
    made, given = record.file("motion", "micrograph"), record.file("import", "micrograph")
    if made is not None and made.suffix.lower() == ".mrc" and made.resolve().is_relative_to(root):
        return made
    # A micrograph that was given is a link from the session to where its owner keeps it.
    is_link = given is not None and given.parent.resolve() == project.micrographs.resolve()
    return given if given is not None and is_link and given.suffix.lower() == ".mrc" else None


def _mask(path: Path) -> bytes:
    """Return a mask as a picture to lay over the micrograph: red where nothing is picked."""
    from icefloe.formats.mrc import read_mrc

    mask = read_mrc(path)[0]
    covered = (np.asarray(mask).reshape(mask.shape[-2:]) > 0.5).astype(np.uint8)
    picture = np.zeros((*covered.shape, 4), dtype=np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 3] = 255, 60, 100 * covered
    return png(picture)


def _thumbnail(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as source:
        small = source.convert("L")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BILINEAR)
    return png(np.asarray(small))


def png(image: Any) -> bytes:
    """Return an 8-bit image as PNG, made fast rather than small."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", compress_level=1)
    return out.getvalue()


Numbers = Mapping[str, Mapping[str, Any]]
# By name: the stage, what its numbers must hold, and the function of icefloe.report.figures.
FIGURES: dict[str, tuple[str, str]] = {
    "spectrum_curves": ("ctf", "curves"),
    "defocus_score": ("ctf", "view"),
    "ice_ring": ("ctf", "view"),
    "defocus_surface": ("ctf", "local"),
    "frame_track": ("motion", "global_shifts"),
    "patch_tracks": ("motion", "patch_shifts"),
    "ring_curves": ("motion", "view"),
    "score_histogram": ("pick", "score"),
}


def figure(record: ExposureRecord, name: str) -> bytes | None:
    """Return a figure as SVG; None if nothing was recorded that it could show."""
    draw = _draw(name, reliable_numbers(record))
    return None if draw is None else draw()


def _draw(name: str, numbers: Numbers) -> Callable[[], bytes] | None:
    if name not in FIGURES:
        return None
    stage, key = FIGURES[name]
    found = numbers.get(stage, {})
    if not found.get(key):
        return None
    if name == "defocus_surface":
        return _draw_surface(found)

    def draw() -> bytes:
        from icefloe.report import figures

        if name == "score_histogram":
            scores = np.asarray(found["score"], dtype=np.float64)
            threshold = float(found.get("threshold") or scores.min())
            return figures.score_histogram(scores, threshold, label="Scores of the picks")
        argument = found["view"] if name == "ring_curves" else found
        made: bytes = getattr(figures, name)(argument)
        return made

    return draw


def _draw_surface(ctf: Mapping[str, Any]) -> Callable[[], bytes] | None:
    from icefloe.report import figures

    grid, note = figures.recorded_surface(ctf)
    return None if grid is None else lambda: figures.defocus_surface(grid, note=note)


def hand_picks_path(project: Project, name: str) -> Path:
    """Return where the picks that were made by hand in a micrograph lie."""
    return project.picks / "by_hand" / f"{name}.star"


def read_hand_picks(project: Project, name: str) -> dict[str, list[float]] | None:
    """Return x and y of the picks by hand, pixels; None where nobody picked."""
    from icefloe.formats.coordinates import read_coordinates

    path = hand_picks_path(project, name)
    if not path.is_file():
        return None
    try:
        found = read_coordinates(path)
    except (IcefloeError, OSError):
        return None
    return {"x": found.x.tolist(), "y": found.y.tolist()}
