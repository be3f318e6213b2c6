"""Frames that cannot be used: left out, named, and never part of the sum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from icefloe.errors import EmptyMovieError, InputError
from icefloe.motion import MotionSettings, correct_motion
from icefloe.motion.usable import check_frames, number_ranges, runs

N, SIDE = 12, 256
BAD = 6


FINE = 4  # the scene's pixels in one of the frames


def moving(track, side=SIDE, seed=0):
    """Poisson counts, 1 a pixel, of a scene of strong contrast moving by `track` (y, x)."""
    rng = np.random.default_rng(seed)
    steps = np.rint(FINE * np.asarray(track)).astype(int)
    (y0, x0), (y1, x1) = steps.min(axis=0), steps.max(axis=0)
    size = FINE * side
    scene = gaussian_filter(
        rng.normal(size=(size + y1 - y0, size + x1 - x0)).astype(np.float32), 3 * FINE
    )
    scene = np.clip(1 + 0.5 * scene / scene.std(), 0.05, 3)
    frames = []
    for y, x in steps:
        # The specimen moves by +d where the window moves by -d.
        cut = scene[y1 - y : y1 - y + size, x1 - x : x1 - x + size]
        frames.append(rng.poisson(cut.reshape(side, FINE, side, FINE).mean(axis=(1, 3))))
    return np.array(frames, dtype=np.uint8)


TRACK = np.stack([0.5 * np.arange(N), 6 * (1 - np.exp(-np.arange(N) / 3))], axis=1)


@pytest.fixture(scope="module")
def frames():
    return moving(TRACK)


def correct(frames, **settings):
    return correct_motion(
        frames, pixel_size=1.5, dose_per_frame=1.2, settings=MotionSettings(**settings)
    )


def replaced(frames, values, which=BAD):
    out = frames.copy()
    out[which] = values
    return out


@pytest.mark.parametrize(
    ("value", "reason", "dose"),
    [(0, "empty", 0.0), (255, "one value in all pixels", 1.2), (1, "one value in all pixels", 1.2)],
)
def test_a_dead_frame_is_left_out_and_its_track_interpolated(frames, value, reason, dose):
    found = correct(replaced(frames, value))
    assert f"left out: frame 7 ({reason})" in found.flags
    numbers = found.numbers()
    assert numbers["frames_left_out"] == [7]
    assert numbers["frame_doses"][BAD] == pytest.approx(dose)
    error = found.global_shifts - TRACK
    assert np.abs(error).max() < 0.6
    # The sum has the counts of the other frames and no others.
    rest = np.delete(frames, BAD, axis=0)
    assert found.plain.mean() == pytest.approx(rest.mean(dtype=float) * (N - 1), rel=0.01)


def test_what_is_in_a_frame_that_is_left_out_does_not_matter(frames):
    first, second = (correct(replaced(frames, v), even_odd=True) for v in (255, 200))
    for role in ("micrograph", "plain", "even", "odd", "power_spectrum"):
        assert np.array_equal(getattr(first, role), getattr(second, role)), role


def test_a_blanked_frame_damages_nothing(frames):
    # Later frames have the dose that arrived: less damage than if the blanked frame had counted.
    blank, burnt = (correct(replaced(frames, v)) for v in (0, 255))
    assert np.allclose(blank.plain, burnt.plain, atol=0.05)
    assert np.std(blank.micrograph - burnt.micrograph) > 0.02


def test_first_and_last_frame_may_be_dead(frames):
    found = correct(replaced(frames, 0, [0, 1, N - 1]))
    assert "left out: frames 1-2, 12 (empty)" in found.flags
    assert (
        np.abs(found.global_shifts[3:-1] - found.global_shifts[3] - TRACK[3:-1] + TRACK[3]).max()
        < 0.4
    )


def test_a_frame_far_too_bright(frames):
    bright = frames[BAD].astype(np.uint16) * 20
    found = correct(replaced(frames.astype(np.uint16), bright))
    assert "left out: frame 7 (saturated or far too bright)" in found.flags
    assert np.abs(found.global_shifts - TRACK).max() < 0.6


def test_a_frame_at_the_top_of_its_range(frames):
    found = check_frames(replaced(frames, np.where(frames[BAD] > 0, 255, 3)), np.ones(N))
    assert not found.used[BAD]
    assert "saturated" in found.flags[0]


def test_a_movie_that_is_saturated_throughout():
    frames = np.minimum(moving(TRACK).astype(int) * 200, 255).astype(np.uint8)
    assert any(f.startswith("saturated: up to") for f in correct(frames).flags)


def test_a_frame_that_repeats_the_one_before(frames):
    found = correct(replaced(frames, frames[BAD - 1]))
    assert "left out: frame 7 (the same as the frame before)" in found.flags
    assert np.abs(found.global_shifts - TRACK).max() < 0.6


def test_identical_frames_are_one_frame(frames):
    found = correct(np.repeat(frames[:1], 5, axis=0))
    assert "identical frames" in found.flags


def test_a_dim_frame_got_less_dose(frames):
    rng = np.random.default_rng(1)
    found = correct(replaced(frames, rng.binomial(frames[BAD], 0.4)))
    assert any(flag.startswith("uneven counts: frame 7 with 0.4") for flag in found.flags)
    assert found.numbers()["frames_left_out"] == []
    assert found.numbers()["frame_doses"][BAD] == pytest.approx(0.48, abs=0.02)
    nearly = correct(replaced(frames, rng.binomial(frames[BAD], 0.1)))
    assert "left out: frame 7 (almost empty)" in nearly.flags
    assert nearly.numbers()["frame_doses"][BAD] == pytest.approx(0.12, abs=0.02)


def test_counts_are_judged_by_the_dose_that_was_said(frames):
    rng = np.random.default_rng(1)
    factors = np.ones(N)
    factors[BAD] = 0.1
    found = check_frames(replaced(frames, rng.binomial(frames[BAD], 0.1)), factors)
    assert found.used.all()
    assert found.flags == ()


def test_all_frames_dead(frames):
    for value in (0, 255):
        with pytest.raises(EmptyMovieError, match="one value"):
            correct(np.full_like(frames, value))


def test_one_live_frame(frames):
    found = correct(replaced(frames, 0, slice(1, None)))
    assert found.flags[:2] == ("left out: frames 2-12 (empty)", "one frame: nothing to align")
    assert found.plain.mean() == pytest.approx(frames[0].mean(), rel=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(frames, value):
    broken = frames.astype(np.float32)
    broken[BAD] = value
    with pytest.raises(InputError, match="Frame 7"):
        correct(broken)


@pytest.mark.parametrize("step", [60, -60])
def test_motion_beyond_the_frame_is_said(step):
    track = np.stack([np.zeros(N, int), (np.arange(N) - N // 2) * step], 1)
    flags = correct(moving(track)).flags
    assert any(flag.startswith("out of view") for flag in flags), flags
    assert any(flag.startswith("large motion") for flag in flags), flags
    # 330 px either way of the middle, where 133 are looked for.
    assert any(flag.startswith("motion as large as") for flag in flags), flags


def test_frames_without_anything_in_common_are_not_moved():
    rng = np.random.default_rng(0)
    found = correct(rng.poisson(1.5, (4, SIDE, SIDE)).astype(np.uint8))
    assert any(flag.startswith("not aligned") for flag in found.flags), found.flags
    assert any("no signal" in flag for flag in found.flags)
    assert np.all(found.global_shifts == 0)
    assert found.plain.mean() == pytest.approx(6, rel=0.01)


def test_known_bad_pixels_are_no_fixed_pattern():
    rng = np.random.default_rng(3)
    gain = np.where(rng.random((SIDE, SIDE)) < 0.03, 0, 1).astype(np.float32)
    frames = rng.poisson(1.0, (N, SIDE, SIDE)).astype(np.uint8)
    found = correct_motion(frames, pixel_size=1.0, dose_per_frame=1.0, gain=gain)
    assert not any("pattern" in flag for flag in found.flags), found.flags


def test_three_frames(frames):
    found = correct(frames[:3])
    assert np.abs(found.global_shifts - TRACK[:3]).max() < 0.6
    assert found.flags == ()


def test_names_of_frames():
    assert number_ranges([3]) == "frame 3"
    assert number_ranges([1, 2, 3, 7]) == "frames 1-3, 7"
    assert runs(np.array([0, 1, 1, 0, 1], dtype=bool)) == [slice(1, 3), slice(4, 5)]


def test_accelerator_path_leaves_out_and_groups_alike(frames):
    pytest.importorskip("torch")
    frames = replaced(np.concatenate([frames, frames[::-1]]), 0)
    found = [
        correct_motion(
            frames, pixel_size=1.5, dose_per_frame=0.2, device=device,
            settings=MotionSettings(alignment_dose=0.4),
        )
        for device in ("cpu", "torch-cpu")
    ]  # fmt: skip
    assert found[0].numbers()["alignment_groups"] == 12
    assert found[0].flags == found[1].flags
    assert np.abs(found[0].global_shifts - found[1].global_shifts).max() < 0.01
    assert np.allclose(found[0].plain, found[1].plain, atol=0.05)
