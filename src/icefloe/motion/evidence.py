"""How strong the priors should be, from the movie itself (empirical Bayes).

The likelihood is nearly a Gaussian of the parameters, and so is the prior: the probability of the
data given only the sizes in the prior, with the motion integrated out, is a closed formula
(MacKay 1992, Neural Computation 4:415). It is maximised over those sizes, each with a log-normal
prior of its own, so that a movie that says little keeps what the settings say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from icefloe._types import FloatArray

__all__ = ["Expectation", "LinearSystem", "log_evidence", "tune"]

# Standard deviations of the logarithms: a factor of e for the whole frame, of 1.6 for local
# motion, of which a movie shows only a few independent terms.
_FREEDOM = {"acceleration": 1.0, "jitter": 1.0, "local_motion": 0.5}
_STEPS = (2.0, 1.5, 1.2, 1.1)

LinearSystem = tuple[FloatArray, FloatArray]
"""Information matrix A (N, N), 1/pixel^2, and slope (N,) of the log-likelihood of one axis."""


@dataclass(frozen=True)
class Expectation:
    """Sizes of the motion that is expected, A; see `track_prior`."""

    acceleration: float
    jitter: float
    local_motion: float


def tune(
    systems: Sequence[LinearSystem],
    theta: Sequence[FloatArray],
    unit: FloatArray,
    settings: Expectation,
    *,
    n_frames: int,
    pixel_size: float,
) -> Expectation:
    """Return the most probable sizes.

    Whole-frame and local motion are looked at one with the other held: they are coupled only
    where signal is spread unevenly over the frame.

    Parameters
    ----------
    systems
        Of each axis, at `theta`.
    theta
        (N,) of each axis, the parameters at which the likelihood was expanded, pixels.
    unit
        (N, N), the prior's inverse covariance with an acceleration and a local motion of 1 A and
        no jitter.
    settings
        The middle of the sizes' own priors.
    n_frames
        The first so many parameters are the whole frame's.
    pixel_size
        A.
    """
    n = n_frames
    bends, vectors = np.linalg.eigh(unit[:n, :n])
    # A constant and a straight track cost nothing, whatever the sizes.
    bends, vectors = bends[2:], vectors[:, 2:]
    whole, local = [], []
    for (matrix, slope), place in zip(systems, theta, strict=True):
        right = matrix[:n, :n] @ place[:n] + slope[:n]
        # In units of its information every frame is alike, so that these modes are independent.
        whole.append((np.sum(vectors * (matrix[:n, :n] @ vectors), axis=0), vectors.T @ right))
        if len(place) > n:
            right = matrix[n:, n:] @ place[n:] + slope[n:]
            information, modes = _modes(matrix[n:, n:], unit[n:, n:])
            local.append((np.maximum(information, 0), modes.T @ right))

    def score(sizes: Expectation) -> float:
        own = bends / (sizes.acceleration**2 + bends * (sizes.jitter / pixel_size) ** 2)
        total = sum(log_evidence(*modes, own) for modes in whole)
        tight = 1 / sizes.local_motion**2
        total += sum(log_evidence(*modes, np.full(len(modes[0]), tight)) for modes in local)
        return total - 0.5 * sum(
            (math.log(getattr(sizes, key) / getattr(settings, key)) / sd) ** 2
            for key, sd in _FREEDOM.items()
        )

    best, found = score(settings), settings
    for step in _STEPS:
        for key in _FREEDOM:
            for factor in (step, 1 / step):
                while True:
                    trial = replace(found, **{key: getattr(found, key) * factor})
                    value = score(trial)
                    if not value > best + 1e-3:
                        break
                    best, found = value, trial
    return found


def _modes(matrix: FloatArray, unit: FloatArray) -> tuple[FloatArray, FloatArray]:
    # Eigenvalues w and vectors V of ``A V = B V w``, V^T B V = 1.
    root = np.linalg.inv(np.linalg.cholesky(unit))
    values, vectors = np.linalg.eigh(root @ matrix @ root.T)
    return values, root.T @ vectors


def log_evidence(information: FloatArray, right: FloatArray, precision: FloatArray) -> float:
    """Return the log-probability of data on independent modes, up to what the prior cannot change.

    Parameters
    ----------
    information
        (M,), what the data know of each mode: one over the variance of their estimates.
    right
        (M,), information times the estimate.
    precision
        (M,), one over the prior's variance; the prior's mean is zero.
    """
    both = information + precision
    return 0.5 * float(np.sum(np.log(precision / both)) + np.sum(right**2 / both))
