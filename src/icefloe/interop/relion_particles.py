"""Particle STAR files: one row a particle, made column by column.

Half a million particles are an ordinary data set, so nothing here loops over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import AnyArray
from icefloe.errors import StarColumnError
from icefloe.interop.optics import OpticsGroup, optics_table

if TYPE_CHECKING:
    from icefloe.formats.star import StarTable

__all__ = [
    "CTF_COLUMNS",
    "ctf_row",
    "join_columns",
    "particle_columns",
    "particles_star",
]

# What a particle inherits from its micrograph, in RELION's order. Voltage, Cs and amplitude
# contrast stand in the optics table alone.
CTF_COLUMNS = (
    "rlnCtfMaxResolution",
    "rlnCtfFigureOfMerit",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnCtfBfactor",
    "rlnCtfScalefactor",
    "rlnPhaseShift",
)
_NEEDED_CTF = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_DEFAULTS = {"rlnCtfBfactor": 0.0, "rlnCtfScalefactor": 1.0, "rlnPhaseShift": 0.0}
# Stands in the optics table, but follows from how each micrograph's particles were made.
_PREMULTIPLIED = "rlnCtfDataAreCtfPremultiplied"


def ctf_row(source: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the CTF columns of a micrograph, or None where its CTF is not known.

    Parameters
    ----------
    source
        `CtfResult.numbers()`, or a row of a micrographs_ctf.star.
    """
    if "defocus_u" in source:
        pairs = {
            "rlnCtfMaxResolution": source.get("fit_resolution"),
            "rlnCtfFigureOfMerit": source.get("figure_of_merit"),
            "rlnDefocusU": source.get("defocus_u"),
            "rlnDefocusV": source.get("defocus_v"),
            "rlnDefocusAngle": source.get("defocus_angle"),
            "rlnPhaseShift": source.get("phase_shift"),
        }
    else:
        pairs = {name: source.get(name) for name in CTF_COLUMNS}
    known = {k: float(v) for k, v in pairs.items() if v is not None}
    if any(name not in known or not np.isfinite(known[name]) for name in _NEEDED_CTF):
        return None
    return {c: {**_DEFAULTS, **known}[c] for c in CTF_COLUMNS if c in known or c in _DEFAULTS}


def particle_columns(
    extraction: Mapping[str, Any],
    *,
    stack_name: str,
    micrograph_name: str,
    optics_group: int = 1,
    score: AnyArray | None = None,
    ctf: Mapping[str, float] | None = None,
    local: Mapping[str, Any] | None = None,
    extra: Mapping[str, AnyArray] | None = None,
) -> dict[str, AnyArray]:
    """Return the columns of one micrograph's particles.

    Parameters
    ----------
    extraction
        `ParticleStack.numbers()`: lists y, x, origin_y, origin_x and kept. Where its ``ctf`` is
        ``multiply``, a further column says so, which `particles_star` takes to the optics.
    stack_name
        The .mrcs file as RELION will find it.
    micrograph_name
        As the micrographs' STAR names it.
    optics_group
        Its number.
    score
        Figure of merit of every pick, also of those that were dropped.
    ctf
        Of `ctf_row`.
    local
        Of `LocalCtf.numbers()`, with ``used``: where that is true, the particles' defoci are those
        of their places instead of the micrograph's.
    extra
        Further columns of the picks, of the length of `score`.
    """
    kept = np.asarray(extraction["kept"], dtype=np.intp)
    n = len(kept)
    columns: dict[str, AnyArray] = {
        "rlnCoordinateX": np.asarray(extraction["x"], dtype=np.float64),
        "rlnCoordinateY": np.asarray(extraction["y"], dtype=np.float64),
    }
    picked = {"rlnAutopickFigureOfMerit": score, **dict(extra or {})}
    columns |= {k: np.asarray(v)[kept] for k, v in picked.items() if v is not None}
    columns.setdefault("rlnClassNumber", np.zeros(n, dtype=np.int64))
    columns.setdefault("rlnAnglePsi", np.zeros(n))
    names = [f"{i:06d}@{stack_name}" for i in range(1, n + 1)]
    columns["rlnImageName"] = np.asarray(names, dtype=object)
    columns["rlnMicrographName"] = np.full(n, micrograph_name, dtype=object)
    columns["rlnOpticsGroup"] = np.full(n, optics_group, dtype=np.int64)
    for name, value in (ctf or {}).items():
        columns[name] = np.full(n, value, dtype=np.float64)
    if ctf and local and local.get("used"):
        from icefloe.ctf import local_defocus

        u, v, angle = local_defocus(local, columns["rlnCoordinateY"], columns["rlnCoordinateX"])
        columns |= {"rlnDefocusU": u, "rlnDefocusV": v, "rlnDefocusAngle": np.full(n, angle)}
    columns["rlnOriginXAngst"] = np.asarray(extraction["origin_x"], dtype=np.float64)
    columns["rlnOriginYAngst"] = np.asarray(extraction["origin_y"], dtype=np.float64)
    if extraction.get("ctf") == "multiply":
        columns[_PREMULTIPLIED] = np.ones(n, dtype=np.int64)
    return columns


def join_columns(parts: Sequence[Mapping[str, AnyArray]]) -> dict[str, AnyArray]:
    """Return the columns of all micrographs one after the other.

    Raises
    ------
    StarColumnError
        Some micrographs have a CTF and others do not, or some were multiplied by it and others
        not; a score may be missing in some.
    """
    if not parts:
        return {}
    names = [c for c in parts[0] if all(c in p for p in parts)]
    with_ctf = sum("rlnDefocusU" in p for p in parts)
    if 0 < with_ctf < len(parts):
        raise StarColumnError(
            f"{len(parts) - with_ctf} of {len(parts)} micrographs have no CTF",
            "a CTF for all of them or for none",
            "Leave those micrographs out",
        )
    multiplied = sum(_PREMULTIPLIED in p for p in parts)
    if 0 < multiplied < len(parts):
        raise StarColumnError(
            f"The particles of {multiplied} of {len(parts)} micrographs were multiplied by their "
            "CTF",
            "all of them, or none",
            "Extract them again with one setting",
        )
    return {name: np.concatenate([p[name] for p in parts]) for name in names}


def particles_star(
    columns: Mapping[str, AnyArray],
    optics: Sequence[OpticsGroup],
    *,
    pixel_size: float | Mapping[int, float],
    box: int | Mapping[int, int],
    premultiplied: bool = False,
) -> dict[str, StarTable]:
    """Return the blocks of a particles.star of RELION 3.1 and later.

    Parameters
    ----------
    columns
        Of `particle_columns` or `join_columns`.
    optics
        The groups the particles refer to; others are left out.
    pixel_size
        Of the particles, A; by the group's number where groups differ.
    box
        Side of the particles, pixels; by the group's number where groups differ.
    premultiplied
        Whether they were multiplied by their CTF.
    """
    from icefloe.formats.star import StarTable

    premultiplied = premultiplied or _PREMULTIPLIED in columns
    columns = {name: column for name, column in columns.items() if name != _PREMULTIPLIED}
    used = set(np.unique(columns["rlnOpticsGroup"]).tolist()) if columns else set()
    groups = [g for g in optics if g.number in used] or list(optics)
    rows: list[dict[str, Any]] = []
    for group in groups:
        size = pixel_size[group.number] if isinstance(pixel_size, Mapping) else pixel_size
        side = box[group.number] if isinstance(box, Mapping) else box
        table = optics_table(
            [group], image_pixel_size=size, image_size=side, premultiplied=premultiplied
        )
        rows += list(table.rows())
    return {"optics": StarTable.from_rows(rows), "particles": StarTable(columns)}
