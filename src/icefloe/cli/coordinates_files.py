"""Files of `icefloe coordinates`: coordinates, and the micrographs they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from icefloe.errors import IcefloeError, InputError
from icefloe.formats.coordinates import Coordinates
from icefloe.interop.coordinate_sets import KnownMicrograph, read_sets, write_sets

if TYPE_CHECKING:
    from icefloe.interop.coordinate_sets import CoordinateSets

__all__ = ["known_micrographs", "moved", "pooled", "read", "upside_down", "write"]

# Standard errors beyond which a flip counts as seen.
_CLEAR = 4.0


def read(files: Sequence[Path]) -> CoordinateSets:
    """Return the coordinates of all micrographs in files of one picker."""
    from icefloe.cli.inputs import resolve_listed_path

    return read_sets(files, resolve_listed_path)


def known_micrographs(inputs: Sequence[Path]) -> dict[str, tuple[KnownMicrograph, Path]]:
    """Return name, size and file of micrographs, given as images or as STAR files.

    A micrograph that cannot be read is reported and left out.
    """
    from icefloe.cli.inputs import resolve_listed_path
    from icefloe.formats.star import read_star, require_block

    listed: list[tuple[str, Path]] = []
    for path in inputs:
        if not path.is_file():
            raise InputError(f"There is no file {path}", hint="Check the path")
        if path.suffix.lower() == ".star":
            table = require_block(read_star(path), "micrographs", ("rlnMicrographName",), path=path)
            names = [str(name) for name in table["rlnMicrographName"]]
            listed += [(name, resolve_listed_path(name, path)) for name in names]
        else:
            listed.append((str(path), path))
    found = {}
    for name, path in listed:
        try:
            found[Path(name).stem] = (KnownMicrograph(name, _shape(path)), path)
        except IcefloeError as error:
            click.echo(f"{name}: {error}", err=True)
    return found


def _shape(path: Path) -> tuple[int, int]:
    from icefloe.formats.image import read_image
    from icefloe.formats.movie import open_movie

    if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
        ny, nx = read_image(path).data.shape
    else:
        with open_movie(path) as image:
            ny, nx = image.shape
    return int(ny), int(nx)


def upside_down(
    sets: CoordinateSets, known: Mapping[str, tuple[KnownMicrograph, Path]], diameter: float
) -> bool:
    """Return whether rows count from the other end, as the particles in the images tell.

    Raises
    ------
    InputError
        The images do not tell.
    """
    from icefloe.extraction.flip import combined_evidence, flip_evidence
    from icefloe.formats.image import read_image

    # Ten micrographs tell as much as a thousand.
    looked = [name for name in sets if name in known and len(sets[name]) >= 5][:10]
    found = []
    for name in looked:
        place = sets[name]
        found.append(flip_evidence(read_image(known[name][1]).data, place.y, place.x, diameter))
    z = combined_evidence(found)
    if abs(z) < _CLEAR:
        raise InputError(
            f"{len(looked)} micrographs do not show which end rows count from ({z:+.1f} standard "
            "errors)",
            f"at least {_CLEAR:g}",
            "Give --flip-y yes or no",
        )
    which = "upside down" if z < 0 else "the right way round"
    click.echo(
        f"The coordinates are {which} ({abs(z):.0f} standard errors, {len(looked)} micrographs)",
        err=True,
    )
    return z < 0


def write(
    out: Path,
    sets: CoordinateSets,
    form: str,
    known: Mapping[str, tuple[KnownMicrograph, Path]],
    box: int | None,
) -> None:
    """Write coordinates, report what lies outside its micrograph, and say where they are."""
    from icefloe.formats.atomic import output_directory

    micrographs = {name: micrograph for name, (micrograph, _) in known.items()}
    for name, place in sets.items():
        if name in micrographs:
            ny, nx = micrographs[name].shape
            outside = (place.y < 0) | (place.y >= ny) | (place.x < 0) | (place.x >= nx)
            if outside.any():
                click.echo(f"{name}: {outside.sum()} of {len(place)} lie outside", err=True)
    files = write_sets(output_directory(out), sets, form, micrographs=micrographs, box=box)
    total = sum(len(place) for place in sets.values())
    where = files[0] if len(files) == 1 else f"{len(files)} files in {out}"
    click.echo(f"{total} particles of {len(sets)} micrographs in {where}", err=True)


def pooled(first: Coordinates, second: Coordinates) -> Coordinates:
    """Return the picks of two sets of one micrograph; columns that only one has are left out."""
    score = None
    if first.score is not None and second.score is not None:
        score = np.concatenate([first.score, second.score])
    return Coordinates(
        np.concatenate([first.y, second.y]),
        np.concatenate([first.x, second.x]),
        score,
        columns={
            name: np.concatenate([column, second.columns[name]])
            for name, column in first.columns.items()
            if name in second.columns
        },
    )


def moved(place: Coordinates, pixel_size: float) -> Coordinates:
    """Return particles where a refinement found them; the origins are used up."""
    names = ("rlnOriginXAngst", "rlnOriginYAngst")
    if any(name not in place.columns for name in names):
        return place
    x, y = (np.asarray(place.columns[name], dtype=np.float64) / pixel_size for name in names)
    columns = {name: column for name, column in place.columns.items() if name not in names}
    return replace(place, y=place.y - y, x=place.x - x, columns=columns)
