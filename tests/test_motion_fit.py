"""What the fit of the motion rests on: weights, windows, priors from the data, a rough start."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from icefloe.fourier import irfft2, rfft2, set_threads, shift_phases
from icefloe.kernels.correlate import ring_powers
from icefloe.motion.basis import time_basis, track_prior
from icefloe.motion.evidence import Expectation, log_evidence, tune
from icefloe.motion.patches import cut_patches
from icefloe.motion.quality import patch_residuals, predicted_error
from icefloe.motion.weights import ring_weight
from icefloe.motion.whole_frame import find_shifts


def complex_noise(rng, shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@pytest.fixture
def rings():
    """Spectra of 3 patches of 4 frames, frequencies, rings and displacements."""
    rng = np.random.default_rng(0)
    ky, kx = np.fft.fftfreq(12), np.fft.rfftfreq(12)
    index = np.minimum(np.rint(12 * np.hypot(ky[:, None], kx)), 7).astype(np.int64)
    return complex_noise(rng, (3, 4, 12, 7)), ky, kx, index, 8, rng.normal(size=(3, 4, 2))


def test_ring_powers_are_those_of_frames_and_of_their_aligned_sum(rings):
    spectra, ky, kx, index, n_rings, moved = rings
    angle = ky[:, None] * moved[..., :1, None] + kx * moved[..., 1:, None]
    total = np.sum(spectra * np.exp(2j * np.pi * angle), axis=1)
    found = ring_powers(*rings)
    for ring in range(n_rings):
        inside = index == ring
        assert found[0, ring] == pytest.approx(np.sum(np.abs(spectra[..., inside]) ** 2), rel=1e-5)
        assert found[1, ring] == pytest.approx(np.sum(np.abs(total[:, inside]) ** 2), rel=1e-4)


def test_ring_powers_do_not_depend_on_threads_or_device(rings):
    results = []
    for threads in (1, 2):
        set_threads(threads)
        results.append(ring_powers(*rings))
    set_threads(0)
    assert results[0].tobytes() == results[1].tobytes()
    torch = pytest.importorskip("torch")
    from icefloe.kernels.correlate import ring_powers_torch

    arrays = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in rings]
    assert np.allclose(ring_powers_torch(*arrays).numpy(), results[0], rtol=1e-4)


def test_weights_are_those_of_the_signal_and_noise_in_the_spectra():
    rng = np.random.default_rng(1)
    n, samples, n_rings = 12, 20000, 40
    signal = 0.5 * np.exp(-np.arange(n_rings) / 10.0)
    # It fades over a few rings, since weights are smoothed over one.
    signal *= np.clip((25 - np.arange(n_rings)) / 6, 0, 1)
    noise = 1 + 0.02 * np.arange(n_rings)
    amplitude = np.sqrt(signal / 2)[:, None]
    frames = total = np.zeros(n_rings)
    specimen = amplitude * complex_noise(rng, (n_rings, samples))
    summed = np.zeros((n_rings, samples), complex)
    for _ in range(n):
        frame = specimen + np.sqrt(noise / 2)[:, None] * complex_noise(rng, (n_rings, samples))
        frames = frames + np.mean(np.abs(frame) ** 2, axis=1)
        summed += frame
    total = np.mean(np.abs(summed) ** 2, axis=1)
    expected = signal / noise**2 / (1 + n * signal / noise)
    found = ring_weight(frames, total, n)
    assert np.allclose(found, expected / expected.max(), atol=0.05)
    assert found[28:].max() < 0.02


def test_windows_of_patches_see_every_pixel_alike():
    # Of white noise of variance 1, by Parseval: where squares of windows add up to one, all
    # patches together hold one frame's power.
    frames = np.random.default_rng(2).normal(size=(2, 330, 270)).astype(np.float32)
    patches = cut_patches(frames, (4, 3), np.zeros((2, 2)))
    h, w = patches.shape
    twice = np.full(w // 2 + 1, 2.0)
    twice[[0, -1]] = 1
    power = np.sum(np.abs(patches.spectra) ** 2 * twice) / (h * w) / 2
    edges = [1 - 0.06 * size / n for size, n in zip((h, w), (330, 270), strict=True)]
    assert power == pytest.approx(330 * 270 * edges[0] * edges[1], rel=0.02)
    # Centres are symmetric, and drawn outwards by the short edges.
    centres = patches.centres.reshape(4, 3, 2)
    assert np.allclose(centres[:, :, 0] + centres[::-1, :, 0], 329, atol=1.0)
    assert np.allclose(centres[:, :, 1] + centres[:, ::-1, 1], 269, atol=1.0)
    assert centres[0, 0, 0] < 0.5 * (h - 1)


def test_redundancy_is_what_sums_over_patches_vary_more():
    rng = np.random.default_rng(3)
    sums, apart = [], []
    for _ in range(300):
        frames = rng.normal(size=(2, 64, 64)).astype(np.float32)
        patches = cut_patches(frames, (3, 3), np.zeros((2, 2)))
        a, b = patches.spectra[:, 0], patches.spectra[:, 1]
        products = np.sum((a * b.conj()).real[:, :, 1:-1], axis=(1, 2))
        sums.append(products.sum())
        apart.append(products)
    ratio = np.var(sums) / np.var(apart, axis=0).sum()
    assert ratio == pytest.approx(patches.redundancy, rel=0.25)
    assert 1.05 < patches.redundancy < 1.4


def test_evidence_is_the_marginal_likelihood():
    # Estimates = motion + noise, both Gaussian, the motion integrated out.
    rng = np.random.default_rng(4)
    information, estimate = rng.uniform(0.5, 20, 6), rng.normal(size=6)

    def exact(precision):
        return multivariate_normal.logpdf(estimate, cov=np.diag(1 / information + 1 / precision))

    def found(precision):
        return log_evidence(information, information * estimate, precision)

    one, other = rng.uniform(0.1, 9, 6), rng.uniform(0.1, 9, 6)
    assert found(one) - found(other) == pytest.approx(exact(one) - exact(other), rel=1e-9)


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_jitter_is_found_in_tracks(jitter):
    rng = np.random.default_rng(5)
    n, noise, pixel = 60, 0.05, 2.0
    doses = np.full(n, 1.0)
    prior = track_prior(
        doses, np.cumsum(doses), np.zeros((0, 0)), np.zeros(0), pixel_size=pixel,
        acceleration=1.0, local_motion=1.0,
    )  # fmt: skip
    smooth = 0.05 * np.cumsum(np.cumsum(rng.normal(size=(2, n)), axis=1), axis=1)
    tracks = (smooth + jitter * rng.normal(size=(2, n)) + noise * rng.normal(size=(2, n))) / pixel
    matrix = (np.eye(n) - 1 / n) * (pixel / noise) ** 2
    systems = [(matrix, matrix @ t) for t in tracks]
    settings = Expectation(0.05, 0.05, 0.8)
    found = tune(systems, np.zeros((2, n)), prior, settings, n_frames=n, pixel_size=pixel)
    assert 0.03 < found.acceleration < 0.09
    assert found.jitter < 0.06 if jitter == 0 else found.jitter == pytest.approx(jitter, rel=0.25)
    assert found.local_motion == 0.8


def test_prior_with_jitter_is_that_of_the_sum_of_two_motions():
    doses = np.full(12, 1.2)
    arguments = {"pixel_size": 2.0, "acceleration": 0.1, "local_motion": 0.8}
    nothing = np.cumsum(doses), np.zeros((0, 0)), np.zeros(0)
    smooth = track_prior(doses, *nothing, **arguments)
    both = track_prior(doses, *nothing, **arguments, jitter=0.3)
    bent = np.linalg.eigh(smooth)[1][:, 2:]
    inside = [np.linalg.inv(bent.T @ p @ bent) for p in (smooth, both)]
    assert np.allclose(inside[1], inside[0] + (0.3 / 2) ** 2 * np.eye(10), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(301, 263), (200, 270)])
def test_rough_shifts_of_frames_of_any_size(shape):
    rng = np.random.default_rng(6)
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    image = rfft2(rng.normal(size=shape)) * np.exp(-((k / 0.08) ** 2)) * 12
    truth = np.cumsum(rng.normal(0, 1.5, (10, 2)), axis=0)
    truth -= truth.mean(axis=0)
    frames = np.stack([irfft2(shift_phases(image, shape, t), shape) for t in truth])
    frames = (frames + rng.normal(size=frames.shape)).astype(np.float32)
    found, converged = find_shifts(
        frames, pixel_size=4.0, dose_per_frame=1.0, bfactor=500.0, max_shift=200.0
    )
    assert converged
    assert np.abs(found - truth).max() < 0.35


def test_a_gap_between_frames_is_no_bend():
    # Frames 5 and 6 of 12 left out of a straight track: it must cost what any straight one costs.
    kept = np.delete(np.arange(12), [5, 6])
    doses, moments = np.full(10, 1.2), 1.2 * (kept + 0.5)
    none = np.zeros((0, 0)), np.zeros(0)
    arguments = {"pixel_size": 1.0, "acceleration": 0.1, "local_motion": 1.0}
    prior = track_prior(doses, moments, *none, **arguments)
    straight = 3.0 * kept - np.mean(3.0 * kept)
    assert straight @ prior @ straight < 1e-3
    blind = track_prior(doses, 1.2 * (np.arange(10) + 0.5), *none, **arguments)
    assert straight @ blind @ straight > 100


def test_residuals_of_patches_are_what_is_left_and_not_noise():
    # 300 frames, so that the noise of the estimate of its own size is 6 %.
    rng = np.random.default_rng(8)
    curvature, noise, left = 50.0, 0.2, np.array([0.0, 0.5])
    places = left[:, None, None] / np.sqrt(2) * rng.normal(size=(2, 300, 2))
    places += noise * rng.normal(size=places.shape)
    moments = np.zeros((2, 300, 8))
    moments[..., :2] = curvature
    moments[..., 2:4] = (noise * curvature) ** 2
    found = patch_residuals(curvature * places, moments, 4, 1.0)
    assert found[0] < 0.3 * found[1]  # noise alone, not subtracted, would be 0.57 of it
    assert found[1] == pytest.approx(4 * 0.5, rel=0.1)


def test_predicted_error_is_the_spread_of_the_fit():
    # Estimates drawn from the posterior of a linear problem with local motion of two terms.
    rng = np.random.default_rng(9)
    n, knots = 12, 4
    times = time_basis(np.arange(n) + 0.5, knots)[0]
    root = rng.normal(size=(n + 2 * knots, n + 2 * knots))
    matrix, prior = root @ root.T, 0.5 * np.eye(n + 2 * knots)
    draws = rng.multivariate_normal(np.zeros(len(prior)), np.linalg.inv(matrix + prior), 4000)
    whole = draws[:, :n] - draws[:, :n].mean(1, keepdims=True)
    local = draws[:, n:].reshape(-1, 2, knots) @ times.T
    local -= local.mean(-1, keepdims=True)
    square = np.mean(whole**2) + np.mean(np.sum(local**2, axis=1))
    system = (matrix, np.zeros(len(prior)))
    assert predicted_error([system, system], prior, times) == pytest.approx(
        np.sqrt(2 * square), rel=0.03
    )
