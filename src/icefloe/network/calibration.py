"""From the height of a peak to the probability that the pick is right."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from icefloe._types import AnyArray, BoolArray, FloatArray

__all__ = ["Calibration", "isotonic", "logit", "platt", "reliability"]

_LEAST = 1e-4


class Calibration(BaseModel):
    """A monotonous curve through `heights` and `chances`, then a line over the log-odds.

    The curve comes from simulated truth; the line is fitted to a user's own validation picks
    (Platt 1999) and is that of identity without any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    heights: tuple[float, ...] = Field(default=(0.0, 1.0), description="Of peaks, rising.")
    chances: tuple[float, ...] = Field(default=(0.0, 1.0), description="That such a pick is right.")
    slope: float = Field(default=1.0, gt=0, description="Of the line over the log-odds.")
    offset: float = Field(default=0.0, description="Of the line over the log-odds.")

    def __call__(self, heights: FloatArray) -> FloatArray:
        """Return probabilities of peaks of these heights."""
        odds = logit(np.interp(heights, self.heights, self.chances))
        return np.asarray(1 / (1 + np.exp(-(self.slope * odds + self.offset))))


def logit(chance: FloatArray) -> FloatArray:
    """Return the log-odds, within reason."""
    inside = np.clip(chance, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(inside / (1 - inside)))


def isotonic(heights: FloatArray, right: BoolArray, knots: int = 60) -> Calibration:
    """Return the monotonous curve that fits best (pool adjacent violators), strictly rising.

    Parameters
    ----------
    heights
        (n,) of peaks.
    right
        (n,) whether each was right.
    knots
        About how many points the curve has.
    """
    order = np.argsort(heights, kind="stable")
    x = np.asarray(heights, dtype=np.float64)[order]
    y = np.asarray(right, dtype=np.float64)[order]
    parts = np.array_split(np.arange(len(x)), min(4 * knots, max(1, len(x) // 20)))
    blocks: list[list[float]] = []  # sum of heights, of right ones, number
    for part in parts:
        blocks.append([float(x[part].sum()), float(y[part].sum()), float(len(part))])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][2] >= blocks[-1][1] / blocks[-1][2]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    centres = np.array([b[0] / b[2] for b in blocks])
    # A step more or less keeps 0 and 1 out of small blocks.
    chances = np.array([(b[1] + 0.5) / (b[2] + 1) for b in blocks])
    chances = np.maximum.accumulate(chances)
    # Equal chances would make equal scores, and scores must still rank: a slight rise.
    chances = chances + 1e-4 * np.arange(len(chances)) / max(1, len(chances))
    x_knots = np.concatenate([[0.0], centres, [1.0]])
    low = chances[0] * min(1.0, 0.5)
    y_knots = np.concatenate([[low], chances, [max(chances[-1], 0.5 + 0.5 * chances[-1])]])
    keep = np.concatenate([[True], np.diff(x_knots) > 1e-9])
    return Calibration(
        heights=tuple(np.round(x_knots[keep], 6).tolist()),
        chances=tuple(np.round(np.clip(y_knots[keep], 0, 1), 6).tolist()),
    )


def platt(
    before: Calibration, heights: FloatArray, right: BoolArray, trust: float = 20.0
) -> Calibration:
    """Return `before` with a line over its log-odds that fits these picks.

    A normal prior holds the line to that of before, so that few picks change little.

    Parameters
    ----------
    before
        What is known without these picks.
    heights, right
        (n,) of peaks, and whether each was right.
    trust
        How many picks the prior is worth, about.
    """
    odds = logit(np.interp(heights, before.heights, before.chances))
    design = np.stack([odds, np.ones_like(odds)], axis=1)
    prior = np.array([before.slope, before.offset])
    weight = np.diag([trust / 4, trust / 4])
    line = prior.copy()
    target = np.asarray(right, dtype=np.float64)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ line))
        slope = design.T @ (target - chance) - weight @ (line - prior)
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + weight
        step = np.linalg.solve(curve, slope)
        # Far from the optimum Newton's step is too long.
        line = line + step * min(1.0, 1.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-6:
            break
    return before.model_copy(
        update={"slope": round(float(max(line[0], 0.05)), 6), "offset": round(float(line[1]), 6)}
    )


def reliability(
    scores: FloatArray, right: BoolArray, bins: int = 10
) -> tuple[FloatArray, FloatArray, AnyArray]:
    """Return mean score, share of right picks and number in equal bins of the score.

    Returns
    -------
    tuple
        Three arrays (bins,); NaN where a bin is empty.
    """
    index = np.clip((np.asarray(scores) * bins).astype(np.intp), 0, bins - 1)
    number = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        said = np.bincount(index, scores, minlength=bins) / number
        true = np.bincount(index, np.asarray(right, dtype=np.float64), minlength=bins) / number
    return said, true, number
