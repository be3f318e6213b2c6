"""The compiled loops against SciPy, closed forms and their torch twins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from icefloe.fourier import set_threads
from icefloe.kernels.correlate import correlation_gradients
from icefloe.kernels.frames import bin_frame, sum_frames
from icefloe.kernels.spectra import divide
from icefloe.kernels.transfer import interpolation_transfer
from icefloe.kernels.warp import (
    bad_pixel_rows,
    warp_accumulate,
)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).poisson(3.0, (3, 150, 203)).astype(np.uint8)


def warp(stack, gain, field, weights, *, seed=1, means=None, margin=0):
    shape = [s + 2 * margin for s in gain.shape]
    sums = np.zeros((weights.shape[1], *shape), np.float32)
    starts, columns = bad_pixel_rows(gain == 0)
    means = np.ones(len(stack), np.float32) if means is None else means
    numbers = np.arange(len(stack))
    warp_accumulate(
        stack, numbers, gain, starts, columns, means, seed, field, weights, sums, margin
    )
    return sums


def smooth_field(n, size, seed=0):
    rng = np.random.default_rng(seed)
    field = np.zeros((n, 2, 6))
    field[:, :, 0] = rng.normal(0, 4, (n, 2))
    field[:, :, 1:] = rng.normal(0, size, (n, 2, 5))
    return field


def test_sum_is_exact(frames):
    assert np.array_equal(sum_frames(frames), frames.sum(0))


def test_binned_frame_is_the_mean_of_the_good_pixels(frames):
    rng = np.random.default_rng(1)
    gain = rng.uniform(0.8, 1.2, frames.shape[1:]).astype(np.float32)
    gain[rng.random(gain.shape) < 0.1] = 0
    blocks = (37, 4, 50, 4)
    count = (gain[:148, :200] != 0).reshape(blocks).sum((1, 3))
    inverse = (1 / count).astype(np.float32)
    expected = (frames[0] * gain)[:148, :200].reshape(blocks).sum((1, 3)) / count
    assert np.allclose(bin_frame(frames[0], gain, inverse, 4), expected, rtol=1e-5)


def test_warp_equals_scipy_spline_without_prefilter(frames):
    rng = np.random.default_rng(2)
    gain = rng.uniform(0.8, 1.2, frames.shape[1:]).astype(np.float32)
    field, weights = smooth_field(3, 0.5), rng.normal(size=(3, 2)).astype(np.float32)
    ny, nx = gain.shape
    y, x = np.mgrid[:ny, :nx].astype(float)
    u, v = x / nx - 0.5, y / ny - 0.5
    terms = np.stack([np.ones_like(u), u, u * u, v, v * v, u * v])
    expected = np.zeros((2, ny, nx))
    for f in range(3):
        dy, dx = np.tensordot(field[f], terms, 1)
        moved = map_coordinates(
            frames[f] * gain.astype(float), [y + dy, x + dx], order=5, prefilter=False,
            mode="nearest",
        )  # fmt: skip
        expected += weights[f, :, None, None] * moved
    error = warp(frames, gain, field, weights) - expected
    # The two directions are done one after the other, which is exact to first order in how the
    # field changes over a displacement.
    assert np.abs(error).max() < 0.02 * expected.std()


def test_whole_shift_and_edge_are_exact(frames):
    # Along a whole shift the six taps are those of the B-spline at whole numbers.
    taps = np.array([1, 26, 66, 26, 1]) / 120
    field = np.zeros((1, 2, 6))
    field[0, :, 0] = 7, -3
    out = warp(frames[:1], np.ones(frames.shape[1:], np.float32), field, np.ones((1, 1), "f4"))[0]
    padded = np.pad(frames[0].astype(float), 20, mode="edge")
    smooth = np.apply_along_axis(np.convolve, 0, padded, taps, mode="same")
    smooth = np.apply_along_axis(np.convolve, 1, smooth, taps, mode="same")
    expected = smooth[27 : 27 + out.shape[0], 17 : 17 + out.shape[1]]
    assert np.allclose(out, expected, atol=1e-5)


def test_margin_goes_on_where_the_frame_ends(frames):
    gain = np.ones(frames.shape[1:], np.float32)
    field, weights = smooth_field(3, 0.5), np.ones((3, 1), np.float32)
    with_margin = warp(frames, gain, field, weights, margin=20)[0]
    assert np.allclose(
        with_margin[20:-20, 20:-20], warp(frames, gain, field, weights)[0], atol=1e-4
    )
    # Far outside, only the repeated corner is left.
    still = warp(frames, gain, np.zeros((3, 2, 6)), weights, margin=20)[0]
    assert np.allclose(still[:15, :15], frames[:, 0, 0].sum(), rtol=1e-5)


def test_transfer_restores_a_shifted_wave():
    # A plane wave read between pixels comes back with its true amplitude and phase.
    ny = nx = 96
    x = np.arange(nx)
    k = 30 / nx
    shift = 0.37
    wave = np.tile(np.cos(2 * np.pi * k * (x - shift)), (ny, 1)).astype(np.float32)
    field = np.zeros((1, 2, 6))
    field[0, 1, 0] = shift
    out = warp(wave[None], np.ones((ny, nx), "f4"), field, np.ones((1, 1), "f4"))[0]
    transfer = interpolation_transfer(
        np.array([0.0]), np.array([k]), np.array([[0.0, shift]]), np.ones(1)
    )
    inner = out[40, 8:-8]
    basis = np.stack([np.cos(2 * np.pi * k * x), np.sin(2 * np.pi * k * x)])[:, 8:-8]
    cosine, sine = np.linalg.lstsq(basis.T, inner, rcond=None)[0]
    # The histogram of fractions has 32 bins, so that the fraction is known to a 64th.
    assert np.hypot(cosine, sine) / transfer[0, 0] == pytest.approx(1.0, abs=0.03)
    assert abs(np.arctan2(sine, cosine)) < 0.03


def test_transfer_of_all_fractions_is_the_splines_transform():
    fractions = (np.stack(np.meshgrid(*2 * [np.arange(32)]), -1).reshape(-1, 2)) / 32
    k = np.array([0.0, 0.1, 0.25, 0.4])
    found = interpolation_transfer(k, k, fractions, np.ones(len(fractions)))
    assert np.allclose(found, np.outer(np.sinc(k) ** 6, np.sinc(k) ** 6), rtol=0.02)


def test_bad_pixels_take_a_good_neighbours_value(frames):
    stack = frames.copy()
    stack[:, 70, 90] = 255
    gain = np.ones(frames.shape[1:], np.float32)
    gain[70, 90] = 0
    still = np.zeros((3, 2, 6))
    ones = np.ones((3, 1), np.float32)
    out = warp(stack, gain, still, ones)
    again = warp(stack, gain, still, ones)
    other = warp(stack, gain, still, ones, seed=7)
    assert np.array_equal(out, again)
    # Nothing of the 255 is left, and the choice depends on the seed.
    assert out[0, 60:80, 80:100].max() < 3 * stack[:, :60].max()
    assert not np.array_equal(out, other)
    assert np.array_equal(out[0, :60], other[0, :60])


def test_inside_of_a_large_defect_becomes_the_mean():
    stack = np.full((1, 200, 200), 9, np.uint8)
    stack[:, 20:180, 20:180] = 77
    gain = np.ones((200, 200), np.float32)
    gain[20:180, 20:180] = 0
    out = warp(stack, gain, np.zeros((1, 2, 6)), np.ones((1, 1), "f4"), means=np.full(1, 5, "f4"))
    assert out[0, 100, 100] == pytest.approx(5.0, rel=1e-5)
    assert out[0, 5, 5] == pytest.approx(9.0, rel=1e-5)


def test_bytes_do_not_depend_on_threads(frames):
    rng = np.random.default_rng(3)
    gain = rng.uniform(0.8, 1.2, frames.shape[1:]).astype(np.float32)
    field, weights = smooth_field(3, 1.0), np.ones((3, 2), np.float32)
    spectra = rng.normal(size=(4, 3, 16, 9, 2)).astype(np.float32).view(np.complex64)[..., 0]
    k = (np.fft.fftfreq(16), np.fft.rfftfreq(16), np.ones((16, 9), np.float32))
    results = []
    for threads in (1, 2):
        set_threads(threads)
        moved = correlation_gradients(spectra, *k, np.ones((4, 3, 2)))
        results.append((warp(frames, gain, field, weights).tobytes(), moved[0].tobytes()))
    set_threads(0)
    assert results[0] == results[1]


def test_correlation_gradient_equals_finite_differences():
    rng = np.random.default_rng(4)
    spectra = (rng.normal(size=(1, 4, 12, 7)) + 1j * rng.normal(size=(1, 4, 12, 7))).astype("c8")
    ky, kx = np.fft.fftfreq(12), np.fft.rfftfreq(12)
    weight = rng.random((12, 7)).astype(np.float32)
    d = rng.normal(size=(1, 4, 2))
    gradient, moments = correlation_gradients(spectra, ky, kx, weight, d)

    def correlation(frame, displacement):
        def phase(s):
            return np.exp(2j * np.pi * (ky[:, None] * s[0] + kx[None] * s[1]))

        others = sum(spectra[0, g] * phase(d[0, g]) for g in range(4) if g != frame)
        own = spectra[0, frame] * phase(displacement)
        return float(np.sum(weight * (own * np.conj(others)).real))

    assert moments[0, 2, 4] == pytest.approx(correlation(2, d[0, 2]), rel=1e-4)
    for axis in (0, 1):
        h = np.zeros(2)
        h[axis] = 1e-3
        centre, up, down = (correlation(2, d[0, 2] + s * h) for s in (0, 1, -1))
        assert gradient[0, 2, axis] == pytest.approx((up - down) / 2e-3, rel=1e-3)
        assert -moments[0, 2, axis] == pytest.approx((up - 2 * centre + down) / 1e-6, rel=1e-3)


def test_torch_twins_agree(frames):
    torch = pytest.importorskip("torch")
    from icefloe.kernels.correlate import correlation_gradients_torch
    from icefloe.kernels.warp_torch import TorchAccumulator, bin_frame_torch, sum_frames_torch

    rng = np.random.default_rng(5)
    gain = rng.uniform(0.8, 1.2, frames.shape[1:]).astype(np.float32)
    gain[rng.random(gain.shape) < 0.02] = 0
    gain[40:44, 60:90] = 0
    stack, tensor_gain = torch.from_numpy(frames), torch.from_numpy(gain)
    assert np.array_equal(sum_frames_torch(stack).numpy(), sum_frames(frames))
    inverse = np.full((37, 50), 1 / 16, np.float32)
    twin = bin_frame_torch(stack[0], tensor_gain, torch.from_numpy(inverse), 4)
    assert np.allclose(twin, bin_frame(frames[0], gain, inverse, 4), rtol=1e-5)

    field, weights = smooth_field(3, 1.0), rng.normal(size=(3, 2)).astype(np.float32)
    means = np.ones(3, np.float32)
    sums = torch.zeros((2, gain.shape[0] + 10, gain.shape[1] + 10))
    accumulator = TorchAccumulator(
        stack, tensor_gain, gain == 0, means, 1, field, weights, sums, margin=5
    )
    accumulator(np.arange(3))
    assert np.allclose(sums.numpy(), warp(frames, gain, field, weights, margin=5), atol=1e-4)

    spectra = rng.normal(size=(2, 3, 16, 9, 2)).astype(np.float32).view(np.complex64)[..., 0]
    k = (np.fft.fftfreq(16), np.fft.rfftfreq(16), rng.random((16, 9)).astype(np.float32))
    d = rng.normal(size=(2, 3, 2))
    ours = correlation_gradients(spectra, *k, d)
    theirs = correlation_gradients_torch(
        torch.from_numpy(spectra), *(torch.from_numpy(a) for a in (*k, d))
    )
    for a, b in zip(ours, theirs, strict=True):
        assert np.allclose(a, b.numpy(), rtol=1e-4, atol=1e-3 * np.abs(a).max())


def test_division_by_a_table_is_that_by_the_response():
    fractions = np.random.default_rng(5).uniform(-3, 3, (200, 2))
    even = np.ones(len(fractions))
    ky, kx = np.fft.fftfreq(122), np.fft.rfftfreq(150)
    exact = interpolation_transfer(ky, kx, fractions, even)
    table = interpolation_transfer(
        np.linspace(-0.5, 0.5, 1025), np.linspace(0, 0.5, 513), fractions, even
    )
    spectrum = np.ones((len(ky), len(kx)), np.complex64)
    divide(spectrum, ky, kx, table)
    # The response falls to 0.004 in the corner; the table is linear in steps of 1/1024.
    assert np.allclose(spectrum.real * exact, 1, atol=1e-4)
    assert not spectrum.imag.any()
