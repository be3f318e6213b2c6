"""RELION's third-order polynomial, fitted to a motion field."""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray
from icefloe.motion.field import N_TERMS, MotionField, spatial_terms

__all__ = ["fit_polynomial"]


def fit_polynomial(field: MotionField) -> tuple[FloatArray, float]:
    """Return the polynomial nearest to the local motion.

    Each of the six spatial terms times z, z^2, z^3, z being the frame's number from 0; zero at
    z = 0. The frame at z is the frame with number z: RELION reads its own polynomial so,
    although it fits it half a frame later.

    Parameters
    ----------
    field
        The motion, at rest in the first frame.

    Returns
    -------
    coefficients : ndarray
        (2, 18), for y and x: spatial term major, power of z minor, pixels.
    misfit : float
        RMS length of the difference over frames and field, pixels.
    """
    n = len(field)
    z = np.arange(n, dtype=np.float64)
    # Fitted with z in [0, 1], since z^3 of a long movie spoils the conditioning.
    scale = max(1.0, n - 1.0)
    basis = np.stack([(z / scale) ** p for p in (1, 2, 3)], axis=1)
    flat = field.local.reshape(n, 2 * N_TERMS)
    solution = np.linalg.lstsq(basis, flat, rcond=None)[0]
    rest = (flat - basis @ solution).reshape(n, 2, N_TERMS)
    y, x = np.meshgrid(*((np.arange(9) + 0.5) / 9 * s for s in field.shape), indexing="ij")
    values = np.einsum("fat,yxt->fyxa", rest, spatial_terms(field.shape, y, x))
    misfit = float(np.sqrt(np.mean(np.sum(values**2, axis=-1))))
    solution /= np.array([scale, scale**2, scale**3])[:, None]
    return solution.reshape(3, 2, N_TERMS).transpose(1, 2, 0).reshape(2, 18), misfit
