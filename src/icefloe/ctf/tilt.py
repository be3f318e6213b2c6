"""The exhaustive search for a tilted plane, which needs no start value.

With every tile, the correlation of its spectrum with the rings of every defocus is tabulated. A
plane is then one look-up for each tile, and its score the sum: all defoci, tilts and axes are
tried. So a tilt that washes out the rings of the whole micrograph, and whose tiles are each too
noisy to be fitted, is found.
"""

from __future__ import annotations

import math

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.ctf.samples import Optics
from icefloe.ctf.surface import DefocusSurface
from icefloe.ctf.tiles import Tiles

__all__ = ["search_plane", "tabulate"]

_STEP = 150.0
# A^2, of the envelope that the search assumes.
_BFACTOR = 100.0
# A of defocus between neighbouring planes at the farthest tile.
_PLANE_STEP = 350.0
# A: how far beyond the range of the search a tile of a tilted micrograph may lie.
_MARGIN = 6000.0


def tabulate(
    tiles: Tiles,
    optics: Optics,
    defocus_range: tuple[float, float],
    astigmatism: tuple[float, float] = (0.0, 0.0),
    phase_shift: float = 0.0,
    step: float = _STEP,
) -> tuple[FloatArray, FloatArray]:
    """Return defoci (d,) and the normalised correlations (t, d) of every tile with their rings.

    Parameters
    ----------
    tiles, optics
        The data.
    defocus_range
        A.
    astigmatism
        ``(a, b)``, A: the defocus along azimuth t is the mean plus ``a cos 2t + b sin 2t``.
    phase_shift
        Degrees.
    step
        A.
    """
    low, high = defocus_range
    defoci = low + step * np.arange(math.ceil((high - low) / step) + 1)
    offset = astigmatism[0] * tiles.cos2 + astigmatism[1] * tiles.sin2
    phase = optics.double_phase(tiles.k2, defoci[:, None] + offset)
    wave = -np.cos(phase + 2 * math.radians(phase_shift)) * np.exp(-0.5 * _BFACTOR * tiles.k2)
    wave = tiles.project(wave)
    norm = np.sqrt(np.einsum("dm,dm,m->d", wave, wave, tiles.weight, optimize=False))
    # The start need not be exact to its last digit, and the refinement forgets it.
    dot = np.asarray(tiles.values * tiles.weight, np.float32) @ wave.astype(np.float32).T
    return defoci, np.asarray(dot / np.maximum(norm, 1e-12), np.float64)


def search_plane(
    tiles: Tiles,
    optics: Optics,
    defocus_range: tuple[float, float],
    max_tilt: float,
    astigmatism: tuple[float, float] = (0.0, 0.0),
    phase_shift: float = 0.0,
) -> tuple[float, float, float]:
    """Return the coefficients of the plane with the highest summed correlation.

    Parameters
    ----------
    tiles, optics, astigmatism, phase_shift
        As for `tabulate`.
    defocus_range
        Of the defocus at the micrograph's centre, A.
    max_tilt
        Degrees.
    """
    low, high = defocus_range
    few = _apart(tiles)
    defoci, table = tabulate(
        tiles, optics, (low - _MARGIN, high + _MARGIN), astigmatism, phase_shift
    )
    table = table[few]
    surface = DefocusSurface((0.0, 0.0, 0.0), tiles.shape, tiles.pixel_size)
    place = surface.terms(tiles.y[few], tiles.x[few])[:, 1:]
    reach = float(np.max(np.hypot(place[:, 0], place[:, 1])))
    inside = (defoci >= low) & (defoci <= high)
    index = np.flatnonzero(inside)[None, :]
    rows = np.arange(len(place))[:, None]
    best, found = -math.inf, (float(np.mean(defocus_range)), 0.0, 0.0)
    for c1, c2 in _planes(surface.half, reach, max_tilt):
        shift = np.rint(place @ np.array([c1, c2]) / _STEP).astype(np.intp)[:, None]
        # Beyond the table there is no correlation to gain.
        at = np.clip(index + shift, 0, len(defoci) - 1)
        score = table[rows, at].sum(axis=0)
        top = int(np.argmax(score))
        if score[top] > best:
            best, found = float(score[top]), (float(defoci[index[0, top]]), c1, c2)
    return found


def _planes(half: float, reach: float, max_tilt: float) -> list[tuple[float, float]]:
    """Return slopes along y and x, A at the edge, up to a tilt, evenly spread, small ones first."""
    limit = math.tan(math.radians(max_tilt)) * half
    step = _PLANE_STEP / max(reach, 1e-6)
    n = math.floor(limit / step)
    grid = [
        (i * step, j * step)
        for i in range(-n, n + 1)
        for j in range(-n, n + 1)
        if i * i + j * j <= n * n
    ]
    return sorted(grid, key=lambda c: c[0] ** 2 + c[1] ** 2)


def _apart(tiles: Tiles) -> AnyArray:
    """Return the tiles of every other row and column: half the overlap, a quarter of the work."""
    ys, xs = np.unique(tiles.y), np.unique(tiles.x)
    if len(ys) < 7 or len(xs) < 7:
        return np.arange(len(tiles))
    return np.flatnonzero(np.isin(tiles.y, ys[::2]) & np.isin(tiles.x, xs[::2]))
