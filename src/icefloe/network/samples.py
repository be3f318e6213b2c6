"""What the network is trained on: images with an answer for each pixel, varied at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from icefloe._types import AnyArray, FloatArray

__all__ = ["HEAT_SIGMA", "Sample", "Variation", "crops", "heat_map"]

# Sigma of the spot around a centre, in diameters: narrow enough that touching particles stay
# apart, wide enough that a marking error of a tenth of a diameter matters little.
HEAT_SIGMA = 0.13


@dataclass(frozen=True)
class Sample:
    """One image to train on.

    Attributes
    ----------
    pixels
        (2, ny, nx) of any float type, as `NetworkField.pixels`.
    heat
        (ny, nx) uint8, 255 at the centre of a particle.
    junk
        (ny, nx) uint8, 255 where junk is.
    """

    pixels: AnyArray
    heat: AnyArray
    junk: AnyArray


@dataclass(frozen=True)
class Variation:
    """How far crops are varied.

    Attributes
    ----------
    scale
        Largest relative change of size.
    noise
        Largest standard deviation of added noise; the image's own is 1.
    contrast
        Largest relative change of contrast.
    blur
        Largest sigma of a low-pass, pixels: as a change of defocus and envelope.
    """

    scale: float = 0.0
    noise: float = 0.0
    contrast: float = 0.0
    blur: float = 0.0


def heat_map(shape: tuple[int, int], yx: FloatArray, sigma: float) -> AnyArray:
    """Return (ny, nx) uint8: a Gaussian of height 255 at each of the (n, 2) places."""
    out = np.zeros(shape, dtype=np.uint8)
    reach = int(np.ceil(3.5 * sigma))
    for y, x in yx:
        top, left = max(0, int(y) - reach), max(0, int(x) - reach)
        rows = np.arange(top, min(shape[0], int(y) + reach + 2))
        columns = np.arange(left, min(shape[1], int(x) + reach + 2))
        if not (len(rows) and len(columns)):
            continue
        spot = np.outer(
            np.exp(-0.5 * ((rows - y) / sigma) ** 2), np.exp(-0.5 * ((columns - x) / sigma) ** 2)
        )
        part = out[top : top + len(rows), left : left + len(columns)]
        np.maximum(part, np.rint(255 * spot).astype(np.uint8), out=part)
    return out


def crops(
    samples: Sequence[Sample],
    rng: np.random.Generator,
    count: int,
    size: int,
    variation: Variation,
    weights: FloatArray | None = None,
) -> tuple[Any, Any, Any]:
    """Return images (n, 2, size, size), heat and junk (n, size, size) from random places.

    Parameters
    ----------
    samples
        Where from; each at least `size` pixels wide, or it is padded with zeros.
    rng
        Source of chance.
    count, size
        Crops and pixels a side.
    variation
        How they are varied, beside turns and mirror images.
    weights
        (n,) how often each sample is taken, by area if left out.
    """
    areas = np.array([s.heat.size for s in samples], dtype=np.float64)
    chance = areas if weights is None else weights
    chosen = rng.choice(len(samples), count, p=chance / chance.sum())
    images, answers = [], []
    for index in chosen:
        sample = samples[index]
        stretch = 1 + rng.uniform(-variation.scale, variation.scale)
        side = max(16, round(size / stretch))
        ny, nx = sample.heat.shape
        y = int(rng.integers(0, max(1, ny - side + 1)))
        x = int(rng.integers(0, max(1, nx - side + 1)))
        cut = (slice(y, y + side), slice(x, x + side))
        pixels = np.zeros((2, side, side), dtype=np.float32)
        answer = np.zeros((2, side, side), dtype=np.float32)
        image = sample.pixels[:, cut[0], cut[1]]
        pixels[:, : image.shape[1], : image.shape[2]] = image
        answer[0, : image.shape[1], : image.shape[2]] = sample.heat[cut]
        answer[1, : image.shape[1], : image.shape[2]] = sample.junk[cut]
        turns, flip = int(rng.integers(4)), bool(rng.random() < 0.5)
        both = np.rot90(np.concatenate([pixels, answer]), turns, (1, 2))
        both = both[:, :, ::-1] if flip else both
        tensor = torch.from_numpy(np.ascontiguousarray(both))[None]
        if side != size:
            tensor = functional.interpolate(
                tensor, (size, size), mode="bilinear", align_corners=False
            )
        images.append(tensor[0, :2])
        answers.append(tensor[0, 2:] / 255)
    batch, answer_batch = torch.stack(images), torch.stack(answers)
    return _varied(batch, rng, variation), answer_batch[:, 0], answer_batch[:, 1]


def _varied(images: Any, rng: np.random.Generator, variation: Variation) -> Any:
    n = len(images)
    if variation.blur:
        for i in range(n):
            sigma = float(rng.uniform(-variation.blur, variation.blur))
            if sigma > 0.2:
                images[i] = _blurred(images[i], sigma)
    if variation.contrast:
        factor = 1 + rng.uniform(-variation.contrast, variation.contrast, (n, 1, 1, 1))
        images = images * torch.from_numpy(factor.astype(np.float32))
    if variation.noise:
        amount = rng.uniform(0, variation.noise, (n, 1, 1, 1)).astype(np.float32)
        shape = (n, 1, *images.shape[2:])
        noise = rng.standard_normal(shape, dtype=np.float32) * amount
        images = images + torch.from_numpy(noise)
    return images


def _blurred(image: Any, sigma: float) -> Any:
    """Return the (2, ny, nx) image smoothed, its variance kept."""
    reach = max(1, int(np.ceil(3 * sigma)))
    t = torch.arange(-reach, reach + 1, dtype=image.dtype)
    line = torch.exp(-0.5 * (t / sigma) ** 2)
    line = line / line.sum()
    x = functional.pad(image[:, None], (reach,) * 4, mode="replicate")
    x = functional.conv2d(x, line.reshape(1, 1, -1, 1))
    x = functional.conv2d(x, line.reshape(1, 1, 1, -1))[:, 0]
    spread = image.std(dim=(1, 2), keepdim=True) / x.std(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    return x * spread.clamp(max=3.0)
