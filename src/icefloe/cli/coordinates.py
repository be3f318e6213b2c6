"""`icefloe coordinates`: convert, compare and thin out particle coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from icefloe.interop.coordinate_sets import CoordinateSets

__all__ = ["command"]

_FORMATS = ("relion", "relion-one", "topaz", "cryolo", "eman", "cryosparc", "csv")
_FILE = click.Path(path_type=Path, dir_okay=False)

_to = click.option(
    "--to", "form", type=click.Choice(_FORMATS), default="relion", show_default=True,
    help="relion: a STAR for each micrograph and their list; relion-one: one STAR for all.",
)  # fmt: skip
_out = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory."
)
_micrographs = click.option(
    "--micrographs", type=_FILE, multiple=True,
    help="Images, or a STAR that lists them: for their sizes and names.",
)  # fmt: skip
_box = click.option("--box", type=int, default=None, help="Side of boxes, pixels, for .box, .cbox.")


@click.group()
def command() -> None:
    """Convert particle coordinates, find what several pickers agree on, remove duplicates."""


@command.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@_to
@_out
@click.option(
    "--flip-y", type=click.Choice(["auto", "yes", "no"]), default="no", show_default=True,
    help="Count rows from the other end; auto looks at the micrographs.",
)  # fmt: skip
@click.option(
    "--diameter", type=float, default=None, help="Of the particles, pixels, for --flip-y auto."
)
@click.option(
    "--scale", type=float, default=1.0, show_default=True,
    help="Pixels of the micrograph in a pixel of the files, such as Topaz's reduction.",
)  # fmt: skip
@_micrographs
@_box
def convert(
    files: tuple[Path, ...],
    form: str,
    out: Path,
    flip_y: str,
    diameter: float | None,
    scale: float,
    micrographs: tuple[Path, ...],
    box: int | None,
) -> None:
    """Read coordinates of any program and write them for another.

    FILES are RELION's STAR files (lists, too), Topaz's tables, .cbox, .box, .cs or .csv.
    """
    from dataclasses import replace

    from icefloe.cli.coordinates_files import known_micrographs, read, upside_down, write
    from icefloe.errors import MissingMetadataError, SettingsError

    if not scale > 0:
        raise SettingsError(f"--scale is {scale}", "a positive number")
    sets, known = read(files), known_micrographs(micrographs)
    if scale != 1:
        sets = {n: replace(s, y=s.y * scale, x=s.x * scale) for n, s in sets.items()}
    if flip_y == "auto":
        if not known or diameter is None:
            raise MissingMetadataError(
                "--flip-y auto looks at the particles", "--micrographs and --diameter in pixels"
            )
        flip_y = "yes" if upside_down(sets, known, diameter) else "no"
    if flip_y == "yes":
        missing = [name for name in sets if name not in known]
        if missing:
            raise MissingMetadataError(
                f"The height of {missing[0]} is not known", hint="Give --micrographs"
            )
        sets = {name: place.flipped(known[name][0].shape[0]) for name, place in sets.items()}
    write(out, sets, form, known, box)


@command.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option(
    "--distance", type=float, required=True, help="Two picks are one within this, pixels."
)
@click.option("--votes", type=int, default=2, show_default=True, help="Sets that must agree.")
@click.option("--max-picks", type=int, default=None, help="Keep so many of each micrograph [all].")
@_to
@_out
@_micrographs
@_box
def consensus(
    files: tuple[Path, ...],
    distance: float,
    votes: int,
    max_picks: int | None,
    form: str,
    out: Path,
    micrographs: tuple[Path, ...],
    box: int | None,
) -> None:
    """Keep the particles that several pickers found.

    Each of FILES is one picker's set: a list or table for all micrographs. Scores become the mean
    standing, 0 to 1, and a column icefloeVotes tells how many sets agree.
    """
    import numpy as np

    from icefloe.cli.coordinates_files import known_micrographs, read, write
    from icefloe.extraction.consensus import best
    from icefloe.extraction.consensus import consensus as agree
    from icefloe.formats.coordinates import Coordinates

    pickers = [read((path,)) for path in files]
    found: CoordinateSets = {}
    for name in dict.fromkeys(name for sets in pickers for name in sets):
        empty = Coordinates(np.zeros(0), np.zeros(0))
        places = [sets.get(name, empty) for sets in pickers]
        agreed = agree([(p.y, p.x, p.score) for p in places], distance, votes)
        y, x, score = (np.asarray(v, np.float64) for v in (agreed.y, agreed.x, agreed.score))
        place = Coordinates(y, x, score, columns={"icefloeVotes": agreed.votes})
        if max_picks is not None:
            place = place.take(best(place.score, len(place), max_picks))
        counts = " + ".join(str(len(p)) for p in places)
        click.echo(f"{name}: {counts} picks, {len(place)} with {votes} votes", err=True)
        found[name] = place
    write(out, found, form, known_micrographs(micrographs), box)


@command.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--distance", type=float, required=True, help="Smallest distance, pixels.")
@click.option("--max-picks", type=int, default=None, help="Keep so many of each micrograph [all].")
@click.option(
    "--pixel-size", type=float, default=None,
    help="Of the micrograph, A: take a refinement's origins into account (particles.star).",
)  # fmt: skip
@_to
@_out
@_micrographs
@_box
def duplicates(
    files: tuple[Path, ...],
    distance: float,
    max_picks: int | None,
    pixel_size: float | None,
    form: str,
    out: Path,
    micrographs: tuple[Path, ...],
    box: int | None,
) -> None:
    """Keep the better of particles that lie too close together.

    Several FILES may have picks of the same micrographs; then duplicates between them go, too.
    """
    from icefloe.cli.coordinates_files import known_micrographs, moved, pooled, read, write
    from icefloe.errors import SettingsError
    from icefloe.extraction.consensus import best, distinct

    if pixel_size is not None and not pixel_size > 0:
        raise SettingsError(f"--pixel-size is {pixel_size}", "a positive length, A")
    if max_picks is not None and max_picks < 1:
        raise SettingsError(f"--max-picks is {max_picks}", "at least 1")
    gathered: CoordinateSets = {}
    for path in files:
        for name, place in read((path,)).items():
            gathered[name] = pooled(gathered[name], place) if name in gathered else place
    kept: CoordinateSets = {}
    for name, place in gathered.items():
        found = moved(place, pixel_size) if pixel_size is not None else place
        chosen = found.take(distinct(found.y, found.x, found.score, distance))
        if max_picks is not None:
            chosen = chosen.take(best(chosen.score, len(chosen), max_picks))
        click.echo(f"{name}: {len(chosen)} of {len(place)} kept", err=True)
        kept[name] = chosen
    write(out, kept, form, known_micrographs(micrographs), box)
