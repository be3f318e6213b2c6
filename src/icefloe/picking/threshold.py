"""Where the scores of particles begin and those of noise end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from icefloe._types import AnyArray, FloatArray

__all__ = ["CLEAR", "ScoreSplit", "part_scores", "split_scores"]

# Below this separation a two-part fit only cuts one part in two, and so does a cut as low as
# `_LOWEST`: in 40 images of pure noise one or the other held wherever more than 3 peaks were kept.
CLEAR = 2.2
_LOWEST = 2.2
# So far apart a low cut is believed: where strong particles fill the image, its robust deviation is
# theirs, and scores are small numbers. Of 36 images of noise none had a low cut with more than 3.1.
_FAR = 4.0
_FEWEST = 3
_SAFE = 4.0
_BINS = 256


@dataclass(frozen=True)
class ScoreSplit:
    """Two populations of peak heights.

    Attributes
    ----------
    threshold
        Score at which a peak is as likely noise as particle.
    separation
        Distance of the two means in units of their common standard deviation.
    clear
        Whether there are two populations; otherwise `threshold` is far above the noise.
    low, high, width
        Means of the fitted normal distributions of noise and particles, and their common standard
        deviation; NaN without a fit.
    share
        Part of the peaks that belongs to the particles, 0 to 1; NaN without a fit.
    counts, edges
        Histogram of the peak heights, (n,) and (n + 1,).
    reason
        Why the threshold is where it is, as a sentence.
    """

    threshold: float
    separation: float
    clear: bool
    low: float = float("nan")
    high: float = float("nan")
    width: float = float("nan")
    share: float = float("nan")
    counts: AnyArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64), repr=False)
    edges: FloatArray = field(default_factory=lambda: np.zeros(1), repr=False)
    reason: str = ""

    def curves(self, score: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the fitted peaks of noise and of particles in a bin around each score.

        Their sum fits `counts` at the middles of `edges`; they cross at `threshold` if `clear`.
        """
        step = float(self.edges[1] - self.edges[0]) if self.edges.size > 1 else 1.0
        scale = float(self.counts.sum()) * step / (np.sqrt(2 * np.pi) * self.width)
        noise = np.exp(-0.5 * ((score - self.low) / self.width) ** 2)
        particles = np.exp(-0.5 * ((score - self.high) / self.width) ** 2)
        return np.asarray((1 - self.share) * scale * noise), np.asarray(
            self.share * scale * particles
        )


def split_scores(scores: FloatArray) -> ScoreSplit:
    """Tell particles from noise by fitting two normal distributions of one common width.

    The widths are tied because a free width lets the particles' part swallow the upper tail of the
    noise: on real micrographs that lowered the threshold and the F1.

    Parameters
    ----------
    scores
        (n,), heights of all local maxima above zero in one micrograph.
    """
    v = np.sort(np.asarray(scores, dtype=np.float64))
    if v.size < 20:
        reason = f"only {v.size} peaks, too few to tell particles from noise: {_SAFE:g} is safe"
        return ScoreSplit(_SAFE, 0.0, False, reason=reason)
    counts, edges = np.histogram(v, bins=_BINS, range=(0.0, float(v[-1]) * (1 + 1e-6)))
    middles = 0.5 * (edges[1:] + edges[:-1])
    # Two starts, since a few particles among many noise peaks are a small tail.
    fits = [_fit(middles, counts, start) for start in (_otsu(v), float(np.quantile(v, 0.97)))]
    low, high, width, share, _ = max(fits, key=lambda fit: fit[4])
    separation = (high - low) / width
    # Equal posterior of the two parts.
    crossing = 0.5 * (low + high) + width**2 / (high - low) * np.log((1 - share) / share)
    lowest = low if separation >= _FAR else max(low, _LOWEST)
    clear = separation >= CLEAR and lowest < crossing < high + width
    if not clear or share * v.size < _FEWEST:
        centre = float(np.median(v))
        spread = 1.4826 * float(np.median(np.abs(v - centre)))
        threshold = max(_SAFE, centre + 4 * spread)
        reason = (
            f"particles do not stand out from the noise ({separation:.1f} standard deviations; "
            f"{CLEAR:g} are needed): {threshold:.2f} is far above the noise"
        )
        found = ScoreSplit(threshold, min(float(separation), CLEAR), False, reason=reason)
    else:
        reason = (
            f"noise peaks at {low:.1f} and particles at {high:.1f}, {separation:.1f} standard "
            f"deviations apart; at {crossing:.2f} a peak is as likely the one as the other"
        )
        found = ScoreSplit(float(crossing), float(separation), True, reason=reason)
    return replace(found, low=low, high=high, width=width, share=share, counts=counts, edges=edges)


def part_scores(scores: FloatArray) -> float:
    """Return the score at which the variance between what is above and below is largest.

    Otsu (1979), IEEE Trans. Syst. Man Cybern. 9, 62. It parts noise as well as anything.
    """
    return _otsu(np.sort(np.asarray(scores, dtype=np.float64))) if len(scores) > 1 else _SAFE


def _otsu(v: FloatArray) -> float:
    """Return the cut that maximises the variance between the two sides; `v` is sorted."""
    n = v.size
    total = np.cumsum(v)
    k = np.arange(1, n)
    below, above = total[:-1] / k, (total[-1] - total[:-1]) / (n - k)
    best = int(np.argmax(k * (n - k) * (above - below) ** 2))
    return float(0.5 * (v[best] + v[best + 1]))


def _fit(v: FloatArray, counts: AnyArray, start: float) -> tuple[float, float, float, float, float]:
    """Fit a histogram by expectation and maximisation from a first cut at `start`.

    Returns
    -------
    tuple
        Both means, the common width, the share of the upper part and the log-likelihood.
    """
    weight = counts / counts.sum()
    upper = (v > start).astype(np.float64)
    if not 0 < upper @ weight < 1:
        upper = (v > v @ weight).astype(np.float64)
    low = high = width = share = 0.0
    likelihood = -np.inf
    for _ in range(300):
        previous = likelihood
        share = float(np.clip(upper @ weight, 1e-6, 1 - 1e-6))
        low = float(((1 - upper) * v) @ weight) / (1 - share)
        high = float((upper * v) @ weight) / share
        variance = float(((1 - upper) * (v - low) ** 2 + upper * (v - high) ** 2) @ weight)
        width = max(variance**0.5, 1e-6)
        a = np.log(1 - share) - 0.5 * ((v - low) / width) ** 2
        b = np.log(share) - 0.5 * ((v - high) / width) ** 2
        joint = np.logaddexp(a, b)
        upper = np.exp(b - joint)
        likelihood = float(joint @ weight) - float(np.log(width))
        if likelihood - previous < 1e-9:
            break
    return low, high + 1e-9, width, share, likelihood
