"""EER: every electron must land in the pixel that the file says, in every variant."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from eer_writer import random_electrons, render, write_eer
from icefloe.errors import (
    EmptyMovieError,
    SettingsError,
    TruncatedFileError,
    UnsupportedFormatError,
)
from icefloe.formats import file_kind, open_movie

SHAPE = (40, 56)


@pytest.fixture(scope="module")
def electrons() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    # Dense, sparse (runs longer than 255), and without a single electron.
    return [random_electrons(rng, SHAPE, count) for count in (900, 3, 0, 400, 1, 77, 500)]


def truth(frames: list[np.ndarray], upsampling: int, sub: int = 4) -> np.ndarray:
    return np.sum([render(e, SHAPE, upsampling, sub) for e in frames], axis=0)


@pytest.mark.parametrize("compression", [65000, 65001])
@pytest.mark.parametrize("upsampling", [1, 2, 4])
def test_every_electron_is_where_the_file_says(tmp_path, electrons, compression, upsampling):
    write_eer(tmp_path / "m.eer", electrons, SHAPE, compression)
    with open_movie(
        tmp_path / "m.eer", eer_upsampling=upsampling, eer_frames_per_fraction=1
    ) as movie:
        assert movie.shape == (SHAPE[0] * upsampling, SHAPE[1] * upsampling)
        assert len(movie) == len(electrons)
        for frame, expected in zip(movie, electrons, strict=True):
            np.testing.assert_array_equal(frame, render(expected, SHAPE, upsampling))


@pytest.mark.parametrize("upsampling", [1, 2])
def test_half_pixel_positions_of_compression_65002(tmp_path, upsampling):
    rng = np.random.default_rng(4)
    frames = [random_electrons(rng, SHAPE, 300, sub=2) for _ in range(2)]
    write_eer(tmp_path / "m.eer", frames, SHAPE, 65002)
    with open_movie(tmp_path / "m.eer", eer_upsampling=upsampling, eer_fractions=1) as movie:
        np.testing.assert_array_equal(movie[0], truth(frames, upsampling, sub=2))


def test_quarter_pixels_of_a_file_with_half_pixels_are_refused(tmp_path):
    write_eer(tmp_path / "m.eer", [np.zeros((0, 2), np.int64)], SHAPE, 65002)
    with pytest.raises(UnsupportedFormatError, match="half pixels"):
        open_movie(tmp_path / "m.eer", eer_upsampling=4)


def test_an_electron_in_the_first_and_the_last_pixel(tmp_path):
    corners = np.array([[0, 0], [4 * SHAPE[0] - 1, 4 * SHAPE[1] - 1]])
    write_eer(tmp_path / "m.eer", [corners], SHAPE)
    with open_movie(tmp_path / "m.eer", eer_upsampling=4) as movie:
        assert movie[0][0, 0] == movie[0][-1, -1] == 1
        assert movie[0].sum() == 2


def test_the_remainder_is_a_shorter_fraction(tmp_path, electrons):
    write_eer(tmp_path / "m.eer", electrons, SHAPE)
    with open_movie(tmp_path / "m.eer", eer_frames_per_fraction=3) as movie:
        assert len(movie) == 3
        np.testing.assert_allclose(movie.frame_dose_factors, [1, 1, 1 / 3])
        np.testing.assert_array_equal(movie[-1], truth(electrons[6:], 1))
        np.testing.assert_array_equal(sum(map(np.int64, movie)), truth(electrons, 1))


def test_fractions_share_all_frames(tmp_path, electrons):
    write_eer(tmp_path / "m.eer", electrons, SHAPE)
    with open_movie(tmp_path / "m.eer", eer_fractions=3) as movie:
        assert len(movie) == 3
        assert movie.frame_dose_factors.sum() == pytest.approx(3)
        np.testing.assert_array_equal(sum(map(np.int64, movie)), truth(electrons, 1))


def test_grouping_by_dose(tmp_path, electrons):
    write_eer(tmp_path / "m.eer", electrons, SHAPE)
    with open_movie(tmp_path / "m.eer", eer_dose_per_fraction=2.1, eer_total_dose=7.0) as movie:
        assert len(movie) == 4  # 1 e/A^2 a frame, two frames each and one left over
        np.testing.assert_allclose(movie.frame_dose_factors, [1, 1, 1, 0.5])


def test_long_fractions_do_not_overflow(tmp_path):
    one = np.array([[5, 9]])
    write_eer(tmp_path / "m.eer", [one] * 300, (4, 8))
    with open_movie(tmp_path / "m.eer", eer_fractions=1) as movie:
        assert movie.dtype == np.uint16
        assert movie[0][1, 2] == 300


def test_strips_sum_image_and_metadata(tmp_path, electrons):
    facts = {"totalDose": "41.5", "sensorPixelSize.width": "7.4e-11"}
    write_eer(tmp_path / "m.tif", electrons, SHAPE, strips=3, sum_image=True, metadata=facts)
    assert file_kind(tmp_path / "m.tif") == "eer"
    with open_movie(tmp_path / "m.tif", eer_fractions=1, eer_upsampling=2) as movie:
        np.testing.assert_array_equal(movie[0], truth(electrons, 2))
        assert movie.pixel_size == pytest.approx(0.37)
        assert movie.details["totalDose"] == "41.5"
        assert movie.details["camera frames"] == "7"


@pytest.mark.parametrize("kept", [0.4, 0.9, 0.999])
def test_a_truncated_file(tmp_path, electrons, kept):
    path = tmp_path / "m.eer"
    write_eer(path, electrons, SHAPE)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(TruncatedFileError, match="bytes"):
        open_movie(path)


def test_a_frame_that_ends_early(tmp_path, electrons):
    path = tmp_path / "m.eer"
    # A stream for a smaller sensor in a page that claims the whole one.
    write_eer(path, electrons[1:2], (SHAPE[0] // 2, SHAPE[1] * 2))
    data = bytearray(path.read_bytes())
    at = data.index(bytes([0, 1, 4, 0]))  # tag 256
    assert data[at + 12] == SHAPE[1] * 2
    data[at + 12] = SHAPE[1] * 2 + 7
    path.write_bytes(data)
    with open_movie(path) as movie, pytest.raises(TruncatedFileError, match="Camera frame 1"):
        movie[0]


def test_no_frames(tmp_path):
    from icefloe.formats.eer import EerReader

    write_eer(tmp_path / "m.eer", [], SHAPE, sum_image=True)
    with pytest.raises(EmptyMovieError):
        EerReader(tmp_path / "m.eer")


@pytest.mark.parametrize(
    "options",
    [
        {"eer_upsampling": 3},
        {"eer_fractions": 0},
        {"eer_fractions": 99},
        {"eer_frames_per_fraction": 0},
        {"eer_fractions": 2, "eer_frames_per_fraction": 2},
        {"eer_dose_per_fraction": 1.0},
    ],
)
def test_nonsense_settings(tmp_path, electrons, options):
    write_eer(tmp_path / "m.eer", electrons, SHAPE)
    with pytest.raises(SettingsError):
        open_movie(tmp_path / "m.eer", **options)


@pytest.mark.skipif(
    shutil.which("relion_convert_to_tiff") is None, reason="relion_convert_to_tiff is not installed"
)
@pytest.mark.parametrize(("compression", "upsampling"), [(65000, 1), (65001, 2)])
def test_relion_renders_the_same(tmp_path: Path, compression: int, upsampling: int) -> None:
    shape = (4096, 4096)
    rng = np.random.default_rng(6)
    frames = [random_electrons(rng, shape, 20000) for _ in range(2)]
    write_eer(tmp_path / "m.eer", frames, shape, compression)
    command = (
        "relion_convert_to_tiff --i m.eer --o out/ --compression lzw --eer_grouping 2"
        f" --eer_upsampling {upsampling}"
    )
    subprocess.run(
        command.split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (rendered,) = (tmp_path / "out").rglob("*.tif")
    with (
        open_movie(rendered) as theirs,
        open_movie(
            tmp_path / "m.eer", eer_upsampling=upsampling, eer_frames_per_fraction=2
        ) as ours,
    ):
        np.testing.assert_array_equal(ours[0], theirs[0])
