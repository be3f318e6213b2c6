"""Where the scores of particles begin and those of noise end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.picking.robust import centre_and_spread

__all__ = [
    "CLEAR",
    "ScoreSplit",
    "part_scores",
    "split_as",
    "split_particles",
    "split_scores",
    "usual_parts",
]

# Below this separation a two-part fit only cuts one part in two, and so does a cut as low as
# `_LOWEST`: in 40 images of pure noise one or the other held wherever more than 3 peaks were kept.
CLEAR = 2.2
_LOWEST = 2.2
# So far apart a low cut is believed: where strong particles fill the image, its robust deviation is
# theirs, and scores are small numbers. Of 36 images of noise none had a low cut with more than 3.1.
_FAR = 4.0
# Or where a valley parts the heights: so many of its own standard deviations below the lower of the
# two hills. Of 599 images of noise none had more than 3.
_DEEP = 4.0
# Or where the upper part is so high: the upper half of noise's peaks is not. Of 562 images of noise
# with a low cut none had it above 2.8.
_HIGH = 3.1
_FEWEST = 3
_SAFE = 4.0
# Fewer peaks than that, far above all others, are contamination if so many particles, so far from
# the noise, show without them.
_HANDFUL, _APART = 5, 3.0
# So far from the noise of other micrographs to their particles the mean of all peaks is not noise.
_PARTICLES = 0.7
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
    ceiling
        Score above which a few peaks are those of contamination; infinite without such.
    borrowed
        Whether the two parts are those of other micrographs (`split_as`).
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
    ceiling: float = float("inf")
    borrowed: bool = False

    def at(self, chance: float) -> float:
        """Return the score of a peak that is a particle with this probability, 0 to 1."""
        odds = np.log(chance / (1 - chance) * (1 - self.share) / self.share)
        return float(0.5 * (self.low + self.high) + self.width**2 / (self.high - self.low) * odds)

    def scaled(self, factor: float, offset: float) -> ScoreSplit:
        """Return the split of scores that are `factor` times these, plus `offset`."""
        scores = ("threshold", "low", "high", "ceiling")
        changed: dict[str, Any] = {k: factor * getattr(self, k) + offset for k in scores}
        changed |= {"width": factor * self.width, "edges": factor * self.edges + offset}
        moved = replace(self, **changed)
        return replace(moved, reason=_why(moved))

    def numbers(self) -> dict[str, Any]:
        """Return what a sidecar records: the two parts, if there are two, and the reason."""
        parts = {k: round(getattr(self, k), 5) for k in ("low", "high", "width", "share")}
        first = {"threshold": round(self.threshold, 5), "separation": round(self.separation, 3)}
        return {
            **first,
            "clear": self.clear,
            "reason": self.reason,
            **(parts if self.clear else {}),
        }

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> ScoreSplit:
        """Return the split that `numbers` were of, without its histogram."""
        return cls(**{k: v for k, v in numbers.items() if k in cls.__dataclass_fields__})

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
        few = ScoreSplit(_SAFE, 0.0, False, counts=np.array([v.size]))
        return replace(few, reason=_why(few))
    counts, edges = np.histogram(v, bins=_BINS, range=(0.0, float(v[-1]) * (1 + 1e-6)))
    middles = 0.5 * (edges[1:] + edges[:-1])
    # Two starts, since a few particles among many noise peaks are a small tail.
    fits = [_fit(middles, counts, start) for start in (_otsu(v), float(np.quantile(v, 0.97)))]
    low, high, width, share, _ = max(fits, key=lambda fit: fit[4])
    separation = (high - low) / width
    # Equal posterior of the two parts.
    crossing = 0.5 * (low + high) + width**2 / (high - low) * np.log((1 - share) / share)
    if crossing > _LOWEST:
        lowest = max(low, _LOWEST)
    else:
        believed = separation >= _FAR or high >= _HIGH or _valley(v, low, high, width) >= _DEEP
        lowest = low if believed else _LOWEST
    clear = separation >= CLEAR and lowest < crossing < high + width
    if not clear or share * v.size < _FEWEST:
        centre, spread = centre_and_spread(v)
        threshold = max(_SAFE, centre + 4 * spread)
        found = ScoreSplit(threshold, min(float(separation), CLEAR), False)
    else:
        found = ScoreSplit(float(crossing), float(separation), True)
    found = replace(found, low=low, high=high, width=width, share=share, counts=counts, edges=edges)
    return replace(found, reason=_why(found))


def split_particles(scores: FloatArray) -> ScoreSplit:
    """Tell particles from noise where a few peaks of contamination may be far above both.

    As `split_scores`, but a handful of peaks does not count as the particles if more show below.
    """
    v = np.asarray(scores, dtype=np.float64)
    split = split_scores(v)
    # One or two peaks are no population, but they can be all that the fit sees.
    above = v > (split.threshold if split.clear else split.at(0.5))
    if 0 < np.count_nonzero(above) < _HANDFUL:
        rest = split_scores(v[~above])
        found = np.count_nonzero(v[~above] > rest.threshold)
        if rest.clear and rest.separation >= _APART and found >= _HANDFUL:
            return replace(rest, ceiling=float(v[above].min()))
    return split


def usual_parts(splits: Sequence[ScoreSplit]) -> tuple[float, float, float] | None:
    """Return the medians of means and width of some splits; None if there are none."""
    if not splits:
        return None
    low, high, width = np.median([(s.low, s.high, s.width) for s in splits], axis=0).tolist()
    return low, high, width


def split_as(scores: FloatArray, parts: tuple[float, float, float]) -> ScoreSplit | None:
    """Tell particles from noise whose scores are as in other micrographs; only shares differ.

    For a micrograph that cannot be split by itself, because hardly any peak is noise, or few
    are particles.

    Parameters
    ----------
    scores
        (n,) heights of local maxima, as the other micrographs' were.
    parts
        Means of noise and particles and their common standard deviation there.

    Returns
    -------
    ScoreSplit or None
        None where particles are too few, or where one normal distribution explains the scores as
        well and is not at the particles': then what is unlike the usual noise is another noise.
    """
    v = np.asarray(scores, dtype=np.float64)
    low, high, width = parts
    if len(v) < 2 * _HANDFUL:
        return None
    noise, particles = (-0.5 * ((v - mean) / width) ** 2 for mean in (low, high))
    share = 0.5
    for _ in range(200):
        joint = np.logaddexp(np.log(1 - share) + noise, np.log(share) + particles)
        share = float(np.clip(np.exp(np.log(share) + particles - joint).mean(), 1e-6, 1 - 1e-6))
    # Log-likelihoods without the factor that both have.
    both = float(joint.sum()) - len(v) * np.log(width)
    alone = -0.5 * len(v) - len(v) * np.log(max(float(v.std()), 1e-12))
    crossing = 0.5 * (low + high) + width**2 / (high - low) * np.log((1 - share) / share)
    crossing = float(max(crossing, low))
    other_noise = both <= alone and v.mean() < low + _PARTICLES * (high - low)
    if other_noise or np.count_nonzero(v > crossing) < _HANDFUL:
        return None
    counts, edges = np.histogram(v, bins=_BINS, range=(0.0, float(v.max()) * (1 + 1e-6)))
    why = (
        "this micrograph's scores do not part by themselves; with noise and particles scored as in "
        f"the templates' micrographs ({low:.2g} and {high:.2g}) a pick of {crossing:.2f} is as "
        "likely the one as the other"
    )
    return ScoreSplit(
        crossing, (high - low) / width, True, low, high, width, share, counts, edges, why,
        borrowed=True,
    )  # fmt: skip


def _why(split: ScoreSplit) -> str:
    """Return why the threshold is where it is."""
    if split.clear:
        return (
            f"noise peaks at {split.low:.2g} and particles at {split.high:.2g}, "
            f"{split.separation:.1f} standard deviations apart; at {split.threshold:.2f} a peak is "
            "as likely the one as the other"
        )
    if not np.isfinite(split.low):
        n = int(split.counts.sum())
        return (
            f"only {n} peaks, too few to tell particles from noise: {split.threshold:.3g} is safe"
        )
    return (
        f"particles do not stand out from the noise ({CLEAR:g} standard deviations are needed): "
        f"{split.threshold:.2f} is far above the noise"
    )


def _valley(v: FloatArray, low: float, high: float, width: float) -> float:
    """Return how deep a valley parts sorted heights, in standard deviations of its depth.

    Two normal distributions fit one skewed hill as well; that hill has no valley.
    """
    places = np.linspace(low - 0.5 * width, high + 0.5 * width, 41)
    reach = 0.35 * width
    counts = np.searchsorted(v, places + reach) - np.searchsorted(v, places - reach)
    first, last = (int(np.abs(places - mean).argmin()) for mean in (low, high))
    bottom = first + int(counts[first : last + 1].argmin())
    hill = min(int(counts[: bottom + 1].max()), int(counts[bottom:].max()))
    return float((hill - counts[bottom]) / np.sqrt(hill + counts[bottom] + 1))


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
