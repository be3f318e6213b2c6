"""Resample raw frames along a motion field and add them up, compiled for the CPU.

A frame is multiplied by its gain, its bad pixels are replaced, it is interpolated at
``position + displacement`` and added to several sums with different weights; all of this in bands
of rows that stay in the processor's cache, so each raw pixel is read from memory once and no
full-size float copy of a frame ever exists.

The interpolation is quintic B-spline *without* the usual prefilter. Prefilter and resampling
commute (both are shift-invariant for a locally constant shift), so the filter is applied once to
the sum instead of once to every frame; `transfer.interpolation_transfer` says what it must undo.
Six taps a direction, done one direction after the other.
Unser (1999), IEEE Signal Process. Mag. 16(6), 22.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from icefloe._types import AnyArray, BoolArray, FloatArray

__all__ = ["BAND", "bad_pixel_rows", "warp_accumulate"]

BAND = 32
"""Rows of output that one task makes; 32 rows of a 4k frame and of six sums fit into 4 MB."""

_TAPS = 6
_ATTEMPTS = 64


def bad_pixel_rows(bad: BoolArray) -> tuple[AnyArray, AnyArray]:
    """Return bad pixels row by row: where each row starts (ny + 1,), and their columns."""
    counts = np.count_nonzero(bad, axis=1)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return starts, np.nonzero(bad)[1].astype(np.int64)


@njit(cache=True, nogil=True)
def _hash(value: np.uint64) -> np.uint64:
    # splitmix64: neighbouring pixels and frames get unrelated numbers, the same on every machine.
    z = value + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _replacement(
    frame: AnyArray, gain: FloatArray, y: int, x: int, key: np.uint64, mean: np.float32
) -> np.float32:
    # A random good neighbour, not an average of them: it has the noise of a pixel. The window
    # grows for blocks of bad pixels; inside a block larger than that the frame's mean remains.
    ny, nx = frame.shape
    state = _hash(key ^ _hash(np.uint64(y * nx + x)))
    for attempt in range(_ATTEMPTS):
        radius = 2 << (attempt // 16)
        side = np.uint64(2 * radius + 1)
        state = _hash(state)
        py = y + np.int64(state % side) - radius
        px = x + np.int64((state >> np.uint64(32)) % side) - radius
        if py >= 0 and py < ny and px >= 0 and px < nx and gain[py, px] != 0.0:
            value: np.float32 = np.float32(frame[py, px]) * gain[py, px]
            return value
    return mean


@njit(cache=True, nogil=True)
def _load(row: AnyArray, gain: FloatArray, out: FloatArray) -> None:
    for x in range(out.size):
        out[x] = np.float32(row[x]) * gain[x]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _spline6(t: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    # Quintic B-spline at distances t+2, t+1, t, 1-t, 2-t, 3-t from taps a..f, t in [0, 1).
    u = np.float32(1.0) - t
    t2, u2 = t * t, u * u
    w0 = u2 * u2 * u
    w5 = t2 * t2 * t
    w2 = np.float32(66.0) + t2 * (
        np.float32(-60.0) + t2 * (np.float32(30.0) - np.float32(10.0) * t)
    )
    w3 = np.float32(66.0) + u2 * (
        np.float32(-60.0) + u2 * (np.float32(30.0) - np.float32(10.0) * u)
    )
    # Distances between 1 and 2: (2-d)^5 - 6 (1-d)^5 summed over the mirror, expanded.
    p = np.float32(1.0) + u
    q = np.float32(1.0) + t
    p2, q2 = p * p, q * q
    w1 = p2 * p2 * p - np.float32(6.0) * w0
    w4 = q2 * q2 * q - np.float32(6.0) * w5
    return (w0 * a + w1 * b + w2 * c + w3 * d + w4 * e + w5 * f) * np.float32(1.0 / 120.0)


@njit(cache=True, nogil=True)
def _at(c0: float, c1: float, c2: float, c3: float, x: float) -> float:
    return c0 + x * (c1 + x * (c2 + x * c3))


@njit(cache=True, nogil=True, fastmath={"contract"})
def _blend_rows(
    c0: float, c1: float, c2: float, c3: float, x0: int, whole: int,
    r0: FloatArray, r1: FloatArray, r2: FloatArray, r3: FloatArray, r4: FloatArray, r5: FloatArray,
    out: FloatArray,
) -> None:  # fmt: skip
    # out[i] = column x0 + i, interpolated between rows at the fraction c(x) - whole.
    base = np.float32(_at(c0, c1, c2, c3, x0) - whole)
    slope = np.float32(c1 + x0 * (2.0 * c2 + 3.0 * x0 * c3))
    curve = np.float32(c2 + 3.0 * x0 * c3)
    third = np.float32(c3)
    for i in range(out.size):
        u = np.float32(i)
        t = base + u * (slope + u * (curve + u * third))
        out[i] = _spline6(t, r0[i], r1[i], r2[i], r3[i], r4[i], r5[i])


@njit(cache=True, nogil=True, fastmath={"contract"})
def _blend_columns(
    c0: float, c1: float, c2: float, c3: float, x0: int, whole: int, line: FloatArray,
    out: FloatArray,
) -> None:  # fmt: skip
    base = np.float32(_at(c0, c1, c2, c3, x0) - whole)
    slope = np.float32(c1 + x0 * (2.0 * c2 + 3.0 * x0 * c3))
    curve = np.float32(c2 + 3.0 * x0 * c3)
    third = np.float32(c3)
    l0, l1, l2 = line[0:], line[1:], line[2:]
    l3, l4, l5 = line[3:], line[4:], line[5:]
    for i in range(out.size):
        u = np.float32(i)
        t = base + u * (slope + u * (curve + u * third))
        out[i] = _spline6(t, l0[i], l1[i], l2[i], l3[i], l4[i], l5[i])


@njit(cache=True, nogil=True)
def _axpy(weight: np.float32, line: FloatArray, out: FloatArray) -> None:
    for x in range(out.size):
        out[x] += weight * line[x]


@njit(cache=True, nogil=True)
def _run_end(c0: float, c1: float, c2: float, c3: float, x0: int, x1: int) -> int:
    # First column after x0 where the whole part of the displacement changes, at most x1.
    whole = math.floor(_at(c0, c1, c2, c3, x0))
    step = 64
    x = x0
    while x < x1:
        nxt = min(x + step, x1)
        last = nxt - 1
        mid = (x + last) // 2
        if (
            math.floor(_at(c0, c1, c2, c3, last)) == whole
            and math.floor(_at(c0, c1, c2, c3, mid)) == whole
        ):
            x = nxt
            continue
        while x < nxt and math.floor(_at(c0, c1, c2, c3, x)) == whole:
            x += 1
        if x < nxt:
            return x
    return x1


@njit(cache=True, nogil=True)
def _line(k: FloatArray, y: float, ny: int, nx: int) -> tuple[float, float, float, float]:
    # The field of one frame and axis along a row, a cubic in u = x/nx - 1/2, in powers of the
    # pixel x.
    v = y / ny - 0.5
    a = k[0] + v * (k[3] + v * k[4])
    b = k[1] + k[5] * v
    c = k[2]
    d = 0.0
    if k.size > 6:
        a += k[9] * v * v * v
        b += k[8] * v * v
        c += k[7] * v
        d = k[6]
    c0 = a - 0.5 * b + 0.25 * c - 0.125 * d
    c1 = (b - c + 0.75 * d) / nx
    c2 = (c - 1.5 * d) / (nx * nx)
    c3 = d / (nx * nx * nx)
    return c0, c1, c2, c3


@njit(cache=True, nogil=True)
def _extent(
    c0: float, c1: float, c2: float, c3: float, first: int, last: int
) -> tuple[float, float]:
    left, right = _at(c0, c1, c2, c3, first), _at(c0, c1, c2, c3, last)
    lo, hi = min(left, right), max(left, right)
    # Where c1 + 2 c2 x + 3 c3 x^2 = 0; in the form that does not cancel, and holds for c3 = 0.
    root = c2 * c2 - 3.0 * c1 * c3
    if root >= 0.0:
        q = -(c2 + math.copysign(math.sqrt(root), c2))
        for above, below in ((c1, q), (q, 3.0 * c3)):
            if below != 0.0:
                x = above / below
                if x > first and x < last:
                    value = _at(c0, c1, c2, c3, x)
                    lo, hi = min(lo, value), max(hi, value)
    return lo, hi


@njit(cache=True, nogil=True, parallel=True)
def warp_accumulate(
    stack: AnyArray,
    frames: AnyArray,
    gain: FloatArray,
    bad_starts: AnyArray,
    bad_columns: AnyArray,
    means: FloatArray,
    seed: int,
    field: FloatArray,
    weights: FloatArray,
    sums: FloatArray,
    margin: int,
) -> None:
    """Add motion-corrected frames to several weighted sums.

    Parameters
    ----------
    stack
        (n, ny, nx), raw counts.
    frames
        (m,), which frames to add, in this order.
    gain
        (ny, nx), float32, multiplicative, zero at bad pixels.
    bad_starts, bad_columns
        From `bad_pixel_rows`.
    means
        (n,), float32, the mean of each gain-corrected frame, for the inside of large defects.
    seed
        Of the choice of the neighbour that replaces a bad pixel.
    field
        (n, 2, 6) or (n, 2, 10), float64: displacement in y and x, pixels, as coefficients of
        1, u, u^2, v, v^2, uv and perhaps u^3, u^2 v, u v^2, v^3 with ``u = x / nx - 1/2`` and
        ``v = y / ny - 1/2``.
    weights
        (n, k), float32, of each frame in each sum.
    sums
        (k, my, mx), float32, added to in place. Beyond the frame's edge its edge is repeated.
    margin
        Rows and columns of `sums` before the first of the frame.
    """
    ny, nx = gain.shape
    n_sums, my, mx = sums.shape
    n_bands = (my + BAND - 1) // BAND
    for band in prange(n_bands):
        # Rows y and columns x count from the frame's first, so that those of the margin are
        # negative.
        y0 = band * BAND - margin
        y1 = min(my - margin, y0 + BAND)
        x0, x1 = -margin, mx - margin
        out = np.empty(mx, np.float32)
        for m in range(frames.size):
            f = frames[m]
            top, bottom = 1e30, -1e30
            left, right = 1e30, -1e30
            for y in range(y0, y1):
                c0, c1, c2, c3 = _line(field[f, 0], y, ny, nx)
                lo, hi = _extent(c0, c1, c2, c3, x0, x1 - 1)
                top, bottom = min(top, lo + y), max(bottom, hi + y)
                c0, c1, c2, c3 = _line(field[f, 1], y, ny, nx)
                lo, hi = _extent(c0, c1, c2, c3, x0, x1 - 1)
                left, right = min(left, lo), max(right, hi)
            # One row and column more than six taps need: positions are evaluated twice, rounded
            # differently.
            r0 = math.floor(top) - 3
            r1 = math.floor(bottom) + 5
            s0 = x0 + math.floor(left) - 3
            s1 = x1 + math.floor(right) + 5
            width = s1 - s0
            rows = np.empty((r1 - r0, width), np.float32)
            inside0 = min(max(s0, 0), nx - 1)
            inside1 = max(min(s1, nx), inside0 + 1)
            for r in range(r0, r1):
                y = min(max(r, 0), ny - 1)
                row = rows[r - r0]
                _load(
                    stack[f, y, inside0:inside1],
                    gain[y, inside0:inside1],
                    row[inside0 - s0 : inside1 - s0],
                )
                key = _hash(np.uint64(seed) + np.uint64(f) * np.uint64(0x632BE59BD9B4E019))
                for b in range(bad_starts[y], bad_starts[y + 1]):
                    x = bad_columns[b]
                    if x >= inside0 and x < inside1:
                        row[x - s0] = _replacement(stack[f], gain, y, x, key, means[f])
                row[: inside0 - s0] = row[inside0 - s0]
                row[inside1 - s0 :] = row[inside1 - s0 - 1]
            line = np.empty(width, np.float32)
            for y in range(y0, y1):
                h0, h1, h2, h3 = _line(field[f, 1], y, ny, nx)
                c0, c1, c2, c3 = _line(field[f, 0], y, ny, nx)
                # First down the columns. Column s of the frame is read for output pixels near
                # s - dx(s); to first order the y displacement there is c(s) - c'(s) dx(s).
                shift = _at(h0, h1, h2, h3, 0.5 * nx)
                g0 = _at(c0, c1, c2, c3, -shift)
                g1 = c1 - shift * (2.0 * c2 - 3.0 * shift * c3)
                g2 = c2 - 3.0 * shift * c3
                x = s0
                while x < s1:
                    end = _run_end(g0, g1, g2, c3, x, s1)
                    whole = math.floor(_at(g0, g1, g2, c3, x))
                    r = min(max(y + whole - 2 - r0, 0), rows.shape[0] - _TAPS)
                    a, b = x - s0, end - s0
                    _blend_rows(
                        g0, g1, g2, c3, x, whole,
                        rows[r, a:b], rows[r + 1, a:b], rows[r + 2, a:b],
                        rows[r + 3, a:b], rows[r + 4, a:b], rows[r + 5, a:b], line[a:b],
                    )  # fmt: skip
                    x = end
                # Then along the row.
                x = x0
                while x < x1:
                    end = _run_end(h0, h1, h2, h3, x, x1)
                    whole = math.floor(_at(h0, h1, h2, h3, x))
                    first = x + whole - 2 - s0
                    _blend_columns(h0, h1, h2, h3, x, whole, line[first:], out[x - x0 : end - x0])
                    x = end
                for k in range(n_sums):
                    _axpy(weights[f, k], out, sums[k, y + margin])
