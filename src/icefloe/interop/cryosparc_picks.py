"""Coordinates in cryoSPARC's tables: fractions of the image, counted from its lower left corner.

``x = center_x_frac * nx`` and ``y = (1 - center_y_frac) * ny``, with the shape stored (ny, nx), so
that the table alone turns y round; no other flip is needed for the same micrograph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import InputError, MissingMetadataError
from icefloe.formats.coordinates import Coordinates
from icefloe.formats.cryosparc import read_cs, write_cs
from icefloe.interop.cryosparc_group import write_result_group

__all__ = ["micrograph_fields", "read_cryosparc", "uid", "write_cryosparc"]

_PATH, _SHAPE = "location/micrograph_path", "location/micrograph_shape"
_X, _Y = "location/center_x_frac", "location/center_y_frac"
_SCORE, _POWER = "pick_stats/ncc_score", "pick_stats/power"


def read_cryosparc(path: str | Path) -> dict[str, Coordinates]:
    """Return the coordinates of each micrograph, by the path that the table has.

    Raises
    ------
    InputError
        The table has no locations.
    """
    table = read_cs(path)
    missing = [name for name in (_PATH, _SHAPE, _X, _Y) if name not in table]
    if missing:
        raise InputError(
            f"{path} has no {', '.join(missing)}",
            "a table of picked or extracted particles",
            "In cryoSPARC, export the particles with their 'location' group",
        )
    shape = np.asarray(table[_SHAPE], dtype=np.float64)
    x = np.asarray(table[_X], dtype=np.float64) * shape[:, 1]
    y = (1 - np.asarray(table[_Y], dtype=np.float64)) * shape[:, 0]
    score = np.asarray(table[_SCORE], dtype=np.float64) if _SCORE in table else None
    names, inverse = np.unique(table[_PATH].astype(str), return_inverse=True)
    sets = {}
    for i, name in enumerate(names.tolist()):
        chosen = np.flatnonzero(inverse == i)
        sets[name] = Coordinates(y[chosen], x[chosen], None if score is None else score[chosen])
    return sets


def write_cryosparc(
    path: str | Path,
    sets: Mapping[str, Coordinates],
    names: Mapping[str, str],
    shapes: Mapping[str, tuple[int, int]],
) -> None:
    """Write one table of picks, and beside it the .csg file that imports it.

    Parameters
    ----------
    path
        The .cs file.
    sets
        Coordinates by micrograph.
    names
        How cryoSPARC is to find each micrograph.
    shapes
        (ny, nx) of each micrograph.

    Raises
    ------
    MissingMetadataError
        The size of a micrograph is not known.
    """
    missing = [name for name in sets if name not in shapes]
    if missing:
        raise MissingMetadataError(
            f"The size of {missing[0]} is not known, and cryoSPARC counts fractions of it",
            hint="Give the micrographs with --micrographs",
        )
    parts: list[dict[str, NDArray[Any]]] = []
    for name, place in sets.items():
        ny, nx = shapes[name]
        n = len(place)
        score = np.zeros(n) if place.score is None else place.score
        size = np.tile(np.array([ny, nx], dtype=np.uint32), (n, 1))
        listed = [names.get(name, name)] * n
        parts.append(
            {
                "uid": np.array([uid(f"{name}:{i}") for i in range(n)], dtype=np.uint64),
                **micrograph_fields([name] * n, listed, size, place.y, place.x),
                _SCORE: score.astype(np.float32),
                _POWER: np.zeros(n, dtype=np.float32),
                "pick_stats/template_idx": np.zeros(n, dtype=np.uint32),
                "pick_stats/angle_rad": np.zeros(n, dtype=np.float32),
            }
        )
    if not parts:
        raise InputError("There are no coordinates to write", "at least one micrograph")
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    write_cs(path, columns)
    write_result_group(path, columns, len(columns["uid"]), title="Picks from Icefloe")


def micrograph_fields(
    names: Sequence[str],
    listed: Sequence[str],
    shapes: NDArray[np.uint32],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
) -> dict[str, NDArray[Any]]:
    """Return the ``location`` fields.

    Parameters
    ----------
    names, listed
        (n,) what identifies each one's micrograph, and how cryoSPARC is to find it.
    shapes
        (n, 2), (ny, nx) of the micrographs.
    y, x
        (n,) pixels.
    """
    numbers = {name: uid(name) for name in set(names)}
    return {
        "location/micrograph_uid": np.array([numbers[name] for name in names], dtype=np.uint64),
        "location/exp_group_id": np.zeros(len(names), dtype=np.uint32),
        _PATH: np.array(listed, dtype=object),
        _SHAPE: shapes,
        _X: (x / shapes[:, 1]).astype(np.float32),
        _Y: (1 - y / shapes[:, 0]).astype(np.float32),
    }


def uid(text: str) -> int:
    """Return a number of 64 bits that is always the same for the same text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
