"""Power spectra of many small parts of a micrograph, reduced to sectors of rings.

A Hann window over a part of linearly varying defocus leaves Thon rings of the defocus at its
centre: the rings of its points add up to the centre's, times the transform of the squared window
at ``lambda k^2 grad D``, which is real and the same for every part. So a tilt dims the rings of
the tiles but does not shift them, and the fitted envelope takes the dimming in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft

from icefloe._types import AnyArray, FloatArray
from icefloe.errors import InputError, SettingsError
from icefloe.fourier import fast_size, get_threads, resize
from icefloe.optics import good_size

__all__ = ["Tiles", "cut_tiles", "tile_starts"]

_SECTORS = 16
# Frequency steps beside the axes that are not fitted.
_CROSS = 2
# Of the power relative to its background: a bin is the mean of n exponentials.
_CAP = 5.0
# Degree in k of the two-fold anisotropy of each tile's background.
_TWO_FOLD = 2
# What a micrograph may shrink by, in eighths: numbers whose transforms are fast.
_EIGHTHS = [n for n in range(8, 161) if good_size(2 * n) == 2 * n]


@dataclass(frozen=True, eq=False)
class Tiles:
    """Relative power ``P / b - 1`` of every tile, its smooth part taken out.

    The bins are the sectors of rings that hold pixels, m of them, the same for all t tiles.

    Attributes
    ----------
    values
        (t, m), background removed.
    weight
        (m,), pixels in a bin.
    k2, cos2, sin2
        (m,), mean of k^2 (1/A^2), and of cosine and sine of twice the azimuth, of those pixels.
    sector, ring
        (m,), indices.
    ring_k
        (r,), frequencies of the rings, 1/A.
    basis
        (m, p), what a tile's background can describe; orthonormal with `weight`.
    y, x
        (t,), centres of the tiles in pixels of the micrograph.
    shape, pixel_size
        Of the micrograph; A.
    length
        Side of a tile, A.
    overlap
        Fraction of a tile shared with its neighbour.
    """

    values: FloatArray
    weight: FloatArray
    k2: FloatArray
    cos2: FloatArray
    sin2: FloatArray
    sector: AnyArray
    ring: AnyArray
    ring_k: FloatArray
    basis: FloatArray
    y: FloatArray
    x: FloatArray
    shape: tuple[int, int]
    pixel_size: float
    length: float
    overlap: float

    def __len__(self) -> int:
        return len(self.y)

    @property
    def n_sectors(self) -> int:
        """Number of sectors in half a turn."""
        return _SECTORS

    def project(self, values: FloatArray) -> FloatArray:
        """Return values (t, m) without what a tile's background could describe."""
        # Not as products of matrices, whose last digits depend on the number of threads.
        basis = self.basis.astype(values.dtype)
        weighted = (self.basis * self.weight[:, None]).astype(values.dtype)
        part = np.einsum("tm,mp->tp", values, weighted, optimize=False)
        return np.asarray(values - np.einsum("tp,mp->tm", part, basis, optimize=False))

    def ring_sum(self, values: FloatArray) -> FloatArray:
        """Return the sums (r,) over tiles and sectors of values (t, m), weighted by pixels."""
        total = values.sum(axis=0) * self.weight
        return np.asarray(np.bincount(self.ring, total, minlength=len(self.ring_k)))


def cut_tiles(
    image: AnyArray,
    pixel_size: float,
    *,
    length: float,
    low_resolution: float,
    high_resolution: float,
    degree: int = 5,
    overlap: float = 0.5,
) -> Tiles:
    """Return the spectra of overlapping Hann-windowed tiles between two resolutions.

    Parameters
    ----------
    image
        (ny, nx), any real type.
    pixel_size
        A.
    length
        Side of a tile, A; less where the micrograph is smaller.
    low_resolution, high_resolution
        Fitted range, A.
    degree
        Of the polynomial in k that is every tile's background.
    overlap
        Fraction of a tile shared with its neighbour.

    Raises
    ------
    InputError
        The image is not two-dimensional, or too small to hold tiles.
    SettingsError
        The range holds fewer than 16 rings.
    """
    if image.ndim != 2 or min(image.shape) < 128:
        raise InputError(
            f"The micrograph has the shape {tuple(image.shape)}",
            "two dimensions of at least 128 pixels",
        )
    shape = (int(image.shape[0]), int(image.shape[1]))
    small, factor = _binned(image, pixel_size, high_resolution)
    size = pixel_size * factor
    side = min(good_size(length / size), 2 * (min(small.shape) // 2))
    bins = _bins(side, size, low_resolution, high_resolution)
    starts = tile_starts(small.shape, side, overlap)
    window = np.hanning(side + 1)[:-1].astype(np.float32)
    power = _powers(small, side, starts, np.outer(window, window), bins)
    basis = _basis(bins, degree)
    scale = np.array([size / pixel_size, size / pixel_size])
    y, x = (np.repeat(starts[0], len(starts[1])), np.tile(starts[1], len(starts[0])))
    tiles = Tiles(
        power,
        bins.weight,
        bins.k2,
        bins.cos2,
        bins.sin2,
        bins.sector,
        bins.ring,
        bins.ring_k,
        basis,
        # The Hann window peaks at its pixel side / 2.
        (y + side // 2 + 0.5) * scale[0] - 0.5,
        (x + side // 2 + 0.5) * scale[1] - 0.5,
        shape,
        pixel_size,
        side * size,
        overlap,
    )
    return _relative(tiles, degree)


def tile_starts(shape: tuple[int, ...], side: int, overlap: float) -> tuple[AnyArray, AnyArray]:
    """Return the first rows and columns of evenly spread tiles that reach every edge."""
    step = side * (1 - overlap)
    first, second = (
        np.unique(np.linspace(0, n - side, max(1, math.ceil((n - side) / step) + 1)).astype(int))
        for n in shape
    )
    return first, second


@dataclass(frozen=True)
class _Bins:
    pixels: AnyArray
    index: AnyArray
    count: int
    shape: tuple[int, int]
    weight: FloatArray
    k2: FloatArray
    cos2: FloatArray
    sin2: FloatArray
    sector: AnyArray
    ring: AnyArray
    ring_k: FloatArray


def _bins(side: int, pixel_size: float, low_resolution: float, high_resolution: float) -> _Bins:
    step = 1 / (side * pixel_size)
    iy = np.rint(np.fft.fftfreq(side) * side)[:, None]
    ix = np.arange(side // 2 + 1)[None, :]
    radius = np.hypot(iy, ix)
    first = max(math.ceil(1 / (low_resolution * step)), 4)
    last = math.floor(min(1 / high_resolution, 0.48 / pixel_size) / step)
    if last - first < 16:
        raise SettingsError(
            f"Between {low_resolution:g} and {high_resolution:g} A a tile of "
            f"{side * pixel_size:.0f} A has {max(0, last - first)} rings",
            "16 or more",
            "Widen the resolution range, or enlarge the tiles",
        )
    ring = np.rint(radius).astype(np.intp)
    keep = (ring >= first) & (ring <= last) & (np.abs(iy) > _CROSS) & (ix > _CROSS)
    pixels = np.flatnonzero(keep)
    azimuth = np.arctan2(*np.broadcast_arrays(iy, ix))[keep]
    sector = np.minimum((azimuth % np.pi) * (_SECTORS / np.pi), _SECTORS - 1).astype(np.intp)
    flat = sector * (last - first + 1) + ring[keep] - first
    used, index = np.unique(flat, return_inverse=True)
    weight = np.bincount(index).astype(np.float64)

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(index, values) / weight)

    return _Bins(
        pixels,
        index,
        len(used),
        (side, side // 2 + 1),
        weight,
        mean((radius[keep] * step) ** 2),
        mean(np.cos(2 * azimuth)),
        mean(np.sin(2 * azimuth)),
        used // (last - first + 1),
        used % (last - first + 1),
        np.arange(first, last + 1) * step,
    )


def _binned(image: AnyArray, pixel_size: float, high_resolution: float) -> tuple[FloatArray, float]:
    """Return the micrograph with the frequencies that are fitted only, and by what it shrank."""
    data = np.asarray(image, dtype=np.float32)
    data = data - np.float32(np.mean(data, dtype=np.float64))
    wanted = 0.46 * high_resolution / pixel_size
    # Eighths, so that both axes shrink by the same factor exactly: pixels stay square.
    eighths = max((e for e in _EIGHTHS if e <= 8 * wanted), default=8)
    if eighths < 10:
        return data, 1.0
    ny, nx = data.shape
    padded = tuple(eighths * fast_size(math.ceil(n / eighths)) for n in (ny, nx))
    buffer = np.zeros(padded, dtype=np.float32)
    buffer[:ny, :nx] = data
    out = resize(buffer, (padded[0] // eighths * 8, padded[1] // eighths * 8))
    return np.asarray(out)[: ny * 8 // eighths, : nx * 8 // eighths], eighths / 8


def _powers(
    image: FloatArray, side: int, starts: tuple[AnyArray, AnyArray], window: FloatArray, bins: _Bins
) -> FloatArray:
    """Return the mean power (t, m) of every tile in every bin."""
    rows = []
    for y in starts[0]:
        part = np.stack([image[y : y + side, x : x + side] for x in starts[1]])
        part = (part - part.mean(axis=(1, 2), keepdims=True)) * window
        f = scipy.fft.rfft2(part, workers=get_threads()).reshape(len(part), -1)[:, bins.pixels]
        power = f.real**2 + f.imag**2
        rows += [np.bincount(bins.index, p, minlength=bins.count) / bins.weight for p in power]
    return np.stack(rows)


def _basis(bins: _Bins, degree: int) -> FloatArray:
    """Return the columns of a background, orthonormal with the weights of the bins."""
    n = len(bins.ring_k)
    position = 2 * bins.ring / (n - 1) - 1
    plain = np.polynomial.legendre.legvander(position, degree)
    two_fold = plain[:, : _TWO_FOLD + 1]
    columns = np.concatenate(
        [plain, two_fold * bins.cos2[:, None], two_fold * bins.sin2[:, None]], axis=1
    )
    root = np.sqrt(bins.weight)[:, None]
    return np.asarray(np.linalg.qr(columns * root)[0] / root)


def _relative(tiles: Tiles, degree: int) -> Tiles:
    """Return the tiles with powers divided by a smooth background, which is then taken out."""
    n = len(tiles.ring_k)
    pixels = np.bincount(tiles.ring, tiles.weight, minlength=n)
    vander = np.polynomial.legendre.legvander(np.linspace(-1, 1, n), degree)
    weighted = vander * pixels[:, None]
    solve = np.linalg.inv(weighted.T @ vander)
    out = np.empty_like(tiles.values)
    for i, power in enumerate(tiles.values):
        ring = np.bincount(tiles.ring, power * tiles.weight, minlength=n) / pixels
        log = np.log(np.maximum(ring, ring.max() * 1e-12))
        shape = np.einsum("rp,r->p", weighted, log, optimize=False)
        smooth = np.exp(vander @ (solve @ shape))[tiles.ring]
        # A crystal's spot may be hundreds of times brighter than its ring.
        top = 1 + _CAP / np.sqrt(np.maximum(tiles.weight / 4, 1))
        out[i] = np.minimum(power / smooth, top) - 1
    return replace(tiles, values=tiles.project(out).astype(np.float32))
