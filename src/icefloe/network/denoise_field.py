"""The micrograph as the denoiser sees it: pixels of 6 A, level, in units of its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

from icefloe._types import FloatArray
from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.fourier import resize, rfft2
from icefloe.network.denoise_settings import SAMPLING
from icefloe.picking.normalise import clean_image

__all__ = ["LIMIT", "DenoiseField", "denoise_field", "ground_level", "noise_spread"]

# Side of the square that is averaged three times to give the local level, A.
_LEVEL = 800.0
# Coarser pixels than this do not show single particles.
_COARSEST = 12.0
# Fewest pixels a side at the network's sampling, and standard deviations beyond which an image is
# no matter of noise: carbon, crystals. There it stays as it is.
_FEWEST, LIMIT = 32, 20.0
# Cycles a pixel where noise is measured, and its least share of the spread of most pixels.
_FINE, _FILTERED = (0.35, 0.49), 0.4


@dataclass(frozen=True)
class DenoiseField:
    """What goes into the network, and how its answer becomes grey values again.

    Attributes
    ----------
    pixels
        (ny, nx) float32, local level 0, noise of standard deviation 1, cut off at 20.
    rest
        (ny, nx) float32 grey values: the level, and what was cut off.
    scale
        Grey values per unit of `pixels`.
    full
        Size (ny, nx) of the micrograph.
    """

    pixels: FloatArray
    rest: FloatArray
    scale: float
    full: tuple[int, int]

    def grey(self, answer: FloatArray) -> FloatArray:
        """Return an answer of the network in grey values and at the micrograph's size."""
        small = self.rest + np.float32(self.scale) * answer
        middle = np.float32(small.mean(dtype=np.float64))
        return np.asarray(resize(small - middle, self.full) + middle, dtype=np.float32)


def denoise_field(image: FloatArray, pixel_size: float) -> DenoiseField:
    """Reduce a micrograph to the network's sampling.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    pixel_size
        A.

    Raises
    ------
    MissingMetadataError
        No positive pixel size.
    SettingsError
        Pixels too coarse for single particles.
    InputError
        An image without content, or too small.
    """
    small, full = reduced(image, pixel_size)
    level = ground_level(small, pixel_size * full[0] / small.shape[0])
    flat = small - level
    scale = noise_spread(flat)
    pixels = np.clip(flat / np.float32(scale), -LIMIT, LIMIT)
    return DenoiseField(pixels, small - np.float32(scale) * pixels, scale, full)


def reduced(image: FloatArray, pixel_size: float) -> tuple[FloatArray, tuple[int, int]]:
    """Return an image at the network's sampling, or at its own if that is coarser; and its size."""
    if not pixel_size or not np.isfinite(pixel_size) or not pixel_size > 0:
        raise MissingMetadataError(
            f"The pixel size is {pixel_size}", "a positive length, A", "Give --pixel-size"
        )
    if pixel_size > _COARSEST:
        raise SettingsError(
            f"Pixels of {pixel_size:g} A are too coarse to see particles",
            f"at most {_COARSEST:g} A",
            "Check --pixel-size",
        )
    cleaned, _ = clean_image(image)
    full = (int(cleaned.shape[0]), int(cleaned.shape[1]))
    factor = min(1.0, pixel_size / SAMPLING)
    shape = (2 * round(0.5 * full[0] * factor), 2 * round(0.5 * full[1] * factor))
    shape = full if factor == 1 else shape
    if min(shape) < _FEWEST:
        raise InputError(
            f"An image of {full[0]} x {full[1]} pixels of {pixel_size:g} A is too small to denoise",
            f"at least {_FEWEST * max(SAMPLING, pixel_size):g} A a side",
        )
    middle = np.float32(cleaned.mean(dtype=np.float64))
    return np.asarray(resize(cleaned - middle, shape) + middle, dtype=np.float32), full


def ground_level(image: FloatArray, pixel_size: float) -> FloatArray:
    """Return the slowly varying level of an image: ice thickness, uneven lighting."""
    size = max(3, round(_LEVEL / pixel_size)) | 1
    size = min(size, (min(image.shape) - 1) | 1)
    level = image.astype(np.float64)
    for _ in range(3):
        level = uniform_filter(level, size, mode="reflect")
    return level.astype(np.float32)


def noise_spread(flat: FloatArray) -> float:
    """Return the standard deviation of the noise, taken as white.

    It is seen at the finest details, 12 to 17 A, where a micrograph has next to no signal. The
    median of the power there is not moved by what is sharp, and is ln 2 times the mean in noise.
    Where a filter has taken fine detail away, the spread of most pixels is the better guide.
    """
    ny, nx = flat.shape
    k = np.hypot(np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx)[None, :])
    power = np.abs(np.asarray(rfft2(flat - flat.mean(dtype=np.float64)))) ** 2
    noise = float(
        np.sqrt(np.median(power[(k > _FINE[0]) & (k < _FINE[1])]) / np.log(2) / flat.size)
    )
    most = 1.4826 * float(np.median(np.abs(flat)))
    return max(noise, _FILTERED * most, 1e-12)
