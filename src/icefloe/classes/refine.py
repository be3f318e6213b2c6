"""Class averages in place of a round template, where they do better on the same micrographs.

A round template finds particles without being told anything, and for those that are round nothing
is better. What it finds is classified; the best averages become templates, and the particles'
longest extent is measured in them: the average of long particles in all directions hides it.
Whether the averages do better is decided without a truth, by how far apart the scores of particles
and of noise lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, label

from icefloe._types import AnyArray, FloatArray
from icefloe.classes.bootstrap import TemplatesFromPicks, templates_from_picks
from icefloe.classes.ranking import otsu
from icefloe.classes.settings import ClassifySettings
from icefloe.errors import InputError
from icefloe.optics import CtfParameters
from icefloe.picking.match_settings import MatchSettings
from icefloe.picking.scored import picks_from_maps
from icefloe.picking.template import score_maps
from icefloe.picking.threshold import CLEAR, usual_parts

if TYPE_CHECKING:
    from icefloe.picking import Picks, TemplateBank

__all__ = ["Refinement", "longest_extent", "refine_templates"]

# Fewer particles make no averages that are worth a comparison.
_FEWEST = 100
# Particles looked at to find their length, in how many classes, and how far out: in diameters of
# the round template, and, where they are longer, once more in lengths found.
_LOOKED_AT, _CLASSES, _LOOK, _LOOK_AGAIN = 500, 10, 1.6, 1.4
# Particles that are so much longer than the round template are not round.
_LONGER = 1.15
# So many times farther apart must the scores of particles and noise lie: of particles that a round
# template is as wide as, and of longer ones, for which it is wrong (docs/classes.md).
_BETTER, _BETTER_LONG = 1.2, 1.05
_PROMISING = 1.1
# Particles that make the templates, and of one class.
_ENOUGH, _PER_CLASS = 1200, 60
# Choices about which of the scores are picks; what is compared here takes them as they come.
_AFTERWARDS = ("threshold", "max_score", "min_power", "max_power", "max_picks", "min_distance")


@dataclass(frozen=True)
class Refinement:
    """What became of a round template.

    Attributes
    ----------
    bank
        Templates from class averages, their diameter the particles' length; None where the round
        one stays.
    reason
        Why, as a sentence.
    numbers
        What it was decided by, JSON-able.
    tried
        The templates from class averages, taken or not; None where there are none.
    """

    bank: TemplateBank | None
    reason: str
    numbers: dict[str, Any]
    tried: TemplateBank | None = None


def refine_templates(
    images: Sequence[FloatArray],
    ctfs: Sequence[CtfParameters] | None,
    bank: TemplateBank,
    *,
    pixel_size: float,
    settings: MatchSettings | None = None,
) -> Refinement:
    """Classify what a round template finds and see whether the averages find it better.

    Parameters
    ----------
    images
        Micrographs (ny, nx).
    ctfs
        Of each; with them averages are corrected for the CTF, and shown through each micrograph's
        when they are matched.
    bank
        The round template, of `bootstrap_bank`.
    pixel_size
        Of the micrographs, A.
    settings
        A diameter given there is kept.
    """
    settings = settings or MatchSettings()
    defaults = MatchSettings()
    plain = settings.model_copy(update={k: getattr(defaults, k) for k in _AFTERWARDS})
    trial = _Trial(images, ctfs, pixel_size, plain)
    # What other micrographs say would hide where a template cannot tell particles from noise.
    own = replace(bank, usual=None)
    maps = [score_maps(image, own, pixel_size=pixel_size, settings=plain) for image in images]
    picks = [picks_from_maps(m, plain) for m in maps]
    total = sum(len(p) for p in picks)
    first = settings.diameter or bank.diameter
    numbers: dict[str, Any] = {
        "particles": total,
        "diameter_round": round(float(first), 2),
        "separation_round": _rounded([p.separation for p in picks]),
    }
    if total < _FEWEST:
        reason = f"the round template found {total} particles, and classes need {_FEWEST}"
        return Refinement(None, reason, numbers)
    before, clear = np.array([p.separation for p in picks]), _clear(picks)
    best: TemplateBank | None = None
    try:
        length = first
        if settings.diameter is None:
            length, numbers["lengths"] = trial.length(picks, first)
        longer = length >= _LONGER * first
        diameter = float(length if longer else first)
        if longer:
            # Not several on each of them.
            picks = [picks_from_maps(replace(m, diameter=diameter), plain) for m in maps]
        ratio, lost = 0.0, 0
        # Picks by averages are better centred than those by a round template, and make better
        # averages in turn. Round particles are tried with few first, since they rarely gain.
        for turn in range(2):
            if turn and not longer and ratio < _PROMISING:
                break
            made, found = trial.classes(picks, diameter, _ENOUGH if longer or turn else _LOOKED_AT)
            after = np.array([p.separation for p in found])
            gain = float(np.median(after / np.maximum(before, 1e-6)))
            if gain > ratio:
                ratio, best, lost = gain, made, clear - _clear(found)
                numbers |= {"separation_classes": _rounded(after), "templates": len(made.images)}
            picks = found
    except InputError as error:  # too few windows lie inside the micrographs
        return Refinement(None, f"no classes could be made ({error.found})", numbers)
    needed = _BETTER_LONG if longer else _BETTER
    numbers |= {"ratio": round(ratio, 3), "needed": needed}
    what = f"lie {ratio:.2f} times as far apart with class averages as with the round template"
    if best is None or ratio < needed:
        return Refinement(None, f"scores of particles and noise {what}", numbers, best)
    if lost > 0:  # no threshold could be found there
        what += f", but in {lost} more of the micrographs they cannot be told apart"
        return Refinement(None, f"scores of particles and noise {what}", numbers, best)
    return Refinement(best, f"scores of particles and noise {what}", numbers, best)


@dataclass(frozen=True)
class _Trial:
    images: Sequence[FloatArray]
    ctfs: Sequence[CtfParameters] | None
    pixel_size: float
    settings: MatchSettings

    def made(
        self,
        picks: Sequence[Picks],
        diameter: float,
        most: int,
        classes: int,
        finest: float,
        iterations: int = 20,
    ) -> TemplatesFromPicks:
        share = most / max(1, sum(len(p) for p in picks))
        return templates_from_picks(
            self.images, [_some(p, share) for p in picks], self.ctfs, self.pixel_size, diameter,
            bright=self.settings.contrast == "bright",
            settings=ClassifySettings(
                classes=classes, diameter=diameter, resolution=finest, iterations=iterations,
                # Pixels just fine enough: their number is what takes time.
                bin_to=max(4.0, 0.4 * finest),
            ),
        )  # fmt: skip

    def length(self, picks: Sequence[Picks], first: float) -> tuple[float, list[dict[str, Any]]]:
        """Return the length, A, of the usual particle, and what was seen."""
        steps: list[dict[str, Any]] = []
        length, reach = first, _LOOK * first
        for turn in range(2):
            if turn and length < _LONGER * first:
                break
            reach = _LOOK_AGAIN * length if turn else reach
            found = self.made(
                picks, reach, _LOOKED_AT, _CLASSES, max(20.0, reach / 8), iterations=12
            )
            seen = found.classification
            extents = np.array([longest_extent(i, seen.pixel_size, reach) for i in seen.images])
            sizes = np.array([rank.population for rank in seen.ranks])
            length = _weighted_median(extents, sizes)
            steps.append(
                {
                    "reach": round(reach, 1),
                    "extents": np.round(extents, 1).tolist(),
                    "populations": sizes.tolist(),
                    "length": round(length, 1),
                }
            )
        return length, steps

    def classes(
        self, picks: Sequence[Picks], diameter: float, most: int
    ) -> tuple[TemplateBank, list[Picks]]:
        """Return templates from at most so many picks, and what they find."""
        count = min(most, sum(len(p) for p in picks))
        finest = max(15.0, 2 * diameter / self.settings.samples)
        classes = int(np.clip(count // _PER_CLASS, _CLASSES, 50))
        made = self.made(picks, diameter, most, classes, finest).bank
        bank = replace(made, diameter=diameter)
        lenses: Sequence[CtfParameters | None] = self.ctfs or [None] * len(self.images)
        found = [
            picks_from_maps(
                score_maps(image, bank, pixel_size=self.pixel_size, settings=self.settings,
                           ctf=lens),
                self.settings,
            )
            for image, lens in zip(self.images, lenses, strict=True)
        ]  # fmt: skip
        splits = [p.split for p in found if p.split is not None and p.split.clear]
        return replace(bank, usual=usual_parts(splits)), found


def longest_extent(image: FloatArray, pixel_size: float, reach: float) -> float:
    """Return the longest extent, A, of what stands out in the middle of an average.

    Parameters
    ----------
    image
        (n, n), bright particle.
    pixel_size
        A.
    reach
        Diameter, A, of the circle that is looked at.
    """
    n = image.shape[0]
    width = reach / pixel_size
    c = np.arange(n) - n // 2
    r = np.hypot(c[:, None], c[None, :])
    smooth = gaussian_filter(np.asarray(image, dtype=np.float64), 0.03 * width)
    inside = r <= 0.55 * width
    groups, found = label((smooth > otsu(smooth[inside])) & inside)
    if not found:
        return 0.0
    # Neighbours are other pieces than the one nearest the middle.
    nearest = int(groups.ravel()[np.where(groups > 0, r, np.inf).argmin()])
    points = np.argwhere(groups == nearest).astype(np.float64)
    angles = np.deg2rad(np.arange(0, 180, 5))
    spans = np.ptp(points @ np.stack([np.sin(angles), np.cos(angles)]), axis=0)
    return float(spans.max() + 1) * pixel_size


def _some(picks: Picks, share: float) -> tuple[FloatArray, FloatArray]:
    """Return y and x of a share of picks, evenly taken from the best to the worst."""
    n = len(picks)
    chosen = np.unique(np.linspace(0, n - 1, max(1, round(n * min(1.0, share)))).astype(np.intp))
    chosen = chosen[:n]
    return picks.y[chosen], picks.x[chosen]


def _clear(picks: Sequence[Picks]) -> int:
    """Return in how many micrographs particles can be told from noise."""
    return sum(p.separation > CLEAR for p in picks)


def _weighted_median(values: FloatArray, weights: AnyArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(np.asarray(weights)[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def _rounded(values: Any) -> list[float]:
    return [round(float(v), 3) for v in values]
