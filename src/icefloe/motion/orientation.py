"""Find how a gain reference lies on the detector: the pattern of its inverse in summed frames.

A pixel with gain g counts 1/g of what it should. In a sum of frames the specimen is blurred by
motion and, over several movies, averaged out; the pattern of the pixels stays. Both are
high-passed, and the sum is correlated with the pattern that the gain predicts for each of its 8
orientations, multiplied and divided. The correlation is taken in each of 32 x 32 blocks: their
mean is the score and their spread its error, so no model of the noise is needed and a carbon edge
or a hot column spoils a few blocks only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from icefloe._types import BoolArray, FloatArray
from icefloe.errors import EmptyMovieError, GainShapeError

__all__ = [
    "SIGNIFICANT",
    "USES",
    "GainComparison",
    "GainUse",
    "compare_gain_uses",
    "high_pass_counts",
    "shared_pattern",
    "turned",
    "turned_back",
]

# Below this many sigma nothing is said to be found.
SIGNIFICANT = 5.0
_BOX = 9
_BLOCKS = 32
_CLIP = 6.0
_FLAT = 1e-4


@dataclass(frozen=True, order=True)
class GainUse:
    """One of the 16 ways to use a gain file.

    Attributes
    ----------
    rotate, flip
        As RELION's --gain_rot and --gain_flip. Of two pairs that give the same orientation the
        one with the smaller rotation is used.
    divide
        Frames are divided by the file: it holds responses, not gains.
    """

    rotate: int = 0
    flip: int = 0
    divide: bool = False

    @classmethod
    def make(cls, rotate: int, flip: int, divide: bool = False) -> GainUse:
        """Return the use of any rotation (0-3) and flip (0-2)."""
        if flip and rotate >= 2:  # half a turn is both flips
            rotate, flip = rotate - 2, 3 - flip
        return cls(rotate, flip, divide)

    def __str__(self) -> str:
        verb = "divide" if self.divide else "multiply"
        return f"{verb}, rotate {self.rotate}, flip {self.flip}"


_ORIENTATIONS = ((0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (1, 1), (1, 2))
USES = tuple(GainUse(r, f, d) for d in (False, True) for r, f in _ORIENTATIONS)


@dataclass(frozen=True)
class GainComparison:
    """How well each use of a gain explains the pattern in a sum of frames.

    Attributes
    ----------
    uses
        Those whose shape fits: 16, or 8 for a detector that is not square.
    scores
        (n,), correlation coefficient of the sum with the prediction; the highest is the best.
    blocks
        (n, k), the score's contribution of each of k blocks; they sum to `scores`.
    strength
        RMS of the gain's high-passed pattern, relative.
    amplitude, amplitude_error
        How much of the predicted pattern of the best use the sum shows (1 for the right gain),
        and its standard error.
    """

    uses: tuple[GainUse, ...]
    scores: FloatArray
    blocks: FloatArray
    strength: float
    amplitude: float
    amplitude_error: float

    @property
    def best(self) -> GainUse:
        """The use with the highest score."""
        return self.uses[int(np.argmax(self.scores))]

    def margin(self, one: GainUse, other: GainUse | None = None) -> float:
        """Return by how many sigma a use is better than another, or than no pattern at all.

        Zero where both predict the same (a symmetric or flat gain).
        """
        values = self.blocks[self.uses.index(one)]
        if other is not None:
            values = values - self.blocks[self.uses.index(other)]
        return _sigmas(values)

    @property
    def confidence(self) -> float:
        """Sigma of the best against the second best, or against no pattern if that is less."""
        best = self.best
        margins = [self.margin(best, use) for use in self.uses if use != best]
        return max(0.0, min([self.margin(best), *margins]))

    @property
    def verdict(self) -> str:
        """``found``; ``flat``: the gain has no pattern; ``absent``; or ``unclear``.

        ``absent``: the sum shows less than half of the pattern, with certainty. The movies are
        corrected already, or the gain is another camera's.
        """
        if self.strength < _FLAT:
            return "flat"
        if self.amplitude + SIGNIFICANT * self.amplitude_error < 0.5:
            return "absent"
        return "found" if self.confidence >= SIGNIFICANT else "unclear"


def compare_gain_uses(total: FloatArray, gain: FloatArray) -> GainComparison:
    """Compare all uses of a gain against the sum of raw frames.

    Parameters
    ----------
    total
        (ny, nx), sum of frames as counted, not corrected.
    gain
        (ny, nx) or (nx, ny): the file, at the frames' scale; 0 where pixels are dead.

    Raises
    ------
    GainShapeError
        No orientation of the gain has the frames' shape.
    EmptyMovieError
        The sum holds no counts.
    """
    image = high_pass_counts(total)
    alive = gain > 0
    safe = np.where(alive, gain, 1).astype(np.float32)
    patterns = {
        False: _pattern(1 / safe, alive),
        True: _pattern(safe, alive),
    }
    uses = tuple(u for u in USES if turned(gain, u.rotate, u.flip).shape == total.shape)
    if not uses:
        raise GainShapeError(
            f"No orientation of a gain of {gain.shape[1]} x {gain.shape[0]} pixels fits frames of "
            f"{total.shape[1]} x {total.shape[0]}",
            "a gain of the frames' size",
        )
    power = float(np.sum(np.square(image), dtype=np.float64))
    strength = float(np.sqrt(np.mean(np.square(patterns[False]), dtype=np.float64)))
    sums = np.zeros((len(uses), len(_sum_blocks(image))))
    if strength >= _FLAT and power > 0:
        for i, use in enumerate(uses):
            pattern = patterns[use.divide]
            norm = np.sqrt(power * float(np.sum(np.square(pattern), dtype=np.float64)))
            sums[i] = _sum_blocks(image * turned(pattern, use.rotate, use.flip)) / norm
    scores = sums.sum(axis=1)
    best = int(np.argmax(scores))
    scale = np.sqrt(power / total.size) / max(strength, _FLAT)
    amplitude = float(scores[best] * scale)
    error = float(np.std(sums[best], ddof=1) * np.sqrt(sums.shape[1]) * scale)
    return GainComparison(uses, scores, sums, strength, amplitude, error)


def shared_pattern(one: FloatArray, other: FloatArray) -> tuple[float, float]:
    """Return the pattern that the sums of two different movies have in common.

    The specimen differs between movies; what agrees belongs to the detector.

    Parameters
    ----------
    one, other
        (ny, nx), sums of the frames of different movies.

    Returns
    -------
    rms : float
        RMS of the common pattern, relative to the counts.
    sigma : float
        Its significance.
    """
    sums = _sum_blocks(high_pass_counts(one) * high_pass_counts(other))
    return float(np.sqrt(max(sums.sum(), 0) / one.size)), _sigmas(sums)


def turned(image: FloatArray, rotate: int, flip: int) -> FloatArray:
    """Return a view, turned clockwise by quarters and then flipped (1 up-down, 2 left-right)."""
    view = np.rot90(image, -rotate)
    if flip:
        view = view[::-1] if flip == 1 else view[:, ::-1]
    return view


def turned_back(image: FloatArray, rotate: int, flip: int) -> FloatArray:
    """Return a view that `turned` turns into `image`."""
    return np.rot90(turned(image, 0, flip), rotate)


def high_pass_counts(total: FloatArray) -> FloatArray:
    """Return summed counts relative to their surroundings, (ny, nx) float32, mean about 0.

    Raises
    ------
    EmptyMovieError
        There are no counts.
    """
    level = float(np.mean(total, dtype=np.float64))
    if not level > 0:
        raise EmptyMovieError("The frames hold no counts", "counts above zero")
    # A hot pixel must not lift its surroundings, nor the level of all.
    counts = np.minimum(total, 4 * level + 6).astype(np.float32)
    level = float(np.mean(counts, dtype=np.float64))
    counts = np.minimum(counts, 2 * level + 6 * level**0.5)
    smooth = scipy.ndimage.uniform_filter(counts, _BOX, mode="reflect")
    counts -= smooth
    counts /= np.maximum(smooth, 0.2 * level)
    return _clipped(counts)


def _pattern(response: FloatArray, alive: BoolArray) -> FloatArray:
    """Return a response relative to its surroundings; 0 at dead pixels and for a flat one."""
    typical = float(np.median(response[alive][::7])) if alive.any() else 1.0
    filled = np.where(alive, response, typical)
    smooth = scipy.ndimage.uniform_filter(filled, _BOX, mode="reflect")
    pattern = _clipped((filled - smooth) / np.maximum(smooth, 0.2 * typical))
    return np.where(alive, pattern, 0)


def _clipped(values: FloatArray) -> FloatArray:
    """Limit values to some robust standard deviations: few pixels must not decide alone."""
    low, high = np.percentile(values[::3, ::3], [25, 75])
    spread = float(high - low) / 1.349
    # At few counts the quartiles may coincide; then nothing that was counted is an outlier.
    limit = _CLIP * max(spread, float(np.std(values)))
    return np.clip(values, -limit, limit).astype(np.float32)


def _sum_blocks(values: FloatArray) -> FloatArray:
    """Return the sums over 32 x 32 blocks (fewer for a tiny image), flat, float64."""
    rows, columns = (np.linspace(0, n, min(_BLOCKS, n) + 1).astype(int)[:-1] for n in values.shape)
    sums = np.add.reduceat(values, rows, axis=0, dtype=np.float64)
    return np.asarray(np.add.reduceat(sums, columns, axis=1).ravel())


def _sigmas(values: FloatArray) -> float:
    """Return the mean of values over its standard error; 0 if all are alike."""
    error = float(np.std(values, ddof=1)) / np.sqrt(len(values))
    mean = float(np.mean(values))
    return mean / error if error > 1e-12 * abs(mean) and error > 0 else 0.0
