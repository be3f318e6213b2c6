"""Coordinates of many micrographs, in the files of any program.

A set is a dictionary: the micrograph's name without directory and suffix, and its coordinates, in
pixels of the micrograph, centres, row 0 the first row of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icefloe.errors import InputError, MissingMetadataError
from icefloe.formats.coordinates import (
    Coordinates,
    from_table,
    read_coordinates,
    to_table,
    write_coordinates,
)
from icefloe.formats.star import StarTable, read_star, write_star
from icefloe.interop.cryosparc_picks import read_cryosparc, write_cryosparc
from icefloe.interop.relion_picks import coordinate_files
from icefloe.interop.topaz import looks_like_topaz, read_topaz, write_topaz

__all__ = ["FORMATS", "CoordinateSets", "KnownMicrograph", "read_sets", "write_sets"]

CoordinateSets = dict[str, Coordinates]
# One file a micrograph: its suffix. The others are one file for all.
_EACH = {"relion": "_picks.star", "cryolo": ".cbox", "eman": ".box", "csv": ".csv"}
FORMATS = ("relion", "relion-one", "topaz", "cryolo", "eman", "cryosparc", "csv")
_ENDINGS = re.compile(r"(_(picks|pick|autopick|manualpick|topazpicks|extract)|\.particles)$")
# What cryoSPARC puts before an imported micrograph's name.
_PREFIX = re.compile(r"^\d{15,}_")


@dataclass(frozen=True)
class KnownMicrograph:
    """A micrograph that coordinates belong to.

    Attributes
    ----------
    listed
        How files name it.
    shape
        (ny, nx).
    """

    listed: str
    shape: tuple[int, int]


def read_sets(
    paths: Iterable[Path], locate: Callable[[str, Path], Path] = lambda listed, _: Path(listed)
) -> CoordinateSets:
    """Read coordinates of any of the formats, told apart by suffix and content.

    Parameters
    ----------
    paths
        Files of one micrograph each, named after it, or of many.
    locate
        Finds a file that a list names; called with the name and the list.

    Raises
    ------
    InputError
        A file cannot be read, or two files have coordinates of one micrograph.
    UnsupportedFormatError
        None of the formats.
    """
    sets: CoordinateSets = {}
    for path in paths:
        for name, place in _read(path, locate):
            if name in sets:
                raise InputError(
                    f"{path} has coordinates of {name}, and so has another file",
                    "each micrograph once",
                    "Use 'icefloe coordinates consensus' for several sets",
                )
            sets[name] = place
    return sets


def _read(path: Path, locate: Callable[[str, Path], Path]) -> Iterable[tuple[str, Coordinates]]:
    if not path.is_file():
        raise InputError(f"There is no file {path}", hint="Check the path")
    suffix = path.suffix.lower()
    if suffix == ".cs":
        return [(_stem(name), place) for name, place in read_cryosparc(path).items()]
    if suffix in (".txt", ".tsv") or (suffix == ".csv" and looks_like_topaz(path)):
        return [(_stem(name + ".mrc"), place) for name, place in read_topaz(path).items()]
    if suffix != ".star":
        return [(_stem(path.name), read_coordinates(path))]
    blocks = read_star(path)
    if "coordinate_files" in blocks:
        table = blocks["coordinate_files"]
        pairs = zip(table["rlnMicrographName"], table["rlnMicrographCoordinates"], strict=True)
        return [(_stem(str(m)), read_coordinates(locate(str(c), path))) for m, c in pairs]
    own = next((t for t in blocks.values() if "rlnCoordinateX" in t), None)
    if own is None or "rlnMicrographName" not in own:
        return [(_stem(path.name), read_coordinates(path))]
    return _by_micrograph(own, path)


def _by_micrograph(table: StarTable, path: Path) -> list[tuple[str, Coordinates]]:
    """Return the parts of a table with the rows of many micrographs."""
    place = from_table(table, path)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table["rlnMicrographName"].tolist()):
        rows.setdefault(_stem(str(name)), []).append(row)
    return [(name, place.take(np.asarray(chosen))) for name, chosen in rows.items()]


def _stem(name: str) -> str:
    return _ENDINGS.sub("", Path(_PREFIX.sub("", Path(name).name)).stem)


def write_sets(
    out: Path,
    sets: Mapping[str, Coordinates],
    form: str,
    *,
    micrographs: Mapping[str, KnownMicrograph] | None = None,
    box: int | None = None,
) -> list[Path]:
    """Write coordinates for another program; return the files.

    Parameters
    ----------
    out
        A directory that exists.
    sets
        Coordinates by micrograph.
    form
        One of `FORMATS`.
    micrographs
        What is known of them, by name; cryoSPARC needs their sizes.
    box
        Side of the boxes, pixels, for crYOLO and EMAN.

    Raises
    ------
    MissingMetadataError, InputError, OutputError
    """
    known = dict(micrographs or {})
    listed = {name: known[name].listed if name in known else f"{name}.mrc" for name in sets}
    if form == "topaz":
        write_topaz(out / "coordinates.txt", sets)
        return [out / "coordinates.txt"]
    if form == "cryosparc":
        shapes = {name: m.shape for name, m in known.items()}
        write_cryosparc(out / "coordinates.cs", sets, listed, shapes)
        return [out / "coordinates.cs"]
    if form == "relion-one":
        write_star(out / "coordinates.star", {"": _joined(sets, listed)})
        return [out / "coordinates.star"]
    if form not in _EACH:
        raise InputError(f"'{form}' is not a format of coordinates", ", ".join(FORMATS))
    unsized = box is None and any(place.diameter is None for place in sets.values())
    if form in ("cryolo", "eman") and unsized:
        raise MissingMetadataError(f"The box for {form} is not known", hint="Give --box")
    paths = []
    for name, place in sets.items():
        paths.append(out / f"{name}{_EACH[form]}")
        write_coordinates(paths[-1], place, box=box)
    if form == "relion":
        pairs = zip((listed[name] for name in sets), map(str, paths), strict=True)
        write_star(out / "picks.star", coordinate_files(pairs))
        paths.append(out / "picks.star")
    return paths


def _joined(sets: Mapping[str, Coordinates], listed: Mapping[str, str]) -> StarTable:
    tables = {name: to_table(place).columns for name, place in sets.items()}
    first: Mapping[str, Any] = next(iter(tables.values()), {})
    common = [c for c in first if all(c in t for t in tables.values())]
    columns = {c: np.concatenate([t[c] for t in tables.values()]) for c in common}
    names = [np.full(len(place), listed[name], dtype=object) for name, place in sets.items()]
    return StarTable(columns | {"rlnMicrographName": np.concatenate(names or [np.zeros(0)])})
