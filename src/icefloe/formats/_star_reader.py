"""Read STAR files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import InputError, StarFormatError
from icefloe.formats._star_numbers import parse_numbers, plain_number
from icefloe.formats._star_table import StarTable, as_column, text_column

__all__ = ["read_star", "split_line"]

# Labels that RELION's dictionary declares as strings; all others are typed by what they hold.
_TEXT_LABEL = re.compile(
    r"(Name|Names|Alias|File|FileName|Metadata|Coordinates|Image|Spectrum|NoDW|Even|Odd"
    r"|CtfImage|Comment|Symmetry|Label)$"
)
_TOKEN = re.compile(
    r"""'((?:[^']|'(?!\s|$))*)'(?=\s|$)|"((?:[^"]|"(?!\s|$))*)"(?=\s|$)|(\S+)""", re.ASCII
)


def read_star(path: str | Path) -> dict[str, StarTable]:
    """Read all blocks of a STAR file, by name without `data_`, in file order.

    Raises
    ------
    StarFormatError
        Text that is not STAR; the message gives the line.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    if b"\0" in data[:4096]:
        raise StarFormatError(f"{path} is a binary file", "a text file")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blocks: dict[str, StarTable] = {}
    for name, start, stop in _block_bounds(data, path):
        if name in blocks:
            raise StarFormatError(f"{path} has two blocks data_{name}", "distinct names")
        blocks[name] = _Block(data, start, stop, path).parse()
    return blocks


def _text(data: bytes) -> str:
    # A stray byte of another encoding comes back as it was when the table is written again.
    return data.decode("utf-8", "surrogateescape")


def _block_bounds(data: bytes, path: object) -> list[tuple[str, int, int]]:
    """Return (name, start of content, end) of each block.

    `find` rather than a line loop: a particle table has half a million lines and one block.
    """
    heads: list[tuple[str, int, int]] = []
    start = 0 if data.startswith(b"data_") else data.find(b"\ndata_") + 1
    if not data.startswith(b"data_", start):
        raise StarFormatError(
            f"{path} has no line that begins with data_", "a STAR file with at least one block"
        )
    for number, line in enumerate(data[:start].split(b"\n"), 1):
        if line.strip() and not line.lstrip().startswith(b"#"):
            raise StarFormatError(f"Line {number} of {path} stands before any data_ block")
    found = start
    while found >= 0:
        end = data.find(b"\n", found)
        end = len(data) if end < 0 else end
        words = _text(data[found:end].split(b" #", 1)[0]).split()
        # A row of a table may begin with a file called data_...; a block's name stands alone.
        if len(words) == 1 or not heads:
            heads.append((words[0][5:], found, end))
        found = data.find(b"\ndata_", end)
        found = found + 1 if found >= 0 else found
    stops = [start for _, start, _ in heads[1:]] + [len(data)]
    return [(name, end, stop) for (name, _, end), stop in zip(heads, stops, strict=True)]


class _Block:
    """The parser of one block's text."""

    def __init__(self, data: bytes, start: int, stop: int, path: object) -> None:
        self.data, self.position, self.stop, self.path = data, start, stop, path

    def error(self, what: str, position: int, expected: str = "") -> StarFormatError:
        line = self.data.count(b"\n", 0, position) + 1
        return StarFormatError(f"{what} at line {line} of {self.path}", expected)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield (position, stripped line) of lines with content, moving `self.position` on."""
        while self.position < self.stop:
            start = self.position
            end = self.data.find(b"\n", start, self.stop)
            end = self.stop if end < 0 else end
            self.position = end + 1
            line = _text(self.data[start:end].strip())
            if line and not line.startswith("#"):
                yield start, line

    def parse(self) -> StarTable:
        values: dict[str, str] = {}
        for position, line in self.lines():
            if line == "loop_" or line.startswith(("loop_ ", "loop_\t", "loop_#")):
                if values:
                    raise self.error("A loop_ in a block of single values", position)
                return self.parse_loop()
            tokens = split_line(line)
            if not tokens[0].startswith("_") or len(tokens) != 2:
                raise self.error(f"{line[:60]!r}", position, "a line '_label value' or loop_")
            if tokens[0][1:] in values:
                raise self.error(f"The value {tokens[0]} is there twice", position)
            values[tokens[0][1:]] = tokens[1]
        return StarTable(
            {name: _typed(name, [value]) for name, value in values.items()},
            loop=False,
        )

    def parse_loop(self) -> StarTable:
        names: list[str] = []
        start = self.stop
        for position, line in self.lines():
            if not line.startswith("_"):
                start = position
                break
            name = line.split()[0][1:]
            if name in names:
                raise self.error(f"The column _{name} is there twice", position)
            names.append(name)
        if not names and start == self.stop:
            return StarTable()  # RELION writes an empty table so
        if not names:
            raise self.error("A loop_ without columns", start)
        columns = self.plain_columns(start, names)
        if columns is None:
            tokens = self.quoted_tokens(start, len(names))
            columns = {name: _typed(name, tokens[i :: len(names)]) for i, name in enumerate(names)}
        return StarTable(columns)

    def plain_columns(self, start: int, names: list[str]) -> dict[str, NDArray[Any]] | None:
        """Split a table at white space, or return None where a closer look at lines is needed."""
        body = self.data[start : self.stop]
        if not body.strip() or b"#" in body or b'"' in body or b"'" in body:
            return None
        characters = np.frombuffer(b"\n" + body + b"\n", np.uint8)
        ink = characters > ord(" ")
        edges = np.flatnonzero(ink[1:] != ink[:-1]) + 1
        starts, ends = edges[::2], edges[1::2]
        before = np.searchsorted(starts, np.flatnonzero(characters == ord("\n")))
        in_line = np.diff(before)
        if not np.isin(in_line, (0, len(names))).all():
            return None
        starts, ends = starts.reshape(-1, len(names)), ends.reshape(-1, len(names))
        # Such a line may be something else than a row: _label, ;text or loop_.
        if np.isin(characters[starts[:, 0]], list(b"_;l")).any():
            return None
        columns: dict[str, NDArray[Any]] = {}
        for i, name in enumerate(names):
            numbers = None
            if not _TEXT_LABEL.search(name):
                numbers = parse_numbers(characters, starts[:, i], ends[:, i])
            columns[name] = (
                self.texts(start, starts[:, i], ends[:, i]) if numbers is None else numbers
            )
        return columns

    def texts(self, start: int, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[Any]:
        bounds = zip((starts + (start - 1)).tolist(), (ends + (start - 1)).tolist(), strict=True)
        return text_column(_text(b"\n".join([self.data[i:j] for i, j in bounds])).split("\n"))

    def quoted_tokens(self, start: int, width: int) -> list[str]:
        self.position = start
        found: list[str] = []
        for position, line in self.lines():
            if line.split()[0] == "loop_":
                raise self.error("A second loop_ in one block", position, "one table a block")
            if line.startswith(";"):
                raise self.error("Text over several lines", position, "a row a line")
            tokens = split_line(line)
            if len(tokens) != width:
                raise self.error(
                    f"A row of {len(tokens)} values", position, f"{width}, one for each column"
                )
            found.extend(tokens)
        return found


def _typed(name: str, tokens: list[str]) -> NDArray[Any]:
    """Return a column as int64, float64 or text."""
    if not _TEXT_LABEL.search(name):
        with suppress(ValueError):
            return as_column([plain_number(token) for token in tokens])
    return text_column(tokens)


def split_line(line: str) -> list[str]:
    """Split one line; quotes hold a token together, a token that begins with # ends the line."""
    found = []
    for match in _TOKEN.finditer(line):
        single, double, plain = match.groups()
        if plain is not None and plain.startswith("#"):
            break
        found.append(next(text for text in (single, double, plain) if text is not None))
    return found
