"""The directory of a TIFF: where the pages are and what their tags say.

tifffile takes 0.3 s to import, builds an object with many properties for each page of an EER movie,
which has thousands (4 times slower: `benchmarks/formats.py`), and does not say of a file that ends
early which page is the first to be missing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from icefloe.errors import TruncatedFileError, UnsupportedFormatError
from icefloe.formats.frames import RandomAccess

__all__ = ["TiffPage", "walk_pages"]

_CODES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I"}
_CODES |= {16: "Q", 18: "Q"}
_RATIONAL = 5  # numerator and denominator
_WIDTH, _LENGTH, _STRIP_OFFSETS, _STRIP_SIZES = 256, 257, 273, 279


@dataclass
class TiffPage:
    """One page: integers and texts of its tags by their numbers; a rational is two integers."""

    tags: dict[int, tuple[int, ...] | bytes] = field(default_factory=dict)

    def value(self, tag: int, default: int = 0) -> int:
        """Return the first integer of a tag."""
        values = self.tags.get(tag, (default,))
        return default if isinstance(values, bytes) or not values else values[0]

    def bytes(self, tag: int) -> bytes:
        """Return the text of a tag, empty without it."""
        values = self.tags.get(tag, b"")
        return values if isinstance(values, bytes) else bytes(v & 255 for v in values)

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the image, (y, x)."""
        return self.value(_LENGTH), self.value(_WIDTH)

    @property
    def strips(self) -> list[tuple[int, int]]:
        """Offset and size of each strip, in bytes."""
        offsets, sizes = self.tags.get(_STRIP_OFFSETS, ()), self.tags.get(_STRIP_SIZES, ())
        return list(zip(tuple(offsets), tuple(sizes), strict=False))

    @property
    def end(self) -> int:
        """The byte after the last strip."""
        return max((offset + size for offset, size in self.strips), default=0)


def walk_pages(
    file: RandomAccess, *, limit: int | None = None, strict: bool = True
) -> list[TiffPage]:
    """Read the directories of a classic or big TIFF, at most `limit` of them.

    Raises
    ------
    TruncatedFileError
        A directory lies beyond the end; with `strict` false the pages before it are returned.
    UnsupportedFormatError
        Not a TIFF, or directories that go round in circles.
    """
    start = file.read(0, min(16, file.size)).tobytes()
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        raise UnsupportedFormatError(f"{file.path} is not a TIFF")
    big = struct.unpack_from(f"{order}H", start, 2)[0] == 43
    if big and len(start) < 16:
        raise TruncatedFileError(f"{file.path} has {len(start)} bytes", "at least 16")
    position = struct.unpack_from(f"{order}{'Q' if big else 'I'}", start, 8 if big else 4)[0]
    pages: list[TiffPage] = []
    seen = set()
    while position and (limit is None or len(pages) < limit):
        if position in seen:
            raise UnsupportedFormatError(f"{file.path}: the directory at {position} comes twice")
        seen.add(position)
        try:
            page, position = _read_page(file, position, order, big)
        except TruncatedFileError as error:
            if not strict:
                break
            raise TruncatedFileError(
                f"{file.path} has {file.size} bytes and {len(pages)} whole pages",
                f"a further page at byte {position}",
                "Copy the file again",
            ) from error
        pages.append(page)
    return pages


def _read_page(file: RandomAccess, position: int, order: str, big: bool) -> tuple[TiffPage, int]:
    """Return the page whose directory is at `position`, and where the next one is."""
    counter, entry, pointer = ("Q", 20, "Q") if big else ("H", 12, "I")
    head = struct.calcsize(f"{order}{counter}")
    inline = struct.calcsize(f"{order}{pointer}")
    (count,) = struct.unpack(f"{order}{counter}", file.read(position, head).tobytes())
    table = file.read(position + head, count * entry + inline).tobytes()
    page = TiffPage()
    for index in range(count):
        at = index * entry
        tag, kind, number = struct.unpack_from(f"{order}HH{pointer}", table, at)
        code = _CODES.get(kind)
        if code is None:
            continue
        if kind == _RATIONAL:
            number *= 2
        size = number * struct.calcsize(f"{order}{code}")
        data = table[at + entry - inline : at + entry]
        if size > inline:
            (offset,) = struct.unpack(f"{order}{pointer}", data)
            data = file.read(offset, size).tobytes()
        values = struct.unpack(f"{order}{number}{code}", data[:size])
        page.tags[tag] = values[0] if code == "s" else values
    (following,) = struct.unpack_from(f"{order}{pointer}", table, count * entry)
    return page, following
