"""Scores that mean the same in every micrograph of a session.

Particles score higher where the defocus, and with it the contrast, is larger, so one threshold
cannot serve micrographs of different defocus. After the calibration of cryoSPARC's particle picker
(since v2.13): the median score of each micrograph is fitted with a straight line over its defocus,
and scores are given relative to that line. The line is robust (Theil 1950; Sen 1968, J. Am. Stat.
Assoc. 63, 1379), so empty micrographs and contamination do not bend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import FloatArray
from icefloe.errors import InputError
from icefloe.picking.robust import centre_and_spread

__all__ = ["Calibration", "calibrate_scores"]

# Fewer micrographs than that, or a smaller range of defocus (A), fix no line: one level serves.
_FEWEST = 5
_NARROW = 1000.0
# The line never falls below this part of the usual median, however far it is extended.
_LEAST = 0.25


@dataclass(frozen=True)
class Calibration:
    """How the usual score depends on defocus.

    Attributes
    ----------
    slope
        Per A of defocus.
    level
        Expected median score at the defocus `centre`.
    centre
        Median defocus of the micrographs, A.
    scatter
        Robust standard deviation of the medians from the line.
    n_micrographs
        Whose medians were fitted.
    """

    slope: float
    level: float
    centre: float
    scatter: float
    n_micrographs: int

    def expected(self, defocus: ArrayLike) -> FloatArray:
        """Return the expected median score at each defocus, A; the level where it is NaN."""
        away = np.nan_to_num(np.asarray(defocus, dtype=np.float64) - self.centre)
        return np.maximum(self.level + self.slope * away, _LEAST * self.level)

    def relative(self, scores: ArrayLike, defocus: float) -> FloatArray:
        """Return scores of a micrograph over what is expected at its defocus; 1 is usual."""
        return np.asarray(np.asarray(scores, dtype=np.float64) / self.expected(defocus))

    def absolute(self, relative: float, defocus: float) -> float:
        """Return the score that a relative one stands for at a defocus."""
        return float(relative * self.expected(defocus))


def calibrate_scores(scores: Sequence[ArrayLike], defocus: ArrayLike) -> Calibration:
    """Fit how the particles' score depends on defocus.

    Parameters
    ----------
    scores
        Of the picks that the micrograph's own threshold keeps, one array for each micrograph;
        empty ones do not count. Correlations or contrasts alike.
    defocus
        (n,) mean defocus of each micrograph, A; NaN where it is not known.

    Raises
    ------
    InputError
        No micrograph with positive scores, or lists of different lengths.
    """
    z = np.asarray(defocus, dtype=np.float64).reshape(-1)
    if len(scores) != len(z):
        raise InputError(
            f"There are scores of {len(scores)} micrographs and {len(z)} defoci", "one for each"
        )
    values = [np.asarray(s, dtype=np.float64) for s in scores]
    medians = np.array([np.median(v) if v.size else np.nan for v in values])
    counts = np.array([v.size for v in values])
    known = np.isfinite(medians)
    # A micrograph with a few picks only says little: what it has may be contamination.
    if known.any():
        known &= counts >= 0.2 * np.median(counts[known])
    if not known.any() or np.median(medians[known]) <= 0:
        raise InputError("No micrograph has picks with positive scores", "picks to calibrate")
    fitted = known & np.isfinite(z)
    level = float(np.median(medians[known]))
    if fitted.sum() < _FEWEST or np.ptp(z[fitted]) < _NARROW:
        centre = float(np.median(z[fitted])) if fitted.any() else 0.0
        return Calibration(
            0.0, level, centre, centre_and_spread(medians[known])[1], int(known.sum())
        )
    x, y = z[fitted], medians[fitted]
    first, second = np.triu_indices(len(x), 1)
    apart = np.abs(x[second] - x[first]) > 0.05 * np.ptp(x)
    rise = (y[second] - y[first])[apart] / (x[second] - x[first])[apart]
    slope = float(np.median(rise))
    centre = float(np.median(x))
    level = float(np.median(y - slope * (x - centre)))
    rest = y - level - slope * (x - centre)
    return Calibration(slope, level, centre, centre_and_spread(rest)[1], len(x))
