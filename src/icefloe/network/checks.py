"""Whether picks to train on can be what they claim to be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import InputError

__all__ = ["FEWEST", "check_positives", "marked_edge"]

FEWEST = 20
# Share of picks outside their micrograph from which on something is wrong with all of them.
_OUTSIDE = 0.02
# Picks of a whole list all within this share of both sides, seen from the first pixel, were made
# in a smaller image; from so many picks on that is no chance.
_CORNER, _MANY = 0.6, 50

# So many picks must be missing near the borders, were they everywhere as dense, before it is taken
# for intent; and how much nearer than the nearest a pick may be, in diameters.
_EXPECTED, _SLACK = 10.0, 0.15


def check_positives(
    shapes: Sequence[tuple[int, int]], positives: Sequence[FloatArray], diameter: float
) -> tuple[list[FloatArray], tuple[str, ...]]:
    """Return the (n, 2) picks of each micrograph that can be used, and what was done.

    Parameters
    ----------
    shapes
        (ny, nx) of each micrograph, pixels.
    positives
        (n, 2) y, x of each, pixels.
    diameter
        Pixels.

    Raises
    ------
    InputError
        Too few, in one place, outside, or made in images of another pixel size.
    """
    if len(shapes) != len(positives):
        raise InputError(
            f"There are {len(shapes)} micrographs and picks for {len(positives)}", "one set each"
        )
    if any(not np.isfinite(p).all() for p in positives):
        raise InputError("Some picks are NaN or infinite", "pixels")
    total = sum(len(p) for p in positives)
    if total < FEWEST:
        raise InputError(
            f"{total} picks are too few to train on",
            f"at least {FEWEST}, better some hundreds",
            "Pick more, or use the general model: icefloe pick network without --model",
        )
    inside = [
        (p >= 0).all(axis=1) & (p < np.asarray(s)).all(axis=1)
        for p, s in zip(positives, shapes, strict=True)
    ]
    outside = total - sum(int(i.sum()) for i in inside)
    if outside > max(2, _OUTSIDE * total):
        raise InputError(
            f"{outside} of {total} picks lie outside their micrographs",
            "pixels of these micrographs",
            "Were they picked in images of another pixel size? Scale them first",
        )
    kept = [p[i] for p, i in zip(positives, inside, strict=True)]
    places = sum(len(_distinct(p, 0.25 * diameter)) for p in kept)
    if places < FEWEST:
        raise InputError(
            f"The {total} picks are at only {places} places a quarter diameter apart",
            f"at least {FEWEST} particles",
        )
    kept = [_distinct(p, 0.25 * diameter) for p in kept]
    relative = np.concatenate([p / np.asarray(s) for p, s in zip(positives, shapes, strict=True)])
    if total >= _MANY and (relative.max(axis=0) < _CORNER).all():
        raise InputError(
            f"All {total} picks lie in the first {100 * relative.max():.0f} % of their micrographs",
            "picks all over them",
            "Were they picked in smaller (binned) images? Scale them first",
        )
    flags: tuple[str, ...] = ()
    if outside:
        flags += (f"{outside} picks outside their micrographs left out",)
    if total - outside > places:
        flags += (f"{total - outside - places} picks on top of others left out",)
    return kept, flags


def marked_edge(
    shapes: Sequence[tuple[int, int]], positives: Sequence[FloatArray], diameter: float
) -> float:
    """Return how far from the borders somebody has kept, in diameters; 0 if not on purpose.

    Most programs and people leave out particles whose box would reach over the border. What is not
    picked there says nothing of what is a particle.

    Parameters
    ----------
    shapes, positives, diameter
        As of `check_positives`.
    """
    nearest = min(
        float(np.minimum(p, np.asarray(s) - 1 - p).min())
        for p, s in zip(positives, shapes, strict=True)
        if len(p)
    )
    missing = 0.0
    for p, (ny, nx) in zip(positives, shapes, strict=True):
        inner = max(0.0, ny - 2 * nearest) * max(0.0, nx - 2 * nearest)
        missing += len(p) * (ny * nx / max(inner, 1.0) - 1)
    edge = nearest / diameter - _SLACK
    return max(0.0, edge) if missing >= _EXPECTED else 0.0


def _distinct(yx: FloatArray, distance: float) -> FloatArray:
    """Return the picks that have no earlier one within `distance`."""
    from scipy.spatial import cKDTree

    if len(yx) < 2:
        return yx
    keep = np.ones(len(yx), dtype=np.bool_)
    for i, j in sorted(cKDTree(yx).query_pairs(distance)):
        if keep[i]:
            keep[j] = False
    return np.asarray(yx[keep])
