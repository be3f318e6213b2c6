"""Unpacking TIFF's LZW, strip by strip, into the rows of an image.

Counting cameras write movies of LZW strips whose codes stand for four or five pixels on average,
so what a code costs is all that matters. Here the table keeps the first eight bytes of each code's
string in one word: a code is put out by one store, without a loop, and only longer strings copy
their tail from where they stood before. That is several times faster than a library's chain of
prefixes, and lets go of Python's lock for a whole page: `benchmarks/formats.py`.

Reference: TIFF Revision 6.0 (Adobe 1992), section 13; Welch (1984), Computer 17(6), 8.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["STREAM_MARGIN", "unpack_lzw", "unpack_lzw_strips"]

# Bytes that must be there behind a stream, and behind the output: whole words are read and stored.
STREAM_MARGIN, _OUT_MARGIN = 4, 8
_CLEAR, _END = 256, 257
_TABLE = 4096
_U = np.uint64


@njit(cache=True, nogil=True)
def unpack_lzw(stream: NDArray[np.uint8], begin: int, size: int, out: NDArray[np.uint8]) -> int:
    """Unpack one strip.

    Nothing outside the strip and outside `out` is read or written, whatever the bytes are.

    Parameters
    ----------
    stream
        Holds the strip, and at least `STREAM_MARGIN` bytes of anything after it.
    begin, size
        Where the strip is in `stream`, bytes.
    out
        All but its last 8 bytes are to be filled; those may be overwritten.

    Returns
    -------
    The number of bytes put out: fewer than wanted when the strip ends before or holds a code that
    stands for nothing yet.
    """
    if begin < 0 or size < 0 or begin + size + STREAM_MARGIN > stream.size:
        return 0
    if out.size < _OUT_MARGIN:
        return 0
    words = np.empty(_TABLE + 1, np.uint64)  # the first eight bytes, the first one lowest
    lengths = np.empty(_TABLE + 1, np.uint16)
    places = np.empty(_TABLE + 1, np.uint64)  # where the string stands in `out`
    for value in range(256):
        words[value] = value
        lengths[value] = 1
    wanted = _U(out.size - _OUT_MARGIN)
    bit, end = _U(begin) * _U(8), _U(begin + size) * _U(8)
    at = _U(0)
    width, mask, free = _U(9), _U(511), _U(_END + 1)
    fresh = True  # no code since the table was cleared
    last_word, last_length, last_at = _U(0), _U(0), _U(0)
    while at < wanted and bit + width <= end:
        byte = bit >> _U(3)
        window = (
            (_U(stream[byte]) << _U(24))
            | (_U(stream[byte + _U(1)]) << _U(16))
            | (_U(stream[byte + _U(2)]) << _U(8))
            | _U(stream[byte + _U(3)])
        )
        code = (window >> (_U(32) - (bit & _U(7)) - width)) & mask
        bit += width
        if code == _U(_CLEAR):
            width, mask, free = _U(9), _U(511), _U(_END + 1)
            fresh = True
            continue
        if code == _U(_END):
            break
        if fresh:
            if code >= _U(_CLEAR):
                break
            out[at] = code
            last_word, last_length, last_at = code, _U(1), at
            at += _U(1)
            fresh = False
            continue
        if code > free or code >= _U(_TABLE):
            break
        # The new string is the last one and the first byte of this one. That may be the new
        # string itself, which begins as the last one does: so it is entered before it is looked
        # up, and its last byte is put right afterwards. A full table has a slot that no code names.
        shift = last_length << _U(3)
        if last_length < _U(8):
            words[free] = last_word | ((last_word & _U(255)) << shift)
        else:
            words[free] = last_word
        lengths[free] = last_length + _U(1)
        places[free] = last_at
        word, length = words[code], _U(lengths[code])
        if last_length < _U(8):
            words[free] = last_word | ((word & _U(255)) << shift)
        free += _U(free < _U(_TABLE))
        if length > wanted - at:
            break
        # One store in machine code. What lies beyond the string is overwritten by the next.
        out[at] = word & _U(255)
        out[at + _U(1)] = (word >> _U(8)) & _U(255)
        out[at + _U(2)] = (word >> _U(16)) & _U(255)
        out[at + _U(3)] = (word >> _U(24)) & _U(255)
        out[at + _U(4)] = (word >> _U(32)) & _U(255)
        out[at + _U(5)] = (word >> _U(40)) & _U(255)
        out[at + _U(6)] = (word >> _U(48)) & _U(255)
        out[at + _U(7)] = (word >> _U(56)) & _U(255)
        if length > _U(8):
            place = places[code]
            for i in range(_U(8), length):
                out[at + i] = out[place + i]
        last_word, last_length, last_at = word, length, at
        at += length
        # TIFF's encoders widen one code early.
        if free >= mask and width < _U(12):
            width += _U(1)
            mask = (mask << _U(1)) | _U(1)
    return int(np.int64(at))


@njit(cache=True, nogil=True)
def unpack_lzw_strips(
    stream: NDArray[np.uint8],
    begins: NDArray[np.int64],
    sizes: NDArray[np.int64],
    strip_rows: int,
    differences: bool,
    flip: bool,
    image: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Unpack the strips of a page.

    Parameters
    ----------
    stream
        The strips' bytes and `STREAM_MARGIN` more.
    begins, sizes
        Where each strip is in `stream`, bytes.
    strip_rows
        Rows of every strip but the last, which has the rest.
    differences
        Each byte is the difference to the one before in its row (predictor 2).
    flip
        Put the first row of the file last.
    image
        (y, x), filled.

    Returns
    -------
    Number of good strips; of the first bad one, how many bytes came out and how many should have.
    """
    rows, columns = image.shape
    scratch = np.empty(strip_rows * columns + _OUT_MARGIN, np.uint8)
    for strip in range(begins.size):
        first = strip * strip_rows
        count = min(strip_rows, rows - first)
        wanted = count * columns
        got = unpack_lzw(stream, begins[strip], sizes[strip], scratch[: wanted + _OUT_MARGIN])
        if got != wanted:
            return strip, got, wanted
        for i in range(count):
            row = rows - 1 - first - i if flip else first + i
            target = image[row]
            source = scratch[i * columns : (i + 1) * columns]
            if differences:
                value = np.uint8(0)
                for x in range(columns):
                    value = np.uint8(value + source[x])
                    target[x] = value
            else:
                target[:] = source
    return begins.size, 0, 0
