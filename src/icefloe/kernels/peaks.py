"""The highest points of a map that keep a distance from each other.

The map is small (some 16 pixels a particle), so it is searched on the host whatever device made
it; there is no second version for an accelerator.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from icefloe._types import AnyArray, FloatArray

__all__ = ["find_peaks", "weaker_peaks"]


def find_peaks(
    score: FloatArray, distance: float, minimum: float, allowed: AnyArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return local maxima, best first, none closer than `distance` to a better one.

    Parameters
    ----------
    score
        (ny, nx) map.
    distance
        Smallest distance, pixels, between two peaks.
    minimum
        Peaks below are left out.
    allowed
        (ny, nx) bool; peaks elsewhere are left out and suppress nothing. Everywhere by default.

    Returns
    -------
    positions : ndarray
        (n, 2) float64, (y, x), refined by a parabola through the three pixels along each axis.
    values : ndarray
        (n,) float64, `score` at the pixel of the maximum, descending; equal ones in the order of
        rows and columns.
    """
    grid = np.ascontiguousarray(score, dtype=np.float32)
    mask = np.ones(grid.shape, np.bool_) if allowed is None else np.ascontiguousarray(allowed)
    rows, columns = _local_maxima(grid, mask, np.float32(minimum))
    values = grid[rows, columns]
    order = np.argsort(-values, kind="stable")
    rows, columns, values = rows[order], columns[order], values[order]
    kept = _suppress(rows, columns, grid.shape[0], grid.shape[1], float(distance))
    rows, columns = rows[kept], columns[kept]
    positions = np.stack(
        [rows + _vertex(grid, rows, columns, 0), columns + _vertex(grid, rows, columns, 1)], axis=1
    )
    return positions, values[kept].astype(np.float64)


def weaker_peaks(
    score: FloatArray,
    distance: float,
    threshold: float,
    lowest: float,
    allowed: AnyArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return what `find_peaks` finds beside with `lowest` in place of `threshold`, best first.

    Better peaks win over weaker ones, so those above the threshold are the same with both.
    """
    if not lowest < threshold:
        return np.zeros((0, 2)), np.zeros(0)
    positions, values = find_peaks(score, distance, lowest, allowed)
    below = values < np.float32(threshold)
    return positions[below], values[below]


def _vertex(grid: FloatArray, rows: AnyArray, columns: AnyArray, axis: int) -> FloatArray:
    """Return where, in (-0.5, 0.5), the parabola through a pixel and its neighbours is highest."""
    index = rows if axis == 0 else columns
    inside = (index > 0) & (index < grid.shape[axis] - 1)
    step = inside.astype(np.intp)
    dy, dx = (step, 0) if axis == 0 else (0, step)
    before = grid[rows - dy, columns - dx].astype(np.float64)
    centre = grid[rows, columns].astype(np.float64)
    after = grid[rows + dy, columns + dx].astype(np.float64)
    curvature = before - 2 * centre + after
    flat = ~inside | (curvature >= 0)
    offset = 0.5 * (before - after) / np.where(flat, -1.0, curvature)
    return np.asarray(np.where(flat, 0.0, np.clip(offset, -0.5, 0.5)))


@njit(cache=True, nogil=True)
def _local_maxima(grid, allowed, minimum):  # type: ignore[no-untyped-def]
    ny, nx = grid.shape
    rows = np.empty(ny * nx, np.int64)
    columns = np.empty(ny * nx, np.int64)
    n = 0
    for y in range(ny):
        for x in range(nx):
            value = grid[y, x]
            if not allowed[y, x] or not value >= minimum:
                continue
            highest = True
            for v in range(max(0, y - 1), min(ny, y + 2)):
                for u in range(max(0, x - 1), min(nx, x + 2)):
                    other = grid[v, u]
                    # Of a plateau the first pixel counts.
                    earlier = v < y or (v == y and u < x)
                    if other > value or (other == value and earlier):
                        highest = False
            if highest:
                rows[n] = y
                columns[n] = x
                n += 1
    return rows[:n], columns[:n]


@njit(cache=True, nogil=True)
def _suppress(rows, columns, ny, nx, distance):  # type: ignore[no-untyped-def]
    taken = np.zeros((ny, nx), np.bool_)
    keep = np.empty(rows.size, np.int64)
    n = 0
    reach = int(np.ceil(distance))
    limit = distance * distance
    for i in range(rows.size):
        y, x = rows[i], columns[i]
        if taken[y, x]:
            continue
        keep[n] = i
        n += 1
        for v in range(max(0, y - reach), min(ny, y + reach + 1)):
            for u in range(max(0, x - reach), min(nx, x + reach + 1)):
                if (v - y) ** 2 + (u - x) ** 2 < limit:
                    taken[v, u] = True
    return keep[:n]
