"""The use of a gain is found from the pattern of pixels in summed frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from icefloe.cli.gain import command
from icefloe.errors import EmptyMovieError, GainShapeError
from icefloe.formats import read_mrc, write_mrc
from icefloe.formats.gain import orient_gain
from icefloe.formats.tiff import write_tiff_movie
from icefloe.motion import GainUse, compare_gain_uses
from icefloe.motion.orientation import USES, shared_pattern, turned, turned_back
from icefloe.simulate import SimulationSettings, simulate_movie


def simulated(shape: tuple[int, int], movies: int = 2, **settings: float) -> tuple:
    """Return the sums of simulated movies, and their gain."""
    sums = []
    for i in range(movies):
        chosen = SimulationSettings(
            shape=shape, n_frames=5, dose_per_frame=1.0, pixel_size=1.0, **settings
        )
        movie = simulate_movie(chosen, f"movie{i}")
        sums.append(movie.frames.sum(axis=0, dtype=np.float64))
    return np.array(sums), movie.gain


@pytest.fixture(scope="module")
def square() -> tuple:
    return simulated((320, 320))


def file_for(gain: np.ndarray, use: GainUse) -> np.ndarray:
    """Return the file of which `use` makes the gain."""
    content = turned_back(gain, use.rotate, use.flip)
    if use.divide:
        content = np.where(content > 0, 1 / np.where(content > 0, content, 1), 0)
    return np.ascontiguousarray(content, dtype=np.float32)


@pytest.mark.parametrize("rotate", range(4))
@pytest.mark.parametrize("flip", range(3))
def test_turns_are_those_of_the_formats(rotate, flip):
    image = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(turned(image, rotate, flip), orient_gain(image, rotate, flip))
    assert np.array_equal(turned_back(turned(image, rotate, flip), rotate, flip), image)
    use = GainUse.make(rotate, flip)
    assert use in USES
    assert np.array_equal(turned(image, use.rotate, use.flip), turned(image, rotate, flip))


@pytest.mark.parametrize("use", USES, ids=str)
def test_each_of_16_uses_is_found_in_simulated_movies(square, use):
    sums, gain = square
    result = compare_gain_uses(sums.sum(axis=0), file_for(gain, use))
    assert len(result.uses) == 16
    assert result.best == use
    assert result.verdict == "found"
    assert result.confidence > 10
    # Multiplying and dividing in one orientation differ in sign, to first order.
    mirror = GainUse(use.rotate, use.flip, not use.divide)
    scores = dict(zip(result.uses, result.scores, strict=True))
    assert scores[mirror] == pytest.approx(-scores[use], abs=0.02)
    assert result.amplitude == pytest.approx(1, abs=4 * result.amplitude_error + 0.02)


def test_eight_uses_are_left_for_a_detector_that_is_not_square():
    sums, gain = simulated((256, 320), 1)
    use = GainUse(3, 0, True)
    result = compare_gain_uses(sums[0], file_for(gain, use))
    assert len(result.uses) == 8
    assert (result.best, result.verdict) == (use, "found")
    with pytest.raises(GainShapeError, match="200 x 256"):
        compare_gain_uses(sums[0], np.ones((256, 200), np.float32))


def test_flat_symmetric_and_foreign_gains_are_not_found(square):
    sums, gain = square
    total = sums.sum(axis=0)
    flat = compare_gain_uses(total, np.ones_like(gain))
    assert (flat.verdict, flat.confidence) == ("flat", 0)
    symmetric = compare_gain_uses(total, gain + gain[::-1])
    assert symmetric.verdict != "found"
    foreign = 1 + 0.04 * np.random.default_rng(1).standard_normal(gain.shape)
    assert compare_gain_uses(total, foreign.astype(np.float32)).verdict == "absent"
    corrected = compare_gain_uses(total * gain, gain)
    assert corrected.verdict == "absent"
    assert abs(corrected.amplitude) < 0.1


def test_orientations_that_a_symmetric_gain_makes_equal_are_not_told_apart():
    rng = np.random.default_rng(3)
    half = 1 + 0.04 * rng.standard_normal((100, 200))
    gain = np.concatenate([half, half[::-1]]).astype(np.float32)
    result = compare_gain_uses(rng.poisson(20 / gain).astype(float), gain)
    assert result.best in (GainUse(0, 0), GainUse(0, 1))
    assert result.verdict == "unclear"
    assert result.confidence == 0
    assert result.margin(GainUse(0, 0), GainUse(0, 2)) > 10


def test_sigma_says_how_often_the_answer_is_right():
    """At counts so low that many are wrong, those above 2 sigma are right all the same."""
    rng = np.random.default_rng(7)
    sure, unsure, highest_wrong = [], [], 0.0
    for trial in range(150):
        counts = 1.2 if trial % 2 else 0.2
        gain = 1 + 0.04 * rng.standard_normal((96, 96)).astype(np.float32)
        result = compare_gain_uses(rng.poisson(counts / gain).astype(float), gain)
        right = result.best == GainUse()
        (sure if result.confidence > 2 else unsure).append(right)
        highest_wrong = max(highest_wrong, 0.0 if right else result.confidence)
    assert len(sure) > 20
    assert len(unsure) > 20
    assert np.mean(sure) > 0.95
    assert 0.2 < np.mean(unsure) < 0.95
    assert highest_wrong < 3.5


def test_no_counts_is_an_error(square):
    with pytest.raises(EmptyMovieError, match="no counts"):
        compare_gain_uses(np.zeros((320, 320)), square[1])


def test_movies_share_their_pattern_and_not_their_specimen(square):
    sums, gain = square
    rms, sigma = shared_pattern(sums[0], sums[1])
    assert rms == pytest.approx(np.std(1 / gain[gain > 0]), rel=0.5)
    other, _ = simulated((320, 320), gain_strength=0.0, n_hot=0, n_dead=0)
    assert sigma > shared_pattern(other[0], other[1])[1]
    assert shared_pattern(other[0], other[1])[1] < 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two movies, their gain as it is, stored divided and flipped, and at twice the size."""
    directory = tmp_path_factory.mktemp("orient")
    rng = np.random.default_rng(2)
    gain = 1 + 0.04 * rng.standard_normal((128, 160)).astype(np.float32)
    gain[5, 7] = 0
    counts = np.where(gain > 0, 10 / np.where(gain > 0, gain, 1), 0)
    for i in range(2):
        frames = rng.poisson(counts, (3, 128, 160)).astype(np.uint16)
        write_tiff_movie(directory / f"m{i}.tiff", frames, 1.0)
    write_mrc(directory / "true.mrc", gain, 1.0)
    write_mrc(directory / "stored.mrc", file_for(gain, GainUse(1, 1, True)), 1.0)
    large = file_for(gain, GainUse(0, 2)).repeat(2, axis=0).repeat(2, axis=1)
    write_mrc(directory / "large.mrc", large, 0.5)
    write_mrc(directory / "flat.mrc", np.ones_like(gain), 1.0)
    return directory


def orient(folder: Path, gain: str, *more: object) -> Result:
    movies = [folder / "m0.tiff", folder / "m1.tiff"]
    arguments = ["orient", *movies, "--gain", folder / gain, *more]
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_the_command_says_the_options_and_writes_gain_and_picture(folder, tmp_path):
    picture, written = tmp_path / "orient.png", tmp_path / "gain.mrc"
    done = orient(folder, "stored.mrc", "--out", picture, "--write", written)
    assert done.exit_code == 0, done.output
    assert "Use --gain-rotate 1 --gain-flip 1" in done.output
    assert "invert the file" in done.output
    assert Image.open(picture).size > (600, 400)
    gain, truth = (read_mrc(p)[0].reshape(128, 160) for p in (written, folder / "true.mrc"))
    assert gain[5, 7] == 0
    alive = truth > 0
    assert np.allclose(gain[alive] / gain[alive].mean(), truth[alive] / truth[alive].mean(), 1e-5)
    again = CliRunner().invoke(command, ["orient", str(folder / "m0.tiff"), "--gain", str(written)])
    assert "That is what was given" in again.output


def test_a_gain_of_another_scale_is_fitted(folder):
    done = orient(folder, "large.mrc", "--rotate", 2, "--flip", 1)
    assert done.exit_code == 0, done.output
    assert "Use --gain-rotate 0 --gain-flip 2" in done.output
    assert "That is what was given" in done.output  # half a turn and one flip are the other flip


def test_what_cannot_be_told_is_an_exit_status_and_writes_nothing(folder, tmp_path):
    done = orient(folder, "flat.mrc", "--write", tmp_path / "gain.mrc")
    assert done.exit_code == 1
    assert "Cannot tell" in done.output
    assert not (tmp_path / "gain.mrc").exists()
