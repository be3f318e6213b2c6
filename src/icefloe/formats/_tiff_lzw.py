"""Pages of 8-bit pixels in LZW strips, as counting cameras' movies are: our own decoder.

It is about three times faster than imagecodecs (`benchmarks/formats.py`), which decodes
everything else, and needs neither it nor tifffile to be imported. Rows go straight into the array
that is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import InputError
from icefloe.formats._tiff_pages import TiffPage
from icefloe.formats.frames import RandomAccess

__all__ = ["LzwPage", "lzw_pages"]

_LZW = 5
_BITS, _COMPRESSION, _PHOTOMETRIC, _BIT_ORDER, _SAMPLES = 258, 259, 262, 266, 277
_STRIP_ROWS, _PREDICTOR, _TILE_WIDTH, _SAMPLE_FORMAT, _DEPTH = 278, 317, 322, 339, 32997
_TYPES = {1: np.dtype(np.uint8), 2: np.dtype(np.int8)}


class LzwPage:
    """One page, its parts named as tifffile names them.

    Attributes
    ----------
    shape
        (y, x).
    dtype
        uint8 or int8.
    dataoffsets, databytecounts
        Of each strip, in bytes.
    """

    def __init__(self, page: TiffPage) -> None:
        self.shape = page.shape
        self.dtype = _TYPES[page.value(_SAMPLE_FORMAT, 1)]
        self.dataoffsets = tuple(offset for offset, _ in page.strips)
        self.databytecounts = tuple(size for _, size in page.strips)
        self._strip_rows = min(page.value(_STRIP_ROWS, self.shape[0]), self.shape[0])
        self._differences = page.value(_PREDICTOR, 1) == 2

    def decode(self, file: RandomAccess, flip: bool, out: NDArray[Any]) -> None:
        """Fill `out`, (y, x) of one byte a pixel, flipped in y if `flip` says so.

        Raises
        ------
        InputError
            A strip does not give as many pixels as it should.
        TruncatedFileError
            The file got shorter.
        """
        from icefloe.kernels.lzw import STREAM_MARGIN, unpack_lzw_strips

        sizes = np.array(self.databytecounts, np.int64)
        begins = np.cumsum(sizes) - sizes
        stream = np.zeros(int(sizes.sum()) + STREAM_MARGIN, np.uint8)
        for begin, size, offset in zip(
            begins.tolist(), self.databytecounts, self.dataoffsets, strict=True
        ):
            file.read_into(offset, stream[begin : begin + size])
        good, got, wanted = unpack_lzw_strips(
            stream, begins, sizes, self._strip_rows, self._differences, flip, out.view(np.uint8)
        )
        if good < len(sizes):
            raise InputError(
                f"strip {good + 1} of {len(sizes)} is damaged at byte {got} of {wanted}"
            )


def lzw_pages(file: RandomAccess, pages: list[TiffPage]) -> list[LzwPage] | None:
    """Return the pages if this module can decode all of them, else None."""
    if not pages or not all(_is_ours(page, file.size) for page in pages):
        return None
    # Files of before 1990 pack the lowest bits first; a strip of TIFF 6 begins with a clear code.
    start = file.read(pages[0].strips[0][0], 2)
    if start[0] != 0x80 or start[1] & 0x80:
        return None
    return [LzwPage(page) for page in pages]


def _is_ours(page: TiffPage, file_size: int) -> bool:
    rows, columns = page.shape
    strip_rows = min(page.value(_STRIP_ROWS, rows), rows)
    strips = page.strips
    return (
        page.value(_COMPRESSION, 1) == _LZW
        and page.tags.get(_BITS) == (8,)
        and page.value(_SAMPLES, 1) == 1
        and page.value(_SAMPLE_FORMAT, 1) in _TYPES
        and page.value(_PHOTOMETRIC, 1) in (0, 1)
        and page.value(_BIT_ORDER, 1) == 1
        and page.value(_PREDICTOR, 1) in (1, 2)
        and page.value(_DEPTH, 1) == 1
        and _TILE_WIDTH not in page.tags
        and rows > 0
        and columns > 0
        and strip_rows > 0
        and len(strips) == -(-rows // strip_rows)
        and all(size > 2 and offset + size <= file_size for offset, size in strips)
        # Strips that overlap could ask for more memory than the file has bytes.
        and sum(size for _, size in strips) <= file_size
    )
