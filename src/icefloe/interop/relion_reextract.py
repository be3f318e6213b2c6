"""Particles of a refinement or classification, as coordinates to extract again.

RELION's origins say by how much a particle was found to lie beside the middle of its image:
``position = coordinate - origin / pixel size of the micrograph``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.errors import StarColumnError
from icefloe.interop.relion_picks import ListedPicks

if TYPE_CHECKING:
    from icefloe.formats.star import StarTable

__all__ = ["ORIGINS", "listed_particles", "moved", "recentred"]

ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")
_NEEDED = ("rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName")
# Of the images that there were, and so not of those that are cut out now.
_OF_IMAGES = ("rlnImageName", "rlnMicrographName", "rlnImageSize", "rlnOriginX", "rlnOriginY")


def listed_particles(
    blocks: Mapping[str, StarTable], path: str | Path
) -> dict[str, tuple[int, ListedPicks]]:
    """Return optics group and particles of each micrograph, in the order of the file.

    All columns but those that describe the old images are kept.

    Raises
    ------
    StarColumnError
        There is no data_particles block with coordinates and micrographs, or origins stand in
        pixels, as before RELION 3.1.
    """
    from icefloe.formats.star import require_block

    table = require_block(blocks, "particles", _NEEDED, path=path)
    if "rlnOriginX" in table and ORIGINS[0] not in table:
        raise StarColumnError(
            f"{path} has origins in pixels (rlnOriginX)",
            "rlnOriginXAngst, as RELION writes since 3.1",
            "Convert it with relion_convert_star",
        )
    names = table["rlnMicrographName"].astype(str)
    groups = table["rlnOpticsGroup"] if "rlnOpticsGroup" in table else np.ones(len(table), np.int64)
    found = {}
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names.tolist()):
        rows.setdefault(name, []).append(row)
    for name, members in rows.items():
        chosen = np.asarray(members)
        columns = {k: v[chosen] for k, v in table.columns.items() if k not in _OF_IMAGES}
        y = np.asarray(columns.pop("rlnCoordinateY"), dtype=np.float64)
        x = np.asarray(columns.pop("rlnCoordinateX"), dtype=np.float64)
        score = columns.get("rlnAutopickFigureOfMerit", np.full(len(chosen), np.nan))
        found[name] = (
            int(groups[chosen[0]]),
            ListedPicks(y, x, np.asarray(score, dtype=np.float64), columns),
        )
    return found


def recentred(picks: ListedPicks, pixel_size: float) -> ListedPicks:
    """Return particles at their refined positions, their origins used up.

    Parameters
    ----------
    picks
        With the columns rlnOriginXAngst and rlnOriginYAngst.
    pixel_size
        Of the micrograph, A.

    Raises
    ------
    StarColumnError
        There are no origins.
    """
    missing = [name for name in ORIGINS if name not in picks.columns]
    if missing:
        raise StarColumnError(
            f"There is no {' and no '.join(missing)} to recentre by",
            "particles of a 2D classification or a refinement",
        )
    x, y = (np.asarray(picks.columns[name], dtype=np.float64) / pixel_size for name in ORIGINS)
    columns = {k: v for k, v in picks.columns.items() if k not in ORIGINS}
    return ListedPicks(picks.y - y, picks.x - x, picks.score, columns)


def moved(columns: dict[str, AnyArray], earlier: Mapping[str, FloatArray]) -> dict[str, AnyArray]:
    """Return particle columns with the origins they had before added to those of cutting.

    Parameters
    ----------
    columns
        Of `particle_columns`.
    earlier
        rlnOriginXAngst and rlnOriginYAngst of the same particles; empty if there are none.
    """
    return columns | {name: columns[name] + earlier[name] for name in ORIGINS if name in earlier}
