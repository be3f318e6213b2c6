"""Dose weighting without a transform for every frame.

The normalised weights of Grant & Grigorieff (2015) as a matrix, frames by frequencies, have a
tiny numerical rank: weighting a whole movie takes four or five sums of frames with fixed weights,
combined by smooth functions of frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.optics import dose_filters

__all__ = ["WeightedSums", "dose_components"]

_BINS = 256
_TOLERANCE = 1e-3


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
    doses: FloatArray | None, n_frames: int, pixel_size: float, voltage: float
) -> WeightedSums:
    """Factorise the dose weights of a movie.

    Parameters
    ----------
    doses
        (F,), accumulated dose at the end of each frame, e/A^2; None for no dose weighting.
    n_frames
        F.
    pixel_size
        A, of the movie.
    voltage
        kV.
    """
    # Squares of frequency equally spaced would crowd the high end; the weights change at the low.
    k = np.linspace(0.0, np.sqrt(0.5) / pixel_size, _BINS)
    if doses is None or n_frames == 1:
        ones = np.ones((n_frames, 1))
        return WeightedSums(ones, k, np.ones((1, _BINS)), np.ones(1), 0.0)
    # Scaled so that frequency zero, where nothing is damaged, is the plain sum: then the
    # micrograph keeps the grey level of counts. The weights keep noise white.
    weights = dose_filters(k, doses, voltage) * np.sqrt(n_frames)
    u, s, vt = np.linalg.svd(weights, full_matrices=False)
    for rank in range(1, len(s) + 1):
        approximation = (u[:, :rank] * s[:rank]) @ vt[:rank]
        error = float(np.max(np.abs(approximation - weights)) / np.max(weights))
        if error < _TOLERANCE:
            break
    # A sum over frames of counts stays of the size of counts.
    curves = s[:rank, None] * vt[:rank]
    plain = np.linalg.lstsq(u[:, :rank], np.ones(n_frames), rcond=None)[0]
    return WeightedSums(u[:, :rank], k, curves, plain, error)
