"""Where no particle can be: carbon, aggregates, ice crystals, and the rims of all these.

Two maps at a few pixels a diameter tell them from ice with particles: the level (mean over half a
diameter, less a smooth slope of the ice) and the texture (standard deviation over the same reach).
Their usual values and scatter come from the median of the micrograph, so one rule serves dark and
bright, thin and thick images. A foil hole's rim and a crystal stand out in both.

Carbon that fills a third of a micrograph or more is the usual itself. It is found before: the
level has then two values, a step apart, where ice alone has one that changes smoothly.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    binary_fill_holes,
    gaussian_filter,
    label,
)

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.fourier import resize
from icefloe.picking.normalise import clean_image, padded_border
from icefloe.picking.robust import centre_and_spread
from icefloe.picking.threshold import part_scores

__all__ = ["SCALE", "JunkSearch", "junk_mask", "on_junk", "whole_mask"]

# Pixels per diameter of the maps.
_SAMPLES = 6
# Sigma of their Gaussian, in diameters.
_REACH = 0.6
# Robust standard deviations from the median at which a place is junk, and down to which what
# touches it belongs to it. Particles crowd and leave gaps: in ice with particles the level scatters
# by up to 4.
_SEED, _GROW = 7.0, 4.5
# A region ends where it is this part of its strongest place, if that is more than `_GROW`: the blur
# spreads what is very strong far into the ice around it.
_RIM = 0.35
# Smallest area, in squared diameters: less is a dark particle. At a scale smaller than the particle
# one that stands out in all its parts, or two that touch, would be more: up to so many times that.
_SMALLEST, _TOUCHING = 1.5, 2.0
# More than so many spots, each smaller than so many squared diameters, are the particles of a
# sparse micrograph with strong contrast.
_MANY, _SMALL = 8, 8.0
# Crystals are dark all over, particles have structure: at a scale smaller than the particle the
# level of a crystal is above so many scatters and so many times as far from the usual as its
# texture (4 to 20 times in simulated micrographs, that of a particle at most 1.2), down to a part
# of a squared diameter. Below the lesser ratio even several that touch are particles, up to so many
# squared diameters.
_DARK, _SOLID, _LEAST, _STRUCTURE, _CLUSTER = 15.0, 2.0, 0.3, 1.5, 16.0
# Robust standard deviations between the medians of two parts that are not the same matter.
_UNLIKE = 0.7
# Crystals and carbon have a size of their own, A: around particles larger than that they are looked
# for at this scale, at which they stand out more.
SCALE = 120.0
# Distance of the two levels of carbon and ice, in the robust scatter about them. In 36 micrographs
# with carbon on 20 to 50 % of the area it was above 12, in ice alone, real or not, up to 5.1.
_TWO = 8.0
# Darkest and brightest part of the area in which the two are not looked for: crystals, rims.
_TAILS = 0.1
# Part of the area that the rarer of the two has, at least.
_RARER = 0.1
# Times the scatter is taken without what was found, and the part of a micrograph that is not
# believed to be junk all the same.
_ROUNDS, _MOST = 3, 0.7


def junk_mask(
    image: FloatArray, diameter: float, scale: float | None = None, *, bright: bool = False
) -> BoolArray:
    """Return what to stay away from.

    Parameters
    ----------
    image
        (ny, nx) micrograph without NaN; borders that only repeat rows must be cut off.
    diameter
        Particle diameter, pixels.
    scale
        At which junk is looked for, pixels; a diameter if it is not given. What is smaller than
        particles is not junk at any scale.
    bright
        Whether particles, and carbon, are brighter than the ice.

    Returns
    -------
    ndarray
        (my, mx) bool, about six pixels a `scale`, covering the same field as `image`.
    """
    search = JunkSearch(image, diameter if scale is None else scale, bright=bright)
    return search.mask(diameter)


class JunkSearch:
    """Looks for junk at one scale, for any number of particle diameters.

    Parameters
    ----------
    image, scale, bright
        As `junk_mask`; what does not depend on the diameter is made once.
    """

    def __init__(self, image: FloatArray, scale: float, *, bright: bool = False) -> None:
        factor = min(1.0, _SAMPLES / scale)
        shape = tuple(min(n, max(16, 2 * round(0.5 * n * factor))) for n in image.shape)
        self._small = np.asarray(
            resize(image - np.float32(image.mean(dtype=np.float64)), (shape[0], shape[1])),
            dtype=np.float64,
        )
        self._height = image.shape[0]
        self._width = scale * shape[0] / image.shape[0]
        self._level = gaussian_filter(self._small, _REACH * self._width)
        self._darker = _darker(-self._small if bright else self._small, self._width)
        # By the carbon, and by that and the usual area: mostly the same for all diameters.
        self._maps: dict[bytes, tuple[FloatArray, FloatArray]] = {}
        self._far: dict[tuple[bytes, bytes], tuple[FloatArray, FloatArray]] = {}

    def mask(self, diameter: float) -> BoolArray:
        """Return `junk_mask` for particles of this diameter, pixels of the image."""
        width, sigma = self._width, _REACH * self._width
        particle = diameter * self._small.shape[0] / self._height
        carbon = np.zeros(self._small.shape, dtype=np.bool_)
        if self._darker is not None:
            # Neither a dark particle, nor a bright place on the carbon.
            carbon = ~_large(~_large(self._darker, 8 * particle**2), 8 * particle**2)
        usual = ~carbon
        mask = carbon
        # Large crystals widen the scatter, and then seem smaller than they are: take it again
        # without.
        for _ in range(_ROUNDS):
            level, texture = self._scatters(carbon, usual)
            dark, rough = np.where(carbon, 0, np.abs(level)), np.where(carbon, 0, texture)
            found = carbon | _regions(dark, rough, particle, width)
            if np.array_equal(found, mask) or found.mean() > max(_MOST, carbon.mean()):
                break
            mask = found
            usual = ~binary_dilation(mask, iterations=max(1, round(sigma)))
        if not mask.any():
            return mask
        mask = np.asarray(binary_fill_holes(binary_dilation(mask)))
        return mask | _cut_off(mask, *self._scatters(carbon, usual))

    def _scatters(self, carbon: BoolArray, usual: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Return level, less the slope of the ice, and texture, in scatters of the usual area."""
        beside = carbon.tobytes()
        if beside not in self._maps:
            level = self._level - _slope(self._level, ~carbon)
            sigma = _REACH * self._width
            texture = np.log(np.sqrt(gaussian_filter((self._small - level) ** 2, sigma)) + 1e-12)
            self._maps[beside] = level, texture
        key = beside, usual.tobytes()
        if key not in self._far:
            level, texture = self._maps[beside]
            self._far[key] = _scatter(level, usual), _scatter(texture, usual)
        return self._far[key]


def _darker(small: FloatArray, width: float) -> BoolArray | None:
    """Return the darker of two kinds of matter that share the micrograph, if there are two."""
    level = gaussian_filter(small, width)
    low, high = np.quantile(level, (_TAILS, 1 - _TAILS))
    inside = level[(level > low) & (level < high)]
    cut = part_scores(inside)
    dark = level < cut
    parts = inside[inside < cut], inside[inside >= cut]
    (low, below), (high, above) = (centre_and_spread(part) for part in parts)
    scatter = np.sqrt((len(parts[0]) * below**2 + len(parts[1]) * above**2) / len(inside))
    step = high - low
    if step < _TWO * scatter or not _RARER < dark.mean() < 1 - _RARER:
        return None
    return np.asarray(dark)


def _large(mask: BoolArray, area: float) -> BoolArray:
    """Return the connected regions of at least some pixels."""
    regions, n = label(mask)
    keep = np.bincount(regions.ravel(), minlength=n + 1) >= area
    keep[0] = False
    return np.asarray(keep[regions])


def _regions(dark: FloatArray, rough: FloatArray, particle: float, width: float) -> BoolArray:
    """Return connected regions that are far from the usual, not counting single particles."""
    far = np.maximum(dark, rough)
    smallest = _SMALLEST * particle**2 * min(_TOUCHING, particle / width)
    grown, n = label(far > _GROW)
    if not n:
        return np.zeros(far.shape, dtype=np.bool_)
    grown, n = label((grown > 0) & (far >= _RIM * _tops(grown, n, far)[grown]))
    top = _tops(grown, n, far)
    area = np.bincount(grown.ravel(), minlength=n + 1)
    keep = (top > _SEED) & (area > smallest)
    keep[0] = False
    small = area < _SMALL * particle**2
    if width >= particle:
        if (keep & small).sum() > _MANY:
            keep &= ~small
        return np.asarray(keep[grown])
    # At a scale smaller than theirs, single particles are spots, too. They have structure.
    single = small & (top > _SEED) & (area > 0.5 * particle**2)
    level, texture = _tops(grown, n, dark), _tops(grown, n, rough)
    if single.sum() > _MANY:
        keep &= ~small
    keep &= (area >= _CLUSTER * particle**2) | (level > _STRUCTURE * texture)
    solid = (level > _DARK) & (level > _SOLID * texture) & (area > _LEAST * particle**2)
    if (single & solid).sum() <= _MANY:
        keep |= solid
    return np.asarray(keep[grown])


def _tops(regions: AnyArray, n: int, far: FloatArray) -> FloatArray:
    """Return the strongest place of each region, and 0 for what is in none."""
    top = np.zeros(n + 1)
    np.maximum.at(top, regions.ravel(), far.ravel())
    top[0] = 0
    return top


def whole_mask(
    image: FloatArray, diameter: float, *, pixel_size: float | None = None, bright: bool = False
) -> BoolArray:
    """Return `junk_mask` over a whole micrograph, borders that only repeat rows being junk.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    diameter
        Particle diameter, pixels.
    pixel_size
        A. With it junk around large particles is looked for at its own scale, 120 A, and not at
        that of the particles.
    bright
        Whether particles are brighter than the ice.

    Returns
    -------
    ndarray
        (my, mx) bool, about six pixels a diameter, or a scale.
    """
    scale = diameter if pixel_size is None else min(diameter, SCALE / pixel_size)
    cleaned, _ = clean_image(image)
    ny, nx = cleaned.shape
    top, bottom, left, right = padded_border(cleaned)
    inner = np.ascontiguousarray(cleaned[top : ny - bottom, left : nx - right])
    part = junk_mask(inner, diameter, scale, bright=bright)
    factor = part.shape[0] / (ny - top - bottom)
    shape = (round(ny * factor), round(nx * factor))
    # Centre of each pixel of the mask, in pixels of the micrograph.
    y = (np.arange(shape[0]) + 0.5) * ny / shape[0]
    x = (np.arange(shape[1]) + 0.5) * nx / shape[1]
    row = np.floor((y - top) / (ny - top - bottom) * part.shape[0]).astype(np.intp)
    column = np.floor((x - left) / (nx - left - right) * part.shape[1]).astype(np.intp)
    known = ((row >= 0) & (row < part.shape[0]))[:, None] & (
        (column >= 0) & (column < part.shape[1])
    )
    found = part[np.ix_(row.clip(0, part.shape[0] - 1), column.clip(0, part.shape[1] - 1))]
    return np.asarray(np.where(known, found, True))


def _cut_off(mask: BoolArray, level: FloatArray, texture: FloatArray) -> BoolArray:
    """Return the parts that junk cuts off from the ice and that do not look like it.

    A carbon film may look like ice at every one place: what gives it away is its rim, and that all
    of it is a little darker or rougher.
    """
    parts, n = label(~mask)
    areas = np.bincount(parts.ravel(), minlength=n + 1)[1:]
    ice = int(areas.argmax()) + 1 if n else 0
    cut = np.zeros(mask.shape, dtype=np.bool_)
    for part in range(1, n + 1):
        here = parts == part
        if part != ice and any(
            abs(np.median(m[here]) - np.median(m[parts == ice])) > _UNLIKE for m in (level, texture)
        ):
            cut |= here
    return cut


def on_junk(mask: BoolArray, y: FloatArray, x: FloatArray) -> BoolArray:
    """Return which (n,) positions, in pixels of the (my, mx) mask, lie on it."""
    rows = np.clip(np.rint(y).astype(np.intp), 0, mask.shape[0] - 1)
    columns = np.clip(np.rint(x).astype(np.intp), 0, mask.shape[1] - 1)
    return np.asarray(mask[rows, columns])


def _slope(level: FloatArray, usual: BoolArray) -> FloatArray:
    """Return the quadratic surface through the usual part of the level, without outliers."""
    ny, nx = level.shape
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    basis = np.stack([np.ones_like(y), y, x, y * y, x * y, x * x], axis=-1).reshape(-1, 6)
    values = level.ravel()
    part = usual.ravel()
    centre, spread = centre_and_spread(values[part])
    inside = part & (np.abs(values - centre) < 3 * spread)
    fitted = np.full(values.shape, centre)
    for last in (False, False, True):
        if inside.sum() < 0.3 * part.sum():
            break
        # The normal equations: six well-scaled terms, and a sixth of the time.
        kept = basis[inside]
        factors = np.linalg.solve(kept.T @ kept, kept.T @ values[inside])
        fitted = basis @ factors
        if not last:
            rest = values - fitted
            centre, spread = centre_and_spread(rest[part])
            inside = part & (np.abs(rest - centre) < 3 * spread)
    return np.asarray(fitted.reshape(level.shape))


def _scatter(values: FloatArray, usual: BoolArray) -> FloatArray:
    """Return the map in robust standard deviations, of its usual part, from that part's median."""
    centre, spread = centre_and_spread(values[usual])
    return np.asarray((values - centre) / max(spread, 1e-12))
