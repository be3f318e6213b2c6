"""Scores of a micrograph, and the picks that thresholds leave of them.

The maps hold all that a choice of picks needs, so other thresholds cost milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.errors import SettingsError
from icefloe.fourier import to_numpy
from icefloe.kernels.peaks import find_peaks, weaker_peaks
from icefloe.picking.blob import contrast_map, standardise
from icefloe.picking.junk import on_junk
from icefloe.picking.match_settings import MatchSettings
from icefloe.picking.normalise import SearchImage
from icefloe.picking.result import Picks, weaker_count
from icefloe.picking.robust import centre_and_spread
from icefloe.picking.threshold import ScoreSplit, split_as, split_particles, usual_parts

__all__ = ["ScoreMaps", "picks_from_maps", "power_map", "power_of", "scores_elsewhere"]

# Spacing, in diameters, of the local maxima whose heights tell noise from particles.
_SPACING = 0.7
# The levels of fewer picks have no scatter to speak of; noise alone rarely exceeds 1.
_FEW = 10
# Sigma, in diameters, of the Gaussian neighbourhood over which a pick's power is taken.
_POWER_REACH = 0.25


@dataclass(frozen=True)
class ScoreMaps:
    """What matching found in a micrograph.

    Attributes
    ----------
    score
        (ny, nx) correlation coefficients.
    angle
        (ny, nx) degrees by which the best template is turned, from +x towards +y.
    template
        (ny, nx) number of the best template, from 1.
    level
        (ny, nx) contrast, blurred over a particle; noise alone rarely exceeds 1.
    power
        (ny, nx) mean square over a particle.
    junk
        (my, mx) bool, what may not be picked; None where nothing was looked for.
    covered
        (top, left, height, width) of the part of the micrograph that `junk` covers, pixels.
    scale
        Pixels of the maps per pixel of the micrograph, (y, x).
    origin
        (y, x) of the maps' first pixel, pixels of the micrograph.
    full
        Size (ny, nx) of the micrograph.
    pixel_size
        Of the micrograph, A.
    diameter
        Of the particle, A.
    flags
        What was done.
    usual
        `TemplateBank.usual` of the templates.
    """

    score: FloatArray
    angle: FloatArray
    template: AnyArray
    level: FloatArray
    power: FloatArray
    junk: BoolArray | None
    covered: tuple[int, int, int, int]
    scale: tuple[float, float]
    origin: tuple[int, int]
    full: tuple[int, int]
    pixel_size: float
    diameter: float
    flags: tuple[str, ...] = ()
    usual: tuple[float, float, float] | None = None


def power_map(search: SearchImage, width: float) -> tuple[FloatArray, FloatArray]:
    """Return level and power of a micrograph whose particles are `width` pixels wide."""
    level = contrast_map(search, np.zeros((0, 2)), width, "cpu")
    plain = np.asarray(to_numpy(search.crop(search.plain)), dtype=np.float32)
    return np.asarray(level, dtype=np.float32), power_of(plain, width)


def power_of(plain: FloatArray, width: float) -> FloatArray:
    """Return the mean square about each place of an image whose local mean is 0."""
    return np.asarray(gaussian_filter(plain**2, _POWER_REACH * width, mode="reflect"))


def picks_from_maps(maps: ScoreMaps, settings: MatchSettings | None = None) -> Picks:
    """Choose picks by their scores.

    Parameters
    ----------
    maps
        Of a micrograph.
    settings
        Distance, edge, and limits; what was used for matching (diameter, angle_step, low_pass,
        whiten, samples) has no effect any more.

    Raises
    ------
    SettingsError
        A margin that leaves nothing of the micrograph.
    """
    settings = settings or MatchSettings()
    flags = maps.flags
    width = _width(maps)
    allowed = _allowed(maps.score.shape, settings.edge * width)

    def clean(positions: FloatArray) -> BoolArray:
        return _clean(maps, settings, positions)

    split, usual, centre = _noise_and_particles(maps, settings)
    threshold = settings.threshold
    if threshold is None:
        threshold = split.threshold
        if split.borrowed:
            flags += (split.reason,)
        elif not split.clear:
            flags += ("particles do not stand out from the noise; only the strongest were kept",)
    positions, scores = find_peaks(maps.score, settings.min_distance * width, threshold, allowed)
    keep = clean(positions)
    positions, scores = positions[keep], scores[keep]
    at = tuple(np.rint(positions).astype(np.intp).T)
    place = tuple(np.rint(usual if len(usual) else positions).astype(np.intp).T)
    level = _usual_level(maps.level[place])
    usual_power = max(float(np.median(maps.power[at])) if len(scores) else 0.0, 1e-12)

    def picks(positions: FloatArray, scores: FloatArray, most: int) -> tuple[Picks, int]:
        """Return those within the limits, at most so many, and how many there are."""
        at = tuple(np.rint(positions).astype(np.intp).T)
        contrast, power = maps.level[at] / level, maps.power[at] / usual_power
        keep = np.ones(len(scores), dtype=np.bool_)
        if settings.max_contrast:
            keep &= np.abs(contrast) <= settings.max_contrast
        for limit, values, beyond in (
            (settings.max_score, scores, 1),
            (settings.min_power, power, -1),
            (settings.max_power, power, 1),
        ):
            if limit is not None:
                keep &= beyond * (values - limit) <= 0
        chosen = np.flatnonzero(keep)
        there = len(chosen)
        chosen = chosen[:most] if most else chosen
        angle = maps.angle[at][chosen].astype(np.float64)
        found = Picks(
            y=positions[chosen, 0] / maps.scale[0] + maps.origin[0],
            x=positions[chosen, 1] / maps.scale[1] + maps.origin[1],
            score=scores[chosen],
            contrast=contrast[chosen],
            diameter=np.full(len(chosen), maps.diameter),
            threshold=float(threshold),
            separation=split.separation,
            diameter_range=(maps.diameter, maps.diameter),
            shape="template",
            shape_yx=maps.full,
            # RELION's psi turns the other way: from +x towards -y in its images, whose y points
            # down.
            psi=(180 - angle) % 360 - 180,
            template=maps.template[at][chosen].astype(np.int64),
            power=power[chosen],
            split=split,
        )
        return found, there

    found, there = picks(positions, scores, settings.max_picks)
    if there > len(found):
        flags += (f"{there - len(found)} picks beyond max_picks left out",)
    if not len(found):
        flags += ("no particles found",)
    found = replace(found, flags=flags)
    if settings.max_picks:
        return found
    weak, heights = weaker_peaks(
        maps.score, settings.min_distance * width, threshold, centre, allowed
    )
    keep = clean(weak)
    return replace(found, weaker=picks(weak[keep], heights[keep], weaker_count(len(found)))[0])


def scores_elsewhere(
    maps: Iterable[ScoreMaps], settings: MatchSettings
) -> tuple[float, float, float] | None:
    """Return how noise and particles score in some micrographs, for `ScoreMaps.usual` of others.

    Returns
    -------
    tuple or None
        Medians of the means of noise and of particles and of their common standard deviation;
        None where no micrograph's scores part by themselves.
    """
    splits = [_noise_and_particles(replace(m, usual=None), settings)[0] for m in maps]
    return usual_parts([split for split in splits if split.clear])


def _width(maps: ScoreMaps) -> float:
    """Return the pixels of the maps per diameter."""
    return maps.diameter / maps.pixel_size * maps.scale[0]


def _clean(maps: ScoreMaps, settings: MatchSettings, positions: FloatArray) -> BoolArray:
    """Return which (n, 2) positions on the maps are not on junk."""
    junk = maps.junk if settings.junk else None
    if junk is None:
        return np.ones(len(positions), dtype=np.bool_)
    top, left, height, breadth = maps.covered
    at = positions / np.asarray(maps.scale) + np.asarray(maps.origin) - (top, left) + 0.5
    at /= (height, breadth)
    return ~on_junk(junk, at[:, 0] * junk.shape[0] - 0.5, at[:, 1] * junk.shape[1] - 0.5)


def _noise_and_particles(
    maps: ScoreMaps, settings: MatchSettings
) -> tuple[ScoreSplit, FloatArray, float]:
    """Return how the scores part, the places (n, 2) of particles by that, and the median score."""
    width = _width(maps)
    allowed = _allowed(maps.score.shape, settings.edge * width)
    # Noise is counted in robust standard deviations of the map, and the same way whatever distance
    # the user wants between picks.
    everywhere, heights = find_peaks(
        standardise(maps.score, allowed), _SPACING * width, 0.0, allowed
    )
    free = _clean(maps, settings, everywhere)
    everywhere, heights = everywhere[free], heights[free]
    centre, spread = centre_and_spread(maps.score[allowed])
    split = split_particles(heights).scaled(spread, centre)
    scores = centre + spread * heights
    if not split.clear and maps.usual is not None:
        split = split_as(scores, maps.usual) or split
    # What the threshold lets through has no part in what is usual: noise would be, with a low one.
    return split, everywhere[(scores > split.threshold) & (scores < split.ceiling)], centre


def _usual_level(levels: FloatArray) -> float:
    """Return the unit of contrast: the level of the usual particle.

    Where particles are faint or differ, it is so large that three times it are five standard
    deviations above the median: noise alone must not look like contamination.
    """
    if len(levels) < _FEW:
        return max(float(np.median(levels)) if len(levels) else 0.0, 1.0)
    centre, spread = centre_and_spread(levels)
    return max(centre, (centre + 5 * spread) / 3, 0.1)


def _allowed(shape: tuple[int, ...], margin: float) -> BoolArray:
    ny, nx = shape
    first = int(np.ceil(margin))
    if 2 * first >= min(ny, nx):
        raise SettingsError(
            f"A margin of {margin:.0f} of {min(ny, nx)} pixels on every side leaves nothing",
            "a smaller --edge",
        )
    allowed = np.zeros((ny, nx), dtype=np.bool_)
    allowed[first : ny - first, first : nx - first] = True
    return allowed
