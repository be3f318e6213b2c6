"""Class averages and templates of a session: looked at, chosen by click, saved as templates."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from icefloe.engine.reference_files import read_reference
from icefloe.errors import IcefloeError, SettingsError
from icefloe.formats.atomic import output_directory, write_text
from icefloe.formats.star import read_star
from icefloe.interop.class_selection import ClassSet, read_class_set, select_classes
from icefloe.interop.relion_classes import listed_classes
from icefloe.project import Project
from icefloe.project.sidecar import plain_json

__all__ = ["ClassesIn", "class_detail", "class_picture", "class_sets", "save_selection"]

REFERENCE = "reference"  # the templates that the session made or was given
SELECTED = "selected_classes"  # directory below picks/, written by this page only
_SIDE = 96  # pixels of a picture
_MOST = 1000


class ClassesIn(BaseModel):
    """Classes chosen by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    set: str = Field(max_length=500)
    numbers: tuple[int, ...] = Field(min_length=1, max_length=_MOST)


def class_sets(project: Project) -> list[dict[str, Any]]:
    """Return what there is to choose from; a set's identity is only ever looked up here."""
    found = [{"id": key, "title": key} for key in _models(project)]
    if read_reference(project) is not None:
        found.insert(0, {"id": REFERENCE, "title": "Templates that the session picks with"})
    return found


def _models(project: Project) -> dict[str, Path]:
    """Return the models of classifications inside the session, of RELION the last of each job."""
    root = project.root.resolve()
    found: dict[str, Path] = {}
    for pattern in ("*/*_model.star", "*/*/*_model.star"):
        for path in sorted(project.root.glob(pattern)):
            if path.resolve().is_relative_to(root) and path.name.startswith("run"):
                found[path.parent.relative_to(project.root).as_posix()] = path
    return found


def _classes(project: Project, key: str) -> ClassSet:
    if key == REFERENCE:
        stored = read_reference(project)
        bank = None if stored is None else stored.reference.bank
        if bank is None:
            raise SettingsError("The session has no templates yet")
        images = np.asarray(bank.images, dtype=np.float32)
        return ClassSet(images, bank.pixel_size, bank.diameter, {}, None)
    path = _models(project).get(key)
    if path is None:
        raise SettingsError("There are no such classes in this session")
    try:
        return _read(project.root, path, path.stat().st_mtime_ns)
    except OSError as error:
        raise SettingsError(f"{key} cannot be read ({error.strerror})") from error


@lru_cache(maxsize=4)
def _read(root: Path, path: Path, _: int) -> ClassSet:
    def resolve(listed: str, star: Path) -> Path:
        for directory in (root, *star.parents):
            found = (directory / listed).resolve()
            if found.is_relative_to(root.resolve()) and found.is_file():
                return found
        raise SettingsError(f"The averages of {star.parent.name} are not in this session")

    inside = root.resolve()
    blocks = read_star(path)
    beside = [path.with_name(Path(name).name) for _, name in listed_classes(blocks, path)[:1]]
    # A link beside the model must not lead elsewhere, nor one in place of its particles.
    for file in (*beside, path.with_name(path.name.replace("_model.star", "_data.star"))):
        if not file.resolve().is_relative_to(inside):
            raise SettingsError(f"{file.name} leads out of this session")
    return read_class_set(path, blocks, resolve)


def class_detail(project: Project, key: str) -> dict[str, Any]:
    """Return the numbers of each class of a set, and which of them were chosen before.

    Raises
    ------
    SettingsError, InputError, StarColumnError
        There is no such set, or it cannot be read.
    """
    classes = _classes(project, key)
    n, columns = len(classes.images), classes.columns
    population = columns.get("icefloePopulation")
    share = columns.get("rlnClassDistribution")
    resolution = columns.get("icefloeResolution") or columns.get("rlnEstimatedResolution")
    score = columns.get("icefloeScore")
    twin = columns.get("icefloeDuplicateOf")
    saved = _saved(project)
    detail: dict[str, Any] = plain_json(
        {
            "id": key,
            "pixel_size": classes.pixel_size,
            "box": classes.images.shape[-1],
            "diameter": classes.diameter,
            "particles": classes.data is not None,
            "chosen": saved.get("numbers", []) if saved.get("set") == key else [],
            "classes": [
                {
                    "number": k + 1,
                    "population": None if population is None else int(population[k]),
                    "share": None if share is None else share[k],
                    "resolution": None if resolution is None else resolution[k],
                    "score": None if score is None else score[k],
                    "like": int(twin[k]) if twin is not None and twin[k] > 0 else None,
                }
                for k in range(min(n, _MOST))
            ],
        }
    )
    return detail


def class_picture(project: Project, key: str, number: int) -> bytes | None:
    """Return a class average as PNG; None if there is none."""
    from PIL import Image

    from icefloe.engine.preview import to_grey

    try:
        classes = _classes(project, key)
    except IcefloeError:
        return None
    if not 1 <= number <= len(classes.images):
        return None
    made = Image.fromarray(to_grey(classes.images[number - 1], 1.0, 99.7))
    out = io.BytesIO()
    made.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(out, format="PNG")
    return out.getvalue()


def save_selection(project: Project, asked: ClassesIn) -> dict[str, Any]:
    """Write the chosen classes as templates, and their particles, into the session.

    Returns
    -------
    dict
        ``templates``: the file as it is given to ``pick.templates``; ``count``; ``particles`` and
        ``particles_of``: how many are in the chosen classes, where that is known.

    Raises
    ------
    SettingsError
        There is no such set or class; nothing is written then.
    """
    classes = _classes(project, asked.set)
    n = len(classes.images)
    wrong = [number for number in asked.numbers if not 1 <= number <= n]
    if wrong:
        raise SettingsError(f"There is no class {wrong[0]}", f"numbers from 1 to {n}")
    numbers = sorted(set(asked.numbers))
    out = output_directory(project.picks / SELECTED)
    (out / "particles_selected.star").unlink(missing_ok=True)  # of another selection
    written = select_classes(classes, [number - 1 for number in numbers], out)
    write_text(out / "selection.json", json.dumps({"set": asked.set, "numbers": numbers}) + "\n")
    kept, total = written or (None, None)
    templates = project.listed(out / "templates.mrcs")
    return {"templates": templates, "count": len(numbers), "particles": kept} | {
        "particles_of": total
    }


def _saved(project: Project) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        path = project.picks / SELECTED / "selection.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}
