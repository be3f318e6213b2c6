"""Particles that look like templates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from icefloe._types import BoolArray, FloatArray
from icefloe.errors import MissingMetadataError, SettingsError
from icefloe.fourier import to_numpy
from icefloe.optics import CtfParameters
from icefloe.picking.bank import TemplateBank
from icefloe.picking.blob import allowed_area
from icefloe.picking.junk import whole_mask
from icefloe.picking.match import match_templates
from icefloe.picking.match_settings import MatchSettings
from icefloe.picking.normalise import SearchImage, clean_image, padded_border, search_image
from icefloe.picking.result import Picks
from icefloe.picking.scored import ScoreMaps, picks_from_maps, power_map

__all__ = ["REACH", "WINDOW", "MatchField", "match_field", "pick_templates", "score_maps"]

# Sigma, in diameters, of the neighbourhood whose mean and variance are made equal.
WINDOW = 1.3
# The templates are compared out to this radius, in diameters: a particle and the ice around it.
REACH = 1.0


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
    image: FloatArray,
    *,
    pixel_size: float,
    diameter: float,
    settings: MatchSettings,
    device: str = "cpu",
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
        device=device,
    )
    search = replace(search, even=to_numpy(search.even), plain=to_numpy(search.plain))
    pixel = pixel_size / search.scale[0]
    even = np.asarray(search.even, dtype=np.float32)
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
    device: str = "cpu",
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
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.

    Returns
    -------
    Picks
        Scores are correlation coefficients, `contrast` is relative to the median pick; `psi` is
        RELION's in-plane angle, `template` the number of the best template.

    Raises
    ------
    MissingMetadataError, SettingsError, InputError
        As `match_field`.
    """
    settings = settings or MatchSettings()
    maps = score_maps(
        image, bank, pixel_size=pixel_size, settings=settings, ctf=ctf, mask=mask, device=device
    )
    return picks_from_maps(maps, settings)


def score_maps(
    image: FloatArray,
    bank: TemplateBank,
    *,
    pixel_size: float,
    settings: MatchSettings | None = None,
    ctf: CtfParameters | None = None,
    mask: BoolArray | None = None,
    device: str = "cpu",
) -> ScoreMaps:
    """Return the scores from which `picks_from_maps` chooses; arguments as `pick_templates`."""
    settings = settings or MatchSettings()
    diameter = settings.diameter or bank.diameter
    field = match_field(
        image, pixel_size=pixel_size, diameter=diameter, settings=settings, device=device
    )
    maps = match_templates(
        field.image,
        field.inside,
        bank.scaled(field.pixel_size, REACH * diameter),
        angle_step=settings.angle_step,
        ctf=ctf,
        low_pass=settings.low_pass,
        whiten=settings.whiten,
        device=device,
    )
    if mask is None and settings.junk:
        pixel = field.pixel_size * field.search.scale[0]
        mask = whole_mask(
            field.raw, diameter / pixel, pixel_size=pixel, bright=settings.contrast == "bright"
        )
        covered = (*field.origin, *field.raw.shape)
    else:
        covered = (0, 0, *field.full)
    level, power = power_map(field.search, diameter / field.pixel_size)
    numbers = np.asarray(bank.numbers or range(1, len(bank.images) + 1), dtype=np.int32)
    return ScoreMaps(
        score=np.ascontiguousarray(field.search.crop(maps.score)),
        angle=np.ascontiguousarray(field.search.crop(maps.angle)),
        template=numbers[field.search.crop(maps.template)],
        level=level,
        power=power,
        junk=mask,
        covered=covered,
        scale=field.search.scale,
        origin=field.origin,
        full=field.full,
        pixel_size=float(pixel_size),
        diameter=float(diameter),
        flags=(*bank.flags, *field.flags),
        usual=bank.usual,
    )
