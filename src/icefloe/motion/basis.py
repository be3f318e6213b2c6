"""What the motion field is made of, in space and time, and what is expected of it beforehand."""

from __future__ import annotations

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.motion.field import N_TERMS, spatial_terms

__all__ = ["TimeBasis", "space_basis", "time_basis", "track_prior"]

# The specimen moves most in its first electrons: there the whole frame's acceleration is this much
# freer, and by this dose, e/A^2, the freedom has fallen to 1/e.
_EARLY_FREEDOM, _EARLY_DOSE = 6.0, 3.0
# Local motion settles too. Its clock is log(1 + dose / this), e/A^2, so that splines of equal
# length on it are short where the motion is fast.
_SETTLING_DOSE = 8.0
# Expected motion of quadratic and cubic terms, relative to that of linear ones.
_CURVED = 0.25
_FINE = 100

TimeBasis = tuple[FloatArray, FloatArray]
"""Splines at the frames (F, J), and the integral of products of their second derivatives (J, J)."""


def space_basis(
    shape: tuple[int, int], centres: FloatArray, grid: tuple[int, int]
) -> tuple[FloatArray, FloatArray, AnyArray]:
    """Return the local motion's terms in space.

    Products of Legendre polynomials up to the third degree that the grid resolves: orthogonal and
    with RMS 1 over the frame, none of them constant.

    Parameters
    ----------
    shape
        Of the frames.
    centres
        (P, 2), places in pixels (y, x).
    grid
        Patches in y and x.

    Returns
    -------
    basis : ndarray
        (P, S), the terms at the places.
    to_terms : ndarray
        (S, 10), what turns their coefficients into those of `spatial_terms`.
    degrees : ndarray
        (S,), 1, 2 or 3.
    """
    s, q, c = np.sqrt(12.0), np.sqrt(180.0), np.sqrt(7.0)
    to_terms = np.zeros((9, N_TERMS))
    to_terms[0, 1] = to_terms[1, 3] = s
    to_terms[2, [0, 2]] = -q / 12, q
    to_terms[3, [0, 4]] = -q / 12, q
    to_terms[4, 5] = 12.0
    to_terms[5, [1, 6]] = -3 * c, 20 * c
    to_terms[6, [3, 7]] = -s * q / 12, s * q
    to_terms[7, [1, 8]] = -s * q / 12, s * q
    to_terms[8, [3, 9]] = -3 * c, 20 * c
    gy, gx = grid
    quadratic = [gx > 1, gy > 1, gx > 2, gy > 2, gx > 1 and gy > 1]
    cubic = [gx > 3, gx > 2 and gy > 1, gx > 1 and gy > 2, gy > 3]
    chosen = np.array(quadratic + cubic)
    degrees = np.array([1, 1, 2, 2, 2, 3, 3, 3, 3])
    terms = spatial_terms(shape, centres[:, 0], centres[:, 1])
    return terms @ to_terms[chosen].T, to_terms[chosen], degrees[chosen]


def time_basis(moments: FloatArray, knots: int) -> TimeBasis:
    """Return cubic B-splines, of lower degree in short movies, clamped at both ends.

    Parameters
    ----------
    moments
        (F,), accumulated dose in the middle of each frame, e/A^2.
    knots
        J; fewer in movies of fewer frames; 0 for no local motion.
    """
    if knots == 0:
        return np.zeros((len(moments), 0)), np.zeros((0, 0))
    count = min(knots, len(moments))
    degree = min(3, count - 1)
    inner = np.linspace(0, 1, count - degree + 1)
    knot = np.concatenate([[0.0] * degree, inner, [1.0] * degree])
    clock = np.log1p((moments - moments[0]) / _SETTLING_DOSE)
    splines = _bsplines(np.clip(clock / clock[-1], 0, 1), knot, degree)
    fine = _bsplines(np.linspace(0, 1, _FINE + 1), knot, degree)
    bend = np.diff(fine, 2, axis=0) * _FINE**2
    return splines, bend.T @ bend / _FINE


def _bsplines(x: FloatArray, t: FloatArray, degree: int) -> FloatArray:
    # (len(x), len(t) - degree - 1), the recursion of Cox and de Boor. scipy.interpolate has it
    # too, and costs 0.2 s to import, a sixth of the start of `icefloe motion`.
    interval = np.clip(np.searchsorted(t, x, "right"), degree + 1, len(t) - degree - 1)
    out: FloatArray = (interval[:, None] - 1 == np.arange(len(t) - 1)).astype(np.float64)
    for k in range(1, degree + 1):
        left, right = t[k:-1] - t[: -k - 1], t[k + 1 :] - t[1:-k]
        rise = (x[:, None] - t[: -k - 1]) / np.where(left > 0, left, 1)
        fall = (t[k + 1 :] - x[:, None]) / np.where(right > 0, right, 1)
        out = rise * out[:, :-1] + fall * out[:, 1:]
    return out


def track_prior(
    doses: FloatArray,
    moments: FloatArray,
    bends: FloatArray,
    degrees: AnyArray,
    *,
    pixel_size: float,
    acceleration: float,
    local_motion: float,
    jitter: float = 0.0,
) -> FloatArray:
    """Return the inverse covariance of the parameters of one axis, (F + S J, F + S J), 1/pixel^2.

    Parameters
    ----------
    doses
        (F,), e/A^2.
    moments
        (F,), accumulated dose in the middle of each frame, e/A^2; where frames were left out, more
        than `doses` lies between two.
    bends
        (J, J), from `time_basis`.
    degrees
        (S,), from `space_basis`.
    pixel_size
        A.
    acceleration, local_motion
        As in `MotionSettings`, A.
    jitter
        Standard deviation, A, of what the whole frame does by itself in every frame, beside the
        smooth track.
    """
    n, knots = len(doses), len(bends)
    size = n + len(degrees) * knots
    out = np.zeros((size, size))
    if n > 2:
        dose = float(np.median(doses))
        step = np.maximum(np.diff(moments) / dose, 1e-3)
        second = np.diff(np.diff(np.eye(n), axis=0) / step[:, None], axis=0)
        early = np.exp(-(moments + 0.5 * doses)[:-2] / _EARLY_DOSE)
        # A velocity that wanders with the dose: its change over a frame grows with dose^(3/2).
        sigma = acceleration * dose**1.5 * (1 + _EARLY_FREEDOM * early) / pixel_size
        sigma = sigma * np.sqrt(0.5 * (step[1:] + step[:-1]))
        smooth = second.T @ (second / sigma[:, None] ** 2)
        # (K^-1 + s^2)^-1 without the inverse of K, which does not mind straight motion.
        both = np.linalg.solve(np.eye(n) + (jitter / pixel_size) ** 2 * smooth, smooth)
        out[:n, :n] += 0.5 * (both + both.T)
    # Nothing says where the specimen stands on average: pinned weakly.
    out[:n, :n] += 1e-4 / n
    out[np.arange(n), np.arange(n)] += 1e-8
    if knots:
        # How far from first to last frame, and how straight on the clock: both of one size, as in
        # an exponential decay.
        ends = np.zeros(knots)
        ends[0], ends[-1] = -1, 1
        # The mean over time is nothing that frames could tell: pinned at no cost.
        block = np.outer(ends, ends) + bends + 1e-4 / knots
        for s, degree in enumerate(degrees):
            expected = local_motion * (1.0 if degree == 1 else _CURVED) / pixel_size
            i = n + s * knots
            out[i : i + knots, i : i + knots] = block / expected**2
    return out
