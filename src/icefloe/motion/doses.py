"""Dose weighting without a transform for every frame.

The normalised weights of Grant & Grigorieff (2015) as a matrix, frames by frequencies, have a
tiny numerical rank: weighting a whole movie takes four or five sums of frames with fixed weights,
combined by smooth functions of frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import BoolArray, FloatArray
from icefloe.errors import InputError
from icefloe.optics import dose_filters

__all__ = ["WeightedSums", "accumulated_doses", "dose_components", "stated_doses"]

_BINS = 256
_TOLERANCE = 2e-3


@dataclass(frozen=True)
class WeightedSums:
    """A factorised dose weighting: ``weight[f](k) = sum_j frame_weights[f, j] curve_j(k)``.

    Attributes
    ----------
    frame_weights
        (F, K), the weight of each frame in each sum.
    frequencies
        (bins,), 1/A, from 0 to the corner of the transform.
    curves
        (K, bins), the factor of each sum at each frequency.
    plain
        (K,), the factors that give the unweighted sum.
    error
        Largest error of a weight, relative to the largest weight.
    """

    frame_weights: FloatArray
    frequencies: FloatArray
    curves: FloatArray
    plain: FloatArray
    error: float


def dose_components(
    doses: FloatArray | None,
    n_frames: int,
    pixel_size: float,
    voltage: float,
    *,
    amounts: FloatArray | None = None,
    used: BoolArray | None = None,
) -> WeightedSums:
    """Factorise the dose weights of a movie.

    A frame's weight is ``q_f = exp(-N_f / (2 N_e(k)))``, N its accumulated dose, over the root of
    ``sum_f d_f q_f^2 / sum_f d_f``: counts have noise in proportion to the dose d of their frame,
    which so stays white.

    Parameters
    ----------
    doses
        (F,), accumulated dose, e/A^2, of each frame, from `accumulated_doses`; None for no dose
        weighting.
    n_frames
        F.
    pixel_size
        A, of the movie.
    voltage
        kV.
    amounts
        (F,), dose of each frame, in any unit, where they differ.
    used
        (F,), which frames are summed; the others get no weight.
    """
    # Squares of frequency equally spaced would crowd the high end; the weights change at the low.
    k = np.linspace(0.0, np.sqrt(0.5) / pixel_size, _BINS)
    chosen = np.ones(n_frames, dtype=bool) if used is None else np.asarray(used, dtype=bool)
    ones = chosen.astype(np.float64)
    number = int(np.count_nonzero(chosen))
    if doses is None or number == 1:
        return WeightedSums(ones[:, None], k, np.ones((1, _BINS)), np.ones(1), 0.0)
    d = np.ones(n_frames) if amounts is None else np.asarray(amounts, dtype=np.float64)
    d = d[chosen] / d[chosen].mean()
    # Scaled so that frequency zero, where nothing is damaged, is the plain sum: then the
    # micrograph keeps the grey level of counts.
    weights = dose_filters(k, np.asarray(doses)[chosen], voltage)
    weights /= np.sqrt(np.mean(d[:, None] * weights**2, axis=0))
    # The first of the sums is the plain one, exactly; the others are made of what it lacks.
    even = np.full((number, 1), 1 / np.sqrt(number))
    rest = weights - even @ (even.T @ weights)
    u, s, vt = np.linalg.svd(rest, full_matrices=False)
    for rank in range(len(s) + 1):
        approximation = weights - rest + (u[:, :rank] * s[:rank]) @ vt[:rank]
        error = float(np.max(np.abs(approximation - weights)) / np.max(weights))
        if error < _TOLERANCE:
            break
    basis = np.hstack([even, u[:, :rank]])
    # A sum over frames of counts stays of the size of counts.
    curves = basis.T @ weights
    frame_weights = np.zeros((n_frames, rank + 1))
    frame_weights[chosen] = basis
    plain = np.zeros(rank + 1)
    plain[0] = np.sqrt(number)
    return WeightedSums(frame_weights, k, curves, plain, error)


def accumulated_doses(doses: FloatArray, pre_exposure: float, at: str) -> FloatArray:
    """Return the accumulated dose at the "end" or in the "mid"dle of each frame, (F,), e/A^2.

    Parameters
    ----------
    doses
        (F,), of each frame of the movie, e/A^2.
    pre_exposure
        Dose before the first of them, e/A^2.
    at
        "end", as Grant & Grigorieff (2015), RELION and cisTEM have it, or "mid", the mean dose
        of the electrons of a frame.
    """
    doses = np.asarray(doses, dtype=np.float64)
    ends = pre_exposure + np.cumsum(doses)
    return ends if at == "end" else ends - 0.5 * doses


def stated_doses(dose_per_frame: float, factors: FloatArray | None, n_frames: int) -> FloatArray:
    """Return the dose of each frame, (F,), e/A^2.

    Raises
    ------
    InputError
        Factors that are not one for each frame, or negative, or all zero.
    """
    if factors is None:
        return np.full(n_frames, float(dose_per_frame))
    given = np.array(factors, dtype=np.float64)
    if given.shape != (n_frames,):
        raise InputError(
            f"Doses of {given.size} frames for a movie of {n_frames}", "one for each frame"
        )
    if not np.isfinite(given).all() or given.min() < 0 or not given.any():
        raise InputError(
            f"Doses of frames from {given.min():g} to {given.max():g} of {dose_per_frame:g} e/A^2",
            "numbers that are not negative, and not all zero",
        )
    return given * dose_per_frame
