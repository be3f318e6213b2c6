"""MRC images and stacks: the MRC2014 format with IMOD's additions.

Row 0 of an array is the first row of the file.  Headers are read permissively, as files of real
cameras need it (missing `MAP` word, wrong machine stamp, SerialEM's unsigned bytes); data that the
header promises and the file lacks is an error.

Reference: Cheng et al. (2015), J. Struct. Biol. 192, 146; IMOD's description of mode 101.
"""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import (
    EmptyMovieError,
    TruncatedFileError,
    UnsupportedFormatError,
)
from icefloe.formats._mrc_writer import MrcStackWriter, write_mrc
from icefloe.formats.frames import RandomAccess, open_binary

__all__ = [
    "MrcHeader",
    "MrcReader",
    "MrcStackWriter",
    "looks_like_mrc",
    "parse_mrc_header",
    "read_mrc",
    "write_mrc",
]

_HEADER_SIZE = 1024
_IMOD_STAMP = 1146047817
_PACKED = 101
_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


@dataclass(frozen=True)
class MrcHeader:
    """The part of an MRC header that matters here.

    Parameters
    ----------
    shape
        Size of one image, (y, x).
    count
        Number of images (sections).
    mode
        The MRC mode: 0, 1, 2, 6, 12 or 101 (two 4-bit pixels a byte).
    dtype
        Type of the pixels in the file, with its byte order; uint8 for mode 101.
    offset
        Where the first image begins, in bytes.
    pixel_size
        In A, None where the header has none.
    """

    shape: tuple[int, int]
    count: int
    mode: int
    dtype: np.dtype[Any]
    offset: int
    pixel_size: float | None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the file."""
        if self.mode == _PACKED:
            return (self.shape[1] + 1) // 2
        return self.shape[1] * self.dtype.itemsize

    @property
    def image_bytes(self) -> int:
        """Bytes of one image in the file."""
        return self.shape[0] * self.row_bytes


def looks_like_mrc(start: bytes) -> bool:
    """Say whether a file that begins with `start` may be MRC."""
    if len(start) < _HEADER_SIZE:
        return False
    return _byte_order(start) is not None


def _byte_order(start: bytes) -> str | None:
    # Real files carry wrong machine stamps; sizes and mode are reliable. Mode 0 reads the same
    # both ways, so the order with the smaller size is the right one.
    found = []
    for order in "<>":
        nx, ny, nz, mode = struct.unpack_from(f"{order}4i", start)
        axes = struct.unpack_from(f"{order}3i", start, 64)
        named = start[208:211] == b"MAP" or set(axes) == {1, 2, 3} or axes == (0, 0, 0)
        if named and mode in (*_TYPES, 3, 4, _PACKED) and nx > 0 and ny > 0 and nz >= 0:
            found.append((nx + ny, order))
    return min(found)[1] if found else None


def parse_mrc_header(start: bytes, path: object) -> MrcHeader:
    """Read the first 1024 bytes of an MRC file.

    Raises
    ------
    TruncatedFileError, EmptyMovieError, UnsupportedFormatError
    """
    if not start:
        raise EmptyMovieError(f"{path} is empty (0 bytes)", hint="Copy the file again")
    if len(start) < _HEADER_SIZE:
        raise TruncatedFileError(
            f"{path} has {len(start)} bytes", f"at least the {_HEADER_SIZE} of an MRC header"
        )
    order = _byte_order(start)
    if order is None:
        raise UnsupportedFormatError(
            f"{path} has no MRC header that makes sense", "MRC with mode 0, 1, 2, 6, 12 or 101"
        )
    nx, ny, nz, mode = struct.unpack_from(f"{order}4i", start)
    mx = struct.unpack_from(f"{order}i", start, 28)[0]
    cell = struct.unpack_from(f"{order}f", start, 40)[0]
    highest = struct.unpack_from(f"{order}f", start, 80)[0]
    extended = struct.unpack_from(f"{order}i", start, 92)[0]
    stamp, flags = struct.unpack_from(f"{order}2i", start, 152)
    if nz == 0:
        raise EmptyMovieError(f"{path} declares 0 images", "at least one")
    dtype: np.dtype[Any]
    if mode == _PACKED:
        dtype = np.dtype("u1")
    elif mode in _TYPES:
        dtype = np.dtype(order + _TYPES[mode])
    else:
        raise UnsupportedFormatError(
            f"{path} has MRC mode {mode}", "mode 0, 1, 2, 6, 12 or 101", "Convert it to mode 2"
        )
    if mode == 0:
        # MRC2014 says signed, SerialEM and IMOD write unsigned and say so; older files only
        # betray it by their maximum.
        unsigned = not flags & 1 if stamp == _IMOD_STAMP else highest > 127
        dtype = np.dtype("u1" if unsigned else "i1")
    size = cell / mx if mx > 0 and np.isfinite(cell) and cell > 0 else 0.0
    return MrcHeader(
        shape=(ny, nx),
        count=nz,
        mode=mode,
        dtype=dtype,
        offset=_HEADER_SIZE + max(extended, 0),
        # The cell has the seven digits of a 32-bit float.
        pixel_size=float(f"{size:.6g}") if size > 0 else None,
    )


class MrcReader:
    """Images of an MRC file, read when asked for. See `FrameReader` for the attributes.

    Raises
    ------
    TruncatedFileError
        The header promises more than the file holds; the message gives both numbers of bytes.
    EmptyMovieError, UnsupportedFormatError, InputError
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._source = _open_source(self.path)
        try:
            self.header = parse_mrc_header(
                self._source.read(0, min(_HEADER_SIZE, self._source.size)).tobytes(), path
            )
            self._check_size()
        except BaseException:
            self._source.close()
            raise
        header = self.header
        self.shape, self.count, self.pixel_size = header.shape, header.count, header.pixel_size
        self.dtype = header.dtype.newbyteorder("=")
        self.frame_dose_factors = np.ones(self.count)
        self.details = {"format": "MRC", "mode": str(header.mode)}
        if isinstance(self._source, _InMemory):
            self.details["compression"] = self._source.kind

    def _check_size(self) -> None:
        header, found = self.header, self._source.size
        needed = header.offset + header.count * header.image_bytes
        if found < needed:
            whole = max(0, found - header.offset) // header.image_bytes
            raise TruncatedFileError(
                f"{self.path} has {found} bytes ({whole} of {header.count} images)",
                f"{needed} bytes by its header",
                "Copy the file again",
            )

    def read_into(self, index: int, out: NDArray[Any]) -> None:
        """Fill `out`, (y, x), with image `index`."""
        header = self.header
        offset = header.offset + index * header.image_bytes
        if header.mode == _PACKED:
            data = self._source.read(offset, header.image_bytes)
            unpack_nibbles(data.reshape(header.shape[0], -1), out)
        else:
            self._source.read_into(offset, out.reshape(-1).view(np.uint8))
            if not header.dtype.isnative:
                out.byteswap(inplace=True)

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


def unpack_nibbles(packed: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Fill `out`, (y, x), from rows of two 4-bit pixels a byte, the first in the low half."""
    columns = out.shape[1]
    np.bitwise_and(packed[:, : (columns + 1) // 2], 15, out=out[:, ::2])
    np.right_shift(packed[:, : columns // 2], 4, out=out[:, 1::2])


class _InMemory:
    """A compressed file, unpacked as a whole: it cannot be read from the middle."""

    def __init__(self, path: Path, kind: str) -> None:
        self.kind = kind
        opener: Any = gzip.open if kind == "gzip" else bz2.open
        try:
            with opener(path, "rb") as handle:
                self._data = np.frombuffer(handle.read(), np.uint8)
        except (EOFError, zlib.error, OSError) as error:
            raise TruncatedFileError(
                f"{path} cannot be unpacked ({error})", f"a whole {kind} file", "Copy it again"
            ) from error
        self.size = len(self._data)

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        return self._data[offset : offset + count]

    def read_into(self, offset: int, out: NDArray[np.uint8]) -> None:
        out[:] = self._data[offset : offset + out.size]

    def close(self) -> None:
        self._data = np.empty(0, np.uint8)


def _open_source(path: Path) -> RandomAccess | _InMemory:
    with open_binary(path) as handle:
        magic = handle.read(3)
    if magic[:2] == b"\x1f\x8b":
        return _InMemory(path, "gzip")
    if magic == b"BZh":
        return _InMemory(path, "bzip2")
    return RandomAccess(path)


def read_mrc(path: str | Path) -> tuple[NDArray[Any], float | None]:
    """Read a whole MRC file.

    Returns
    -------
    data
        (n, y, x), or (y, x) for one image unless the name says stack (.mrcs); in the type of
        the file.
    pixel_size
        In A, None where the header has none.

    Raises
    ------
    TruncatedFileError, EmptyMovieError, UnsupportedFormatError, InputError
    """
    reader = MrcReader(path)
    try:
        stack = np.empty((reader.count, *reader.shape), reader.dtype)
        for index in range(reader.count):
            reader.read_into(index, stack[index])
        single = reader.count == 1 and Path(path).suffix != ".mrcs"
        return stack[0] if single else stack, reader.pixel_size
    finally:
        reader.close()
