"""Identities that a Fourier library must keep, for odd and even sizes alike."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from icefloe import fourier
from icefloe.errors import DeviceError, SettingsError

sizes = st.integers(1, 24)
shapes = st.tuples(sizes, sizes)
seeds = st.integers(0, 2**31)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@given(shapes, seeds)
def test_parseval(shape, seed):
    image = noise(shape, seed)
    ny, nx = shape
    power = np.abs(fourier.rfft2(image)) ** 2
    weight = np.full(nx // 2 + 1, 2.0)
    weight[0] = 1
    if nx % 2 == 0:
        weight[-1] = 1
    assert np.sum(power * weight) / (ny * nx) == pytest.approx(np.sum(image**2))


@given(shapes, seeds)
def test_inverse_returns_the_image(shape, seed):
    image = noise(shape, seed)
    np.testing.assert_allclose(fourier.irfft2(fourier.rfft2(image), shape), image, atol=1e-12)


@given(shapes, seeds, st.integers(-30, 30), st.integers(-30, 30))
def test_shift_theorem_whole_pixels(shape, seed, dy, dx):
    image = noise(shape, seed)
    moved = fourier.irfft2(
        fourier.shift_phases(fourier.rfft2(image), shape, np.array([dy, dx])), shape
    )
    np.testing.assert_allclose(moved, np.roll(image, (dy, dx), (0, 1)), atol=1e-10)


def test_shift_theorem_fraction_against_a_closed_form():
    ny, nx = 32, 45
    y, x = np.mgrid[:ny, :nx]

    def wave(y, x):
        return np.cos(2 * np.pi * (3 * y / ny + 5 * x / nx))

    moved = fourier.irfft2(
        fourier.shift_phases(fourier.rfft2(wave(y, x)), (ny, nx), np.array([0.3, -1.7])), (ny, nx)
    )
    np.testing.assert_allclose(moved, wave(y - 0.3, x + 1.7), atol=1e-12)


@given(shapes, shapes, seeds)
def test_pad_then_crop_is_the_identity(small, more, seed):
    image = noise(small, seed)
    large = (small[0] + more[0] - 1, small[1] + more[1] - 1)
    back = fourier.resize(fourier.resize(image, large), small)
    np.testing.assert_allclose(back, image, atol=1e-10)


@given(shapes, shapes, seeds)
def test_resize_keeps_the_mean(shape, new_shape, seed):
    image = noise(shape, seed) + 3
    assert fourier.resize(image, new_shape).mean() == pytest.approx(image.mean())


@pytest.mark.parametrize("shape", [(24, 31), (25, 30)])
@pytest.mark.parametrize("new", [(36, 40), (37, 45), (16, 20), (15, 21)])
def test_resize_samples_a_band_limited_image_exactly(shape, new):
    def image(n, m):
        y, x = np.mgrid[:n, :m].astype(float)
        y, x = y / n, x / m
        return 1 + np.cos(2 * np.pi * (5 * y + 6 * x) + 0.4) + np.sin(2 * np.pi * (7 * x - 2 * y))

    np.testing.assert_allclose(fourier.resize(image(*shape), new), image(*new), atol=1e-10)


@settings(max_examples=40)
@given(shapes, shapes, seeds)
def test_resize_agrees_with_scipy_one_axis_at_a_time(shape, new_shape, seed):
    from scipy.signal import resample

    image = noise(shape, seed)
    expected = resample(resample(image, new_shape[0], axis=0), new_shape[1], axis=1)
    np.testing.assert_allclose(fourier.resize(image, new_shape), expected, atol=1e-9)


def test_batches_are_treated_one_by_one():
    stack = noise((3, 17, 22))
    together = fourier.resize(stack, (11, 30))
    for one, image in zip(together, stack, strict=True):
        np.testing.assert_allclose(one, fourier.resize(image, (11, 30)), atol=1e-12)


def test_crop_refuses_a_spectrum_of_another_image():
    with pytest.raises(ValueError, match="is not of an image"):
        fourier.crop_rfft(fourier.rfft2(noise((8, 8))), (8, 10), (4, 4))


@pytest.mark.parametrize("shape", [(40, 40), (41, 40), (33, 52), (51, 37)])
def test_rotational_average_of_half_and_full_plane_agree(shape):
    power = np.abs(np.fft.fft2(noise(shape))) ** 2
    half = power[:, : shape[1] // 2 + 1]
    k1, a1 = fourier.rotational_average(power, shape, real=False)
    k2, a2 = fourier.rotational_average(half, shape)
    np.testing.assert_allclose(k1, k2)
    np.testing.assert_allclose(a1, a2, rtol=1e-10)


def test_rotational_average_finds_a_radial_function():
    shape = (200, 160)
    k = fourier.frequency_grid(shape)
    frequency, average = fourier.rotational_average(np.exp(-20 * k**2), shape)
    np.testing.assert_allclose(average[2:], np.exp(-20 * frequency[2:] ** 2), atol=0.01)


def test_frequency_grid_is_in_inverse_angstrom():
    k = fourier.frequency_grid((8, 10), 2.0)
    assert k[4, 0] == pytest.approx(0.25)
    assert k[0, 5] == pytest.approx(0.25)
    assert fourier.frequency_grid((8, 10), 2.0, real=False).shape == (8, 10)


def test_filters_have_their_values_at_the_stated_resolution():
    shape, px = (256, 256), 1.0
    k = fourier.frequency_grid(shape, px)
    at = np.unravel_index(np.argmin(np.abs(k - 1 / 8)), k.shape)
    assert fourier.gaussian_low_pass(shape, px, 8.0)[at] == pytest.approx(0.5, abs=0.01)
    assert fourier.band_pass(shape, px, None, 8.0)[at] == pytest.approx(0.5, abs=0.05)
    assert fourier.band_pass(shape, px, 8.0, None)[at] == pytest.approx(0.5, abs=0.05)
    assert fourier.bfactor_filter(shape, px, 200.0)[at] == pytest.approx(np.exp(-50 / 64), rel=0.01)
    assert fourier.band_pass(shape, px, 100.0, 4.0)[0, 0] == 0


def test_gaussian_filter_agrees_with_real_space():
    image = noise((64, 64))
    sigma = 2.0  # pixels; the transform of exp(-x^2 / 2 s^2) is exp(-2 pi^2 s^2 k^2)
    resolution = sigma * np.pi * np.sqrt(2 / np.log(2))
    filtered = fourier.apply_filter(image, fourier.gaussian_low_pass((64, 64), 1.0, resolution))
    expected = scipy.ndimage.gaussian_filter(image, sigma, mode="wrap", truncate=8)
    np.testing.assert_allclose(filtered, expected, atol=1e-5)


@given(st.integers(2, 5000))
def test_fast_size_is_even_and_close(n):
    size = fourier.fast_size(n)
    assert size >= n
    assert size % 2 == 0
    assert size <= 1.3 * n + 4


@pytest.mark.parametrize("shape", [(20, 31), (21, 30)])
@pytest.mark.parametrize("new", [(13, 40), (12, 41), (30, 18), (33, 17)])
def test_torch_path_equals_the_numpy_path(shape, new):
    pytest.importorskip("torch")
    image = noise((2, *shape)).astype(np.float32)
    tensor = fourier.to_device(image, "torch-cpu")
    assert fourier.is_tensor(tensor)
    assert not fourier.is_tensor(image)
    np.testing.assert_allclose(
        fourier.to_numpy(fourier.resize(tensor, new)), fourier.resize(image, new), atol=1e-5
    )
    shifts = np.array([[0.5, -2.0], [3.25, 0.0]])
    np.testing.assert_allclose(
        fourier.to_numpy(fourier.shift_phases(fourier.rfft2(tensor), shape, shifts)),
        fourier.shift_phases(fourier.rfft2(image), shape, shifts),
        atol=1e-4,
    )
    low_pass = fourier.gaussian_low_pass(shape, 1.0, 4.0)
    np.testing.assert_allclose(
        fourier.to_numpy(fourier.apply_filter(tensor, low_pass)),
        fourier.apply_filter(image, low_pass),
        atol=1e-5,
    )


def test_devices():
    assert fourier.resolve_device("cpu") == "cpu"
    assert fourier.resolve_device("auto") in ("cpu", "cuda:0")
    with pytest.raises(SettingsError, match="auto, cpu or cuda:N"):
        fourier.resolve_device("gpu")
    with pytest.raises(DeviceError, match="--device cpu"):
        fourier.resolve_device("cuda:99")


def test_threads():
    try:
        fourier.set_threads(1)
        assert fourier.get_threads() == 1
        with pytest.raises(SettingsError):
            fourier.set_threads(-1)
    finally:
        fourier.set_threads(0)
    assert fourier.get_threads() >= 1
