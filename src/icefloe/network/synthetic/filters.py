"""What other programs do to a micrograph before it is picked: low-pass, denoise, 8 bits."""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter

from icefloe._types import FloatArray

__all__ = ["random_filter"]

Generator = np.random.Generator


def random_filter(rng: Generator, image: FloatArray, *, always: bool = False) -> FloatArray:
    """Return the image as some program might have left it; often as it is, unless `always`."""
    kind = rng.random()
    kind = 0.4 + 0.53 * kind if always else kind
    if kind < 0.4:
        out = image
    elif kind < 0.75:
        out = _low_pass(rng, image)
    elif kind < 0.85:
        out = _wiener(rng, image)
    elif kind < 0.93:
        out = _local_wiener(rng, image)
    else:
        out = median_filter(image, size=3)
    if kind >= 0.4 and rng.random() < 0.3:
        # A little fresh noise: rounding, compression.
        out = out + rng.normal(0, 0.1 * out.std(), out.shape)
    if rng.random() < 0.4:
        out = _eight_bits(rng, out)
    return np.asarray(out, dtype=np.float32)


def _frequencies(shape: tuple[int, ...]) -> FloatArray:
    ky, kx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :]
    return np.asarray(np.hypot(ky, kx))


def _apply(image: FloatArray, transfer: FloatArray) -> FloatArray:
    return np.asarray(fft.irfft2(fft.rfft2(image) * transfer, image.shape))


def _low_pass(rng: Generator, image: FloatArray) -> FloatArray:
    """Gaussian, Butterworth or cosine edge, at 3 to 10 pixels."""
    k, cut = _frequencies(image.shape), 1 / rng.uniform(2.5, 9)
    shape = rng.random()
    if shape < 0.4:
        transfer = np.exp(-0.69 * (k / cut) ** 2)
    elif shape < 0.7:
        transfer = 1 / np.sqrt(1 + (k / cut) ** (2 * rng.integers(2, 8)))
    else:
        width = rng.uniform(0.02, 0.08)
        transfer = 0.5 * (1 + np.cos(np.pi * np.clip((k - cut) / width + 0.5, 0, 1)))
    if rng.random() < 0.3:
        transfer = transfer * (1 - np.exp(-((k / rng.uniform(0.005, 0.03)) ** 2)))
    return _apply(image, transfer)


def _wiener(rng: Generator, image: FloatArray) -> FloatArray:
    """Suppress what in the spectrum is no stronger than the noise at high frequencies."""
    k = _frequencies(image.shape)
    power = np.abs(fft.rfft2(image)) ** 2
    ring = np.minimum((k * 100).astype(np.intp), 50)
    mean = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    noise = float(np.median(mean[40:50]))
    transfer = np.clip(1 - rng.uniform(0.7, 1.1) * noise / mean, 0.01, 1)[ring]
    return _apply(image, transfer)


def _local_wiener(rng: Generator, image: FloatArray) -> FloatArray:
    """Smooth where a neighbourhood varies no more than noise: edges stay, as in learned ones."""
    soft = gaussian_filter(image, rng.uniform(0.5, 1.0))
    size = int(rng.integers(4, 8))
    mean = uniform_filter(soft, size)
    variance = np.maximum(uniform_filter(soft**2, size) - mean**2, 1e-12)
    noise = float(np.percentile(variance, rng.uniform(20, 60)))
    return np.asarray(mean + np.clip(1 - noise / variance, 0.05, 1) * (soft - mean))


def _eight_bits(rng: Generator, image: FloatArray) -> FloatArray:
    low, high = np.percentile(image, [rng.uniform(0, 1), 100 - rng.uniform(0, 1)])
    scaled = np.clip((image - low) / max(high - low, 1e-12), 0, 1) ** rng.uniform(0.8, 1.25)
    return np.asarray(np.rint(scaled * 255))
