"""Pixels far beyond the background's grey levels, such as hot ones and X-rays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icefloe._types import BoolArray, FloatArray

__all__ = ["remove_dust"]


def remove_dust(
    images: FloatArray,
    mask: BoolArray,
    places: Sequence[tuple[int, int]],
    *,
    white: float | None,
    black: float | None,
) -> tuple[FloatArray, int]:
    """Replace outlying pixels by noise like the background's.

    Parameters
    ----------
    images
        (n, box, box).
    mask
        (box, box), True in the background; its mean and standard deviation, before a plane is
        taken out, are the measure, as in RELION.
    places
        (n,), centres (y, x) in the micrograph, which seed the noise: the same particle gets the
        same pixels.
    white, black
        Pixels brighter, or darker, than the mean by so many standard deviations are replaced; None
        leaves them.

    Returns
    -------
    images
        (n, box, box), copied where anything was replaced.
    replaced
        Number of pixels.
    """
    background = images[:, mask]
    mean = background.mean(axis=1, dtype=np.float64)[:, None, None]
    deviation = background.std(axis=1, dtype=np.float64)[:, None, None]
    dust = np.zeros(images.shape, dtype=np.bool_)
    if white is not None:
        dust |= images > mean + white * deviation
    if black is not None:
        dust |= images < mean - black * deviation
    count = int(np.count_nonzero(dust))
    if not count:
        return images, 0
    cleaned = images.copy()
    for i in np.flatnonzero(dust.any(axis=(1, 2))).tolist():
        y, x = places[i]
        noise = np.random.default_rng((abs(int(y)), abs(int(x))))
        drawn = noise.normal(mean[i, 0, 0], deviation[i, 0, 0], int(dust[i].sum()))
        cleaned[i][dust[i]] = drawn
    return cleaned, count
