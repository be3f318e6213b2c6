"""TIFF movies and single images of every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from icefloe.errors import (
    EmptyMovieError,
    FrameShapeError,
    IcefloeError,
    InputError,
    TruncatedFileError,
    UnsupportedFormatError,
)
from icefloe.formats import (
    file_kind,
    open_movie,
    read_image,
    read_tiff,
    write_mrc,
    write_tiff_movie,
)

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")
FRAMES = np.random.default_rng(1).poisson(3, (4, 20, 30))


def save(path: Path, frames: np.ndarray, **options: object) -> None:
    with tifffile.TiffWriter(path) as writer:
        for frame in frames:
            writer.write(frame, photometric="minisblack", metadata=None, **options)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "f4"])
def test_compressions_and_types(tmp_path, compression, kind):
    save(tmp_path / "m.tif", FRAMES.astype(kind), compression=compression, rowsperstrip=3)
    with open_movie(tmp_path / "m.tif") as movie:
        assert (movie.shape, len(movie), movie.dtype) == ((20, 30), 4, np.dtype(kind))
        np.testing.assert_array_equal(movie.read(), FRAMES[:, ::-1])
        assert movie.details["strips"] == "7"
        assert movie.pixel_size is None


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [True, False])
def test_byte_orders_and_bigtiff(tmp_path, byteorder, bigtiff):
    with tifffile.TiffWriter(tmp_path / "m.tif", byteorder=byteorder, bigtiff=bigtiff) as writer:
        for frame in FRAMES.astype(np.uint16):
            writer.write(frame, photometric="minisblack", metadata=None)
    with open_movie(tmp_path / "m.tif") as movie:
        assert movie[0].dtype.isnative
        np.testing.assert_array_equal(movie[3], FRAMES[3, ::-1])


@pytest.mark.parametrize("orientation", [1, 4])
def test_the_orientation_tag_changes_nothing(tmp_path, orientation):
    save(tmp_path / "m.tif", FRAMES.astype("u1"), extratags=[(274, "H", 1, orientation, True)])
    with open_movie(tmp_path / "m.tif") as movie:
        np.testing.assert_array_equal(movie[0], FRAMES[0, ::-1])


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_a_written_movie_comes_back_as_it_was(tmp_path, kind):
    write_tiff_movie(tmp_path / "m.tif", FRAMES.astype(kind), 0.885)
    with open_movie(tmp_path / "m.tif") as movie:
        assert movie.pixel_size == pytest.approx(0.885)
        assert movie.details["compression"] == "lzw"
        np.testing.assert_array_equal(movie.read(), FRAMES)
    first = (tmp_path / "m.tif").read_bytes()
    write_tiff_movie(tmp_path / "m.tif", FRAMES.astype(kind), 0.885)
    assert (tmp_path / "m.tif").read_bytes() == first


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(EmptyMovieError):
        write_tiff_movie(tmp_path / "m.tif", FRAMES[:0], 1.0)
    with pytest.raises(InputError):
        write_tiff_movie(tmp_path / "m.tif", FRAMES.astype(np.float64), 1.0)
    assert not list(tmp_path.iterdir())


def test_4_bit_frames_are_told_by_their_size(tmp_path):
    packed = np.zeros((7676, 3710), np.uint8)
    packed[-1, :2] = [0x21, 0x43]  # the bottom row of the picture is row 0
    save(tmp_path / "m.tif", packed[None], compression="lzw")
    with open_movie(tmp_path / "m.tif") as movie:
        assert movie.shape == (7676, 7420)
        assert movie[0][0, :5].tolist() == [1, 2, 3, 4, 0]


@pytest.mark.parametrize("kept", [0.1, 0.35, 0.6, 0.95])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_truncated_at_any_place(tmp_path, kept, compression):
    path = tmp_path / "m.tif"
    save(path, FRAMES.astype("u2"), compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(TruncatedFileError):
        open_movie(path)


def test_frames_of_unequal_size(tmp_path):
    with tifffile.TiffWriter(tmp_path / "m.tif") as writer:
        for frame in (FRAMES[0], FRAMES[1, :10]):
            writer.write(frame.astype("u1"), photometric="minisblack", metadata=None)
    with pytest.raises(FrameShapeError, match="Frame 2"):
        open_movie(tmp_path / "m.tif")


def test_damaged_strips_are_an_error_of_that_frame(tmp_path):
    path = tmp_path / "m.tif"
    save(path, FRAMES.astype("u2"), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[2].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    with open_movie(path) as movie:
        np.testing.assert_array_equal(movie[1], FRAMES[1, ::-1])
        with pytest.raises(InputError, match="Frame 3"):
            movie[2]


def test_colours_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    with pytest.raises(UnsupportedFormatError):
        open_movie(tmp_path / "m.tif")


def test_garbage_after_the_magic(tmp_path):
    for data in (b"II*\0", b"II*\0" + b"\xff" * 60, b"II+\0" + bytes(60), b"MM\0*" + bytes(4)):
        (tmp_path / "m.tif").write_bytes(data)
        with pytest.raises(IcefloeError):
            open_movie(tmp_path / "m.tif")


def test_a_directory_that_goes_in_circles(tmp_path):
    path = tmp_path / "m.tif"
    save(path, FRAMES[:1].astype("u1"))
    data = bytearray(path.read_bytes())
    start = int.from_bytes(data[4:8], "little")
    link = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[link : link + 4] = data[4:8]
    path.write_bytes(data)
    with pytest.raises(UnsupportedFormatError, match="twice"):
        open_movie(path)


# ---- single images


def test_images_of_every_format(tmp_path):
    image = (FRAMES[0] * 1000).astype(np.uint16)
    PIL.Image.fromarray(image).save(tmp_path / "a.png")
    PIL.Image.fromarray((image // 256).astype(np.uint8)).save(tmp_path / "b.png")
    write_tiff_movie(tmp_path / "c.tif", image[None], 1.5)
    write_mrc(tmp_path / "d.mrc", image, 1.5)
    for name, expected, pixel_size in (
        ("a.png", image, None),
        ("b.png", image // 256, None),
        ("c.tif", image, 1.5),
        ("d.mrc", image, 1.5),
    ):
        read = read_image(tmp_path / name)
        np.testing.assert_array_equal(read.data, expected)
        assert read.pixel_size == pixel_size


def test_a_grey_jpeg_saved_in_colour(tmp_path):
    grey = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (16, 1))
    PIL.Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, grey)
    PIL.Image.fromarray(np.stack([grey, grey, grey // 2], axis=-1)).save(tmp_path / "b.png")
    with pytest.raises(UnsupportedFormatError, match="colour"):
        read_image(tmp_path / "b.png")


def test_a_stack_is_not_an_image(tmp_path):
    write_tiff_movie(tmp_path / "m.tif", FRAMES.astype("u1"), 1.0)
    write_mrc(tmp_path / "m.mrc", FRAMES.astype("i2"), 1.0)
    for name in ("m.tif", "m.mrc"):
        with pytest.raises(UnsupportedFormatError):
            read_image(tmp_path / name)
    with pytest.raises(UnsupportedFormatError):
        read_tiff(tmp_path / "m.tif")


def test_a_truncated_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    for name in ("a.png", "a.jpg"):
        PIL.Image.fromarray(noise).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(TruncatedFileError):
            read_image(tmp_path / name)


def test_the_content_decides_not_the_name(tmp_path):
    write_mrc(tmp_path / "m.tif", FRAMES.astype("i2"), 1.0)
    assert file_kind(tmp_path / "m.tif") == "mrc"
    with open_movie(tmp_path / "m.tif") as movie:
        np.testing.assert_array_equal(movie[0], FRAMES[0])
    (tmp_path / "m.dm4").write_bytes(b"\0\0\0\4" + bytes(100))
    with pytest.raises(UnsupportedFormatError, match="DM4"):
        open_movie(tmp_path / "m.dm4")
    PIL.Image.fromarray(FRAMES[0].astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UnsupportedFormatError, match="png"):
        open_movie(tmp_path / "a.png")


@needs_data
def test_real_pictures():
    png = read_image(next((DATA / "apoferritin-10146").glob("*.png"))).data
    assert (png.dtype, png.shape) == (np.uint16, (1200, 1240))
    jpeg = read_image(next((DATA / "betagal-10017").glob("*.jpg"))).data
    assert (jpeg.dtype, jpeg.shape) == (np.uint8, (4096, 4096))
