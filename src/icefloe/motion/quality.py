"""How well a fitted motion is known, and how well it fits each patch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icefloe._types import FloatArray
from icefloe.motion.evidence import LinearSystem

__all__ = ["patch_residuals", "predicted_error"]


def predicted_error(
    systems: Sequence[LinearSystem | None], prior: FloatArray, times: FloatArray
) -> float:
    """Return the error that the fitted motion should have, pixels, RMS over frames and frame.

    From the posterior's covariance ``(A + prior)^-1``: of whole-frame motion, each axis less its
    mean over the frames, and of every local term, which have RMS 1 over the frame. Both axes are
    added, so that this compares with `icefloe.scoring.residual_motion`.

    Parameters
    ----------
    systems
        Of each axis, None where there is no maximum: the error then is the prior's alone.
    prior
        (N, N), inverse covariance, 1/pixel^2.
    times
        (F, J), splines of local motion at the frames.
    """
    n, knots = times.shape
    centre = np.eye(n) - 1 / n
    seen = centre @ times
    total = 0.0
    for system in systems:
        information = prior if system is None else system[0] + prior
        covariance = np.linalg.inv(information)
        total += float(np.trace(centre @ covariance[:n, :n] @ centre)) / n
        for start in range(n, len(prior), max(knots, 1)):
            block = covariance[start : start + knots, start : start + knots]
            total += float(np.trace(seen @ block @ seen.T)) / n
    return float(np.sqrt(max(total, 0.0)))


def patch_residuals(
    gradient: FloatArray, moments: FloatArray, factor: int, redundancy: float
) -> FloatArray:
    """Return the motion that the field leaves in each patch, unbinned pixels, RMS over frames.

    Every patch of every frame says by itself where it should go still: its gradient over the
    curvature of its patch. What noise alone would make of that is taken off; 0 where nothing else
    is left.

    Parameters
    ----------
    gradient, moments
        (P, F, 2) and (P, F, 8), from `icefloe.kernels.correlate` at the fitted motion.
    factor
        Unbinned pixels in a binned one.
    redundancy
        Of overlapping patches.
    """
    curvature = np.maximum(moments[..., :2].mean(axis=1), 1e-30)
    found = np.mean(gradient**2, axis=1) / curvature**2
    noise = redundancy * np.mean(moments[..., 2:4], axis=1) / curvature**2
    left = np.maximum(0.0, np.sum(found - noise, axis=-1))
    return np.asarray(factor * np.sqrt(left))
