"""Rows, gains and TIFF as RELION sees them: the same movie through RELION and through Icefloe."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from icefloe.formats import (
    StarTable,
    open_movie,
    orient_gain,
    read_gain,
    read_mrc,
    write_mrc,
    write_star,
    write_tiff_movie,
)

pytestmark = pytest.mark.skipif(
    shutil.which("relion_run_motioncorr") is None, reason="relion_run_motioncorr is not installed"
)

GAIN_SHAPE = (384, 512)
ORIENTATIONS = [(rotate, flip) for rotate in range(4) for flip in range(3)]


def scene(shape: tuple[int, int]) -> np.ndarray:
    """Return counts without any symmetry."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    spot = np.exp(-((y - 0.2 * rows) ** 2 + (x - 0.3 * columns) ** 2) / 900)
    small = np.exp(-((y - 0.7 * rows) ** 2 + (x - 0.25 * columns) ** 2) / 300)
    corner = (x > 0.8 * columns) & (y > 0.5 * rows)
    return 80 + 30 * spot + 50 * small + 25 * corner + 15 * y / rows


def gain_pattern() -> np.ndarray:
    """Return a gain that differs from each of its own seven other orientations."""
    rows, columns = GAIN_SHAPE
    y, x = np.mgrid[:rows, :columns]
    wave = np.sin(x / 17.0) * y / rows
    patch = (y > 0.6 * rows) & (x < 0.4 * columns)
    return (1.2 + 0.4 * wave + 0.3 * patch + 0.2 * np.cos(y / 9.0)).astype(np.float32)


def run_relion(directory: Path, rotate: int, flip: int) -> np.ndarray:
    blocks = {
        "optics": StarTable.from_rows(
            [
                {
                    "rlnOpticsGroupName": "opticsGroup1",
                    "rlnOpticsGroup": 1,
                    "rlnMicrographOriginalPixelSize": 1.0,
                    "rlnVoltage": 300.0,
                    "rlnSphericalAberration": 2.7,
                    "rlnAmplitudeContrast": 0.1,
                }
            ]
        ),
        "movies": StarTable.from_rows(
            [{"rlnMicrographMovieName": "movie.tif", "rlnOpticsGroup": 1}]
        ),
    }
    write_star(directory / "movies.star", blocks)
    # A strong B-factor leaves too little to align for the noise to move the static frames.
    subprocess.run(
        "relion_run_motioncorr --i movies.star --o out/ --use_own --j 1 --skip_defect --angpix 1"
        " --voltage 300 --bfactor 3000 --max_iter 1 --gainref gain.mrc"
        f" --gain_rot {rotate} --gain_flip {flip}".split(),
        cwd=directory,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return read_mrc(directory / "out" / "movie.mrc")[0]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize(("rotate", "flip"), ORIENTATIONS)
def test_gain_and_movie_agree_with_relion(tmp_path, rotate, flip):
    shape = GAIN_SHAPE if rotate % 2 == 0 else GAIN_SHAPE[::-1]
    write_mrc(tmp_path / "gain.mrc", gain_pattern(), 1.0)
    rng = np.random.default_rng(rotate * 3 + flip)
    frames = rng.poisson(scene(shape), (4, *shape)).astype(np.uint8)
    write_tiff_movie(tmp_path / "movie.tif", frames, 1.0)
    relion = run_relion(tmp_path, rotate, flip)

    gain = read_gain(tmp_path / "gain.mrc")
    with open_movie(tmp_path / "movie.tif") as movie:
        total = movie.read().sum(axis=0, dtype=np.float64)
    assert correlation(total * orient_gain(gain, rotate, flip), relion) > 0.99
    assert correlation(total[::-1] * orient_gain(gain, rotate, flip), relion) < 0.99
    right = orient_gain(gain, rotate, flip)
    for other in ORIENTATIONS:
        wrong = orient_gain(gain, *other)
        if wrong.shape == right.shape and not np.array_equal(wrong, right):
            assert correlation(total * wrong, relion) < 0.99


def test_the_twelve_settings_are_the_eight_orientations():
    pattern = gain_pattern()
    assert len({orient_gain(pattern, *o).tobytes() for o in ORIENTATIONS}) == 8
