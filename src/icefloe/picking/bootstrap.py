"""A template from the data: how large the particles are, and how they look on average.

The diameter is that of the ball or hollow ball whose correlation separates best from noise, out of
a wide range; the picks of that shape are averaged, centred on each other by picking again with the
average, and the average's own extent is the diameter that everything else is measured in. Where
another size stands out about as clearly, it is tried as well, and judged by how much of the images
its particles explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import InputError
from icefloe.fourier import irfft2
from icefloe.kernels.peaks import find_peaks
from icefloe.picking.bank import TemplateBank, radial_average
from icefloe.picking.blob import standardise
from icefloe.picking.diameter import find_size, size_evidence
from icefloe.picking.junk import whole_mask
from icefloe.picking.match import match_templates
from icefloe.picking.match_settings import MatchSettings
from icefloe.picking.robust import centre_and_spread
from icefloe.picking.template import REACH, MatchField, match_field
from icefloe.picking.templates import blob_template
from icefloe.picking.threshold import split_particles, usual_parts

__all__ = ["Bootstrap", "bootstrap_bank", "size_evidence"]

# Windows a micrograph that are averaged: the best, but not the very best, which are often junk.
_WINDOWS, _SKIPPED = 300, 0.05
_ROUNDS = 3
# A less evident size is taken if its particles explain so many times the variance of the images.
_BETTER = 1.5
# It must find this part of the other's number: a few pieces of dirt can explain much.
_ENOUGH = 0.2
# Height, relative to the highest, that a particle's border has in the average.
_BORDER = 0.2


@dataclass(frozen=True)
class Bootstrap:
    """A template found in the data, and why it is what it is.

    Attributes
    ----------
    bank
        One round template.
    sizes, evidence
        (n,) diameters tried, A, and how far apart the scores of particles and noise lie with the
        better of ball and hollow ball, in their standard deviation, median of the micrographs.
    shape
        ``disc`` or ``ring``, with which the first picks were made.
    n_windows
        Particles in the average.
    visible
        Diameter of that shape, A; not always the one with the largest evidence.
    """

    bank: TemplateBank
    sizes: FloatArray
    evidence: FloatArray
    shape: str
    n_windows: int
    visible: float

    def reason(self) -> str:
        """Return the finding as a sentence."""
        strength = float(np.interp(self.visible, self.sizes, self.evidence))
        return (
            f"a {self.shape} of {self.visible:.0f} A stands out by {strength:.1f} standard "
            "deviations"
        )


@dataclass(frozen=True)
class _Average:
    """A template, the number of windows in it, and what part of the variance it explains."""

    bank: TemplateBank
    n: int
    explained: float
    visible: float = 0.0
    shape: str = ""
    usual: tuple[float, float, float] | None = None


def bootstrap_bank(
    images: Sequence[FloatArray],
    *,
    pixel_size: float,
    settings: MatchSettings | None = None,
) -> Bootstrap:
    """Find the particles' size and average appearance in some micrographs.

    Parameters
    ----------
    images
        A few micrographs, (ny, nx) each; three are enough.
    pixel_size
        A.
    settings
        A diameter given there is taken as it is.

    Raises
    ------
    InputError
        No particles stand out at any size, or no micrograph was given.
    MissingMetadataError
        No positive pixel size.
    """
    settings = settings or MatchSettings()
    bright = settings.contrast == "bright"
    found = find_size(images, pixel_size=pixel_size, bright=bright)
    start = settings.diameter
    candidates = found.candidates() if start is None else ((found.visible, found.shape),)
    best: _Average | None = None
    refused: InputError | None = None
    for visible, shape in candidates:
        size = start or visible
        fields = [
            match_field(image, pixel_size=pixel_size, diameter=size, settings=settings)
            for image in images
        ]
        bank = _blob_bank(min(visible, size), shape, fields[0].pixel_size, REACH * size, size)
        clean = [_clean(f, size, pixel_size, bright) if settings.junk else f for f in fields]
        made = None
        try:
            for _ in range(_ROUNDS):
                made = _average(clean, bank)
                bank = made.bank
        except InputError as error:
            refused = refused or error
            continue
        assert made is not None  # there is more than one round
        # The most evident comes first, and gives way to what explains the images far better.
        if best is None or (
            made.explained > _BETTER * best.explained and made.n > _ENOUGH * best.n
        ):
            best = replace(made, visible=visible, shape=shape)
    if best is None:
        assert refused is not None  # there is at least one candidate
        raise refused
    bank = best.bank
    if start is None:
        # The average of long particles in all directions is narrower than they are.
        diameter = max(best.visible, 2 * _extent(bank))
        bank = replace(bank, diameter=diameter)
    bank = replace(bank, usual=best.usual)
    return Bootstrap(bank, found.sizes, found.evidence, best.shape, best.n, best.visible)


def _blob_bank(
    visible: float, shape: str, pixel_size: float, reach: float, diameter: float
) -> TemplateBank:
    half = int(np.ceil(reach / pixel_size)) + 1
    n = 2 * half + 1
    image = irfft2(np.conj(blob_template(visible / pixel_size, shape, (n, n))), (n, n))
    image = np.roll(np.asarray(image), (half, half), axis=(0, 1))
    return TemplateBank(image[None].astype(np.float32), pixel_size, diameter, False)


def _clean(field: MatchField, diameter: float, pixel_size: float, bright: bool) -> MatchField:
    """Return the field without what is junk: the average is one of particles."""
    junk = whole_mask(field.raw, diameter / pixel_size, pixel_size=pixel_size, bright=bright)
    y, x = (
        ((np.arange(n) + 0.5) * m / n).astype(np.intp)
        for n, m in zip(field.allowed.shape, junk.shape, strict=True)
    )
    return replace(field, allowed=field.allowed & ~junk[np.ix_(y, x)])


def _average(fields: Sequence[MatchField], bank: TemplateBank) -> _Average:
    """Return the radial average of what a round template finds."""
    half = bank.images.shape[1] // 2
    total, n = np.zeros(bank.images.shape[1:]), 0
    explained = area = 0.0
    splits = []
    for field in fields:
        # Sizes of two micrographs may differ, and so their reduced pixels, by less than a percent.
        maps = match_templates(field.image, field.inside, bank)
        score = np.asarray(field.search.crop(maps.score))
        even = standardise(score, field.allowed)
        width = bank.diameter / bank.pixel_size
        places, heights = find_peaks(even, 0.75 * width, 0.0, field.allowed)
        split = split_particles(heights)
        places = places[(heights > split.threshold) & (heights < split.ceiling)]
        at = np.rint(places).astype(np.intp)
        if split.clear:
            centre, spread = centre_and_spread(score[field.allowed])
            splits.append(split.scaled(spread, centre))
        explained += float((score[at[:, 0], at[:, 1]] ** 2).sum()) * width**2
        area += float(np.count_nonzero(field.allowed))
        at = at[int(_SKIPPED * len(at)) :][:_WINDOWS] + field.search.pad
        for y, x in at:
            total += field.image[y - half : y + half + 1, x - half : x + half + 1]
            n += 1
    if n < 10:
        raise InputError(
            f"Only {n} particles could be told from noise", "10 or more for a template",
            "Give a diameter and use `icefloe pick blob`, or give templates",
        )  # fmt: skip
    image = radial_average(total / n)
    bank = TemplateBank(image[None], bank.pixel_size, bank.diameter, False)
    return _Average(bank, n, explained / max(area, 1.0), usual=usual_parts(splits))


def _extent(bank: TemplateBank) -> float:
    """Return the radius, A, of the outermost place that is a fifth as strong as the strongest."""
    half = bank.images.shape[1] // 2
    profile = bank.images[0][half, half:]
    above = np.flatnonzero(profile > _BORDER * profile.max())
    last = int(above[-1])
    part = 0.0
    if last + 1 < len(profile):
        drop = profile[last] - profile[last + 1]
        part = float((profile[last] - _BORDER * profile.max()) / max(drop, 1e-12))
    return (last + min(part, 1.0)) * bank.pixel_size
