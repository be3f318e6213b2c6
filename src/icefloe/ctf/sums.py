"""Sums over the pixels of each ring, which are all that a step of the refinement needs to know.

Data, wave, derivatives and background are, within a ring, combinations of nine columns with
coefficients that belong to the ring. So one pass over the pixels gives the products of all
columns, and projections, sums of squares and normal matrices are algebra on small matrices.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.samples import Samples

__all__ = ["DATA", "ONE", "SLOPES", "WAVE", "RingSums", "column", "weighted_fit"]

# The columns: three of the background (1, cos 2t, sin 2t), the log power, the wave m, and its
# derivatives by the mean defocus, the two components of astigmatism, and the phase shift.
ONE, COS, SIN, DATA, WAVE = range(5)
SLOPES = (5, 6, 7, 8)
_COLUMNS = 9
# Pixels of one product of matrices: so small that libraries do not share it among threads, which
# would change the last digits.
_PIECE = 512


def column(index: int, factor: FloatArray) -> FloatArray:
    """Return the coefficients (r, 9) of one column times a factor (r,) for each ring."""
    out = np.zeros((len(factor), _COLUMNS))
    out[:, index] = factor
    return out


class RingSums:
    """Products of the columns, summed over rings, for one wave at a time."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.columns = np.empty((len(samples.k2), _COLUMNS))
        self.columns[:, ONE] = 1.0
        self.columns[:, COS] = samples.cos2
        self.columns[:, SIN] = samples.sin2
        self.columns[:, DATA] = samples.log_power
        counts = np.bincount(samples.ring, minlength=len(samples.ring_k))
        borders = np.r_[0, np.cumsum(counts)].tolist()
        self.pieces = [
            (ring, start, min(start + _PIECE, end))
            for ring, (first, end) in enumerate(pairwise(borders))
            for start in range(first, end, _PIECE)
        ]
        self.products = np.zeros((len(samples.ring_k), _COLUMNS, _COLUMNS))

    def put_wave(self, wave: FloatArray, by_phase: FloatArray, by_defocus: FloatArray) -> None:
        """Sum up anew for a wave and its derivatives by half the phase and the defocus, (m,)."""
        z = self.columns
        z[:, WAVE] = wave
        z[:, SLOPES[0]] = by_defocus
        np.multiply(by_defocus, self.samples.cos2, out=z[:, SLOPES[1]])
        np.multiply(by_defocus, self.samples.sin2, out=z[:, SLOPES[2]])
        z[:, SLOPES[3]] = by_phase
        self.products[:] = 0.0
        for ring, first, end in self.pieces:
            part = z[first:end]
            self.products[ring] += part.T @ part

    def moments(self, values: FloatArray) -> FloatArray:
        """Return the sums (..., r, 3) of values (..., r, 9) times 1, cos 2t and sin 2t."""
        return np.asarray(np.matmul(values[..., None, :], self.products[:, :, :3])[..., 0, :])

    def inner(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Return the sums (r,) over the pixels of rings of the product of values (r, 9)."""
        return np.asarray(np.einsum("ri,rij,rj->r", a, self.products, b, optimize=False))


def weighted_fit(basis: FloatArray, weight: FloatArray, values: FloatArray) -> FloatArray:
    """Return the weighted least-squares fit of `values` (..., r) by the columns of `basis`."""
    weighted = basis * weight[:, None]
    matrix = weighted.T @ basis
    matrix += np.eye(len(matrix)) * (1e-10 * np.trace(matrix) / len(matrix))
    return np.asarray((basis @ np.linalg.solve(matrix, (values @ weighted).T)).T)
