"""The small, evenly lit image in which particles are searched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import BoolArray, FloatArray, Tensor
from icefloe.errors import InputError
from icefloe.fourier import (
    fast_size,
    frequency_axes,
    irfft2,
    is_tensor,
    resize,
    rfft2,
    to_device,
)

__all__ = ["SearchImage", "clean_image", "padded_border", "search_image"]

# Robust standard deviations at which the reduced image is cut off.
_LIMIT = 6.0


@dataclass(frozen=True)
class SearchImage:
    """A reduced micrograph, mirrored outwards by `pad` pixels on every side.

    Attributes
    ----------
    even
        (my, mx), local mean 0 and local variance 1, particles positive.
    plain
        (my, mx), only the local mean is removed, so that contrast is kept; robust unit variance.
    reduced
        `shape`, particles positive, nothing evened out: for what is large, such as junk.
    pad
        Width of the mirrored margin, pixels.
    shape
        Size (ny, nx) without it.
    scale
        Pixels of this image per pixel of the micrograph, (y, x).
    """

    even: Tensor
    plain: Tensor
    reduced: Tensor
    pad: int
    shape: tuple[int, int]
    scale: tuple[float, float]

    def crop(self, array: Tensor) -> Tensor:
        """Return a map of the padded size without the margin."""
        (ny, nx), p = self.shape, self.pad
        return array[p : p + ny, p : p + nx]


def clean_image(image: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Return a float32 image without infinities, and what was done to it.

    Raises
    ------
    InputError
        Not a 2-D image, mostly not finite, or constant.
    """
    array = np.asarray(image)
    if array.ndim != 2 or min(array.shape) < 16:
        raise InputError(
            f"The array to pick from has the shape {array.shape}", "one image of (y, x) pixels"
        )
    array = array.astype(np.float32, copy=False)
    flags: tuple[str, ...] = ()
    if not np.isfinite(array.sum(dtype=np.float64)):
        finite = np.isfinite(array)
        missing = array.size - int(np.count_nonzero(finite))
        if missing > array.size // 2:
            raise InputError(
                f"{missing} of {array.size} pixels are NaN or infinite", "an image with numbers"
            )
        array = np.where(finite, array, np.median(array[finite]))
        flags = (f"{missing} pixels that are not finite were replaced by the median",)
    if array.min() == array.max():
        raise InputError("All pixels of the image are equal", "an image with contrast")
    return array, flags


def padded_border(image: FloatArray) -> tuple[int, int, int, int]:
    """Return how many rows and columns at (top, bottom, left, right) only repeat their neighbour.

    Some programs fill what motion moved out of the frame with copies of the last good row.
    """
    limit = 0.15  # of the usual difference of neighbours; JPEG compression leaves a little
    widths: list[int] = []
    for axis in (0, 1):
        n = image.shape[axis]
        depth = max(2, n // 10)
        middle = np.diff(np.take(image, range(n // 2 - 8, n // 2 + 8), axis), axis=axis)
        usual = float(np.abs(middle).mean())
        # A thousand pixels of a row tell as much as all of them.
        rows = image[:, :: max(1, image.shape[1] // 1000)] if axis == 0 else image.T
        rows = rows if axis == 0 else rows[:, :: max(1, image.shape[0] // 1000)]
        first, last = rows[:depth], rows[: n - 1 - depth : -1]
        for part in (first, last):
            steps = np.abs(np.diff(part, axis=0)).mean(axis=1)
            same = steps < limit * usual
            # The outermost rows may ring; what counts is that most up to a row are repeats.
            repeats = np.cumsum(same) / np.arange(1, same.size + 1)
            run = np.flatnonzero(same & (repeats > 0.6))
            widths.append(int(run[-1]) + 1 if run.size > 3 else 0)
    return widths[0], widths[1], widths[2], widths[3]


def search_image(
    image: FloatArray, diameter: float, samples: int, window: float, *, bright: bool, device: str
) -> SearchImage:
    """Reduce a micrograph and even out its background.

    Parameters
    ----------
    image
        (ny, nx) float32.
    diameter
        Particle diameter, pixels of `image`.
    samples
        Pixels of the result per diameter.
    window
        Sigma, in diameters, of the Gaussian neighbourhood whose mean and variance are evened out.
    bright
        Whether particles are brighter than their surroundings.
    device
        Where to compute.
    """
    factor = min(1.0, samples / diameter)
    shape = tuple(max(16, 2 * round(0.5 * n * factor)) for n in image.shape)
    small_shape = (min(shape[0], image.shape[0]), min(shape[1], image.shape[1]))
    centred = image - np.float32(image.mean(dtype=np.float64))
    small = resize(to_device(centred, device), small_shape)
    if not bright:
        small = -small
    width = diameter * small_shape[0] / image.shape[0]
    pad = min(int(np.ceil(1.5 * width)), min(small_shape) - 1)
    padded = _mirror(small, pad)
    size = (int(padded.shape[0]), int(padded.shape[1]))
    ky, kx = frequency_axes(size)
    sigma = window * width
    blur = np.exp(-2 * (np.pi * sigma) ** 2 * (ky**2 + kx**2)).astype(np.float32)
    transfer = to_device(blur, device)

    def smooth(values: Tensor) -> Tensor:
        return irfft2(rfft2(values) * transfer, size)

    # What is far stronger than any particle must neither shift the mean nor dim its neighbours,
    # nor score by itself: cut it off, and take mean and variance again.
    level = smooth(padded)
    flat = padded - level
    limit = _LIMIT * 1.4826 * _median(abs(flat))
    flat = padded - smooth(level + flat.clip(-limit, limit))
    spread = 1.4826 * _median(abs(flat))
    limited = flat.clip(-_LIMIT * spread, _LIMIT * spread)
    variance = smooth(limited * limited)
    # The floor keeps the flat padding of a bad border from being blown up to noise.
    even = limited / (variance.clip(0.0) + 0.05 * _median(variance)) ** 0.5
    scale = (small_shape[0] / image.shape[0], small_shape[1] / image.shape[1])
    return SearchImage(even, flat / spread, small, pad, small_shape, scale)


def _mirror(image: Tensor, pad: int) -> Tensor:
    """Return the image mirrored outwards by at least `pad` pixels, to a size that is fast."""
    ny, nx = int(image.shape[0]), int(image.shape[1])
    my, mx = fast_size(ny + 2 * pad), fast_size(nx + 2 * pad)
    rows = _mirrored_index(ny, pad, my)
    columns = _mirrored_index(nx, pad, mx)
    if is_tensor(image):
        import torch

        y = torch.from_numpy(rows).to(image.device)
        return image[y][:, torch.from_numpy(columns).to(image.device)]
    return image[rows][:, columns]


def _mirrored_index(n: int, pad: int, total: int) -> FloatArray | BoolArray:
    index = np.arange(-pad, total - pad) % (2 * n - 2)
    return np.asarray(np.where(index < n, index, 2 * n - 2 - index))


def _median(values: Tensor) -> float:
    if is_tensor(values):
        return float(values.median())
    return float(np.median(values))
