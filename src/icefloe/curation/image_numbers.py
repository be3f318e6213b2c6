"""Numbers of the image itself, for what a good CTF does not reveal.

A micrograph with an aggregate, an ice crystal, a strip of carbon or nothing but ice often has
fine Thon rings. These numbers find such areas by being dark, by being another class of grey, by
their texture, or by the spots of a lattice in the spectrum.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from scipy.fft import rfft2
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from icefloe._types import AnyArray, FloatArray
from icefloe.errors import InputError

__all__ = ["ImageNumbers", "image_numbers"]

# Pixel size, A, at which areas are looked at: what they differ by is coarser, and noise is less.
_COARSE = 8.0
# Smoothing, A (sigma): of dark places, so that single particles do not count; of areas.
_DARK, _AREA = 40.0, 100.0
# How many times the spread of the bright half something must be darker to count as dark. Single
# particles reach 5 in simulated micrographs, aggregates 9 and more (docs/curation.md).
_DARK_LIMIT = 7.0
# Spacings, A, among which ice has its reflections: 3.90, 3.67, 3.44, 2.67 and 2.25.
_LATTICE = (4.1, 2.2)
_TILE = 512
_TILES = 4  # along a side; a crystal is larger than the gaps between them
_PLANE_ROUNDS = 8
# Spots of small crystals are wider than a pixel: smoothing, pixels (sigma), doubles their height
# over the noise and costs those of large ones nothing.
_SPOT = 1.0
# Pixels beside the axes and the spectrum's edge where detectors leave marks of their own.
_CROSS, _EDGE = 3, 0.96


@dataclass(frozen=True)
class ImageNumbers:
    """What one micrograph looks like; None stands for what cannot be measured in it.

    Attributes
    ----------
    mean
        Mean grey value, in the micrograph's own units.
    gradient
        Change of a plane fitted to the grey values from one side of the field to the other,
        relative to the mean; None where the mean is not a count of electrons (near 0 or below).
    dark_fraction
        Fraction of the area that is much darker than the rest.
    dark_depth
        How dark the darkest two-hundredth of the area is, in spreads of the bright half.
    area_contrast
        How far apart two classes of grey are that divide the area best, in spreads within them.
    area_fraction
        Fraction of the area that the smaller of them takes.
    texture
        Spread of the local contrast (log variance of detail of 16-50 A) over the field.
    roughness
        Contrast of features of 200-600 A relative to that of detail of 16-50 A.
    lattice
        Height of the strongest spot of the smoothed spectrum at 4.1-2.2 A over its ring's median,
        in the ring's robust standard deviations; None where these spacings are out of reach.
    lattice_spacing
        Where it is, A.
    """

    mean: float
    gradient: float | None
    dark_fraction: float
    dark_depth: float
    area_contrast: float
    area_fraction: float
    texture: float | None
    roughness: float | None
    lattice: float | None
    lattice_spacing: float | None

    def numbers(self) -> dict[str, float | None]:
        """Return the figures that a sidecar records."""
        return asdict(self)


def image_numbers(
    image: AnyArray,
    *,
    pixel_size: float,
    spectrum: AnyArray | None = None,
    spectrum_pixel_size: float | None = None,
) -> ImageNumbers:
    """Return the numbers of a micrograph.

    Parameters
    ----------
    image
        (ny, nx), particles dark.
    pixel_size
        A.
    spectrum
        (n, n), amplitudes averaged over tiles, zero frequency at ``[n // 2, n // 2]``; made from
        the image where there is none.
    spectrum_pixel_size
        Effective pixel size of `spectrum`, A.

    Raises
    ------
    InputError
        The image is not two-dimensional or has fewer than 8 pixels along a side.
    """
    image = np.asarray(image)
    if image.ndim != 2 or min(image.shape) < 8:
        raise InputError(f"An image of shape {image.shape}", "two dimensions of 8 pixels or more")
    factor = max(1, min(round(_COARSE / pixel_size), min(image.shape) // 8))
    coarse, size = _block_mean(image, factor), pixel_size * factor
    mean = float(coarse.mean(dtype=np.float64))
    slope, flat = _plane(coarse)
    counts = mean > 2 * float(coarse.std())
    dark_fraction, dark_depth = _dark(gaussian_filter(flat, _DARK / size))
    # Wide filters need no fine grid.
    halve = 2 if min(coarse.shape) >= 64 else 1
    wide = gaussian_filter(_block_mean(coarse, halve), _AREA / (halve * size))
    contrast, fraction = _two_classes(wide)
    texture, roughness = _texture(flat, size)
    if spectrum is None or spectrum_pixel_size is None:
        spectrum, spectrum_pixel_size = _tile_spectrum(image), pixel_size
    lattice, spacing = _lattice(np.asarray(spectrum, dtype=np.float32), spectrum_pixel_size)
    return ImageNumbers(
        mean=mean,
        gradient=slope / mean if counts else None,
        dark_fraction=dark_fraction,
        dark_depth=dark_depth,
        area_contrast=contrast,
        area_fraction=fraction,
        texture=texture,
        roughness=roughness,
        lattice=lattice,
        lattice_spacing=spacing,
    )


def _block_mean(image: AnyArray, factor: int) -> FloatArray:
    """Return the means of `factor` x `factor` pixels; what is left over at the end is dropped."""
    ny, nx = (n // factor for n in image.shape)
    cut = image[: ny * factor, : nx * factor]
    # Rows first: adding whole rows is several times faster than a mean over both axes.
    rows = cut.reshape(ny, factor, nx * factor).sum(axis=1, dtype=np.float32)
    blocks = rows.reshape(ny, nx, factor).sum(axis=2, dtype=np.float32)
    return np.asarray(blocks / np.float32(factor * factor))


def _plane(coarse: FloatArray) -> tuple[float, FloatArray]:
    """Return how much a plane through the bright ground changes, and the image less the plane.

    What is much darker than the ground is left out of the fit, so that it neither tilts the plane
    nor passes for a gradient.
    """
    ny, nx = coarse.shape
    step = max(1, min(ny, nx) // 48)
    small = _block_mean(coarse, step).astype(np.float64)
    sides = zip(small.shape, coarse.shape, strict=True)
    y, x = ((np.arange(n) + 0.5) * step / m - 0.5 for n, m in sides)
    grid = np.stack(np.broadcast_arrays(1.0, y[:, None], x), axis=-1).reshape(-1, 3)
    values, keep = small.ravel(), np.ones(small.size, dtype=bool)
    for _ in range(_PLANE_ROUNDS):
        plane = np.linalg.lstsq(grid[keep], values[keep], rcond=None)[0]
        rest = values - grid @ plane
        middle = float(np.median(rest[keep]))
        spread = 1.4826 * float(np.median(np.abs(rest[keep] - middle)))
        new = rest > middle - 3 * spread
        if spread <= 0 or new.sum() < 0.3 * new.size:
            break
        keep = new
    gy, gx = ((np.arange(n) + 0.5) / n - 0.5 for n in coarse.shape)
    flat = coarse - (plane[0] + plane[1] * gy[:, None] + plane[2] * gx)
    return math.hypot(plane[1], plane[2]), np.asarray(flat, dtype=np.float32)


def _dark(smooth: FloatArray) -> tuple[float, float]:
    # The spread of the bright half: what is dark does not change it.
    darkest, middle, bright = np.percentile(smooth, (0.5, 60, 92))
    spread = float(bright - middle) / 1.152  # between these percentiles of a normal distribution
    if spread <= 0:
        return 0.0, 0.0
    middle = float(middle) - 0.253 * spread
    fraction = float(np.mean(smooth < middle - _DARK_LIMIT * spread))
    return fraction, (middle - float(darkest)) / spread


def _two_classes(smooth: FloatArray) -> tuple[float, float]:
    """Return distance and smaller share of two classes; Otsu (1979), IEEE Trans. SMC 9, 62."""
    values = np.sort(smooth, axis=None).astype(np.float64)
    values -= values.mean()
    n = len(values)
    below = np.arange(1, n)
    left = np.cumsum(values)[:-1]
    total2 = float(np.sum(values**2))
    between = left**2 * (1 / below + 1 / (n - below))
    best = int(np.argmax(between))
    within = total2 - float(between[best])
    if total2 <= 0 or within <= 0:
        return 0.0, 0.0
    distance = -left[best] / below[best] - left[best] / (n - below[best])
    share = below[best] / n
    return float(distance / math.sqrt(within / n)), float(min(share, 1 - share))


def _texture(flat: FloatArray, size: float) -> tuple[float | None, float | None]:
    """Return the spread of the local contrast, and coarse contrast over fine."""
    fine = np.square(flat - gaussian_filter(flat, 50 / (2 * math.pi) * 1.5 / size))
    variance = float(fine.mean(dtype=np.float64))
    # Wide filters need no fine grid.
    if min(flat.shape) >= 64:
        fine, flat, size = _block_mean(fine, 2), _block_mean(flat, 2), 2 * size
    power = gaussian_filter(fine, 150 / size)
    if variance <= 0 or float(power.min()) <= 0:
        return None, None
    low, high = np.percentile(np.log(power), (2, 98))
    coarse = gaussian_filter(flat, 200 / (2 * math.pi) / size)
    coarse = coarse - gaussian_filter(flat, 600 / (2 * math.pi) / size)
    return float(high - low), float(coarse.std()) / math.sqrt(variance)


def _tile_spectrum(image: AnyArray) -> FloatArray:
    """Return the mean amplitude of tiles, (n, n) with zero frequency in the middle."""
    n = min(_TILE, *(s // 2 * 2 for s in image.shape))
    starts = [np.linspace(0, s - n, min(_TILES, max(1, s // n))).astype(int) for s in image.shape]
    window = np.hanning(n).astype(np.float32)
    window2 = window[:, None] * window
    total = np.zeros((n, n // 2 + 1), dtype=np.float32)
    for y in starts[0]:
        for x in starts[1]:
            tile = np.asarray(image[y : y + n, x : x + n], dtype=np.float32)
            total += np.abs(rfft2((tile - tile.mean()) * window2, workers=1))
    full = np.empty((n, n), dtype=np.float32)
    full[:, : n // 2 + 1] = total
    mirrored = total[:, 1 : n // 2][:, ::-1]
    full[:, n // 2 + 1 :] = np.roll(mirrored[::-1], 1, axis=0)
    return np.asarray(np.fft.fftshift(full))


def _lattice(spectrum: FloatArray, pixel_size: float) -> tuple[float | None, float | None]:
    n = spectrum.shape[0]
    unit = 1 / (n * pixel_size)
    first = 1 / _LATTICE[0] / unit
    last = min(1 / _LATTICE[1] / unit, _EDGE * n / 2)
    if last - first < 8:
        return None, None
    middle = n // 2
    # Friedel's law: half of the plane says everything.
    half = gaussian_filter(spectrum, _SPOT, mode="wrap")[:, middle:]
    y, x = np.ogrid[-middle : n - middle, 0 : n - middle]
    radius = np.hypot(y, x)
    keep = (radius >= first) & (radius <= last) & (np.abs(y) > _CROSS) & (x > _CROSS)
    ring = radius[keep].astype(np.intp)
    values = half[keep]
    order = np.lexsort((values, ring))
    ring, values = ring[order], values[order]
    edges = np.searchsorted(ring, np.arange(ring[0], ring[-1] + 2))
    centre, count = _median_of_sorted(values, edges), np.diff(edges)
    index = np.repeat(np.arange(len(count)), count)
    distance = np.abs(values - centre[index])
    spread_order = np.lexsort((distance, index))
    spread = 1.4826 * _median_of_sorted(distance[spread_order], edges)
    # Rings of a hundred pixels; neighbours have nearly the same spread.
    spread = gaussian_filter1d(spread, 2.0)
    if np.any(spread <= 0):
        return None, None
    score = (values - centre[index]) / spread[index]
    top = int(np.argmax(score))
    where = float(radius[keep][order][top]) * unit
    return float(score[top]), 1 / where


def _median_of_sorted(values: FloatArray, edges: AnyArray) -> FloatArray:
    low, high = edges[:-1], edges[1:]
    a, b = values[(low + high - 1) // 2], values[(low + high) // 2]
    return np.asarray((a + b) / 2, dtype=np.float64)
