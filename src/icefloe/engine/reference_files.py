"""The files that keep a session's reference for picking.

They lie in `picks/reference/`: the templates as a stack that other programs open, a picture of
them, the network that learned from them if there is one, and `reference.json`, written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icefloe._types import FloatArray
from icefloe.engine.plan import fingerprint_of
from icefloe.engine.reference import Reference
from icefloe.errors import IcefloeError
from icefloe.formats.atomic import output_directory, write_text
from icefloe.project.sidecar import plain_json

if TYPE_CHECKING:
    from icefloe.engine.session import Session
    from icefloe.network import PickerModel
    from icefloe.project import Project

__all__ = [
    "REFERENCE_FILES",
    "StoredReference",
    "forget_reference",
    "read_reference",
    "reference_hash",
    "write_reference",
]

# Raised when the same micrographs and settings give another reference, and another network.
_VERSION, _LEARNING = 2, 2
_SCHEMA = 1
_TEMPLATES, _WEIGHTS = "templates.mrcs", "network.safetensors"
# What the reference is; the others are pictures of it.
REFERENCE_FILES = ("reference.json", _TEMPLATES, _WEIGHTS)
# Choices about picking with the templates, not about making them.
_AFTERWARDS = {"threshold", "min_distance", "max_picks", "max_contrast", "junk", "angle_step"}
_AFTERWARDS |= {"max_score", "min_power", "max_power"}


@dataclass(frozen=True)
class StoredReference:
    """A reference in its session.

    Attributes
    ----------
    reference
        It.
    origin
        ``data``, or ``user`` where somebody gave the templates.
    settings_hash
        Hash of the settings it was made with.
    inputs
        Exposures it was made from.
    complete
        Whether there were as many good exposures as the settings ask for.
    identity
        Hash of what picks with it depend on.
    weights
        File of the network that learned from the templates, which picks in their place.
    """

    reference: Reference
    origin: str
    settings_hash: str
    inputs: tuple[str, ...]
    complete: bool
    identity: str
    weights: Path | None = None


def reference_hash(session: Session) -> str:
    """Return the hash of the settings and facts that a reference made from the data depends on."""
    pick = session.settings.pick.model_dump(mode="json")
    learns = session.settings.pick.method == "learn"
    # A network learns from the picks, which depend on all choices of matching.
    matching = {k: v for k, v in pick["template"].items() if learns or k not in _AFTERWARDS}
    keys = ("diameter", "contrast", "reference_exposures", "reference_micrographs")
    return fingerprint_of(
        {
            "version": _VERSION,
            "pick": {k: pick[k] for k in (*keys, "reference_classes")},
            "template": matching,
            **({"learn": _LEARNING} if learns else {}),
            "pixel_size": session.settings.data.pixel_size,
        }
    )


def write_reference(
    project: Project,
    reference: Reference,
    *,
    origin: Literal["data", "user"],
    settings_hash: str,
    inputs: Sequence[str] = (),
    complete: bool = True,
    network: PickerModel | None = None,
) -> None:
    """Write a reference in place of the one there is; it counts when all of it is there."""
    from icefloe.engine.preview import to_grey, write_png
    from icefloe.formats.mrc import write_mrc

    directory = output_directory(project.reference)
    forget_reference(project)
    bank = reference.bank
    content: dict[str, Any] = {
        "schema": _SCHEMA,
        "origin": origin,
        "method": reference.method,
        "diameter": reference.diameter,
        "settings_hash": settings_hash,
        "inputs": list(inputs),
        "complete": complete,
        "flags": list(reference.flags),
        "numbers": reference.numbers,
        "templates": None,
    }
    if bank is not None:
        write_mrc(directory / _TEMPLATES, bank.images, bank.pixel_size)
        write_png(directory / "templates.png", to_grey(_sheet(bank.images), 0, 100))
        content["templates"] = {
            "file": _TEMPLATES,
            "count": len(bank.images),
            "pixel_size": float(bank.pixel_size),
            "turns": bool(bank.turns),
            "usual": None if bank.usual is None else list(bank.usual),
            "ctf": reference.ctf,
        }
    if network is not None:
        from icefloe.network import save_model

        save_model(directory / _WEIGHTS, network)
        content["network"] = _WEIGHTS
    text = json.dumps(plain_json(content), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(directory / "reference.json", text + "\n")


def forget_reference(project: Project) -> None:
    """Remove the reference; what was picked with it stays until the next run."""
    for name in (*REFERENCE_FILES, "templates.png", "reference.svg"):
        (project.reference / name).unlink(missing_ok=True)


def read_reference(project: Project) -> StoredReference | None:
    """Return the reference there is; None if there is none that can be read.

    Templates that somebody put in the place of `templates.mrcs` count as they are.
    """
    from icefloe.formats.mrc import read_mrc
    from icefloe.picking import TemplateBank

    try:
        content = json.loads((project.reference / "reference.json").read_text(encoding="utf-8"))
        if content["schema"] != _SCHEMA or content["method"] not in ("template", "blob", "none"):
            return None
        bank, digest, templates = None, "", content["templates"]
        if content["method"] == "template":
            path = project.reference / Path(templates["file"]).name
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            images, pixel_size = read_mrc(path)
            bank = TemplateBank(
                np.asarray(images, dtype=np.float32).reshape(-1, *images.shape[-2:]),
                float(pixel_size or templates["pixel_size"]),
                float(content["diameter"]),
                bool(templates["turns"]),
                usual=tuple(templates["usual"]) if templates.get("usual") else None,
            )
        diameter = content["diameter"]
        weights = None
        parts = [content["method"], diameter, content["templates"], digest]
        if content.get("network"):
            weights = project.reference / Path(content["network"]).name
            parts.append(hashlib.sha256(weights.read_bytes()).hexdigest())
        return StoredReference(
            Reference(
                content["method"],
                None if diameter is None else float(diameter),
                bank,
                # References of before have no such choice, and were never shown through a CTF.
                bank is not None and bool(templates.get("ctf", False)),
                dict(content["numbers"]),
                tuple(content["flags"]),
            ),
            str(content["origin"]),
            str(content["settings_hash"]),
            tuple(content["inputs"]),
            bool(content["complete"]),
            fingerprint_of(parts),
            weights,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IcefloeError):
        return None


def _sheet(images: FloatArray, columns: int = 8, scale: int = 4) -> FloatArray:
    """Return templates side by side, each from its darkest to its brightest, enlarged."""
    low = images.min(axis=(1, 2), keepdims=True)
    span = np.maximum(np.ptp(images, axis=(1, 2), keepdims=True), 1e-12)
    shown = np.pad((images - low) / span, ((0, 0), (1, 1), (1, 1)))
    n, ny, nx = shown.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    whole = np.zeros((rows * columns, ny, nx), dtype=np.float32)
    whole[:n] = shown
    sheet = whole.reshape(rows, columns, ny, nx).transpose(0, 2, 1, 3)
    return np.asarray(sheet.reshape(rows * ny, columns * nx).repeat(scale, 0).repeat(scale, 1))
