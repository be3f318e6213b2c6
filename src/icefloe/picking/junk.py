"""Where no particle can be: carbon, aggregates, ice crystals, and the rims of all these.

Two maps at a few pixels a diameter tell them from ice with particles: the level (mean over half a
diameter, less a smooth slope of the ice) and the texture (standard deviation over the same reach).
Their usual values and scatter come from the median of the micrograph, so one rule serves dark and
bright, thin and thick images. A foil hole's rim and a crystal stand out in both.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    binary_fill_holes,
    gaussian_filter,
    label,
)

from icefloe._types import BoolArray, FloatArray
from icefloe.fourier import resize
from icefloe.picking.normalise import clean_image, padded_border

__all__ = ["junk_mask", "on_junk", "whole_mask"]

# Pixels per diameter of the maps.
_SAMPLES = 6
# Sigma of their Gaussian, in diameters.
_REACH = 0.6
# Robust standard deviations from the median at which a place is junk, and down to which what
# touches it belongs to it. Particles crowd and leave gaps: in ice with particles the level scatters
# by up to 4.
_SEED, _GROW = 7.0, 4.5
# Smallest area, in squared diameters: less is a dark particle.
_SMALLEST = 1.5
# More than so many spots, each smaller than so many squared diameters, are the particles of a
# sparse micrograph with strong contrast.
_MANY, _SMALL = 8, 8.0
# Robust standard deviations between the medians of two parts that are not the same matter.
_UNLIKE = 0.7
# Times the scatter is taken without what was found, and the part of a micrograph that is not
# believed to be junk all the same.
_ROUNDS, _MOST = 3, 0.7


def junk_mask(image: FloatArray, diameter: float) -> BoolArray:
    """Return what to stay away from.

    Parameters
    ----------
    image
        (ny, nx) micrograph without NaN; borders that only repeat rows must be cut off.
    diameter
        Particle diameter, pixels.

    Returns
    -------
    ndarray
        (my, mx) bool, about six pixels a diameter, covering the same field as `image`.
    """
    factor = min(1.0, _SAMPLES / diameter)
    shape = tuple(min(n, max(16, 2 * round(0.5 * n * factor))) for n in image.shape)
    small = np.asarray(
        resize(image - np.float32(image.mean(dtype=np.float64)), (shape[0], shape[1])),
        dtype=np.float64,
    )
    width = diameter * shape[0] / image.shape[0]
    sigma = _REACH * width
    level = gaussian_filter(small, sigma)
    level -= _slope(level)
    texture = np.log(np.sqrt(gaussian_filter((small - level) ** 2, sigma)) + 1e-12)
    usual = np.ones(shape, dtype=np.bool_)
    mask = np.zeros(shape, dtype=np.bool_)
    # Large crystals widen the scatter, and then seem smaller than they are: take it again without.
    for _ in range(_ROUNDS):
        far = np.maximum(np.abs(_scatter(level, usual)), _scatter(texture, usual))
        found = _regions(far, width)
        if np.array_equal(found, mask) or found.mean() > _MOST:
            break
        mask = found
        usual = ~binary_dilation(mask, iterations=max(1, round(sigma)))
    if not mask.any():
        return mask
    mask = np.asarray(binary_fill_holes(binary_dilation(mask)))
    return mask | _cut_off(mask, _scatter(level, usual), _scatter(texture, usual))


def _regions(far: FloatArray, width: float) -> BoolArray:
    """Return connected regions that are far from the usual, not counting single particles."""
    grown, n = label(far > _GROW)
    if not n:
        return np.zeros(far.shape, dtype=np.bool_)
    area = np.bincount(grown.ravel(), minlength=n + 1)
    top = np.zeros(n + 1)
    np.maximum.at(top, grown.ravel(), far.ravel())
    keep = (top > _SEED) & (area > _SMALLEST * width**2)
    keep[0] = False
    small = keep & (area < _SMALL * width**2)
    if small.sum() > _MANY:
        keep &= ~small
    return np.asarray(keep[grown])


def whole_mask(image: FloatArray, diameter: float) -> BoolArray:
    """Return `junk_mask` over a whole micrograph, borders that only repeat rows being junk.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    diameter
        Particle diameter, pixels.

    Returns
    -------
    ndarray
        (my, mx) bool, about six pixels a diameter.
    """
    cleaned, _ = clean_image(image)
    ny, nx = cleaned.shape
    top, bottom, left, right = padded_border(cleaned)
    part = junk_mask(np.ascontiguousarray(cleaned[top : ny - bottom, left : nx - right]), diameter)
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


def _slope(level: FloatArray) -> FloatArray:
    """Return the quadratic surface through the level, fitted without what lies far from it."""
    ny, nx = level.shape
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    basis = np.stack([np.ones_like(y), y, x, y * y, x * y, x * x], axis=-1).reshape(-1, 6)
    values = level.ravel()
    inside = np.abs(values - np.median(values)) < 3 * _spread(values)
    fitted = np.full(values.shape, np.median(values))
    for _ in range(3):
        if inside.sum() < 0.3 * values.size:
            break
        factors = np.linalg.lstsq(basis[inside], values[inside], rcond=None)[0]
        fitted = basis @ factors
        rest = values - fitted
        inside = np.abs(rest - np.median(rest)) < 3 * _spread(rest)
    return np.asarray(fitted.reshape(level.shape))


def _scatter(values: FloatArray, usual: BoolArray) -> FloatArray:
    """Return the map in robust standard deviations, of its usual part, from that part's median."""
    inside = values[usual]
    return np.asarray((values - np.median(inside)) / max(_spread(inside), 1e-12))


def _spread(values: FloatArray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
