"""Simulated movies as EER files, the electron-event format of Falcon 4 cameras.

A BigTIFF with a directory per camera frame. A frame is a stream of symbols, least significant
bit first: the number of empty pixels up to the next electron in 7 (compression 65001) or 8 bits
(65000), then 4 bits with the electron's place within the pixel. The largest number means "no
electron yet, go on". In 65000 every symbol has its 4 bits, in 65001 the going-on symbol has none.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numba import njit

from icefloe._types import AnyArray
from icefloe.errors import SettingsError
from icefloe.formats.atomic import atomic_path
from icefloe.simulate.loops import GOLDEN, mix, stream
from icefloe.simulate.seeds import key

__all__ = ["encode_events", "write_eer"]

_RUN_BITS = {65000: 8, 65001: 7}
_COMPRESSIONS = tuple(_RUN_BITS)


def write_eer(
    path: str | Path,
    frames: AnyArray,
    *,
    raw_per_frame: int = 40,
    compression: int = 65001,
    name: str = "movie",
) -> None:
    """Write frames of counts as camera frames with at most one electron in a pixel.

    Each count becomes an electron in one of `raw_per_frame` camera frames, all different, at a
    random quarter of the pixel in y and x. Summing so many camera frames gives the frame back.

    Parameters
    ----------
    path
        The file.
    frames
        (n, ny, nx), counts.
    raw_per_frame
        Camera frames per frame, 1 to 64. A pixel that counts more loses the rest: a camera
        cannot see more than one electron in a pixel and camera frame.
    compression
        65000 or 65001.
    name
        Seeds the random choices.
    """
    if not 1 <= raw_per_frame <= 64:
        raise SettingsError(f"An EER frame of {raw_per_frame} camera frames", "1 to 64")
    if compression not in _RUN_BITS:
        raise SettingsError(f"EER compression {compression}", f"one of {_COMPRESSIONS}")
    ny, nx = frames.shape[-2:]
    total = len(frames) * raw_per_frame
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16))
        position, done = 16, 0
        for index, frame in enumerate(frames):
            streams = encode_events(frame, raw_per_frame, compression, key(name, 0, "eer", index))
            for data in streams:
                done += 1
                directory = _directory(position, len(data), ny, nx, compression, done == total)
                handle.write(directory + data)
                position += len(directory) + len(data)


def encode_events(frame: AnyArray, raw: int, compression: int, seed: int) -> list[bytes]:
    """Return the symbol streams of the `raw` camera frames that a frame (ny, nx) is spread over.

    The streams are padded to a multiple of 8 bytes.
    """
    counts = np.minimum(frame, raw).astype(np.uint8)
    bits = _RUN_BITS[compression]
    # The most that a stream can need: a symbol per electron and one per longest run.
    electrons = int(counts.sum(dtype=np.int64))
    room = min(counts.size, electrons) + counts.size // ((1 << bits) - 1) + 2
    # Electrons spread evenly over the streams; a fair margin keeps the buffer small.
    share = int(min(room, 1.5 * electrons / raw + counts.size // ((1 << bits) - 1) + 1000))
    for size in (share, room):
        buffer = np.zeros((raw, (size * (bits + 4)) // 8 + 16), dtype=np.uint8)
        lengths = np.zeros(raw, dtype=np.int64)
        if _encode(counts.ravel(), raw, bits, compression == 65000, seed, buffer, lengths):
            break
    return [row[: -(-int(n) // 64) * 8].tobytes() for row, n in zip(buffer, lengths, strict=True)]


@njit(cache=True, nogil=True, inline="always")
def _put(row: AnyArray, at: int, value: int) -> None:
    """Or a value of up to 12 bits into the bit stream, lowest bit first."""
    shifted = value << (at & 7)
    byte = at >> 3
    row[byte] |= np.uint8(shifted & 255)
    row[byte + 1] |= np.uint8((shifted >> 8) & 255)
    row[byte + 2] |= np.uint8(shifted >> 16)


@njit(cache=True, nogil=True)
def _encode(
    counts: AnyArray,
    raw: int,
    bits: int,
    padded: bool,
    seed: int,
    buffer: AnyArray,
    lengths: AnyArray,
) -> bool:
    longest = (1 << bits) - 1
    room = buffer.shape[1] * 8 - 64
    following = np.zeros(raw, np.int64)  # the pixel that each stream stands before
    s = stream(seed, 0)
    for pixel in range(counts.shape[0] + 1):
        last = pixel == counts.shape[0]
        wanted = raw if last else np.int64(counts[pixel])
        used = np.uint64(0)
        for number in range(wanted):
            if last:
                target = np.int64(number)
            else:
                while True:
                    s += GOLDEN
                    random = mix(s)
                    target = np.int64((random >> np.uint64(32)) % np.uint64(raw))
                    mask = np.uint64(1) << np.uint64(target)
                    if used & mask == np.uint64(0):
                        used |= mask
                        break
            run = pixel - following[target]
            at = lengths[target]
            if at + (run // longest + 2) * (bits + 4) > room:
                return False
            row = buffer[target]
            while run >= longest:
                _put(row, at, longest)
                at += bits + 4 if padded else bits
                run -= longest
            if last:
                _put(row, at, run)
                at += bits
            else:
                _put(row, at, run | np.int64(random & np.uint64(15)) << bits)
                at += bits + 4
            lengths[target] = at
            following[target] = pixel + 1
    return True


def _directory(at: int, size: int, ny: int, nx: int, compression: int, last: bool) -> bytes:
    """Return a BigTIFF directory; the frame's data follow it, then the next directory."""
    entries = (
        (256, 4, nx),
        (257, 4, ny),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (273, 16, 0),
        (277, 3, 1),
        (278, 4, ny),
        (279, 16, size),
    )
    length = 8 + 20 * len(entries) + 8
    out = [struct.pack("<Q", len(entries))]
    for tag, kind, value in entries:
        content = at + length if tag == 273 else value
        out.append(struct.pack("<HHQQ", tag, kind, 1, content))
    out.append(struct.pack("<Q", 0 if last else at + length + size))
    return b"".join(out)
