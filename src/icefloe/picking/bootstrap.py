"""A template from the data: how large the particles are, and how they look on average.

The diameter is that of the ball or hollow ball whose correlation separates best from noise, out of
a wide range; the picks of that shape are averaged, centred on each other by picking again with the
average, and the average's own extent is the diameter that everything else is measured in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import InputError, MissingMetadataError
from icefloe.fourier import irfft2, resize, rfft2, to_numpy
from icefloe.kernels.peaks import find_peaks
from icefloe.picking.bank import TemplateBank, radial_average
from icefloe.picking.blob import allowed_area, standardise
from icefloe.picking.match import match_templates
from icefloe.picking.match_settings import MatchSettings
from icefloe.picking.normalise import clean_image, padded_border, search_image
from icefloe.picking.template import REACH, MatchField, match_field
from icefloe.picking.templates import blob_template
from icefloe.picking.threshold import split_scores

__all__ = ["Bootstrap", "bootstrap_bank", "size_evidence"]

# Range, A, and number of diameters that are tried.
_SMALLEST, _LARGEST, _STEPS = 50.0, 450.0, 15
# Fewer particles than that are no evidence of a size.
_FEWEST = 15
# Pixels a diameter of that search.
_COARSE = 10
# Windows a micrograph that are averaged: the best, but not the very best, which are often junk.
_WINDOWS, _SKIPPED = 300, 0.05
_ROUNDS = 3
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
    """

    bank: TemplateBank
    sizes: FloatArray
    evidence: FloatArray
    shape: str
    n_windows: int


def size_evidence(
    image: FloatArray, *, pixel_size: float, bright: bool = False
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return how well balls and hollow balls of many sizes tell particles from noise.

    Returns
    -------
    sizes : ndarray
        (n,) diameters, A, that fit the micrograph.
    disc, ring : ndarray
        (n,) separations of the two populations of scores.
    """
    cleaned, _ = clean_image(image)
    top, bottom, left, right = padded_border(cleaned)
    ny, nx = cleaned.shape
    raw = np.ascontiguousarray(cleaned[top : ny - bottom, left : nx - right])
    largest = min(_LARGEST, min(raw.shape) * pixel_size / 6)
    smallest = max(_SMALLEST, 8 * pixel_size)
    if smallest >= largest:
        raise InputError(
            f"A micrograph of {min(raw.shape) * pixel_size:g} A is too small to find the "
            "particles' diameter in it",
            f"{6 * smallest:g} A or more",
            "Give the diameter",
        )
    sizes = np.geomspace(smallest, largest, _STEPS)
    # Once to the pixels of the smallest size; every size starts from there.
    factor = min(1.0, _COARSE * pixel_size / smallest)
    shape = (2 * round(0.5 * raw.shape[0] * factor), 2 * round(0.5 * raw.shape[1] * factor))
    if factor < 0.9:
        pixel_size *= raw.shape[0] / shape[0]
        raw = np.asarray(resize(raw - np.float32(raw.mean(dtype=np.float64)), shape))
    found = np.zeros((2, len(sizes)))
    for i, diameter in enumerate(sizes):
        # The ball is smaller than what evens out the light, as a particle's core is.
        search = search_image(raw, 1.3 * diameter / pixel_size, _COARSE, 1.0, bright=bright,
                              device="cpu")  # fmt: skip
        width = diameter * search.scale[0] / pixel_size
        allowed = allowed_area(search, (0, 0, 0, 0), 0.5 * width)
        spectrum = rfft2(search.even)
        size = (int(search.even.shape[0]), int(search.even.shape[1]))
        for j, kind in enumerate(("disc", "ring")):
            response = irfft2(spectrum * blob_template(width, kind, size), size)
            score = standardise(np.asarray(to_numpy(search.crop(response))), allowed)
            heights = find_peaks(score, 0.6 * width, 0.0, allowed)[1]
            split = split_scores(heights)
            # A handful of peaks far above the rest is contamination.
            if split.clear and np.count_nonzero(heights > split.threshold) >= _FEWEST:
                found[j, i] = split.separation
    return sizes, found[0], found[1]


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
    if not pixel_size or not pixel_size > 0:
        raise MissingMetadataError(
            f"The pixel size is {pixel_size}", "A per pixel", "Give --pixel-size"
        )
    if not len(images):
        raise InputError("No micrograph was given", "one or more")
    bright = settings.contrast == "bright"
    each = [size_evidence(image, pixel_size=pixel_size, bright=bright) for image in images]
    sizes = each[0][0]
    evidence = np.median(
        [[np.interp(sizes, s, disc), np.interp(sizes, s, ring)] for s, disc, ring in each], axis=0
    )
    if not evidence.max() > 0:
        raise InputError(
            "No particles stand out from the noise at any size",
            f"particles of {sizes[0]:.0f} to {sizes[-1]:.0f} A",
            "Give a diameter and use `icefloe pick blob`",
        )
    which, best = np.unravel_index(int(evidence.argmax()), evidence.shape)
    shape = ("disc", "ring")[int(which)]
    visible = float(sizes[best])
    start = settings.diameter or visible
    fields = [
        match_field(image, pixel_size=pixel_size, diameter=start, settings=settings)
        for image in images
    ]
    bank = _blob_bank(min(visible, start), shape, fields[0].pixel_size, REACH * start, start)
    n = 0
    for _ in range(_ROUNDS):
        bank, n = _average(fields, bank)
    if settings.diameter is None:
        # The average of long particles in all directions is narrower than they are.
        diameter = max(visible, 2 * _extent(bank))
        bank = TemplateBank(bank.images, bank.pixel_size, diameter, False)
    return Bootstrap(bank, sizes, evidence.max(axis=0), shape, n)


def _blob_bank(
    visible: float, shape: str, pixel_size: float, reach: float, diameter: float
) -> TemplateBank:
    half = int(np.ceil(reach / pixel_size)) + 1
    n = 2 * half + 1
    image = irfft2(np.conj(blob_template(visible / pixel_size, shape, (n, n))), (n, n))
    image = np.roll(np.asarray(image), (half, half), axis=(0, 1))
    return TemplateBank(image[None].astype(np.float32), pixel_size, diameter, False)


def _average(fields: Sequence[MatchField], bank: TemplateBank) -> tuple[TemplateBank, int]:
    """Return the radial average of what a round template finds, and of how many it is."""
    half = bank.images.shape[1] // 2
    total, n = np.zeros(bank.images.shape[1:]), 0
    for field in fields:
        # Sizes of two micrographs may differ, and so their reduced pixels, by less than a percent.
        maps = match_templates(field.image, field.inside, bank)
        score = np.asarray(field.search.crop(maps.score))
        even = standardise(score, field.allowed)
        width = bank.diameter / bank.pixel_size
        places, heights = find_peaks(even, 0.75 * width, 0.0, field.allowed)
        places = places[heights > split_scores(heights).threshold]
        places = places[int(_SKIPPED * len(places)) :][:_WINDOWS]
        for y, x in np.rint(places).astype(np.intp) + field.search.pad:
            total += field.image[y - half : y + half + 1, x - half : x + half + 1]
            n += 1
    if n < 10:
        raise InputError(
            f"Only {n} particles could be told from noise", "10 or more for a template",
            "Give a diameter and use `icefloe pick blob`, or give templates",
        )  # fmt: skip
    image = radial_average(total / n)
    return TemplateBank(image[None], bank.pixel_size, bank.diameter, False), n


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
