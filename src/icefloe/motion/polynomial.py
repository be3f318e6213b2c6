"""RELION's third-order polynomial, fitted to a motion field."""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray
from icefloe.motion.field import N_QUADRATIC, MotionField, spatial_terms

__all__ = ["fit_polynomial"]

# Places per axis where models are compared; cubic terms are steep at the edges.
_GRID = 32


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
    y, x = np.meshgrid(*((np.arange(_GRID) + 0.5) / _GRID * s for s in field.shape), indexing="ij")
    terms = spatial_terms(field.shape, y.ravel(), x.ravel())
    quadratic = terms[:, :N_QUADRATIC]
    # Space and time are separate factors, so that one fit after the other is the fit of both.
    project = np.linalg.lstsq(quadratic, terms, rcond=None)[0]
    flat = (field.local @ project.T).reshape(n, 2 * N_QUADRATIC)
    solution = np.linalg.lstsq(basis, flat, rcond=None)[0]
    model = (basis @ solution).reshape(n, 2, N_QUADRATIC)
    rest = field.local @ terms.T - model @ quadratic.T
    misfit = float(np.sqrt(np.mean(np.sum(rest**2, axis=1))))
    solution /= np.array([scale, scale**2, scale**3])[:, None]
    return solution.reshape(3, 2, N_QUADRATIC).transpose(1, 2, 0).reshape(2, 18), misfit
