"""Motion correction against simulated truth, closed forms and direct computation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from icefloe.errors import (
    DefectError,
    EmptyMovieError,
    FrameShapeError,
    GainShapeError,
    GainValueError,
    InputError,
    SettingsError,
)
from icefloe.fourier import frequency_grid, resize, rotational_average, set_threads
from icefloe.motion import (
    GainEstimate,
    MotionField,
    MotionSettings,
    correct_motion,
    estimate_gain,
    fit_polynomial,
)
from icefloe.motion.defects import find_outliers
from icefloe.motion.doses import dose_components
from icefloe.motion.field import N_TERMS, spatial_terms
from icefloe.motion.integrate import integrate
from icefloe.motion.spectrum import TileSpectrum, frame_groups
from icefloe.optics import dose_filters
from icefloe.scoring import gain_correlation, residual_motion
from icefloe.simulate import SimulationSettings, simulate_movie

KEYS = {
    "movie_pixel_size", "pixel_size", "movie_shape", "shape", "n_frames", "n_frames_total",
    "first_frame", "binning", "dose_per_frame", "pre_exposure", "voltage", "global_shifts",
    "local_coefficients", "polynomial_misfit", "patch_centres", "patch_shifts", "hot_pixels",
    "n_defects", "motion_total", "motion_early", "motion_late", "power_spectrum_pixel_size",
    "mean_correlation", "predicted_error", "patch_residuals", "frame_doses", "frames_left_out",
    "alignment_groups",
}  # fmt: skip


@pytest.fixture(scope="session")
def movie():
    settings = SimulationSettings(shape=(960, 1024), n_frames=16, doming=3.0, n_hot=9, n_dead=5)
    return simulate_movie(settings, name="motion-test")


@pytest.fixture(scope="session")
def result(movie):
    return correct(movie)


def correct(movie, frames=None, device="cpu", **settings):
    return correct_motion(
        movie.frames if frames is None else frames,
        pixel_size=1.0,
        dose_per_frame=1.2,
        gain=movie.gain,
        settings=MotionSettings(**settings),
        device=device,
        name="motion-test",
    )


def score(movie, result):
    return residual_motion(
        movie.truth.field, result.field, movie.frames.shape[1:], len(result.field)
    )


def noise_movie(n=4, shape=(256, 320), seed=0, mean=1.0):
    return np.random.default_rng(seed).poisson(mean, (n, *shape)).astype(np.uint8)


# ------------------------------------------------------------------ alignment


def test_finds_the_motion(movie, result):
    found = score(movie, result)
    assert found.input_motion > 2.0
    assert found.total < 0.6
    assert found.whole_frame < 0.35
    assert 0.5 < found.total / result.predicted_error < 2
    assert result.flags == ()


def test_local_motion_is_better_than_whole_frame_alone(movie, result):
    whole = correct(movie, patches=(1, 1))
    assert not whole.field.local.any()
    assert score(movie, result).local < 0.6 * score(movie, whole).local


def test_survives_a_large_fast_drift():
    settings = SimulationSettings(shape=(768, 768), n_frames=24, drift=60.0, dose_per_frame=0.8)
    movie = simulate_movie(settings, name="drift")
    result = correct_motion(movie.frames, pixel_size=1.0, dose_per_frame=0.8, gain=movie.gain)
    found = score(movie, result)
    assert found.input_motion > 10
    assert found.whole_frame < 0.6


def test_first_frame_is_at_rest(result):
    y, x = np.mgrid[0:960:100, 0:1024:100]
    assert np.abs(result.field.displacement(0, y, x)).max() < 1e-12
    assert result.patch_shifts.shape == (len(result.patch_centres), 16, 2)
    assert np.allclose(result.patch_shifts[:, 0], 0)


def test_numbers_are_complete_and_plain_json(movie, result):
    numbers = result.numbers()
    assert set(numbers) == KEYS
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    steps = np.hypot(*np.diff(result.global_shifts, axis=0).T)
    assert numbers["motion_total"] == pytest.approx(steps.sum())
    # 4 e/A^2 at 1.2 a frame: three steps.
    assert numbers["motion_early"] == pytest.approx(steps[:3].sum())
    assert numbers["motion_early"] + numbers["motion_late"] == pytest.approx(steps.sum())
    assert len(numbers["local_coefficients"]["y"]) == 18


def test_frame_range(movie):
    part = correct(movie, first_frame=3, last_frame=14)
    assert len(part.field) == 12
    numbers = part.numbers()
    assert (numbers["n_frames"], numbers["n_frames_total"], numbers["first_frame"]) == (12, 16, 3)
    truth = movie.truth.field

    class Later:
        def displacement(self, frame, y, x):
            return truth.displacement(np.asarray(frame) + 2, y, x)

    assert residual_motion(Later(), part.field, (960, 1024), 12).total < 0.8


def test_same_bytes_with_any_number_of_threads(movie):
    frames = movie.frames[:6, :512, :512]
    results = []
    for threads in (1, 2):
        set_threads(threads)
        found = correct_motion(frames, pixel_size=1.0, dose_per_frame=1.2)
        results.append((found.micrograph.tobytes(), json.dumps(found.numbers())))
    set_threads(0)
    assert results[0] == results[1]


def test_accelerator_path_gives_the_same(movie):
    pytest.importorskip("torch")
    frames = movie.frames[:6, :512, :512]
    gain = movie.gain[:512, :512]
    found = [
        correct_motion(
            frames, pixel_size=1.0, dose_per_frame=1.2, gain=gain, device=device,
            settings=MotionSettings(even_odd=True, binning=2),
        )
        for device in ("cpu", "torch-cpu")
    ]  # fmt: skip
    a, b = found
    assert np.abs(a.field.coefficients - b.field.coefficients).max() < 0.01
    for image in ("micrograph", "plain", "even", "power_spectrum"):
        left, right = getattr(a, image), getattr(b, image)
        assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.9999
        assert left.mean() == pytest.approx(right.mean(), rel=1e-4)


# ------------------------------------------------------------------ sums


def still_sums(frames, doses, *, shape=None, groups=None, gain=None, field=None, voltage=300.0):
    n, ny, nx = frames.shape
    spectrum = TileSpectrum.for_frames((ny, nx), 1.0, 128)
    return integrate(
        frames,
        np.ones((ny, nx), np.float32) if gain is None else gain,
        np.zeros((ny, nx), dtype=bool),
        np.ones(n, np.float32),
        MotionField.still((ny, nx), n) if field is None else field,
        dose_components(doses, n, 1.0, voltage),
        groups or [np.arange(n)],
        spectrum,
        pixel_size=1.0,
        shape=shape or (ny, nx),
        even_odd=True,
        seed=0,
    )


def test_dose_weighting_equals_a_transform_of_every_frame():
    frames = noise_movie(30, (192, 200), mean=3.0)
    doses = 1.5 * np.arange(1, 31)
    sums = still_sums(frames, doses)
    weights = dose_filters(frequency_grid((192, 200), 1.0), doses) * np.sqrt(30)
    direct = np.fft.irfft2(np.sum(np.fft.rfft2(frames) * weights, axis=0), s=(192, 200))
    # The direct way takes the image for periodic: away from the edges.
    inner = (slice(48, -48), slice(48, -48))
    assert np.abs(sums.micrograph - direct)[inner].max() < 0.02 * direct.std()
    assert np.abs(sums.plain - frames.sum(0)).max() < 0.01 * direct.std()
    assert np.allclose(sums.even + sums.odd, sums.plain, atol=0.05)
    assert np.abs(sums.even - frames[::2].sum(0)).max() < 0.05


@pytest.mark.parametrize("voltage", [200.0, 300.0])
def test_few_sums_carry_the_dose_weights_of_many_frames(voltage):
    doses = 0.6 * np.arange(1, 76)
    found = dose_components(doses, 75, 1.0, voltage)
    assert found.frame_weights.shape[1] <= 6
    k = found.frequencies
    exact = dose_filters(k, doses, voltage) * np.sqrt(75)
    assert np.abs(found.frame_weights @ found.curves - exact).max() < 2e-3 * exact.max()
    assert np.abs(found.frame_weights @ found.plain - 1).max() < 2e-3


def test_binned_sum_is_the_fourier_cropped_sum(movie):
    whole, binned = correct(movie), correct(movie, binning=1.5)
    assert binned.micrograph.shape == (640, 682)
    assert binned.pixel_size == 1.5
    assert np.allclose(binned.plain, resize(whole.plain, (640, 682)), atol=1e-3)


def test_plain_sum_without_dose_weighting(movie, result):
    off = correct(movie, dose_weighting=False)
    assert np.array_equal(off.micrograph, off.plain)
    assert np.allclose(off.plain, result.plain, atol=0.02 * result.plain.std())
    assert not np.allclose(off.plain, result.micrograph, atol=0.1)


def test_pre_exposure_is_the_same_loss_for_all_frames(movie, result):
    # exp(-(D0 + D) / 2 Ne): normalised to white noise, the factor of D0 cancels.
    exposed = correct(movie, pre_exposure=20.0)
    assert np.allclose(exposed.micrograph, result.micrograph, atol=0.02 * result.plain.std())
    # The early motion, which is that of the first 4 e/A^2, is over by then.
    assert exposed.numbers()["pre_exposure"] == 20.0
    assert exposed.numbers()["motion_early"] == 0.0


def test_moving_specimen_is_summed_sharply():
    # A band-limited scene drifting by fractions of a pixel, without noise: the sum is the scene.
    rng = np.random.default_rng(0)
    shape = (128, 144)
    scene = resize(rng.normal(size=(90, 100)).astype(np.float32), shape) + 10
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    shifts = rng.uniform(-3, 3, (24, 2))
    shifts[0] = 0
    frames = np.stack(
        [
            np.fft.irfft2(np.fft.rfft2(scene) * np.exp(-2j * np.pi * (ky * dy + kx * dx)), s=shape)
            for dy, dx in shifts
        ]
    ).astype(np.float32)
    field = MotionField(shape, shifts, np.zeros((24, 2, N_TERMS)))
    sums = still_sums(frames, None, field=field)
    inner = (slice(12, -12), slice(12, -12))
    error = sums.plain[inner] / 24 - scene[inner]
    assert error.std() < 0.03 * scene.std()


def test_grey_level_is_the_sum_of_counts(movie, result):
    expected = (movie.frames.sum(0) * movie.gain)[movie.gain > 0].mean()
    assert result.plain.mean() == pytest.approx(expected, rel=0.01)
    assert result.micrograph.mean() == pytest.approx(expected, rel=0.01)


# ------------------------------------------------------------------ spectrum


def test_power_spectrum_of_noise_is_flat():
    frames = noise_movie(6, (700, 800))
    sums = TileSpectrum.for_frames((700, 800), 1.0, 256)
    sums.add(frames.sum(0).astype(np.float32))
    amplitude = sums.amplitude()
    assert amplitude.shape == (256, 256)
    assert sums.pixel_size == pytest.approx(1.4, rel=0.02)
    plane = np.fft.ifftshift(amplitude).astype(float)
    _, curve = rotational_average(plane, (256, 256), real=False)
    assert np.abs(curve[8:] / curve[8:].mean() - 1).max() < 0.1
    # Friedel's law about the centre.
    assert np.allclose(amplitude[1:, 1:], amplitude[:0:-1, :0:-1])


def test_power_spectrum_has_waves_where_they_belong():
    y, x = np.mgrid[:512, :512]
    wave = 1 + 0.5 * np.cos(2 * np.pi * (0.10 * y + 0.05 * x))
    frames = np.random.default_rng(0).poisson(wave, (4, 512, 512)).astype(np.uint8)
    sums = TileSpectrum.for_frames((512, 512), 2.0, 256)
    assert sums.pixel_size == 2.0
    sums.add(frames.sum(0).astype(np.float32))
    amplitude = sums.amplitude()
    amplitude[128, 128] = 0
    peak = np.unravel_index(np.argmax(amplitude[128:]), (128, 256))
    assert (peak[0] + 128, peak[1]) == (128 + round(0.10 * 256), 128 + round(0.05 * 256))


def test_frame_groups_are_consecutive_and_of_the_dose_asked_for():
    groups = frame_groups(np.full(40, 1.2), 4.0)
    assert np.array_equal(np.concatenate(groups), np.arange(40))
    assert {len(g) for g in groups} <= {3, 4}
    assert [len(g) for g in frame_groups(np.full(3, 10.0), 4.0)] == [1, 1, 1]


# ------------------------------------------------------------------ polynomial


def test_polynomial_of_a_polynomial_is_itself():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(2, 6, 3)) * [1e-1, 1e-2, 1e-4]
    z = np.arange(30)[:, None]
    local = np.einsum("asp,fp->fas", truth, np.hstack([z, z**2, z**3]))
    field = MotionField((100, 120), np.zeros((30, 2)), np.pad(local, ((0, 0), (0, 0), (0, 4))))
    found, misfit = fit_polynomial(field)
    assert np.allclose(found.reshape(2, 6, 3), truth, atol=1e-10)
    assert misfit < 1e-10


def test_misfit_is_the_rms_of_what_a_polynomial_cannot_follow(result):
    coefficients, misfit = fit_polynomial(result.field)
    z = np.arange(16)
    powers = np.stack([z, z**2, z**3])
    y, x = np.meshgrid(*((np.arange(48) + 0.5) / 48 * s for s in (960, 1024)), indexing="ij")
    terms = spatial_terms((960, 1024), y, x)
    model = np.einsum("asp,pf,yxs->fyxa", coefficients.reshape(2, 6, 3), powers, terms[..., :6])
    local = np.einsum("fas,yxs->fyxa", result.field.local, terms)
    rms = np.sqrt(np.mean(np.sum((model - local) ** 2, -1)))
    assert misfit == pytest.approx(rms, rel=0.1)


# ------------------------------------------------------------------ defects


def test_finds_hot_and_dead_pixels(movie, result):
    truth = {tuple(p) for p in np.argwhere(movie.truth.defects)}
    found = {tuple(p) for p in result.hot_pixels}
    # Those with gain zero are known already and are not in the list.
    known = {tuple(p) for p in np.argwhere(movie.gain == 0)}
    assert found >= truth - known
    assert len(found - truth) <= 1
    assert result.n_defects == len(found | known)


@pytest.mark.parametrize("mean", [1.0, 40.0])
def test_no_outliers_in_poisson_noise(mean):
    total = np.random.default_rng(0).poisson(mean, (700, 800)).astype(np.float32)
    total[33, 44] = 60 * mean
    hot, dead = find_outliers(total)
    assert np.argwhere(hot).tolist() == [[33, 44]]
    assert not dead.any()
    if mean > 10:
        total[5, 6] = 0
        assert np.argwhere(find_outliers(total)[1]).tolist() == [[5, 6]]


def test_hot_column_does_not_hold_the_alignment(movie):
    frames = movie.frames.copy()
    frames[:, :, 300] += 3
    frames[:, 200, :] += 2
    assert score(movie, correct(movie, frames)).total < 0.6


def test_defect_map_is_used(movie):
    defects = np.zeros((960, 1024), dtype=bool)
    defects[100:110, 200:210] = True
    frames = movie.frames.copy()
    frames[:, 100:110, 200:210] = 40
    found = correct_motion(
        frames, pixel_size=1.0, dose_per_frame=1.2, gain=movie.gain, defects=defects
    )
    assert not any(defects[y, x] for y, x in found.hot_pixels)
    block = found.plain[95:115, 195:215]
    assert abs(block.mean() / found.plain.mean() - 1) < 0.2


# ------------------------------------------------------------------ unusual and bad input


def test_one_frame():
    frames = noise_movie(1, mean=20.0)
    found = correct_motion(frames, pixel_size=1.0, dose_per_frame=20.0)
    assert any("one frame" in flag for flag in found.flags)
    assert np.allclose(found.plain, frames[0], atol=0.05)
    assert found.numbers()["motion_total"] == 0.0


def test_two_frames():
    settings = SimulationSettings(shape=(512, 512), n_frames=2, dose_per_frame=15.0)
    movie = simulate_movie(settings, name="two")
    found = correct_motion(movie.frames, pixel_size=1.0, dose_per_frame=15.0, gain=movie.gain)
    assert any("two frames" in flag for flag in found.flags)
    truth = movie.truth.field.displacement(1, 255, 255)
    assert np.hypot(*truth) > 5
    assert np.abs(found.global_shifts[1] - truth).max() < 1.0


def test_runaway_stage_is_flagged():
    settings = SimulationSettings(shape=(512, 512), n_frames=16, drift_ruined=True)
    movie = simulate_movie(settings, name="ruined")
    found = correct_motion(movie.frames, pixel_size=1.0, dose_per_frame=1.2, gain=movie.gain)
    assert found.flags


def test_identical_frames_are_flagged():
    frames = np.repeat(noise_movie(1), 5, axis=0)
    found = correct_motion(frames, pixel_size=1.0, dose_per_frame=1.0)
    assert "identical frames" in found.flags


def test_fixed_pattern_is_flagged(movie):
    rng = np.random.default_rng(0)
    pattern = np.clip(1 + 0.3 * rng.normal(size=(512, 512)), 0.2, 2)
    frames = rng.poisson(1.5 * pattern, (8, 512, 512)).astype(np.uint8)
    found = correct_motion(frames, pixel_size=1.0, dose_per_frame=1.0)
    assert any("fixed pattern" in flag for flag in found.flags)
    assert any("locked at zero" in flag for flag in found.flags)


def test_a_gain_turned_the_wrong_way_is_flagged():
    movie = simulate_movie(SimulationSettings(shape=(768, 768), n_frames=12), name="turned-gain")
    found = {
        turns: correct_motion(
            movie.frames, pixel_size=1.0, dose_per_frame=1.2,
            gain=np.ascontiguousarray(np.rot90(movie.gain, turns)),
        )
        for turns in (0, 1)
    }  # fmt: skip
    assert not any("fixed pattern" in flag for flag in found[0].flags)
    assert any("fixed pattern" in flag for flag in found[1].flags)


def test_noise_is_not_taken_for_signal():
    found = correct_motion(noise_movie(8, (512, 512)), pixel_size=1.0, dose_per_frame=1.0)
    assert any("no signal" in flag for flag in found.flags)


def test_movie_without_counts():
    with pytest.raises(EmptyMovieError):
        correct_motion(np.zeros((4, 64, 64), np.uint8), pixel_size=1.0, dose_per_frame=1.0)
    with pytest.raises(EmptyMovieError):
        correct_motion(np.zeros((0, 64, 64), np.uint8), pixel_size=1.0, dose_per_frame=1.0)


def test_bad_frames_gains_and_maps():
    frames = noise_movie()
    facts = {"pixel_size": 1.0, "dose_per_frame": 1.0}
    with pytest.raises(GainShapeError, match="320 x 256"):
        correct_motion(frames, gain=np.ones((320, 256), "f4"), **facts)
    gain = np.ones((256, 320), np.float32)
    gain[3, 4] = np.nan
    with pytest.raises(GainValueError):
        correct_motion(frames, gain=gain, **facts)
    with pytest.raises(GainValueError):
        correct_motion(frames, gain=np.zeros((256, 320), "f4"), **facts)
    with pytest.raises(DefectError):
        correct_motion(frames, defects=np.zeros((25, 32), dtype=bool), **facts)
    with pytest.raises(FrameShapeError):
        correct_motion([frames[0], frames[1, :100]], **facts)
    with pytest.raises(InputError):
        correct_motion(frames, frame_dose_factors=np.ones(3), **facts)
    broken = frames.astype(np.float32)
    broken[2, 7, 8] = np.nan
    with pytest.raises(InputError):
        correct_motion(broken, **facts)


@pytest.mark.parametrize("name", ["pixel_size", "dose_per_frame", "voltage"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_facts_must_be_positive(name, value):
    facts = {"pixel_size": 1.0, "dose_per_frame": 1.0, "voltage": 300.0, name: value}
    with pytest.raises(SettingsError):
        correct_motion(noise_movie(), **facts)


def test_frames_that_are_not_there():
    with pytest.raises(SettingsError, match="movie has 4"):
        correct_motion(
            noise_movie(), pixel_size=1.0, dose_per_frame=1.0,
            settings=MotionSettings(first_frame=2, last_frame=9),
        )  # fmt: skip
    with pytest.raises(ValidationError):
        MotionSettings(first_frame=5, last_frame=2)


def test_counts_of_any_type_and_odd_sizes():
    frames = noise_movie(3, (257, 311))
    first = correct_motion(frames, pixel_size=1.0, dose_per_frame=1.0)
    for dtype in (np.int8, np.uint16, np.int16, np.int32, np.float32, np.float16, ">i2"):
        other = correct_motion(frames.astype(dtype), pixel_size=1.0, dose_per_frame=1.0)
        assert np.allclose(other.micrograph, first.micrograph, atol=1e-3)
    assert first.micrograph.shape == (257, 311)


def test_uneven_doses_weigh_frames_by_what_they_got(movie):
    # The last fraction of an EER movie is shorter.
    factors = np.ones(16)
    factors[-1] = 0.25
    found = correct_motion(
        movie.frames, pixel_size=1.0, dose_per_frame=1.2, gain=movie.gain,
        frame_dose_factors=factors,
    )  # fmt: skip
    assert score(movie, found).total < 0.6


# ------------------------------------------------------------------ gain


def test_gain_estimate_is_the_detectors():
    rng = np.random.default_rng(0)
    truth = np.clip(1 + 0.1 * rng.normal(size=(120, 130)), 0.5, 1.5)
    truth[60] *= 1.2
    response = 1 / truth
    response[30, 40] = 0
    response[50, 70] = 40
    movies = [rng.poisson(response * 20, (20, 120, 130)).astype(np.uint16) for _ in range(3)]
    estimate = GainEstimate()
    for movie in movies:
        estimate.add(movie)
    gain, defects = estimate.finish()
    assert np.argwhere(defects).tolist() == [[30, 40], [50, 70]]
    assert gain[30, 40] == 0
    truth[defects] = 0
    assert gain_correlation(gain, truth) > 0.95
    assert estimate.counts == pytest.approx(1200, rel=0.05)
    assert np.array_equal(estimate_gain(movies), gain)
    # Flat where it was made.
    assert (estimate.total * gain)[~defects].std() < 1e-3 * (estimate.total * gain).mean()


def test_gain_estimate_refuses_nothing_and_mixtures():
    with pytest.raises(EmptyMovieError):
        GainEstimate().finish()
    estimate = GainEstimate()
    estimate.add(noise_movie())
    with pytest.raises(FrameShapeError):
        estimate.add(noise_movie(shape=(64, 64)))
