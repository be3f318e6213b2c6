"""Topaz's coordinates: one table for all micrographs.

Tab-separated text with a header, ``image_name x_coord y_coord [score]``; names have no suffix, and
coordinates count pixels of the images that Topaz saw, which are often reduced ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from icefloe.errors import InputError
from icefloe.formats.atomic import write_text
from icefloe.formats.coordinates import Coordinates

__all__ = ["looks_like_topaz", "read_topaz", "write_topaz"]

_NAMES = ("image_name", "x_coord", "y_coord")


def looks_like_topaz(path: Path) -> bool:
    """Say whether a text file begins with Topaz's header."""
    try:
        with path.open(encoding="utf-8", errors="replace") as handle:
            return handle.readline().split()[:3] == list(_NAMES)
    except OSError:
        return False


def read_topaz(path: str | Path) -> dict[str, Coordinates]:
    """Return the coordinates of each micrograph, by its name without suffix.

    Raises
    ------
    InputError
        Another header, or a row that does not fit it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})") from error
    header = lines[0].split("\t") if lines else []
    if tuple(header[:3]) != _NAMES:
        raise InputError(f"{path} begins with {header}", "image_name, x_coord, y_coord[, score]")
    found: dict[str, list[tuple[float, float, float]]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        words = line.split("\t")
        try:
            x, y = float(words[1]), float(words[2])
            score = float(words[3]) if "score" in header[3:4] else np.nan
        except (ValueError, IndexError):
            raise InputError(f"Line {number} of {path} is {line!r}", "a name and numbers") from None
        found.setdefault(words[0], []).append((y, x, score))
    sets = {}
    for name, rows in found.items():
        table = np.array(rows)
        scores = table[:, 2].copy() if np.isfinite(table[:, 2]).any() else None
        sets[name] = Coordinates(table[:, 0].copy(), table[:, 1].copy(), scores)
    return sets


def write_topaz(path: str | Path, sets: Mapping[str, Coordinates]) -> None:
    """Write one table; Topaz counts whole pixels, to which positions are rounded."""
    scored = bool(sets) and all(s.score is not None for s in sets.values())
    lines = ["\t".join((*_NAMES, *(("score",) if scored else ())))]
    for name, place in sets.items():
        score = place.score if scored and place.score is not None else np.zeros(len(place))
        for x, y, s in zip(np.rint(place.x), np.rint(place.y), score.tolist(), strict=True):
            lines.append(f"{name}\t{x:.0f}\t{y:.0f}" + (f"\t{s:.6g}" if scored else ""))
    write_text(path, "".join(f"{line}\n" for line in lines))
