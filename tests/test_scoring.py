"""Scores against cases whose answer is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe import fourier
from icefloe.optics import CtfParameters
from icefloe.scoring import (
    ctf_error,
    estimate_shift,
    gain_correlation,
    match_picks,
    pool_picks,
    residual_motion,
    score_picks,
    spectral_snr,
)

SHAPE, FRAMES = (300, 400), 10


class Formula:
    """A field from a function of frame, y and x that returns (dy, dx)."""

    def __init__(self, function):
        self.function = function

    def displacement(self, frame, y, x):
        return np.stack(np.broadcast_arrays(*self.function(frame, y, x)), axis=-1).astype(float)


STILL = Formula(lambda f, y, x: (0.0 * (f + y + x), 0.0 * (f + y + x)))


def test_a_constant_at_each_place_is_no_error():
    offset = Formula(lambda f, y, x: (0 * f + y / 100, 3 + 0 * f - x / 50))
    score = residual_motion(STILL, offset, SHAPE, FRAMES)
    assert score.total == pytest.approx(0, abs=1e-9)


def test_whole_frame_and_local_errors_add_in_squares():
    # Linear in time: an RMS of a sqrt((n^2 - 1) / 12) about the mean. Linear in space: the same
    # over the 9 places.
    whole = Formula(lambda f, y, x: (0.3 * f + 0 * y * x, 0.4 * f + 0 * y * x))
    score = residual_motion(STILL, whole, SHAPE, FRAMES)
    assert score.total == pytest.approx(0.5 * np.sqrt(99 / 12))
    assert (score.whole_frame, score.local) == pytest.approx((score.total, 0), abs=1e-9)
    both = Formula(lambda f, y, x: (0.3 * f + f * (y - 149.5) / 100 + 0 * x, 0.4 * f + 0 * y * x))
    score = residual_motion(STILL, both, SHAPE, FRAMES)
    step = 300 / 9 / 100
    assert score.local == pytest.approx(step * np.sqrt(80 / 12) * np.sqrt(99 / 12))
    assert score.whole_frame == pytest.approx(0.5 * np.sqrt(99 / 12))
    assert float(score) ** 2 == pytest.approx(score.whole_frame**2 + score.local**2)
    assert residual_motion(both, STILL, SHAPE, FRAMES).input_motion == pytest.approx(score.total)
    assert residual_motion(both, both, SHAPE, FRAMES).total == 0


def test_ctf_errors():
    truth = CtfParameters(15500, 14500, 88.0, phase_shift=10)
    found = CtfParameters(15600, 14600, -89.0, phase_shift=12)
    score = ctf_error(truth, found)
    assert score.defocus_error == pytest.approx(100)
    assert score.angle_error == pytest.approx(3)
    assert score.astigmatism_error == pytest.approx(2 * 1000 * np.sin(np.deg2rad(3)))
    assert score.phase_shift_error == pytest.approx(2)
    swapped = CtfParameters(14500, 15500, -2.0, phase_shift=10)
    score = ctf_error(truth, swapped)
    assert score.astigmatism_error == pytest.approx(0, abs=1e-9)
    assert score.angle_error == pytest.approx(0, abs=1e-9)


TRUTH = np.array([[10.0, 10.0], [50.0, 50.0], [90.0, 10.0], [10.0, 90.0]])


def test_picks_by_hand():
    found = TRUTH[[0, 1]] + 2
    picks = np.vstack([found, [[70.0, 70.0]], TRUTH[2:3] - 1])
    score = score_picks(picks, [4.0, 3.0, 2.0, 1.0], TRUTH, 5.0)
    # right, right, wrong, right of 4: precision at the hits 1, 1, 3/4.
    assert score.average_precision == pytest.approx((1 + 1 + 3 / 4) / 4)
    assert (score.precision, score.recall, score.f1) == pytest.approx((3 / 4, 3 / 4, 3 / 4))
    assert (score.n_found, score.n_truth, score.n_matched) == (4, 4, 3)
    assert score.best_f1 == pytest.approx(3 / 4)
    assert score.best_threshold == 1.0
    score = score_picks(picks, [4.0, 3.0, 1.0, 2.0], TRUTH, 5.0)
    assert score.best_f1 == pytest.approx(6 / 7)
    assert score.best_threshold == 2.0


def test_a_particle_counts_once_and_the_surer_pick_gets_it():
    picks = TRUTH[[0, 0]] + [[0.0, 1.0], [0.0, 0.1]]
    assert match_picks(picks, [2.0, 1.0], TRUTH, 5.0).tolist() == [0, -1]
    score = score_picks(picks, [2.0, 1.0], TRUTH, 5.0)
    assert (score.precision, score.recall) == (0.5, 0.25)
    # Beyond the distance nothing matches; at it, it does.
    assert match_picks([[10.0, 15.0]], [1.0], TRUTH, 5.0).tolist() == [0]
    assert match_picks([[10.0, 15.1]], [1.0], TRUTH, 5.0).tolist() == [-1]


@given(st.integers(0, 2**31))
def test_average_precision_of_random_scores_is_the_precision(seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 3000, (400, 2))
    picks = np.vstack([truth, rng.uniform(4000, 6000, (400, 2))])
    score = score_picks(picks, rng.uniform(0, 1, 800), truth, 3.0)
    assert score.average_precision == pytest.approx(0.5, abs=0.12)
    perfect = score_picks(picks, np.repeat([1.0, 0.0], 400), truth, 3.0)
    assert perfect.best_f1 > 0.99
    assert perfect.average_precision > 0.99


def test_scores_without_picks_or_particles():
    none = np.zeros((0, 2))
    assert score_picks(none, [], TRUTH, 5.0).average_precision == 0
    assert score_picks(TRUTH, np.ones(4), none, 5.0).recall == 0
    with pytest.raises(ValueError, match="4 picks have 2 scores"):
        score_picks(TRUTH, [1.0, 2.0], TRUTH, 5.0)


def test_pooled_micrographs_share_one_threshold():
    good, bad = (TRUTH, np.full(4, 2.0), TRUTH), (TRUTH + 1000, np.full(4, 1.0), TRUTH)
    score = pool_picks([good, bad], 5.0)
    assert (score.n_found, score.n_truth, score.n_matched) == (8, 8, 4)
    assert score.best_threshold == 2.0
    assert score.best_f1 == pytest.approx(2 * 4 / (4 + 8))


def test_gain_correlation():
    rng = np.random.default_rng(0)
    gain = rng.normal(1, 0.05, (200, 200))
    noisy = 3 * gain + rng.normal(0, 0.15, gain.shape)
    assert gain_correlation(gain, noisy) == pytest.approx(1 / np.sqrt(2), abs=0.01)
    assert gain_correlation(gain, 2 * gain) == pytest.approx(1)
    dead = gain.copy()
    dead[::7] = 0
    assert gain_correlation(dead, gain) == pytest.approx(1)
    assert gain_correlation(np.ones((4, 4)), np.ones((4, 4))) == 0
    with pytest.raises(ValueError, match="cannot be compared"):
        gain_correlation(gain, gain[1:])


def coloured(shape, seed):
    noise = np.random.default_rng(seed).standard_normal(shape)
    return fourier.apply_filter(noise, fourier.gaussian_low_pass(shape, 1.0, 6.0))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.3, -1.7), (-0.41, 0.25)])
def test_the_shift_between_images_is_found(shift):
    image = coloured((128, 150), 1)
    moved = fourier.irfft2(
        fourier.shift_phases(fourier.rfft2(image), image.shape, np.array(shift)), image.shape
    )
    noise = 0.2 * np.random.default_rng(5).standard_normal(image.shape)
    assert estimate_shift(moved + noise, image) == pytest.approx(shift, abs=0.03)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.6, -1.3)])
def test_spectral_snr_of_added_noise(shift):
    shape = (512, 480)
    clean = coloured(shape, 2)
    moved = fourier.irfft2(
        fourier.shift_phases(fourier.rfft2(clean), shape, np.array(shift)), shape
    )
    sigma = 0.5
    noisy = moved + sigma * np.random.default_rng(3).standard_normal(shape)
    k, snr = spectral_snr(noisy, clean, 2.0, n_shells=24)
    assert k[-1] == pytest.approx(0.25)
    # White noise of sigma^2 against the filter's square on white noise of variance 1.
    expected = np.exp(-2 * np.log(2) * (k * 2.0 * 6.0) ** 2) / sigma**2
    inside = (k > 0.02) & (expected > 0.1)
    assert inside.sum() >= 6
    np.testing.assert_allclose(snr[inside], expected[inside], rtol=0.2)
    assert np.all(snr[expected < 1e-4] < 0.02)


def test_spectral_snr_ignores_scale_and_filters():
    clean = coloured((256, 256), 4)
    noisy = clean + 0.3 * np.random.default_rng(5).standard_normal(clean.shape)
    _, plain = spectral_snr(noisy, clean, 1.0)
    blunt = fourier.gaussian_low_pass(clean.shape, 1.0, 8.0) + 0.05
    _, other = spectral_snr(7 - 3 * -fourier.apply_filter(noisy, blunt), 5 * clean, 1.0)
    np.testing.assert_allclose(other[2:30], plain[2:30], rtol=0.1)
