"""The motion field: displacement of the specimen at every frame and place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import FloatArray

__all__ = ["N_QUADRATIC", "N_TERMS", "MotionField", "spatial_terms"]

N_TERMS = 10
"""Terms of the field in space: 1, u, u^2, v, v^2, uv, u^3, u^2 v, u v^2, v^3."""

N_QUADRATIC = 6
"""The first of them, which RELION's model has too."""


def spatial_terms(shape: tuple[int, int], y: ArrayLike, x: ArrayLike) -> FloatArray:
    """Return 1, u, u^2, v, v^2, uv, u^3, u^2 v, u v^2, v^3 at places of a frame, (..., 10).

    ``u = x / nx - 1/2`` and ``v = y / ny - 1/2``; the first six are RELION's, in its order.
    """
    v = np.asarray(y, dtype=np.float64) / shape[0] - 0.5
    u = np.asarray(x, dtype=np.float64) / shape[1] - 0.5
    v, u = np.broadcast_arrays(v, u)
    quadratic = [np.ones_like(u), u, u * u, v, v * v, u * v]
    return np.stack([*quadratic, u**3, u * u * v, u * v * v, v**3], axis=-1)


@dataclass(frozen=True)
class MotionField:
    """Displacement of the specimen relative to the first used frame.

    Attributes
    ----------
    shape
        Size (ny, nx) of the movie's frames.
    global_shifts
        (F, 2), pixels in (y, x): the mean over the frame.
    local
        (F, 2, 10), pixels: coefficients of `spatial_terms`, whose mean over the frame is zero.
    """

    shape: tuple[int, int]
    global_shifts: FloatArray
    local: FloatArray

    def __len__(self) -> int:
        return len(self.global_shifts)

    @property
    def coefficients(self) -> FloatArray:
        """Global and local motion together, (F, 2, 10), coefficients of `spatial_terms`."""
        out = self.local.copy()
        out[:, :, 0] += self.global_shifts
        return out

    def displacement(self, frame: ArrayLike, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return (..., 2), pixels in (y, x); frame counts from 0, y and x are movie pixels."""
        terms = spatial_terms(self.shape, y, x)
        chosen = self.coefficients[np.asarray(frame)]
        return np.asarray(np.sum(chosen * terms[..., None, :], axis=-1))

    def relative_to_first(self) -> MotionField:
        """Return the same motion with the first frame at rest everywhere."""
        return MotionField(
            self.shape, self.global_shifts - self.global_shifts[0], self.local - self.local[0]
        )

    @classmethod
    def still(cls, shape: tuple[int, int], n_frames: int) -> MotionField:
        """Return a field without motion."""
        return cls(shape, np.zeros((n_frames, 2)), np.zeros((n_frames, 2, N_TERMS)))
