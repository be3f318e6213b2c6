"""MRC: what cameras and other programs write is read; what is written others accept."""

from __future__ import annotations

import bz2
import gzip
import io
import shutil
import struct
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.errors import (
    EmptyMovieError,
    FrameShapeError,
    InputError,
    OutputError,
    TruncatedFileError,
    UnsupportedFormatError,
)
from icefloe.formats import MrcStackWriter, open_movie, read_image, read_mrc, write_mrc

rng = np.random.default_rng(0)
STACK = rng.integers(0, 100, (3, 5, 7))
IMOD_STAMP = 1146047817


def raw_mrc(
    shape: tuple[int, int, int], mode: int, data: bytes, order: str = "<", **fields: int | float
) -> bytes:
    """Return an MRC made by hand; `fields` gives numbers by their offset, as `at_152`."""
    header = bytearray(1024)
    struct.pack_into(f"{order}4i", header, 0, shape[2], shape[1], shape[0], mode)
    struct.pack_into(f"{order}3i", header, 28, shape[2], shape[1], shape[0])
    struct.pack_into(f"{order}3i", header, 64, 1, 2, 3)
    header[208:212] = b"MAP "
    for name, value in fields.items():
        kind = "f" if isinstance(value, float) else "i"
        struct.pack_into(f"{order}{kind}", header, int(name[3:]), value)
    return bytes(header) + data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("mode", "kind"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
def test_modes_in_both_byte_orders(tmp_path, order, mode, kind):
    data = STACK.astype(order + kind).tobytes()
    (tmp_path / "m.mrc").write_bytes(raw_mrc(STACK.shape, mode, data, order, at_40=10.5))
    with open_movie(tmp_path / "m.mrc") as movie:
        assert (movie.shape, len(movie)) == ((5, 7), 3)
        assert movie.dtype == np.dtype(kind)
        assert movie[1].dtype.isnative
        assert movie.pixel_size == pytest.approx(1.5)
        np.testing.assert_array_equal(movie.read(), STACK)
        np.testing.assert_array_equal(movie[-1], STACK[2])
        with pytest.raises(IndexError):
            movie[3]
        np.testing.assert_array_equal(movie.frame_dose_factors, [1, 1, 1])


def test_row_0_is_the_first_row_of_the_file(tmp_path):
    data = np.arange(35, dtype="<f4").tobytes()
    (tmp_path / "m.mrc").write_bytes(raw_mrc((1, 5, 7), 2, data))
    np.testing.assert_array_equal(read_mrc(tmp_path / "m.mrc")[0][0], np.arange(7))


@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.randoms(use_true_random=False))
def test_4_bit_pixels_come_low_half_first(tmp_path_factory, count, rows, columns, random):
    pixels = [
        [[random.randrange(16) for _ in range(columns)] for _ in range(rows)] for _ in range(count)
    ]
    data = bytearray()
    for image in pixels:
        for row in image:
            for first in range(0, columns, 2):
                second = row[first + 1] if first + 1 < columns else 0
                data.append(row[first] + 16 * second)
    path = tmp_path_factory.mktemp("packed") / "m.mrc"
    path.write_bytes(raw_mrc((count, rows, columns), 101, bytes(data)))
    with open_movie(path) as movie:
        assert movie.dtype == np.uint8
        np.testing.assert_array_equal(movie.read(), pixels)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"at_152": IMOD_STAMP, "at_156": 0}, 200),
        ({"at_152": IMOD_STAMP, "at_156": 1}, -56),
        ({"at_80": 200.0}, 200),
        ({"at_80": 100.0}, -56),
    ],
)
def test_bytes_are_unsigned_where_serialem_says_so(tmp_path, fields, expected):
    data = bytes([200] * 6)
    (tmp_path / "m.mrc").write_bytes(raw_mrc((1, 2, 3), 0, data, **fields))
    assert read_mrc(tmp_path / "m.mrc")[0][0, 0] == expected


@pytest.mark.parametrize("opener", [gzip.compress, bz2.compress])
def test_compressed_files(tmp_path, opener):
    data = raw_mrc(STACK.shape, 1, STACK.astype("<i2").tobytes())
    (tmp_path / "m.mrc.z").write_bytes(opener(data))
    with open_movie(tmp_path / "m.mrc.z") as movie:
        np.testing.assert_array_equal(movie.read(), STACK)
        assert movie.details["compression"] in ("gzip", "bzip2")
    (tmp_path / "m.mrc.z").write_bytes(opener(data)[:-20])
    with pytest.raises(TruncatedFileError, match="unpacked"):
        open_movie(tmp_path / "m.mrc.z")


def test_an_extended_header_is_skipped(tmp_path):
    data = bytes(96) + STACK.astype("<i2").tobytes()
    (tmp_path / "m.mrc").write_bytes(raw_mrc(STACK.shape, 1, data, at_92=96))
    with open_movie(tmp_path / "m.mrc") as movie:
        np.testing.assert_array_equal(movie[0], STACK[0])


def test_sloppy_headers_are_read(tmp_path):
    data = bytearray(raw_mrc(STACK.shape, 1, STACK.astype("<i2").tobytes()))
    data[208:216] = bytes(8)  # neither MAP nor a machine stamp
    struct.pack_into("<3i", data, 64, 0, 0, 0)
    (tmp_path / "m.mrc").write_bytes(data)
    with open_movie(tmp_path / "m.mrc") as movie:
        np.testing.assert_array_equal(movie[2], STACK[2])
        assert movie.pixel_size is None


def test_a_truncated_movie_says_how_much_is_missing(tmp_path):
    data = raw_mrc(STACK.shape, 1, STACK.astype("<i2").tobytes())
    (tmp_path / "m.mrc").write_bytes(data[:-80])
    with pytest.raises(TruncatedFileError, match=r"1154 bytes \(1 of 3 images\).*1234 bytes"):
        open_movie(tmp_path / "m.mrc")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyMovieError),
        (bytes(100), TruncatedFileError),
        (raw_mrc((0, 5, 7), 1, b""), EmptyMovieError),
        (raw_mrc((1, 5, 7), 4, bytes(280)), UnsupportedFormatError),
        (bytes(4000), UnsupportedFormatError),
        (b"some text " * 200, UnsupportedFormatError),
    ],
)
def test_what_is_not_a_movie(tmp_path, data, error):
    (tmp_path / "m.mrc").write_bytes(data)
    with pytest.raises(error):
        open_movie(tmp_path / "m.mrc")


def test_a_missing_file_and_a_directory(tmp_path):
    for path in (tmp_path / "absent.mrc", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            open_movie(path)


# ---- writing


@pytest.mark.parametrize("kind", ["i1", "i2", "u2", "f4", "f2"])
@pytest.mark.parametrize("stack", [True, False])
def test_mrcfile_accepts_and_reads_what_is_written(tmp_path, kind, stack):
    # Small numbers: mrcfile's own deviation of 16-bit floats overflows beyond 65504.
    data = ((STACK if stack else STACK[0]) % 9).astype(kind)
    write_mrc(tmp_path / "m.mrc", data, 1.06)
    report = io.StringIO()
    assert mrcfile.validate(tmp_path / "m.mrc", print_file=report), report.getvalue()
    with mrcfile.open(tmp_path / "m.mrc") as theirs:
        assert theirs.data.dtype == data.dtype
        assert theirs.is_image_stack() == stack
        np.testing.assert_array_equal(theirs.data, data)
        assert float(theirs.voxel_size.x) == pytest.approx(1.06, rel=1e-6)
        assert float(theirs.header.dmean) == pytest.approx(data.mean(dtype=float), rel=1e-6)
        assert float(theirs.header.rms) == pytest.approx(data.std(dtype=float), rel=1e-6)
    again, pixel_size = read_mrc(tmp_path / "m.mrc")
    np.testing.assert_array_equal(again, data)
    assert pixel_size == 1.06


@pytest.mark.parametrize(
    ("kind", "stored"), [("u1", "u2"), ("i4", "f4"), ("f8", "f4"), ("?", "i1")]
)
def test_other_types_are_widened(tmp_path, kind, stored):
    data = (STACK[0] % 2).astype(kind)
    write_mrc(tmp_path / "m.mrc", data, None)
    again, pixel_size = read_mrc(tmp_path / "m.mrc")
    assert again.dtype == np.dtype(stored)
    assert pixel_size is None
    np.testing.assert_array_equal(again, data)


def test_float16_is_mode_12_and_refuses_what_does_not_fit(tmp_path):
    image = rng.normal(size=(6, 8)).astype(np.float32)
    write_mrc(tmp_path / "m.mrc", image, 1.0, float16=True)
    with mrcfile.open(tmp_path / "m.mrc") as theirs:
        assert theirs.header.mode == 12
    read = read_image(tmp_path / "m.mrc")
    assert read.data.dtype == np.float32
    np.testing.assert_allclose(read.data, image, rtol=1e-3, atol=1e-6)
    with pytest.raises(InputError, match="16-bit"):
        write_mrc(tmp_path / "n.mrc", image * 1e6, 1.0, float16=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.mrc"]


def test_the_same_data_give_the_same_bytes(tmp_path):
    write_mrc(tmp_path / "a.mrc", STACK.astype(np.float32), 1.2)
    with MrcStackWriter(tmp_path / "b.mrc", (5, 7), 1.2) as writer:
        for image in STACK.astype(np.float32):
            writer.append(image)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


def test_a_stack_that_fails_leaves_nothing(tmp_path):
    def write() -> None:
        with MrcStackWriter(tmp_path / "a.mrcs", (5, 7), 1.2) as writer:
            writer.append(STACK[0])
            writer.append(STACK[0, :2])

    with pytest.raises(FrameShapeError):
        write()
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError):
        write_mrc(tmp_path / "absent" / "m.mrc", STACK, 1.0)
    with pytest.raises(InputError, match="shape"):
        write_mrc(tmp_path / "m.mrc", np.zeros(3), 1.0)
    with pytest.raises(InputError, match="complex"):
        write_mrc(tmp_path / "m.mrc", np.zeros((2, 2), complex), 1.0)


def test_a_stack_of_one_particle_stays_a_stack(tmp_path):
    write_mrc(tmp_path / "p.mrcs", STACK[:1].astype(np.float32), 1.0)
    assert read_mrc(tmp_path / "p.mrcs")[0].shape == (1, 5, 7)
    write_mrc(tmp_path / "p.mrc", STACK[0].astype(np.float32), 1.0)
    assert read_mrc(tmp_path / "p.mrc")[0].shape == (5, 7)


@pytest.mark.skipif(
    shutil.which("relion_image_handler") is None, reason="relion_image_handler is not installed"
)
def test_relion_reads_it(tmp_path: Path) -> None:
    image = rng.normal(2, 1, (32, 48)).astype(np.float32)
    write_mrc(tmp_path / "m.mrc", image, 1.35)
    result = subprocess.run(
        ["relion_image_handler", "--i", "m.mrc", "--stats"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    words = result.stdout.replace("=", " ").replace(";", " ").split()
    numbers = [float(w) for w in words if w.replace(".", "").replace("-", "").isdigit()]
    for expected in (image.mean(), image.std(), image.min(), image.max(), 1.35):
        assert any(number == pytest.approx(expected, abs=2e-5) for number in numbers), (
            expected,
            result.stdout,
        )


def test_statistics_of_an_image_written_in_several_blocks(tmp_path):
    image = np.random.default_rng(7).normal(1000, 3, (500, 700)).astype(np.float32)
    image[400, 600] = -50.0
    write_mrc(tmp_path / "m.mrc", image[:, ::-1], 1.0)
    with mrcfile.open(tmp_path / "m.mrc") as file:
        np.testing.assert_array_equal(file.data, image[:, ::-1])
        found = [float(file.header[name]) for name in ("dmin", "dmax", "dmean", "rms")]
    wanted = (image.min(), image.max(), image.mean(dtype=float), image.std(dtype=float))
    assert found == pytest.approx(wanted, rel=1e-6)


def test_a_value_too_large_for_16_bits_is_found_in_any_block(tmp_path):
    image = np.ones((500, 700), np.float32)
    image[0, 0] = np.inf  # was infinite before
    write_mrc(tmp_path / "m.mrc", image, 1.0, float16=True)
    image[499, 699] = 1e6
    with pytest.raises(InputError, match="65504"):
        write_mrc(tmp_path / "n.mrc", image, 1.0, float16=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.mrc"]
