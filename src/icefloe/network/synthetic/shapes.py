"""Particles of many shapes, as points in space.

Each shape is a cloud of points about its centre of mass, the longest diameter being 1. A few
hundred points a shape give it an inner texture, as secondary structure does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from icefloe._types import FloatArray

__all__ = ["SHAPES", "random_rotations", "random_shape"]

Generator = np.random.Generator
_POINTS = 1400


def random_shape(rng: Generator, kind: str | None = None) -> FloatArray:
    """Return (n, 3) float32 points of a random particle, longest diameter 1.

    Parameters
    ----------
    rng
        Source of chance.
    kind
        A key of `SHAPES`; any by default.
    """
    kind = kind or str(rng.choice(list(SHAPES)))
    points = SHAPES[kind](rng)
    points = points - points.mean(axis=0)
    # Denser and emptier parts inside, as in every protein.
    wave = rng.normal(0, rng.uniform(2, 6), (3, 3)) @ points.T
    density = np.clip(1 + rng.uniform(0, 0.5) * np.cos(wave + rng.uniform(0, 6, (3, 1))), 0, None)
    points = points[rng.random(len(points)) < density.prod(axis=0) / density.prod(axis=0).max()]
    points = points - points.mean(axis=0)
    reach = np.percentile(np.linalg.norm(points, axis=1), 98)
    return np.asarray(0.5 * points / reach, dtype=np.float32)


def random_rotations(rng: Generator, n: int, spread: float | None = None) -> FloatArray:
    """Return (n, 3, 3) rotations: all directions alike, or tilted by about `spread` radians."""
    q = rng.standard_normal((n, 4))
    if spread is not None:
        turn = rng.uniform(0, np.pi, n)
        tilt = rng.normal(0, spread, (n, 2)) / 2
        q = np.stack([np.cos(turn), tilt[:, 0], tilt[:, 1], np.sin(turn)], axis=1)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    w, x, y, z = q.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _in_ball(rng: Generator, n: int) -> FloatArray:
    v = rng.standard_normal((n, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return np.asarray(v * np.cbrt(rng.random((n, 1))))


def _ball(rng: Generator) -> FloatArray:
    return _in_ball(rng, _POINTS)


def _hollow(rng: Generator) -> FloatArray:
    v = _in_ball(rng, 6 * _POINTS)
    r = np.linalg.norm(v, axis=1)
    inner = rng.uniform(0.45, 0.82)
    filled = rng.random(len(v)) < rng.choice([0.0, 0.3])
    return np.asarray(v[(r > inner) | (filled & (r < 0.8 * inner))][:_POINTS])


def _ellipsoid(rng: Generator) -> FloatArray:
    return np.asarray(_in_ball(rng, _POINTS) * [1, rng.uniform(0.4, 1), rng.uniform(0.35, 0.9)])


def _rod(rng: Generator) -> FloatArray:
    width = rng.uniform(0.25, 0.6)
    v = _in_ball(rng, _POINTS)[:, :2] * width
    return np.column_stack([v, rng.uniform(-1, 1, _POINTS)])


def _barrel(rng: Generator) -> FloatArray:
    height, inner = rng.uniform(0.3, 1.3), rng.uniform(0.3, 0.7)
    angle = rng.uniform(0, 2 * np.pi, _POINTS)
    radius = np.sqrt(rng.uniform(inner**2, 1, _POINTS))
    z = rng.uniform(-height, height, _POINTS)
    if rng.random() < 0.5:  # two rings, one on the other
        z = z[np.abs(z) > 0.12 * height]
        angle, radius = angle[: len(z)], radius[: len(z)]
    fold = rng.integers(5, 9)
    radius = radius * (1 + rng.uniform(0, 0.15) * np.cos(fold * angle))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


def _ring(rng: Generator) -> FloatArray:
    thick = rng.uniform(0.2, 0.45)
    angle = rng.uniform(0, 2 * np.pi, _POINTS)
    tube = _in_ball(rng, _POINTS) * thick
    radius = 1 + tube[:, 0]
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), tube[:, 1]])


def _disc(rng: Generator) -> FloatArray:
    angle = rng.uniform(0, 2 * np.pi, _POINTS)
    radius = np.sqrt(rng.random(_POINTS))
    z = rng.uniform(-1, 1, _POINTS) * rng.uniform(0.2, 0.5)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


def _dumbbell(rng: Generator) -> FloatArray:
    second = rng.uniform(0.6, 1.0)
    gap = rng.uniform(0.8, 1.3)
    a, b = _in_ball(rng, _POINTS // 2), _in_ball(rng, _POINTS // 2) * second
    return np.concatenate([a + np.array([gap, 0, 0]), b - np.array([gap * second, 0, 0])])


def _letter(rng: Generator) -> FloatArray:
    """V, Y and T: two to four lobes on arms."""
    arms = int(rng.integers(2, 5))
    parts = []
    for _ in range(arms):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        lobe = _in_ball(rng, _POINTS // arms) * [1, rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.8)]
        turn = random_rotations(rng, 1)[0]
        parts.append(lobe @ turn.T + rng.uniform(0.8, 1.3) * direction)
    return np.concatenate(parts)


def _symmetric(rng: Generator, subunit: FloatArray, fold: int, dihedral: bool) -> FloatArray:
    parts = []
    for k in range(fold):
        c, s = np.cos(2 * np.pi * k / fold), np.sin(2 * np.pi * k / fold)
        turned = subunit @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        parts.append(turned)
        if dihedral:
            parts.append(turned * [1, -1, -1])
    every = np.concatenate(parts)
    return np.asarray(every[rng.permutation(len(every))[:_POINTS]])


def _lobes(rng: Generator) -> FloatArray:
    """Gaussian clusters, with a rotational or dihedral symmetry or none."""
    fold, dihedral = int(rng.choice([1, 1, 2, 2, 3, 4, 5, 6, 7])), bool(rng.random() < 0.5)
    count = int(rng.integers(2, 7))
    centres = _in_ball(rng, count)
    widths = rng.uniform(0.15, 0.4, count)
    owner = rng.integers(0, count, _POINTS)
    spread = np.clip(rng.standard_normal((_POINTS, 3)), -2, 2)
    subunit = centres[owner] + spread * widths[owner, None]
    offset = rng.uniform(0, 1.2) * (fold > 1)
    return _symmetric(rng, subunit + np.array([offset, 0, 0.4 * dihedral]), fold, dihedral)


def _tetramer(rng: Generator) -> FloatArray:
    """Four ellipsoids with three twofold axes."""
    body = _in_ball(rng, _POINTS // 4) * rng.uniform(0.5, 1, 3)
    turned = body @ random_rotations(rng, 1)[0].T
    offset = rng.uniform(0.3, 0.9, 3) * [1, rng.uniform(0.3, 1), rng.uniform(0.3, 1)]
    moved = turned + offset
    return np.concatenate([moved, moved * [-1, -1, 1], moved * [-1, 1, -1], moved * [1, -1, -1]])


def _chain(rng: Generator) -> FloatArray:
    """A folded chain: a walk that keeps its direction for a while and is drawn to the middle."""
    n = 500
    place, step = np.zeros(3), rng.standard_normal(3)
    found = np.empty((n, 3))
    pull = rng.uniform(0.005, 0.03)
    for i in range(n):
        step = 0.9 * step + 0.45 * rng.standard_normal(3) - pull * place
        place = place + step / np.linalg.norm(step)
        found[i] = place
    found = found / np.linalg.norm(found - found.mean(0), axis=1).max()
    fold, dihedral = int(rng.choice([1, 1, 2, 3, 4])), bool(rng.random() < 0.4)
    offset = rng.uniform(0.3, 1.0) * (fold > 1)
    moved = np.repeat(found, 3, axis=0) + np.array([offset, 0, 0.5 * dihedral])
    moved = moved + 0.04 * rng.standard_normal(moved.shape)
    return _symmetric(rng, moved, fold, dihedral)


def _membrane(rng: Generator) -> FloatArray:
    """A protein in a belt of detergent."""
    angle = rng.uniform(0, 2 * np.pi, _POINTS // 2)
    radius = np.sqrt(rng.uniform(0.3, 1, _POINTS // 2))
    belt = np.column_stack(
        [radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-0.35, 0.35, len(angle))]
    )
    body = _in_ball(rng, _POINTS // 2) * [0.6, 0.6, rng.uniform(0.6, 1.3)]
    return np.concatenate([belt, body + np.array([0, 0, rng.uniform(0, 0.9)])])


SHAPES: dict[str, Callable[[Generator], FloatArray]] = {
    "ball": _ball,
    "hollow": _hollow,
    "ellipsoid": _ellipsoid,
    "rod": _rod,
    "barrel": _barrel,
    "ring": _ring,
    "disc": _disc,
    "dumbbell": _dumbbell,
    "letter": _letter,
    "lobes": _lobes,
    "tetramer": _tetramer,
    "chain": _chain,
    "membrane": _membrane,
}
