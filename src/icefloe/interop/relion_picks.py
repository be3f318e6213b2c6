"""Coordinates in RELION's STAR files, and back.

A picker's result is one `NAME_picks.star` for each micrograph, with an unnamed block, and one list
of them (`data_coordinate_files`, RELION 4 and later) that goes into RELION's extraction job. Our
list carries the optics and the micrographs' rows in two further blocks, which RELION does not look
at and from which `icefloe extract` needs no other file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import StarColumnError
from icefloe.interop.optics import OpticsGroup, optics_table

if TYPE_CHECKING:
    from icefloe.formats.star import StarTable

__all__ = ["USUAL", "ListedPicks", "coordinate_files", "picks_list", "picks_star", "read_picks"]

# Where a list keeps `TemplateBank.usual`.
USUAL = ("icefloeUsualNoise", "icefloeUsualParticles", "icefloeUsualWidth")

_COORDINATES = ("rlnCoordinateX", "rlnCoordinateY")


@dataclass(frozen=True)
class ListedPicks:
    """Coordinates read from a file.

    Attributes
    ----------
    y, x
        (n,), pixels of the micrograph, 0-based.
    score
        (n,) figure of merit; NaN where the file has none.
    columns
        All further columns, which a particle keeps, known or not.
    """

    y: FloatArray
    x: FloatArray
    score: FloatArray
    columns: Mapping[str, Any]


def picks_star(numbers: Mapping[str, Any]) -> dict[str, StarTable]:
    """Return the blocks of one micrograph's coordinate file.

    Parameters
    ----------
    numbers
        Of `Picks.numbers()`: lists y, x and score; psi (degrees, RELION's) and template (from 1)
        if templates were matched, else both are written as 0.
    """
    from icefloe.formats.star import StarTable

    n = len(numbers["y"])
    columns = {
        "rlnCoordinateX": np.asarray(numbers["x"], dtype=np.float64),
        "rlnCoordinateY": np.asarray(numbers["y"], dtype=np.float64),
        "rlnAutopickFigureOfMerit": np.asarray(numbers["score"], dtype=np.float64),
        "rlnClassNumber": np.asarray(numbers.get("template", np.zeros(n)), dtype=np.int64),
        "rlnAnglePsi": np.asarray(numbers.get("psi", np.zeros(n)), dtype=np.float64),
    }
    return {"": StarTable(columns)}


def coordinate_files(rows: Iterable[tuple[str, str]]) -> dict[str, StarTable]:
    """Return RELION's list of coordinate files from pairs (micrograph, coordinate file)."""
    from icefloe.formats.star import StarTable

    names = ("rlnMicrographName", "rlnMicrographCoordinates")
    pairs = [dict(zip(names, row, strict=True)) for row in rows]
    return {"coordinate_files": StarTable.from_rows(pairs, names)}


def picks_list(
    rows: Iterable[tuple[str, str]],
    micrographs: Sequence[Mapping[str, Any]],
    optics: Sequence[OpticsGroup],
    diameter: tuple[float, float] | None = None,
    usual: tuple[float, float, float] | None = None,
) -> dict[str, StarTable]:
    """Return `coordinate_files` with the optics and the micrographs behind it.

    Parameters
    ----------
    rows
        Pairs (micrograph, coordinate file).
    micrographs
        STAR rows with rlnMicrographName and rlnOpticsGroup. Columns that not all of them have are
        left out.
    optics
        The optics groups the rows refer to.
    diameter
        Smallest and largest particle diameter searched, A; extraction sizes its box by it.
    usual
        `TemplateBank.usual` of the templates beside the list.
    """
    from icefloe.formats.star import StarTable

    common = [
        c for c in (micrographs[0] if micrographs else ()) if all(c in m for m in micrographs)
    ]
    blocks = {
        **coordinate_files(rows),
        "optics": optics_table(optics),
        "micrographs": StarTable.from_rows(
            [{c: m[c] for c in common} for m in micrographs],
            common or ["rlnMicrographName", "rlnOpticsGroup"],
        ),
    }
    if diameter is not None:
        facts = {"icefloeDiameterMin": float(diameter[0]), "icefloeDiameterMax": float(diameter[1])}
        if usual is not None:
            facts |= dict(zip(USUAL, usual, strict=True))
        blocks["icefloe"] = StarTable.from_values(facts)
    return blocks


def read_picks(path: str | Path) -> ListedPicks:
    """Read one micrograph's coordinates, RELION's or ours.

    Raises
    ------
    StarColumnError
        There is no block with rlnCoordinateX and rlnCoordinateY.
    """
    from icefloe.formats.star import read_star

    blocks = read_star(path)
    table = next((t for t in blocks.values() if all(c in t for c in _COORDINATES)), None)
    if table is None:
        raise StarColumnError(
            f"{path} has no coordinates (its blocks are {', '.join(map(repr, blocks))})",
            "a table with rlnCoordinateX and rlnCoordinateY",
        )
    x, y = (np.asarray(table[c], dtype=np.float64) for c in _COORDINATES)
    score = np.full(len(x), np.nan)
    if "rlnAutopickFigureOfMerit" in table:
        score = np.asarray(table["rlnAutopickFigureOfMerit"], dtype=np.float64)
    others = {name: column for name, column in table.columns.items() if name not in _COORDINATES}
    return ListedPicks(y, x, score, others)
