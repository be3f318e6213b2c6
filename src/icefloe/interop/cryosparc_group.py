"""cryoSPARC's result groups: the `.csg` file that says what a `.cs` table holds.

*Import Result Group* of cryoSPARC reads it. Paths in it and in its table that begin with ``>`` are
counted from its own directory, so that the directory may be moved or linked. Laid out as the files
that cryoSPARC 4 exports.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from icefloe.formats.atomic import write_text

__all__ = ["path_in_group", "write_result_group"]

# The version whose tables ours have the fields of.
_VERSION = "v4.4.1"


def path_in_group(listed: str, folder: Path, *, root: Path | None = None) -> str:
    """Return a path as a table in `folder` names it: after ``>`` if it lies below, else absolute.

    Parameters
    ----------
    listed
        As a STAR file names it.
    folder
        Where the table will lie.
    root
        What relative names are counted from; None is the working directory.
    """
    # normpath, not resolve: a link to a stack counts as being where it is.
    place = Path(os.path.normpath((root or Path()).absolute() / listed))
    home = Path(os.path.normpath(folder.absolute()))
    return f">{place.relative_to(home).as_posix()}" if place.is_relative_to(home) else str(place)


def write_result_group(table: str | Path, fields: Iterable[str], count: int, *, title: str) -> Path:
    """Write the `.csg` beside a table of particles, and return its path.

    Parameters
    ----------
    table
        The `.cs` file.
    fields
        Names of its columns; each part before a ``/`` is one result.
    count
        How many particles it has.
    title
        What cryoSPARC calls the group.

    Raises
    ------
    OutputError
    """
    table = Path(table)
    names = sorted({name.partition("/")[0] for name in fields if "/" in name})
    lines = [
        f"created: {datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",
        "group:",
        "  description: Made by Icefloe",
        "  name: particles",
        f"  title: {title}",
        "  type: particle",
        "results:",
    ]
    for name in names:
        lines += [
            f"  {name}:",
            f"    metafile: '>{table.name}'",
            f"    num_items: {count}",
            f"    type: particle.{name}",
        ]
    path = table.with_suffix(".csg")
    write_text(path, "\n".join([*lines, f"version: {_VERSION}", ""]))
    return path
