"""Particles that look like templates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import BoolArray, FloatArray
from icefloe.errors import MissingMetadataError, SettingsError
from icefloe.fourier import to_numpy
from icefloe.kernels.peaks import find_peaks
from icefloe.optics import CtfParameters
from icefloe.picking.bank import TemplateBank
from icefloe.picking.blob import allowed_area, contrast_map, standardise
from icefloe.picking.junk import on_junk, whole_mask
from icefloe.picking.match import match_templates
from icefloe.picking.match_settings import MatchSettings
from icefloe.picking.normalise import SearchImage, clean_image, padded_border, search_image
from icefloe.picking.result import Picks
from icefloe.picking.threshold import split_scores

__all__ = ["REACH", "WINDOW", "MatchField", "match_field", "pick_templates"]

# Sigma, in diameters, of the neighbourhood whose mean and variance are made equal.
WINDOW = 1.3
# The templates are compared out to this radius, in diameters: a particle and the ice around it.
REACH = 1.0
# Spacing, in diameters, of the local maxima whose heights tell noise from particles.
_SPACING = 0.7


@dataclass(frozen=True)
class MatchField:
    """A micrograph made ready for matching.

    Attributes
    ----------
    search
        Reduced and evenly lit, without borders that only repeat rows.
    image
        `search.even` as it is compared, (my, mx) float32.
    inside
        (my, mx), what of it is micrograph.
    allowed
        (ny, nx), where a pick may lie; without the margin.
    pixel_size
        A, of `image`.
    origin
        (y, x) of its first pixel without margin, pixels of the micrograph.
    full
        Size (ny, nx) of the micrograph.
    raw
        The micrograph without bad borders.
    flags
        What was done to it.
    """

    search: SearchImage
    image: FloatArray
    inside: BoolArray
    allowed: BoolArray
    pixel_size: float
    origin: tuple[int, int]
    full: tuple[int, int]
    raw: FloatArray
    flags: tuple[str, ...]


def match_field(
    image: FloatArray, *, pixel_size: float, diameter: float, settings: MatchSettings
) -> MatchField:
    """Reduce a micrograph to the pixels in which templates are searched.

    Raises
    ------
    MissingMetadataError
        No positive pixel size.
    SettingsError
        A diameter that does not fit the micrograph.
    InputError
        An image without content.
    """
    cleaned, flags = clean_image(image)
    if not pixel_size or not pixel_size > 0:
        raise MissingMetadataError(
            f"The pixel size is {pixel_size}", "A per pixel", "Give --pixel-size"
        )
    smallest = min(cleaned.shape) * pixel_size
    if 2 * diameter > smallest or diameter < 4 * pixel_size:
        raise SettingsError(
            f"A particle of {diameter:g} A in a micrograph of {smallest:g} A with {pixel_size:g} A "
            "pixels",
            "a diameter above 4 pixels and below half the micrograph",
            "Check the diameter and --pixel-size",
        )
    top, bottom, left, right = padded_border(cleaned)
    if max(top, bottom, left, right) > 1:
        flags += (
            f"padded borders left out (top, bottom, left, right): {(top, bottom, left, right)} px",
        )
    ny, nx = cleaned.shape
    raw = np.ascontiguousarray(cleaned[top : ny - bottom, left : nx - right])
    search = search_image(
        raw,
        diameter / pixel_size,
        settings.samples,
        WINDOW,
        bright=settings.contrast == "bright",
        device="cpu",
    )
    pixel = pixel_size / search.scale[0]
    even = np.asarray(to_numpy(search.even), dtype=np.float32)
    inside = np.zeros(even.shape, dtype=np.bool_)
    search.crop(inside)[:] = True
    allowed = allowed_area(search, (0, 0, 0, 0), settings.edge * diameter / pixel)
    return MatchField(search, even, inside, allowed, pixel, (top, left), (ny, nx), raw, flags)


def pick_templates(
    image: FloatArray,
    bank: TemplateBank,
    *,
    pixel_size: float,
    settings: MatchSettings | None = None,
    ctf: CtfParameters | None = None,
    mask: BoolArray | None = None,
) -> Picks:
    """Find particles that look like one of the templates.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    bank
        Templates of any pixel size.
    pixel_size
        Of the micrograph, A.
    settings
        Its diameter, if given, replaces that of the templates.
    ctf
        The micrograph's CTF, for templates that do not have it.
    mask
        (my, mx) bool over the whole micrograph at any scale, True where nothing may be picked; in
        place of the one that is found from the image.

    Returns
    -------
    Picks
        Scores are correlation coefficients, `contrast` is relative to the median pick.

    Raises
    ------
    MissingMetadataError, SettingsError, InputError
        As `match_field`.
    """
    settings = settings or MatchSettings()
    diameter = settings.diameter or bank.diameter
    field = match_field(image, pixel_size=pixel_size, diameter=diameter, settings=settings)
    scaled = bank.scaled(field.pixel_size, REACH * diameter)
    maps = match_templates(
        field.image, field.inside, scaled, angle_step=settings.angle_step, ctf=ctf
    )
    score = np.asarray(field.search.crop(maps.score))
    return _picks(field, score, bank, diameter, settings, mask)


def _picks(
    field: MatchField,
    score: FloatArray,
    bank: TemplateBank,
    diameter: float,
    settings: MatchSettings,
    mask: BoolArray | None,
) -> Picks:
    width = diameter / field.pixel_size
    flags = (*bank.flags, *field.flags)
    if mask is None and settings.junk:
        pixel = field.pixel_size * field.search.scale[0]
        mask = whole_mask(field.raw, diameter / pixel)
        origin, covered = np.zeros(2), np.asarray(field.raw.shape)
    else:
        origin, covered = np.asarray(field.origin), np.asarray(field.full)

    def clean(positions: FloatArray) -> BoolArray:
        if mask is None:
            return np.ones(len(positions), dtype=np.bool_)
        at = (positions / np.asarray(field.search.scale) + origin + 0.5) / covered
        return ~on_junk(mask, at[:, 0] * mask.shape[0] - 0.5, at[:, 1] * mask.shape[1] - 0.5)

    # Noise is counted in robust standard deviations of the map, and the same way whatever distance
    # the user wants between picks.
    even = standardise(score, field.allowed)
    everywhere, heights = find_peaks(even, _SPACING * width, 0.0, field.allowed)
    split = split_scores(heights[clean(everywhere)])
    inner = score[field.allowed]
    centre = float(np.median(inner))
    spread = 1.4826 * float(np.median(np.abs(inner - centre)))
    threshold = settings.threshold
    if threshold is None:
        threshold = centre + split.threshold * spread
        if not split.clear:
            flags += ("particles do not stand out from the noise; only the strongest were kept",)
    positions, scores = find_peaks(score, settings.min_distance * width, threshold, field.allowed)
    keep = clean(positions)
    positions, scores = positions[keep], scores[keep]
    index = np.rint(positions).astype(np.intp)
    strength = contrast_map(field.search, positions, width, "cpu")
    contrast = strength[index[:, 0], index[:, 1]]
    if settings.max_contrast:
        keep = np.abs(contrast) <= settings.max_contrast
        positions, scores, contrast = positions[keep], scores[keep], contrast[keep]
    if settings.max_picks and len(scores) > settings.max_picks:
        flags += (f"{len(scores) - settings.max_picks} picks beyond max_picks left out",)
        chosen = slice(0, settings.max_picks)
        positions, scores, contrast = positions[chosen], scores[chosen], contrast[chosen]
    if not len(scores):
        flags += ("no particles found",)
    sy, sx = field.search.scale
    return Picks(
        y=positions[:, 0] / sy + field.origin[0],
        x=positions[:, 1] / sx + field.origin[1],
        score=scores,
        contrast=contrast,
        diameter=np.full(len(scores), diameter),
        threshold=float(threshold),
        separation=split.separation,
        diameter_range=(diameter, diameter),
        shape="template",
        shape_yx=field.full,
        flags=flags,
    )
