"""Write EER files from known electrons, independently of the package's own reader and writer."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# compression: (bits of a run, sub-pixel bits in x and y, sub-pixel bits after the longest run)
CODINGS = {65000: (8, 2, 2, True), 65001: (7, 2, 2, False), 65002: (7, 1, 1, False)}


def random_electrons(
    rng: np.random.Generator, shape: tuple[int, int], count: int, sub: int = 4
) -> NDArray[np.int64]:
    """Return (n, 2) positions y, x on the grid of 1/sub pixels, at most one in a pixel."""
    pixels = rng.choice(shape[0] * shape[1], size=count, replace=False)
    inside = rng.integers(0, sub, (count, 2))
    return np.stack(np.divmod(pixels, shape[1]), axis=1) * sub + inside


def render(
    electrons: NDArray[np.int64], shape: tuple[int, int], upsampling: int, sub: int = 4
) -> NDArray[np.int64]:
    """Count electrons on the sensor's grid, `upsampling` times finer."""
    counts = np.zeros((shape[0] * upsampling, shape[1] * upsampling), np.int64)
    np.add.at(counts, tuple((electrons * upsampling // sub).T), 1)
    return counts


def encode(
    electrons: NDArray[np.int64], shape: tuple[int, int], coding: tuple[int, int, int, bool]
) -> bytes:
    """Return one frame's bit stream."""
    run_bits, x_bits, y_bits, wasteful = coding
    longest = 2**run_bits - 1
    pixel = electrons // 2 ** np.array([y_bits, x_bits])
    inside = electrons % 2 ** np.array([y_bits, x_bits])
    order = np.argsort(pixel[:, 0] * shape[1] + pixel[:, 1])
    bits: list[str] = []

    def put(value: int, width: int) -> None:
        bits.append(f"{value:0{width}b}"[::-1])  # the lowest bit first

    def put_run(run: int) -> None:
        while run >= longest:
            put(longest, run_bits)
            if wasteful:
                put(0, x_bits + y_bits)
            run -= longest
        put(run, run_bits)

    at = 0
    for index in order.tolist():
        place = int(pixel[index, 0] * shape[1] + pixel[index, 1])
        put_run(place - at)
        # Sub-pixel positions are signed, counted from the centre of the pixel.
        put((int(inside[index, 1]) - 2 ** (x_bits - 1)) % 2**x_bits, x_bits)
        put((int(inside[index, 0]) - 2 ** (y_bits - 1)) % 2**y_bits, y_bits)
        at = place + 1
    put_run(shape[0] * shape[1] - at)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return np.packbits(np.frombuffer(text.encode(), np.uint8) - 48, bitorder="little").tobytes()


def write_eer(
    path: Path,
    frames: Sequence[NDArray[np.int64]],
    shape: tuple[int, int],
    compression: int = 65001,
    *,
    strips: int = 1,
    sum_image: bool = False,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a BigTIFF with one page a camera frame."""
    coding = CODINGS[compression]
    pages: list[tuple[int, list[bytes], int]] = []
    if sum_image:
        pages.append((1, [np.zeros(shape, np.uint16).tobytes()], 16))
    for electrons in frames:
        data = encode(electrons, shape, coding)
        step = max(1, -(-len(data) // strips))
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        pages.append((compression, pieces, 1))
    items = "".join(f'<item name="{k}" unit="">{v}</item>' for k, v in (metadata or {}).items())
    xml = f"<metadata>{items}</metadata>".encode()

    output = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
    link = 8  # where the offset of the next directory goes
    for number, (kind, pieces, depth) in enumerate(pages):
        offsets = []
        for piece in pieces:
            offsets.append(len(output))
            output += piece
        tags: list[tuple[int, int, int, bytes]] = [
            (256, 4, 1, struct.pack("<I", shape[1])),
            (257, 4, 1, struct.pack("<I", shape[0])),
            (258, 3, 1, struct.pack("<H", depth)),
            (259, 3, 1, struct.pack("<H", kind)),
            (262, 3, 1, struct.pack("<H", 1)),
            (273, 16, len(offsets), struct.pack(f"<{len(offsets)}Q", *offsets)),
            (277, 3, 1, struct.pack("<H", 1)),
            (278, 4, 1, struct.pack("<I", shape[0])),
            (279, 16, len(pieces), struct.pack(f"<{len(pieces)}Q", *map(len, pieces))),
        ]
        if metadata and number == 0:
            tags.append((65001, 7, len(xml), xml))
        if kind == 65002:
            for tag, value in zip((65007, 65008, 65009), coding, strict=False):
                tags.append((tag, 3, 1, struct.pack("<H", value)))
        entries = b""
        for tag, code, count, value in tags:
            if len(value) > 8:
                place = struct.pack("<Q", len(output))
                output += value
                value = place
            entries += struct.pack("<HHQ", tag, code, count) + value.ljust(8, b"\0")
        struct.pack_into("<Q", output, link, len(output))
        output += struct.pack("<Q", len(tags)) + entries
        link = len(output)
        output += bytes(8)
    path.write_bytes(output)
