"""Write STAR files as RELION does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from icefloe.errors import StarFormatError
from icefloe.formats._star_numbers import format_floats, format_integers
from icefloe.formats._star_reader import split_line
from icefloe.formats._star_table import StarTable
from icefloe.formats.atomic import atomic_path

__all__ = ["write_star"]

# White space, a comment, a quote or a keyword at the beginning of a value.
_NEEDS_QUOTES = re.compile(r"[ \t\v\f\r]|^[#'\"_;]|^(?:data_|loop_)")


def write_star(path: str | Path, blocks: Mapping[str, StarTable]) -> None:
    """Write blocks as RELION does, whole or not at all.

    Numbers have RELION's fixed width of 12 with 6 decimals (5 for negative ones), and an exponent
    below 0.001 and above 100000.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        for name, table in blocks.items():
            handle.write(_format_block(name, table).encode("utf-8", "surrogateescape"))


def _format_block(name: str, table: StarTable) -> str:
    head = f"\n# version 30001\n\ndata_{name}\n\n"
    if not table.loop:
        width = max(map(len, table.columns), default=0) + 13
        pairs = (
            f"{'_' + label:<{width}}{_format_column(column)[0]}\n"
            for label, column in table.columns.items()
        )
        return head + "".join(pairs) + " \n"
    labels = "".join(f"_{label} #{i} \n" for i, label in enumerate(table.columns, 1))
    # Text is right-justified to ten characters in a table, but not in a list.
    columns = [
        [text.rjust(10) for text in _format_column(column)]
        if column.dtype == object
        else _format_column(column)
        for column in table.columns.values()
    ]
    lines = map(" ".join, zip(*columns, strict=True))
    body = " \n".join(lines) + " \n" if len(table) else ""
    return f"{head}loop_ \n{labels}{body} \n"


def _format_column(column: NDArray[Any]) -> list[str]:
    if not len(column):
        return []
    if column.dtype.kind == "i":
        return format_integers(column)
    if column.dtype.kind == "f":
        return format_floats(column)
    texts: list[str] = column.tolist()
    # One search over all of them is much faster than one each.
    if all(texts) and {text[0] for text in texts}.isdisjoint("#'\"_;dl"):
        joined = "".join(texts)
        if not any(space in joined for space in " \t\n\v\f\r"):
            return texts
    return [_quoted(text) for text in texts]


def _quoted(text: str) -> str:
    if "\n" in text:
        raise StarFormatError(f"A value of several lines: {text!r}", "text in one line")
    if text and not _NEEDS_QUOTES.search(text):
        return text
    for quote in ('"', "'"):
        quoted = f"{quote}{text}{quote}"
        if split_line(quoted) == [text]:
            return quoted
    raise StarFormatError(f"A value that no quotes can hold: {text!r}")
