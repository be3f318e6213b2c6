"""Shifts and their turns, where a particle's middle is, and how particles of a class differ."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter, label

from icefloe._types import FloatArray

__all__ = ["main_variation", "middle_of", "shift_grid", "turn_shifts"]


def shift_grid(reach: float, step: float) -> FloatArray:
    """Return (S, 2) shifts on a grid inside a circle of radius `reach`, the middle one first."""
    half = math.floor(reach / step + 1e-6)
    axis = np.arange(-half, half + 1) * step
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    r2 = np.square(grid).sum(axis=1)
    inside = grid[r2 <= reach**2 + 1e-6]
    return np.asarray(inside[np.argsort(np.square(inside).sum(axis=1), kind="stable")])


def turn_shifts(shifts: FloatArray, psi: FloatArray) -> FloatArray:
    """Return shifts (n, 2), y and x, turned by `psi` degrees from +x towards +y."""
    c, s = np.cos(np.deg2rad(psi)), np.sin(np.deg2rad(psi))
    y, x = shifts[:, 0], shifts[:, 1]
    return np.stack([x * s + y * c, x * c - y * s], axis=1)


def middle_of(image: FloatArray, width: float) -> FloatArray:
    """Return y and x, pixels from the middle, of the piece of an image that is the particle.

    The centre of mass of what stands out and hangs together nearest to the middle, so that a
    neighbour does not pull; at most an eighth of the diameter `width` (pixels) at a time.
    """
    n = image.shape[-1]
    smooth = gaussian_filter(image.astype(np.float64), 0.04 * width)
    inside = image != 0
    if not inside.any():
        return np.zeros(2)
    high = float(np.percentile(smooth[inside], 95))
    groups, found = label(smooth > 0.4 * high)
    if high <= 0 or not found:
        return np.zeros(2)
    c = np.arange(n) - n // 2
    near = np.exp(-(c[:, None] ** 2 + c[None, :] ** 2) / (0.4 * width) ** 2)
    sizes = np.bincount(groups.ravel(), (near * np.clip(smooth, 0, None)).ravel())
    sizes[0] = 0
    weight = np.where(groups == sizes.argmax(), smooth, 0)
    # The near part counts more: a touching neighbour is still part of the piece.
    weight = weight * near
    middle = np.array([(weight.sum(axis=1) * c).sum(), (weight.sum(axis=0) * c).sum()])
    middle /= weight.sum()
    length = float(np.hypot(*middle))
    return np.asarray(middle * min(1.0, 0.125 * width / max(length, 1e-9)))


def main_variation(rows: FloatArray) -> FloatArray:
    """Return (n,) the first principal component of rows (n, p), by the power method."""
    direction = rows[int(np.square(rows).sum(axis=1).argmax())].astype(np.float64)
    for _ in range(12):
        direction = rows.T @ (rows @ direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-30)
    return np.asarray(rows @ direction)
