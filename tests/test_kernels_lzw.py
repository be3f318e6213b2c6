"""TIFF's LZW: our decoder against imagecodecs and against streams of a known encoder."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from icefloe.errors import InputError
from icefloe.formats import open_movie, read_tiff
from icefloe.kernels.lzw import STREAM_MARGIN, unpack_lzw, unpack_lzw_strips

GUARD = 0xA5


def unpack(data: bytes, count: int, before: bytes = b"") -> tuple[bytes, bytes]:
    """Return what came out, and what lies behind the last byte that may be overwritten."""
    stream = np.frombuffer(before + data + b"\xff" * STREAM_MARGIN, np.uint8)
    room = np.full(count + 8 + 64, GUARD, np.uint8)
    got = unpack_lzw(stream, len(before), len(data), room[: count + 8])
    return room[:got].tobytes(), room[count + 8 :].tobytes()


def encode(data: bytes, *, clear_at: int = 4094, end: bool = True) -> bytes:
    """Return an LZW stream as TIFF 6 describes it, from a table of strings.

    With `clear_at` above 4096 the table is left full instead of cleared.
    """
    table: dict[bytes, int] = {}
    codes: list[tuple[int, int]] = [(256, 9)]
    free, width, known = 258, 9, b""

    def reset() -> None:
        nonlocal table, free, width
        table = {bytes([i]): i for i in range(256)}
        free, width = 258, 9

    reset()
    for value in data:
        longer = known + bytes([value])
        if longer in table:
            known = longer
            continue
        codes.append((table[known], width))
        if free < 4096:
            table[longer] = free
            free += 1
        # The decoder is one entry behind, and both widen one code early.
        if free > (1 << width) - 1 and width < 12:
            width += 1
        if free >= clear_at:
            codes.append((256, width))
            reset()
        known = bytes([value])
    if known:
        codes.append((table[known], width))
        free += 1
        if free > (1 << width) - 1 and width < 12:
            width += 1
    if end:
        codes.append((257, width))
    bits = "".join(f"{code:0{n}b}" for code, n in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def samples() -> dict[str, bytes]:
    rng = np.random.default_rng(5)
    return {
        "counts": rng.poisson(1.2, 60_000).astype("u1").tobytes(),
        "noise": rng.integers(0, 256, 60_000).astype("u1").tobytes(),
        "one value": bytes(200_000),
        "period": bytes(range(7)) * 9_000,
        "two values": rng.integers(0, 2, 60_000).astype("u1").tobytes(),
        "runs": np.repeat(rng.integers(0, 4, 900), rng.integers(1, 200, 900))
        .astype("u1")
        .tobytes(),
        "single": b"\x07",
        "a pair": b"\x07\x07",
    }


@pytest.mark.parametrize("name", samples())
def test_what_imagecodecs_packed_comes_back(name):
    data = samples()[name]
    out, behind = unpack(imagecodecs.lzw_encode(data), len(data), before=b"other strips")
    assert out == data
    assert set(behind) == {GUARD}


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("clear_at", [300, 511, 512, 1023, 2047, 4094, 4095, 9999])
@pytest.mark.parametrize("name", ["counts", "noise", "one value", "runs", "a pair"])
def test_tables_cleared_early_late_and_never(name, clear_at, end):
    data = samples()[name][:30_000]
    packed = encode(data, clear_at=clear_at, end=end)
    assert unpack(packed, len(data))[0] == data
    if clear_at <= 4094 and end:  # beyond that imagecodecs wants its own encoder's streams
        assert imagecodecs.lzw_decode(packed, out=len(data)) == data


@given(st.binary(max_size=400), st.integers(1, 5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_bytes_come_back(data, repeats, own):
    data = data * repeats
    packed = encode(data) if own else imagecodecs.lzw_encode(data)
    assert unpack(packed, len(data))[0] == data


@given(st.binary(max_size=300), st.booleans(), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_garbage_stays_within_its_bounds(data, with_clear, count):
    out, behind = unpack(b"\x80" + data if with_clear else data, count)
    assert len(out) <= count
    assert set(behind) == {GUARD}


def test_a_stream_that_was_cut_gives_its_beginning():
    data = samples()["counts"]
    packed = imagecodecs.lzw_encode(data)
    for kept in (0, 1, 2, 3, 100, len(packed) // 2, len(packed) - 4):
        out, _ = unpack(packed[:kept], len(data))
        assert len(out) < len(data)
        assert data.startswith(out)


def test_codes_that_stand_for_nothing_yet_end_it():
    def stream(*codes: int) -> bytes:
        bits = "".join(f"{code:09b}" for code in codes)
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")

    assert unpack(stream(256, 65, 66, 258, 260, 65), 100)[0] == b"ABABABAA"
    assert unpack(stream(256, 65, 66, 260, 65), 100)[0] == b"AB"  # 260 is two ahead
    assert unpack(stream(256, 258, 65), 100)[0] == b""
    assert unpack(stream(256, 65, 256, 258, 65), 100)[0] == b"A"
    assert unpack(stream(256, 256, 65, 257, 66), 100)[0] == b"A"
    assert unpack(stream(256, 65, 258, 259), 5)[0] == b"AAA"  # the last string does not fit


def test_a_stream_that_is_said_to_be_longer_than_it_is_is_not_read():
    stream = np.zeros(20, np.uint8)
    out = np.zeros(30, np.uint8)
    for begin, size in ((0, 17), (18, 1), (-1, 4), (0, -1)):
        assert unpack_lzw(stream, begin, size, out) == 0
    assert unpack_lzw(stream, 0, 4, out[:7]) == 0


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 7, 20, 50])
def test_strips_go_to_their_rows(rows, flip):
    image = np.random.default_rng(2).poisson(2, (20, 33)).astype(np.uint8)
    strips = [imagecodecs.lzw_encode(image[i : i + rows].tobytes()) for i in range(0, 20, rows)]
    sizes = np.array([len(strip) for strip in strips])
    stream = np.frombuffer(b"".join(strips) + bytes(STREAM_MARGIN), np.uint8)
    out = np.zeros_like(image)
    arguments = (stream, np.cumsum(sizes) - sizes, sizes, min(rows, 20), False, flip, out)
    assert unpack_lzw_strips(*arguments) == (len(strips), 0, 0)
    np.testing.assert_array_equal(out, image[::-1] if flip else image)


@pytest.mark.parametrize("kind", ["u1", "i1"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("rows", [1, 8, 100])
def test_files_read_as_tifffile_reads_them(tmp_path, kind, predictor, rows):
    image = np.random.default_rng(3).poisson(20, (40, 57)).astype(kind)
    path = tmp_path / "m.tif"
    options = {"compression": "lzw", "predictor": predictor, "photometric": "minisblack"}
    tifffile.imwrite(path, image, rowsperstrip=rows, **options)
    found, _ = read_tiff(path)
    np.testing.assert_array_equal(found[::-1], tifffile.imread(path))
    assert found.dtype == np.dtype(kind)


def test_lowest_bits_first_is_left_to_the_library(tmp_path):
    """The stream of 1988, from the description of it: codes of 9 bits, the lowest bits first."""
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    packed, at = 0, 0
    for code in (256, *image.ravel().tolist(), 257):
        packed |= code << at
        at += 9
    old = packed.to_bytes(-(-at // 8), "little")
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, image, compression="lzw", photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        offset, room = page.dataoffsets[0], page.databytecounts[0]
    assert len(old) <= room
    data = bytearray(path.read_bytes())
    data[offset : offset + room] = old.ljust(room, b"\0")
    path.write_bytes(data)
    np.testing.assert_array_equal(read_tiff(path)[0][::-1], image)


@pytest.mark.parametrize("damage", ["zeros", "ones", "noise", "cleared"])
def test_a_damaged_strip_is_an_error_that_names_it(tmp_path, damage):
    frames = np.random.default_rng(4).poisson(1, (3, 64, 64)).astype(np.uint8)
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in frames:
            writer.write(frame, compression="lzw", rowsperstrip=16, photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        offset, size = (
            values[2] for values in (tiff.pages[1].dataoffsets, tiff.pages[1].databytecounts)
        )
    half = size // 2
    spoilt = {
        "zeros": bytes(half),
        "ones": b"\xff" * half,
        "noise": np.random.default_rng(6).bytes(half),
        "cleared": b"\x80" * half,
    }[damage]
    data = bytearray(path.read_bytes())
    data[offset : offset + half] = spoilt
    path.write_bytes(data)
    with open_movie(path) as movie:
        np.testing.assert_array_equal(movie[0], frames[0, ::-1])
        with pytest.raises(InputError, match=r"Frame 2 .* \(strip 3 of 4"):
            movie.read(2)
