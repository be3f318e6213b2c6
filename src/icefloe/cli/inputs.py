"""Micrographs on the command line: image files, or a STAR that lists them."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.errors import (
    IcefloeError,
    InputError,
    MissingMetadataError,
    SettingsError,
    StarColumnError,
)
from icefloe.interop.optics import OpticsGroup

if TYPE_CHECKING:
    from icefloe._types import FloatArray

__all__ = [
    "MicrographInput",
    "expand_micrographs",
    "failure_text",
    "failures_exit",
    "readable",
    "resolve_listed_path",
]


@dataclass(frozen=True)
class MicrographInput:
    """One micrograph to work on.

    Attributes
    ----------
    path
        The image file.
    name
        Its name without directory and suffixes, unique in one call.
    optics
        Its microscope setting; `optics.micrograph_pixel_size` is the image's pixel size.
    row
        The STAR columns it came with (without rln names changed); empty for a plain file.
    """

    path: Path
    name: str
    optics: OpticsGroup
    row: Mapping[str, Any] = field(default_factory=dict)
    star: Path | None = None

    def listed(self, column: str) -> Path | None:
        """Return the file that a column of the row names, if there is such a file."""
        if self.star is None or column not in self.row:
            return None
        found = resolve_listed_path(str(self.row[column]).split(":")[0], self.star)
        return found if found.is_file() else None


def expand_micrographs(
    inputs: Sequence[Path],
    *,
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
) -> list[MicrographInput]:
    """Return the micrographs that files and STAR files name, in order.

    What the command line gives wins over the STAR, and that over an image's header.

    Raises
    ------
    InputError
        A file does not exist, or two have one name.
    MissingMetadataError
        A micrograph's pixel size is not known.
    StarColumnError
        A STAR lacks the micrographs or optics block.
    """
    if pixel_size is not None and not pixel_size > 0:
        raise SettingsError(f"--pixel-size is {pixel_size}", "a positive length, A")
    given = {"voltage": voltage, "cs": cs, "amplitude_contrast": amplitude_contrast}
    found: list[MicrographInput] = []
    for path in inputs:
        if not path.is_file():
            raise InputError(f"There is no file {path}", hint="Check the path")
        if path.suffix.lower() == ".star":
            found += _from_star(path, pixel_size, given)
        else:
            found.append(_from_image(path, pixel_size, given))
    seen: dict[str, Path] = {}
    for item in found:
        if item.name in seen:
            raise InputError(
                f"{item.path} and {seen[item.name]} have the same name '{item.name}'",
                "names that differ, since results are written as NAME.star",
                "Rename one, or process them into two directories",
            )
        seen[item.name] = item.path
    return found


def resolve_listed_path(listed: str, star: Path) -> Path:
    """Return the file a STAR names: absolute, or relative to here, or to a parent of the STAR.

    RELION's names are relative to the project directory, from which its programs are started.
    """
    path = Path(listed)
    if path.is_absolute() or path.exists():
        return path
    for directory in star.resolve().parents:
        if (directory / path).exists():
            return directory / path
    return path


def failure_text(error: Exception) -> str:
    """Return what to print about one file that failed, in a line.

    An error that is none of ours is a mistake of the program, or memory that did not suffice;
    with ICEFLOE_DEBUG set in the environment its traceback follows.
    """
    if isinstance(error, IcefloeError):
        return str(error)
    if isinstance(error, MemoryError):
        text = f"not enough memory ({error}). Close other programs, or use fewer threads."
    else:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        text = (
            f"unexpected error ({message}). This is a mistake in Icefloe: please report it, with "
            "the traceback that ICEFLOE_DEBUG=1 prints."
        )
    if os.environ.get("ICEFLOE_DEBUG"):
        text += "\n" + "".join(traceback.format_exception(error))
    return text


def failures_exit(failed: int, total: int) -> None:
    """End with status 1 if any file failed; the others are done."""
    if failed:
        rest = "; the others are done" if failed < total else ""
        click.echo(f"{failed} of {total} failed{rest}.", err=True)
        raise click.exceptions.Exit(1)


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".gz", ".bz2"):
        name = name.removesuffix(suffix)
    return Path(name).stem


def _from_star(
    path: Path, pixel_size: float | None, given: Mapping[str, float | None]
) -> list[MicrographInput]:
    from dataclasses import replace

    from icefloe.formats.star import read_star
    from icefloe.interop.optics import read_optics

    blocks = read_star(path)
    table = blocks.get("micrographs")
    if table is None or "rlnMicrographName" not in table:
        raise StarColumnError(
            f"{path} lists no micrographs (its blocks are {', '.join(blocks) or 'none'})",
            "a data_micrographs block with rlnMicrographName",
            "Give corrected_micrographs.star or micrographs_ctf.star",
        )
    changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    if pixel_size is not None:
        changes["micrograph_pixel_size"] = pixel_size
    groups = {n: replace(g, **changes) for n, g in read_optics(blocks, path).items()}
    found = []
    for row in table.rows():
        image = resolve_listed_path(str(row["rlnMicrographName"]), path)
        number = int(row.get("rlnOpticsGroup", 1))
        if number not in groups:
            raise StarColumnError(
                f"{path} has a row of optics group {number}", f"one of {sorted(groups)}"
            )
        found.append(MicrographInput(image, _stem(image), groups[number], row, path))
    return found


def _from_image(
    path: Path, pixel_size: float | None, given: Mapping[str, float | None]
) -> MicrographInput:
    size = pixel_size if pixel_size is not None else _header_pixel_size(path)
    if size is None:
        raise MissingMetadataError(
            f"The pixel size of {path} is not known: its header has none",
            hint="Give --pixel-size",
        )
    voltage, cs, contrast = (given[k] for k in ("voltage", "cs", "amplitude_contrast"))
    optics = OpticsGroup(
        voltage=300.0 if voltage is None else voltage,
        cs=2.7 if cs is None else cs,
        amplitude_contrast=0.1 if contrast is None else contrast,
        original_pixel_size=size,
        micrograph_pixel_size=size,
    )
    return MicrographInput(path, _stem(path), optics)


def _header_pixel_size(path: Path) -> float | None:
    from icefloe.formats.movie import open_movie

    if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
        return None
    try:
        with open_movie(path) as image:
            return image.pixel_size
    except InputError:
        # The command meets the same error when it reads the image, and it is that file's failure
        # alone; here it would end all of them.
        return math.nan


def readable(
    items: Sequence[MicrographInput], count: int
) -> Iterator[tuple[MicrographInput, FloatArray]]:
    """Read so many micrographs with the pixel size of the first, spread over the list.

    One that cannot be read makes way for another; it is told when its own turn comes.

    Raises
    ------
    IcefloeError
        Of the first one, if none can be read.
    """
    from icefloe.formats.image import read_image

    first = items[0].optics.micrograph_pixel_size
    alike = [i for i in items if abs(i.optics.micrograph_pixel_size / first - 1) < 0.01]
    chosen = range(0, len(alike), max(1, len(alike) // count))[:count]
    # Who needs fewer than `count` stops early, and has some that are spread nevertheless.
    spread = [index for first in range(3) for index in chosen[first::3]] if count > 3 else chosen
    order = [*spread, *(i for i in range(len(alike)) if i not in chosen)]
    given, problem = 0, None
    for index in order:
        if given == count:
            return
        try:
            image = read_image(alike[index].path).data
        except IcefloeError as error:
            problem = problem or error
            continue
        given += 1
        yield alike[index], image
    if problem is not None and not given:
        raise problem
