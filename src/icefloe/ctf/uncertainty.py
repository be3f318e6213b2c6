"""Standard errors of the numbers of a CTF, from the covariance of the fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.optics import CtfParameters

__all__ = ["CtfErrors", "errors_of", "half_difference"]

# Standard deviation of an axis that may point anywhere, degrees.
_ANY_AXIS = 180 / math.sqrt(12)


@dataclass(frozen=True)
class CtfErrors:
    """Standard errors.

    Attributes
    ----------
    defocus, defocus_u, defocus_v
        Of the mean, largest and smallest defocus, A.
    astigmatism
        Of U - V along its axis, A. Where it is no larger than this, U - V comes out too large.
    angle
        Of the azimuth of U, degrees; 52, that of an axis that may point anywhere, at most.
    phase_shift
        Degrees; 0 where it was not fitted.
    """

    defocus: float
    defocus_u: float
    defocus_v: float
    astigmatism: float
    angle: float
    phase_shift: float


def errors_of(parameters: CtfParameters, covariance: FloatArray) -> CtfErrors:
    """Return the standard errors of `parameters`.

    Parameters
    ----------
    parameters
        The optics fitted.
    covariance
        (4, 4) of the mean defocus, of a and b in ``D + a cos 2t + b sin 2t``, A, and of the
        phase shift, radians.
    """
    turn = 2 * math.radians(parameters.defocus_angle)
    half = 0.5 * parameters.astigmatism
    c, s = math.cos(turn), math.sin(turn)

    def error(d: float, a: float, b: float) -> float:
        v = np.array([d, a, b])
        variance = float(np.einsum("i,ij,j", v, covariance[:3, :3], v))
        return math.sqrt(variance) if variance >= 0 else math.inf

    across = error(0.0, -s, c)
    angle = math.degrees(0.5 * across / half) if half > 0 else math.inf
    return CtfErrors(
        error(1.0, 0.0, 0.0),
        error(1.0, c, s),
        error(1.0, -c, -s),
        2 * error(0.0, c, s),
        min(angle, _ANY_AXIS),
        math.degrees(math.sqrt(covariance[3, 3])),
    )


def half_difference(first: CtfParameters, second: CtfParameters) -> CtfErrors:
    """Return the standard errors of a mean of two fits that halves of the data make apparent.

    Half the difference of two independent estimates, as from the spectra of odd and of even
    frames, is one draw of the error of their mean. The astigmatisms are compared along the axis of
    their mean.
    """
    a, b = (p.astigmatism * np.exp(2j * math.radians(p.defocus_angle)) for p in (first, second))
    mean, apart = 0.5 * (a + b), 0.5 * (a - b)
    unit = mean / abs(mean) if abs(mean) > 0 else 1.0
    along = (apart * np.conj(unit)).real
    turn = (first.defocus_angle - second.defocus_angle + 90) % 180 - 90
    phase = (first.phase_shift - second.phase_shift + 90) % 180 - 90
    return CtfErrors(
        0.5 * abs(first.defocus - second.defocus),
        0.5 * abs(first.defocus_u - second.defocus_u),
        0.5 * abs(first.defocus_v - second.defocus_v),
        float(abs(along)),
        0.5 * abs(turn),
        0.5 * abs(phase),
    )
