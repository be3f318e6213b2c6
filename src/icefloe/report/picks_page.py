"""A page about picks: what more or fewer of them would be, and why the border lies where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.picking.threshold import ScoreSplit
from icefloe.report import figures

__all__ = ["InspectedMicrograph", "WindowSheet", "inspection_page", "micrograph_figures"]

# Chance of being a particle at which the looser and the stricter overlay are drawn.
_LOOSER, _STRICTER = 0.1, 0.9


@dataclass(frozen=True)
class InspectedMicrograph:
    """A micrograph, its picks and what was not picked.

    Attributes
    ----------
    name
        Of the micrograph.
    picture
        WebP of it, row 0 on top.
    shape
        (ny, nx) of the micrograph.
    pixel_size
        Of the micrograph, A.
    numbers
        Lists `y`, `x`, `score`, `diameter` and, where known, `contrast`, of all peaks.
    threshold, limit
        Lowest score and largest contrast that are picked; a limit of 0 is none.
    reason
        Where the threshold comes from.
    mask
        Where nothing may be picked, over the whole micrograph.
    remarks
        What to know about it.
    split
        How the scores part into noise and particles, as the picker found; None if it is not known.
    """

    name: str
    picture: bytes | None
    shape: tuple[int, int]
    pixel_size: float
    numbers: Mapping[str, Any]
    threshold: float
    limit: float
    reason: str
    mask: BoolArray | None = None
    remarks: tuple[str, ...] = ()
    split: ScoreSplit | None = None

    @property
    def scores(self) -> FloatArray:
        """(n,) of all peaks."""
        return np.asarray(self.numbers["score"], dtype=np.float64)

    @property
    def contrast(self) -> FloatArray:
        """(n,), NaN where it is not known."""
        found = np.asarray(self.numbers.get("contrast") or [], dtype=np.float64)
        return found if len(found) == len(self.scores) else np.full(len(self.scores), np.nan)

    def kept(self, threshold: float | None = None) -> BoolArray:
        """Return which peaks are picked with the threshold, or another one."""
        # What is recorded is rounded; so is the threshold.
        lowest = (self.threshold if threshold is None else threshold) - 1e-4
        keep = self.scores >= lowest
        if self.limit:
            keep &= ~(np.abs(self.contrast) > self.limit)
        return np.asarray(keep)

    def thresholds(self) -> tuple[float, float, float]:
        """Return a looser one, the chosen one, a stricter one."""
        if self.split is None or not self.split.clear:
            step = 0.2 * abs(self.threshold)
            return self.threshold - step, self.threshold, self.threshold + step
        middle = self.split.at(0.5)
        return (
            self.threshold + self.split.at(_LOOSER) - middle,
            self.threshold,
            self.threshold + self.split.at(_STRICTER) - middle,
        )


@dataclass(frozen=True)
class WindowSheet:
    """Windows of one kind side by side.

    Attributes
    ----------
    title
        What they are.
    image
        8-bit picture, (ny, nx).
    count
        Windows shown.
    """

    title: str
    image: AnyArray
    count: int


def micrograph_figures(item: InspectedMicrograph) -> dict[str, bytes]:
    """Return the figures of a micrograph as SVG by name: three overlays, scores, contrast."""
    out = {}
    thresholds = item.thresholds()
    for name, threshold in zip(("looser", "chosen", "stricter"), thresholds, strict=True):
        keep = item.kept(threshold)
        shown = {
            key: np.asarray(item.numbers[key], dtype=np.float64)[keep].tolist()
            for key in ("y", "x", "diameter")
        }
        out[name] = figures.micrograph(
            item.picture,
            item.shape,
            item.pixel_size,
            shown,
            mask=item.mask,
            title=f"{item.name} with {int(keep.sum())} picks above {threshold:.3g}",
        )
    out["scores"] = figures.score_histogram(
        item.scores,
        item.threshold,
        split=item.split,
        others=(thresholds[0], thresholds[2]),
        note=item.reason,
    )
    out["contrast"] = figures.score_contrast(item.scores, item.contrast, item.threshold, item.limit)
    return out


def inspection_page(
    title: str,
    items: Sequence[InspectedMicrograph],
    sheets: Sequence[WindowSheet],
    *,
    facts: Sequence[str] = (),
    evidence: bytes | None = None,
    templates: bytes | None = None,
) -> str:
    """Return one self-contained HTML page.

    Parameters
    ----------
    title
        What was inspected.
    items
        The micrographs shown.
    sheets
        Windows of accepted, borderline and rejected places.
    facts
        Lines for the head: method, totals, how to change the threshold.
    evidence
        Figure of why the diameter is what it is.
    templates
        WebP of the templates.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    panels = []
    for item in items:
        drawn = {k: Markup(v.decode()) for k, v in micrograph_figures(item).items()}
        counts = [int(item.kept(t).sum()) for t in item.thresholds()]
        panels.append((item, drawn, list(zip(item.thresholds(), counts, strict=True))))
    source = resources.files("icefloe.report").joinpath("picks.html").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(source).render(
        title=title,
        facts=facts,
        panels=panels,
        sheets=[(s, figures.picture(figures.to_webp(s.image, 80))) for s in sheets],
        evidence=None if evidence is None else Markup(evidence.decode()),
        templates=None if templates is None else figures.picture(templates),
    )
