"""Particle coordinates in the files of other programs.

In memory: pixel centres, 0-based, row 0 the first row of the MRC file. EMAN2's and crYOLO's boxes
give a corner and a size; the centre is `corner + size / 2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import InputError, StarColumnError, UnsupportedFormatError
from icefloe.formats._coordinates_csv import NUMBERS, csv_columns, csv_text
from icefloe.formats.atomic import write_text
from icefloe.formats.frames import open_binary
from icefloe.formats.star import StarTable, read_star, require_block, write_star

__all__ = ["Coordinates", "from_table", "read_coordinates", "to_table", "write_coordinates"]

_SUFFIXES = (".star", ".box", ".cbox", ".csv")
_SCORES = ("rlnAutopickFigureOfMerit", "Confidence")


@dataclass(frozen=True)
class Coordinates:
    """Positions of particles in one micrograph.

    Parameters
    ----------
    y, x
        Centres in pixels, (n,).
    score
        Larger is better, (n,); None where the file has none.
    diameter
        Size of the boxes in pixels, (n,); None where the file has none.
    columns
        What else a STAR or CSV file says of each, (n,) by label; written again to such a file.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    score: NDArray[np.float64] | None = None
    diameter: NDArray[np.float64] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def flipped(self, height: int) -> Coordinates:
        """Return the positions in the same image turned upside down."""
        return replace(self, y=height - 1 - self.y)

    def take(self, indices: NDArray[Any]) -> Coordinates:
        """Return those with these indices, or where a mask (n,) is True, in that order."""
        return Coordinates(
            self.y[indices],
            self.x[indices],
            None if self.score is None else self.score[indices],
            None if self.diameter is None else self.diameter[indices],
            {name: column[indices] for name, column in self.columns.items()},
        )


def read_coordinates(
    path: str | Path, *, flip_y: bool = False, height: int | None = None
) -> Coordinates:
    """Read `.star` (RELION), `.box` (EMAN2), `.cbox` (crYOLO) or `.csv` (x, y[, score]).

    Parameters
    ----------
    flip_y
        The file counts y from the other end of the image.
    height
        Number of rows of the image; needed with `flip_y`.

    Raises
    ------
    UnsupportedFormatError
        Another suffix.
    StarFormatError, StarColumnError, InputError
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".star":
        found = _from_star(path)
    elif suffix == ".cbox":
        found = _from_cbox(path)
    elif suffix == ".box":
        found = _from_box(path)
    elif suffix == ".csv":
        found = _from_csv(path)
    else:
        raise UnsupportedFormatError(f"Coordinates in {path}", f"one of {', '.join(_SUFFIXES)}")
    return found.flipped(_height(height)) if flip_y else found


def write_coordinates(
    path: str | Path,
    coordinates: Coordinates,
    *,
    box: int | None = None,
    flip_y: bool = False,
    height: int | None = None,
) -> None:
    """Write `.star`, `.box`, `.cbox` or `.csv`, by the suffix.

    Parameters
    ----------
    box
        Side of the boxes in pixels, for `.box` and `.cbox`; their diameters if left out.
    flip_y, height
        As in `read_coordinates`.

    Raises
    ------
    UnsupportedFormatError, InputError, OutputError
    """
    path = Path(path)
    suffix = path.suffix.lower()
    place = coordinates.flipped(_height(height)) if flip_y else coordinates
    if suffix == ".star":
        write_star(path, {"": to_table(place)})
    elif suffix == ".csv":
        write_text(path, _to_csv(place))
    elif suffix == ".box":
        size = _box_sizes(place, box, path)
        x, y = np.rint(place.x - size / 2), np.rint(place.y - size / 2)
        rows = zip(x.tolist(), y.tolist(), size.tolist(), strict=True)
        write_text(path, "".join(f"{a:.0f}\t{b:.0f}\t{s:.0f}\t{s:.0f}\n" for a, b, s in rows))
    elif suffix == ".cbox":
        write_star(path, _to_cbox(place, _box_sizes(place, box, path)))
    else:
        raise UnsupportedFormatError(f"Coordinates in {path}", f"one of {', '.join(_SUFFIXES)}")


def _height(height: int | None) -> int:
    if height is None:
        raise InputError("No image height was given", "the number of rows, to turn y round")
    return height


def _box_sizes(place: Coordinates, box: int | None, path: Path) -> NDArray[np.float64]:
    if box is not None:
        return np.full(len(place), float(box))
    if place.diameter is None:
        raise InputError(f"No box size for {path}", "a box in pixels")
    return place.diameter


def _from_star(path: Path) -> Coordinates:
    blocks = read_star(path)
    name = next((n for n, block in blocks.items() if "rlnCoordinateX" in block), None)
    if name is None:
        raise StarColumnError(
            f"{path} has no coordinates", "columns rlnCoordinateX and rlnCoordinateY"
        )
    table = require_block(blocks, name, ("rlnCoordinateX", "rlnCoordinateY"), path=path)
    return from_table(table, path)


def from_table(table: StarTable, path: Path) -> Coordinates:
    """Return the coordinates in a table of RELION.

    Raises
    ------
    InputError
        A coordinate is no number.
    """
    label = next((label for label in _SCORES if label in table), None)
    own = ("rlnCoordinateX", "rlnCoordinateY", label)
    return Coordinates(
        _numbers(table["rlnCoordinateY"], path),
        _numbers(table["rlnCoordinateX"], path),
        None if label is None else _numbers(table[label], path),
        columns={name: column for name, column in table.columns.items() if name not in own},
    )


def to_table(place: Coordinates) -> StarTable:
    """Return a table of RELION."""
    columns: dict[str, NDArray[Any]] = {"rlnCoordinateX": place.x, "rlnCoordinateY": place.y}
    if place.score is not None:
        columns["rlnAutopickFigureOfMerit"] = place.score
    return StarTable(columns | {k: v for k, v in place.columns.items() if k not in columns})


def _from_cbox(path: Path) -> Coordinates:
    table = require_block(
        read_star(path), "cryolo", ("CoordinateX", "CoordinateY", "Width", "Height"), path=path
    )
    width, height = _numbers(table["Width"], path), _numbers(table["Height"], path)
    score = _numbers(table["Confidence"], path) if "Confidence" in table else None
    return Coordinates(
        _numbers(table["CoordinateY"], path) + height / 2,
        _numbers(table["CoordinateX"], path) + width / 2,
        score,
        np.maximum(width, height),
    )


def _to_cbox(place: Coordinates, size: NDArray[np.float64]) -> dict[str, StarTable]:
    absent = np.full(len(place), "<NA>", dtype=object)
    score = np.ones(len(place)) if place.score is None else place.score
    table = StarTable(
        {
            "CoordinateX": place.x - size / 2,
            "CoordinateY": place.y - size / 2,
            "CoordinateZ": absent,
            "Width": size,
            "Height": size,
            "Depth": absent,
            "EstWidth": size if place.diameter is None else place.diameter,
            "EstHeight": size if place.diameter is None else place.diameter,
            "Confidence": score,
            "NumBoxes": absent,
            "Angle": absent,
        }
    )
    return {"global": StarTable.from_values({"cbox_format_version": 1.0}), "cryolo": table}


def _from_box(path: Path) -> Coordinates:
    with open_binary(path) as handle:
        lines = handle.read().decode("latin-1").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            x, y, width, height = (float(word) for word in words[:4])
        except ValueError:
            raise InputError(
                f"Line {number} of {path} is {line.strip()!r}", "numbers: x y width height"
            ) from None
        # EMAN1 wrote negative sizes where it did not know them.
        rows.append((x + max(width, 0) / 2, y + max(height, 0) / 2, max(width, height)))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    sizes = table[:, 2].copy()
    return Coordinates(
        table[:, 1].copy(), table[:, 0].copy(), None, sizes if (sizes > 0).all() else None
    )


def _from_csv(path: Path) -> Coordinates:
    columns = csv_columns(path)
    own = {name: columns.pop(name, None) for name in NUMBERS}
    y, x = own["y"], own["x"]
    if y is None or x is None:
        raise InputError(f"{path} has no x and y", "columns x and y")
    return Coordinates(y, x, own["score"], own["diameter"], columns)


def _to_csv(place: Coordinates) -> str:
    columns: dict[str, NDArray[Any]] = {"x": place.x, "y": place.y}
    if place.score is not None:
        columns["score"] = place.score
    if place.diameter is not None:
        columns["diameter"] = place.diameter
    return csv_text(columns | {k: v for k, v in place.columns.items() if k not in columns})


def _numbers(values: NDArray[np.generic], path: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path} has a coordinate that is no number ({error})") from None
