"""Gain references and defects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from icefloe.errors import (
    DefectError,
    GainShapeError,
    GainValueError,
    SettingsError,
    UnsupportedFormatError,
)
from icefloe.formats import fit_gain, orient_gain, read_defects, read_gain, write_mrc

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "formats"
GAIN = np.random.default_rng(2).normal(1, 0.1, (6, 8)).astype(np.float32)


def test_mrc_is_as_it_is_and_tiff_is_flipped(tmp_path):
    write_mrc(tmp_path / "g.mrc", GAIN, 1.0)
    tifffile.imwrite(tmp_path / "g.tif", GAIN)
    np.testing.assert_array_equal(read_gain(tmp_path / "g.mrc"), GAIN)
    np.testing.assert_array_equal(read_gain(tmp_path / "g.tif"), GAIN[::-1])


def test_gains_of_eer(tmp_path):
    # `.gain` multiplies and lies as the frames do; an MRC divides.
    tifffile.imwrite(tmp_path / "x.gain", GAIN)
    np.testing.assert_array_equal(read_gain(tmp_path / "x.gain", for_eer=True), GAIN)
    sensitivity = GAIN.copy()
    sensitivity[2, 3] = 0
    write_mrc(tmp_path / "x.mrc", sensitivity, 1.0)
    gain = read_gain(tmp_path / "x.mrc", for_eer=True)
    assert gain[2, 3] == 0
    alive = sensitivity > 0
    flat = (gain * sensitivity)[alive]
    np.testing.assert_allclose(flat, sensitivity[alive].mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "1 pixels"), (np.inf, "1 pixels"), (-0.5, "negative")]
)
def test_values_that_are_no_gain(tmp_path, value, message):
    bad = GAIN.copy()
    bad[1, 1] = value
    write_mrc(tmp_path / "g.mrc", bad, 1.0)
    with pytest.raises(GainValueError, match=message):
        read_gain(tmp_path / "g.mrc")


def test_other_files_that_are_no_gain(tmp_path):
    write_mrc(tmp_path / "g.mrc", np.zeros((4, 4)), 1.0)
    with pytest.raises(GainValueError, match="zero everywhere"):
        read_gain(tmp_path / "g.mrc")
    write_mrc(tmp_path / "g.mrc", np.ones((2, 4, 4)), 1.0)
    with pytest.raises(GainShapeError, match="2 images"):
        read_gain(tmp_path / "g.mrc")
    (tmp_path / "g.dm4").write_bytes(b"\0\0\0\4" + bytes(50))
    with pytest.raises(UnsupportedFormatError, match="DM4"):
        read_gain(tmp_path / "g.dm4")


def test_orientations_by_a_marked_corner():
    gain = np.zeros((3, 5))
    gain[0, 0] = 1  # drawn with row 0 on top: the corner at the top left
    corners = {0: (0, 0), 1: (0, 2), 2: (2, 4), 3: (4, 0)}  # clockwise
    for rotate, corner in corners.items():
        assert np.argwhere(orient_gain(gain, rotate)).tolist() == [list(corner)]
    assert np.argwhere(orient_gain(gain, 1, 1)).tolist() == [[4, 2]]  # rotated, then up-down
    assert np.argwhere(orient_gain(gain, 1, 2)).tolist() == [[0, 0]]  # rotated, then left-right
    for rotate, flip in ((4, 0), (-1, 0), (0, 3)):
        with pytest.raises(SettingsError):
            orient_gain(gain, rotate, flip)


def test_a_gain_of_the_right_size_is_taken_as_it_is():
    fitted, notice = fit_gain(GAIN, (6, 8))
    np.testing.assert_array_equal(fitted, GAIN)
    assert notice is None


def test_exact_multiples_are_rescaled_with_a_notice():
    magnified, notice = fit_gain(GAIN, (12, 16))
    assert "magnified 2" in (notice or "")
    np.testing.assert_array_equal(magnified[4:6, 6:8], np.full((2, 2), GAIN[2, 3]))
    binned, notice = fit_gain(magnified, (6, 8))
    assert "binned by 2" in (notice or "")
    np.testing.assert_allclose(binned, GAIN, rtol=1e-6)
    magnified[0, 0] = 0  # one dead pixel of four
    np.testing.assert_allclose(fit_gain(magnified, (6, 8))[0], GAIN, rtol=1e-6)
    magnified[:2, :2] = 0
    assert fit_gain(magnified, (6, 8))[0][0, 0] == 0


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((8, 6), "90 degrees"), ((16, 12), "90 degrees"), ((6, 9), "No rotation"), ((9, 12), "No")],
)
def test_sizes_that_do_not_fit(shape, hint):
    with pytest.raises(GainShapeError, match=hint) as caught:
        fit_gain(GAIN, shape)
    assert "8 x 6" in str(caught.value)
    assert f"{shape[1]} x {shape[0]}" in str(caught.value)


# ---- defects


def defects(tmp_path: Path, text: str, shape: tuple[int, int]) -> list[list[int]]:
    (tmp_path / "d.txt").write_text(text)
    return np.argwhere(read_defects(tmp_path / "d.txt", shape)).tolist()


def test_boxes_of_motioncor2(tmp_path):
    assert defects(tmp_path, "# x y w h\n2 1 2 1\n\n7 5 1 1\n", (6, 8)) == [[1, 2], [1, 3], [5, 7]]
    assert defects(tmp_path, "# none\n", (6, 8)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7 5 2 1\n", "outside"),
        ("-1 0 1 1\n", "outside"),
        ("1 2 3\n", "Line 1"),
        ("1 2 0 1\n", "at least 1"),
        ("0 0 1 1\na b c d\n", "Line 2"),
    ],
)
def test_boxes_that_make_no_sense(tmp_path, text, message):
    with pytest.raises(DefectError, match=message):
        defects(tmp_path, text, (6, 8))


def test_maps(tmp_path):
    mask = np.zeros((6, 8), np.int8)
    mask[1, 2] = 1
    write_mrc(tmp_path / "d.mrc", mask, None)
    np.testing.assert_array_equal(read_defects(tmp_path / "d.mrc", (6, 8)), mask != 0)
    tifffile.imwrite(tmp_path / "d.tif", mask.astype(np.uint8))
    np.testing.assert_array_equal(read_defects(tmp_path / "d.tif", (6, 8)), mask[::-1] != 0)
    with pytest.raises(DefectError, match="like the movie's frames"):
        read_defects(tmp_path / "d.mrc", (8, 6))
    (tmp_path / "d.mrc").write_bytes((tmp_path / "d.mrc").read_bytes()[:-5])
    with pytest.raises(DefectError, match="cannot be read"):
        read_defects(tmp_path / "d.mrc", (6, 8))


SERIALEM = (
    "CameraSizeX 8\nCameraSizeY 6\nRotationAndFlip 0\nWasScaled 0\nK2Type 2\nBadColumns 7\n"
    "BadRows 5\nPartialBadColumn 3 1 0 1\nPartialBadRow 2 1 5 6\nBadPixels 0 1 1 0\n"
)


def serialem_truth() -> np.ndarray:
    top = np.zeros((6, 8), bool)  # as listed, y from the top
    top[:, 7] = top[5] = True
    top[0:2, 3] = top[2, 5:7] = True
    top[1, 0] = top[0, 1] = True
    return top[::-1]


def test_lists_of_serialem(tmp_path):
    truth = serialem_truth()
    (tmp_path / "d.txt").write_text(SERIALEM)
    np.testing.assert_array_equal(read_defects(tmp_path / "d.txt", (6, 8)), truth)
    double = read_defects(tmp_path / "d.txt", (12, 16))
    np.testing.assert_array_equal(double, np.kron(truth, np.ones((2, 2))) > 0)
    half = read_defects(tmp_path / "d.txt", (3, 4))
    np.testing.assert_array_equal(half, truth.reshape(3, 2, 4, 2).any(axis=(1, 3)))


def test_serialem_lists_scaled_to_super_resolution_and_a_usable_area(tmp_path):
    text = "CameraSizeX 8\nCameraSizeY 6\nWasScaled 1\nBadPixels 2 2\n"
    assert defects(tmp_path, text, (6, 8)) == [[2, 2], [2, 3], [3, 2], [3, 3]]
    text = "CameraSizeX 4\nCameraSizeY 3\nUsableArea 1 0 2 2\n"
    assert defects(tmp_path, text, (3, 4)) == [[0, 3], [1, 3], [2, 0], [2, 1], [2, 2], [2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SERIALEM.replace("BadColumns 7", "BadColumns 8"), "outside"),
        (SERIALEM.replace("BadRows 5", "BadRows five"), "integers"),
        (SERIALEM.replace("BadPixels 0 1 1 0", "BadPixels 0 1 1"), "multiple of 2"),
        ("CameraSizeX 8\nBadRows 1\n", "size of the camera"),
        (SERIALEM.replace("SizeX 8", "SizeX 9"), "9 x 6"),
    ],
)
def test_serialem_lists_that_do_not_fit(tmp_path, text, message):
    with pytest.raises(DefectError, match=message):
        defects(tmp_path, text, (6, 8))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")
def test_a_real_defect_map_of_a_k3():
    mask = read_defects(DATA / "motioncor2" / "27489513.mrc.gz", (4092, 5760))
    assert 0 < mask.mean() < 0.001
    with pytest.raises(DefectError):
        read_defects(DATA / "motioncor2" / "27489513.mrc.gz", (5760, 4092))
