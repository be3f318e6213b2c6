"""What `icefloe extract` works on: micrographs with their coordinates and their CTF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from icefloe.cli.inputs import MicrographInput
    from icefloe.formats.star import StarTable
    from icefloe.interop.optics import OpticsGroup
    from icefloe.interop.relion_picks import ListedPicks

__all__ = ["Listing", "Picked", "list_picked"]


@dataclass(frozen=True)
class Picked:
    """A micrograph with its coordinates, or the file that holds them, and its CTF."""

    micrograph: MicrographInput
    listed_name: str
    coordinates: Path | ListedPicks
    ctf: Mapping[str, float] | None

    def picks(self) -> ListedPicks:
        """Return the coordinates, read now if they are in a file.

        Raises
        ------
        InputError, StarColumnError
        """
        from icefloe.interop.relion_picks import read_picks

        return read_picks(self.coordinates) if isinstance(self.coordinates, Path) else (
            self.coordinates
        )  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """All that is to be extracted.

    Attributes
    ----------
    items
        The micrographs.
    diameter
        That was picked with, A; None if it is not known.
    unavailable
        Micrographs that cannot be worked on, with the reason.
    """

    items: list[Picked]
    diameter: float | None = None
    unavailable: list[tuple[str, str]] = field(default_factory=list)


def list_picked(
    star: Path,
    picks: Path | None,
    ctf: Path | None,
    given: Mapping[str, float | None],
    *,
    recentre: bool,
) -> Listing:
    """Return what the files on the command line name.

    Parameters
    ----------
    star
        picks.star, autopick.star, micrographs with `picks` beside them, or particles.
    picks, ctf
        List of coordinate files; micrographs with their CTF.
    given
        Pixel size and optics from the command line, None where they were left out.
    recentre
        Move particles to their refined positions.

    Raises
    ------
    InputError, SettingsError, StarColumnError
    """
    from icefloe.errors import InputError, SettingsError, StarColumnError
    from icefloe.formats.star import read_star

    for path in (star, picks, ctf):
        if path is not None and not path.is_file():
            raise InputError(f"There is no file {path}", hint="Check the path")
    list_path = picks or star
    blocks = read_star(list_path)
    if "coordinate_files" in blocks:
        if recentre:
            raise SettingsError("--recentre was given, and there are only picks", "particles")
        return _from_lists(star, list_path, blocks, ctf, given)
    if "particles" in blocks:
        return _from_particles(list_path, blocks, ctf or (star if picks else None), given, recentre)
    raise StarColumnError(
        f"{list_path} lists no coordinates (its blocks are {', '.join(blocks) or 'none'})",
        "a data_coordinate_files or data_particles block",
        "Give picks.star, autopick.star or particles.star, with --picks if STAR lists micrographs",
    )


def _from_lists(
    star: Path,
    list_path: Path,
    blocks: Mapping[str, StarTable],
    ctf: Path | None,
    given: Mapping[str, float | None],
) -> Listing:
    from icefloe.cli.inputs import resolve_listed_path
    from icefloe.formats.star import read_star, require_block

    names = ("rlnMicrographName", "rlnMicrographCoordinates")
    table = require_block(blocks, "coordinate_files", names, path=list_path)
    pairs = [(str(m), str(c)) for m, c in zip(*(table[n] for n in names), strict=True)]
    diameter = None
    if "icefloe" in blocks and "icefloeDiameterMax" in blocks["icefloe"]:
        diameter = float(blocks["icefloe"].value("icefloeDiameterMax"))
    source = ctf or next(
        (
            p
            for p in (star, list_path)
            if "micrographs" in (blocks if p == list_path else read_star(p))
        ),
        None,
    )
    found, unavailable = _micrographs([m for m, _ in pairs], source, list_path, given)
    items = [
        Picked(found[name], name, resolve_listed_path(coordinates, list_path), _ctf(found[name]))
        for name, coordinates in pairs
        if name in found
    ]
    return Listing(items, diameter, unavailable)


def _from_particles(
    path: Path,
    blocks: Mapping[str, StarTable],
    source: Path | None,
    given: Mapping[str, float | None],
    recentre: bool,
) -> Listing:
    from icefloe.interop.optics import read_optics
    from icefloe.interop.relion_reextract import listed_particles, recentred

    listed = listed_particles(blocks, path)
    groups: dict[int, OpticsGroup] = {}
    if source is None:
        groups = read_optics(blocks, path)
        first = next(iter(groups.values()))
        optics = {
            "voltage": first.voltage,
            "cs": first.cs,
            "amplitude_contrast": first.amplitude_contrast,
        }
        given = {k: optics.get(k) if v is None else v for k, v in given.items()}
    found, unavailable = _micrographs(list(listed), source, path, given)
    items = []
    for name, (number, picks) in listed.items():
        if name not in found:
            continue
        micrograph = found[name]
        if number in groups:
            # The images themselves know their pixel size, the particles' list all else.
            size = micrograph.optics.micrograph_pixel_size
            optics_group = replace(groups[number], micrograph_pixel_size=size)
            micrograph = replace(micrograph, optics=optics_group)
        place = recentred(picks, micrograph.optics.micrograph_pixel_size) if recentre else picks
        items.append(Picked(micrograph, name, place, _ctf(micrograph)))
    return Listing(items, None, unavailable)


def _micrographs(
    names: Sequence[str], source: Path | None, list_path: Path, given: Mapping[str, Any]
) -> tuple[dict[str, MicrographInput], list[tuple[str, str]]]:
    """Return the micrographs by the names that the list has, and those that are not there."""
    from icefloe.cli.inputs import expand_micrographs, resolve_listed_path

    if source is not None:
        micrographs = expand_micrographs([source], **given)
        by_name = {str(m.row.get("rlnMicrographName", m.path)): m for m in micrographs}
        by_stem = {m.name: m for m in micrographs}
        found = {n: m for n in names if (m := by_name.get(n) or by_stem.get(Path(n).stem))}
        missing = len(set(names) - set(found))
        if missing:
            click.echo(f"{missing} picked micrographs are not in {source}: left out", err=True)
        return found, []
    # A list of coordinates alone: the images themselves, and what the options say.
    paths = {name: resolve_listed_path(name, list_path) for name in names}
    there = {name: path for name, path in paths.items() if path.is_file()}
    micrographs = expand_micrographs(list(there.values()), **given)
    unavailable = [(Path(n).stem, f"There is no file {p}") for n, p in paths.items()
                   if n not in there]  # fmt: skip
    return dict(zip(there, micrographs, strict=True)), unavailable


def _ctf(micrograph: MicrographInput) -> dict[str, float] | None:
    from icefloe.interop.relion_particles import ctf_row

    return ctf_row(micrograph.row)
