"""Two halves of the dose as the denoiser sees them, and crops of them to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.errors import InputError
from icefloe.network.denoise_field import LIMIT, ground_level, noise_spread, reduced

__all__ = ["HalfPair", "half_pair", "pair_crops"]

# Halves that agree better than this beyond the specimen are no halves but copies.
_COPIES = 0.98


@dataclass(frozen=True)
class HalfPair:
    """Two halves at the network's sampling, in units of a half's noise.

    Attributes
    ----------
    first, second
        (ny, nx) of any float type.
    """

    first: AnyArray
    second: AnyArray


def half_pair(odd: FloatArray, even: FloatArray, pixel_size: float) -> HalfPair:
    """Return a pair as the network sees it.

    Parameters
    ----------
    odd, even
        (ny, nx) half-dose micrographs, any real type.
    pixel_size
        A.

    Raises
    ------
    InputError
        Halves of different size, or the same image twice; and as `denoise_field`.
    """
    if np.shape(odd) != np.shape(even):
        raise InputError(
            f"The halves have the sizes {np.shape(odd)} and {np.shape(even)}", "one size"
        )
    (first, full), (second, _) = reduced(odd, pixel_size), reduced(even, pixel_size)
    size = pixel_size * full[0] / first.shape[0]
    first = first - ground_level(first, size)
    second = second - ground_level(second, size)
    scale = np.float32(0.5 * (noise_spread(first) + noise_spread(second)))
    # What the finest detail has in common is next to nothing in real halves.
    one, two = ((a[1:] - a[:-1]).ravel() for a in (first, second))
    if np.corrcoef(one, two)[0, 1] > _COPIES:
        raise InputError(
            "The two halves are the same image",
            "sums of odd and of even frames, which icefloe motion --even-odd writes",
        )
    cut = [np.clip(a / scale, -LIMIT, LIMIT).astype(np.float32) for a in (first, second)]
    return HalfPair(cut[0], cut[1])


def pair_crops(
    pairs: Sequence[HalfPair], rng: np.random.Generator, count: int, size: int, swap: bool
) -> tuple[Any, Any]:
    """Return crops (n, 1, size, size) of one half and of the other, turned and mirrored."""
    import torch

    areas = np.array([p.first.size for p in pairs], dtype=np.float64)
    out = np.zeros((2, count, 1, size, size), dtype=np.float32)
    for i, index in enumerate(rng.choice(len(pairs), count, p=areas / areas.sum())):
        halves = [pairs[index].first, pairs[index].second]
        if swap and rng.random() < 0.5:
            halves.reverse()
        ny, nx = halves[0].shape
        y, x = (int(rng.integers(0, max(1, n - size + 1))) for n in (ny, nx))
        # Bright particles are as common as dark ones: the network must favour neither.
        sign = np.float32(rng.choice([-1.0, 1.0]))
        turns, flip = int(rng.integers(4)), bool(rng.random() < 0.5)
        both = np.zeros((2, size, size), dtype=np.float32)
        for k, half in enumerate(halves):
            part = half[y : y + size, x : x + size]
            both[k, : part.shape[0], : part.shape[1]] = part
        both = np.rot90(both, turns, (1, 2))
        out[:, i, 0] = sign * (both[:, :, ::-1] if flip else both)
    return torch.from_numpy(out[0]), torch.from_numpy(out[1])
