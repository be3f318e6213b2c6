"""Frames of little dose are aligned in groups, and doses may differ from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest

from icefloe.errors import InputError
from icefloe.motion import MotionField, MotionSettings, correct_motion
from icefloe.motion.doses import accumulated_doses, dose_components, stated_doses
from icefloe.motion.field import N_TERMS
from icefloe.motion.groups import alignment_groups, bin_groups, expand_field, group_doses
from icefloe.motion.prepare import bin_frames
from icefloe.optics import critical_dose
from icefloe.scoring import residual_motion
from icefloe.simulate import SimulationSettings, simulate_movie


def all_used(n):
    return np.ones(n, dtype=bool)


def sizes(doses, **given):
    return [len(g) for g in alignment_groups(doses, all_used(len(doses)), **given)]


def test_frames_of_enough_dose_are_aligned_one_by_one():
    assert sizes(np.full(40, 1.2)) == [1] * 40
    assert sizes(np.full(60, 0.6)) == [1] * 60


def test_frames_of_little_dose_are_grouped():
    assert sizes(np.full(240, 0.2)) == [4] * 60
    assert sizes(np.full(240, 0.2), dose=2.0) == [10] * 24
    # Each frame once, and however many frames: as many groups as the dose gives.
    groups = alignment_groups(np.full(2401, 0.02), all_used(2401))
    assert np.array_equal(np.concatenate(groups), np.arange(2401))
    assert len(groups) in (59, 60, 61)
    assert len(groups[-1]) >= 20


def test_short_movies_keep_eight_groups():
    assert sizes(np.full(7, 0.1)) == [1] * 7
    assert sizes(np.full(24, 0.1)) == [3] * 8


def test_frames_left_out_are_in_no_group_and_keep_their_place_in_time():
    doses, used = np.full(30, 1.2), all_used(30)
    used[14] = False
    groups = alignment_groups(doses, used)
    assert [int(g[0]) for g in groups] == [*range(14), *range(15, 30)]
    length = group_doses(doses, groups)
    assert length.sum() == pytest.approx(36)
    middle = np.cumsum(length) - 0.5 * length
    assert np.abs(middle - 1.2 * (np.flatnonzero(used) + 0.5)).max() < 0.31


def test_binned_groups_are_sums_of_binned_frames():
    rng = np.random.default_rng(0)
    stack = rng.poisson(1.0, (40, 64, 80)).astype(np.uint8)
    bad = rng.random((64, 80)) < 0.01
    gain = np.where(bad, 0, 1).astype(np.float32)
    single, means = bin_frames(stack, gain, bad, 2)
    groups = [np.array([0, 1, 2]), np.array([3, 5]), np.arange(6, 40)]
    found, found_means = bin_groups(stack, gain, bad, 2, groups)
    expected = np.stack([single[g].sum(axis=0) for g in groups])
    assert np.allclose(found, expected, atol=1e-4)
    assert np.allclose(found_means, means)


def test_motion_of_groups_becomes_that_of_frames():
    # A track that settles, of which only means over a fifth of an e/A^2 ... 2 e/A^2 are known.
    n = 240
    doses = np.full(n, 0.2)
    time = np.cumsum(doses) - 0.1
    track = np.stack([5 * (1 - np.exp(-time / 3)) + 0.1 * time, 3 * np.log1p(time / 8)], axis=1)
    local = np.zeros((n, 2, N_TERMS))
    local[:, 1, 3] = 4 * (1 - np.exp(-time / 6))
    used = all_used(n)
    used[[0, 50, 51]] = False
    for dose in (1.0, 2.0):
        groups = alignment_groups(doses, used, dose)
        means = MotionField(
            (10, 10),
            np.array([track[g].mean(axis=0) for g in groups]),
            np.array([local[g].mean(axis=0) for g in groups]),
        )
        found = expand_field(means, groups, doses)
        assert np.abs(found.global_shifts - (track - track[0])).max() < 0.06
        assert np.abs(found.local - (local - local[0])).max() < 0.06


def test_frames_that_are_groups_keep_their_motion_exactly():
    rng = np.random.default_rng(0)
    field = MotionField((8, 8), rng.normal(size=(9, 2)), np.zeros((9, 2, N_TERMS)))
    groups = [np.array([i]) for i in (0, 1, 2, 3, 5, 6, 7, 8, 9)]
    found = expand_field(field, groups, np.full(10, 1.0)).global_shifts
    expected = field.global_shifts - field.global_shifts[0]
    assert np.allclose(np.delete(found, 4, axis=0), expected, atol=1e-9)


def test_grouped_alignment_is_as_good():
    settings = SimulationSettings(
        shape=(640, 640), n_frames=80, dose_per_frame=0.2, n_particles="max"
    )
    movie = simulate_movie(settings, name="fine")
    residual = {}
    for dose in (0.1, "auto"):
        found = correct_motion(
            movie.frames, pixel_size=1.0, dose_per_frame=0.2, gain=movie.gain,
            settings=MotionSettings(alignment_dose=dose),
        )  # fmt: skip
        assert len(found.field) == 80
        assert found.numbers()["alignment_groups"] == (80 if dose == 0.1 else 20)
        residual[dose] = residual_motion(movie.truth.field, found.field, (640, 640), 80).total
    moved = np.abs(movie.truth.field.displacement(79, 320, 320)).max()
    assert residual["auto"] < 1.2 * residual[0.1] + 0.02
    assert residual["auto"] < 0.5 * moved


# ------------------------------------------------------------------ doses


def weights_of(doses, at, *, used=None):
    doses = np.asarray(doses, dtype=float)
    found = dose_components(
        accumulated_doses(doses, 2.0, at), len(doses), 1.0, 300.0, amounts=doses, used=used
    )
    return found.frequencies, found.frame_weights @ found.curves, found.frame_weights @ found.plain


@pytest.mark.parametrize("at", ["end", "mid"])
def test_weights_of_frames_of_uneven_dose(at):
    doses = np.array([0.3] * 6 + [1.5] * 10 + [4.0] * 4)
    k, weights, plain = weights_of(doses, at)
    dose = 2.0 + np.cumsum(doses) - (0.5 * doses if at == "mid" else 0)
    damage = np.exp(-dose[:, None] / (2 * critical_dose(k)))
    # Grant & Grigorieff's weights up to a factor for each frequency ...
    ratio = weights / damage
    strong = k < 0.3
    assert np.abs(ratio[:, strong] / ratio[0, strong] - 1).max() < 0.02
    # ... with which noise, in proportion to the dose of a frame, stays white.
    noise = np.sum(doses[:, None] * weights**2, axis=0)
    assert np.allclose(noise / doses.sum(), 1, atol=0.01)
    assert np.allclose(plain, 1, atol=5e-3)


def test_middle_or_end_matters_for_uneven_doses_only():
    even, uneven = np.full(20, 2.0), np.linspace(0.5, 3.5, 20)
    end, mid = (weights_of(even, at)[1] for at in ("end", "mid"))
    assert np.allclose(end, mid, atol=2e-3)
    end, mid = (weights_of(uneven, at)[1] for at in ("end", "mid"))
    assert np.abs(end - mid).max() > 0.05


def test_middle_of_frame_reaches_the_sum():
    frames = np.random.default_rng(0).poisson(1.0, (4, 128, 128)).astype(np.uint8)
    factors = np.array([0.7, 0.8, 1.2, 1.3])
    images = [
        correct_motion(
            frames, pixel_size=1.0, dose_per_frame=5.0, frame_dose_factors=factors,
            settings=MotionSettings(dose_weighting_at=at),
        ).micrograph
        for at in ("end", "mid")
    ]  # fmt: skip
    assert np.abs(images[0] - images[1]).max() > 0.01


def test_frames_without_weight():
    used = np.array([True, True, False, True])
    _, weights, plain = weights_of([1.0, 1.0, 1.0, 1.0], "end", used=used)
    assert np.all(weights[2] == 0)
    assert np.allclose(plain, used, atol=1e-6)


@pytest.mark.parametrize(
    "factors", [np.ones(3), np.array([1, -1, 1, 1]), np.zeros(4), np.array([1, np.nan, 1, 1])]
)
def test_doses_that_cannot_be(factors):
    with pytest.raises(InputError):
        stated_doses(1.0, factors, 4)


def test_early_motion_ends_at_four_electrons():
    rng = np.random.default_rng(0)
    frames = rng.poisson(1.0, (5, 128, 128)).astype(np.uint8)
    found = correct_motion(
        frames, pixel_size=1.0, dose_per_frame=1.0,
        frame_dose_factors=np.array([3.0, 1.0, 4.0, 4.0, 4.0]),
    )  # fmt: skip
    steps = np.hypot(*np.diff(found.global_shifts, axis=0).T)
    # 3 and 4 e/A^2 have arrived before the first and the second step, 8 before the third.
    assert found.numbers()["motion_early"] == pytest.approx(steps[:2].sum())
