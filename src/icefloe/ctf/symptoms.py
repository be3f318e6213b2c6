"""Signs in a spectrum of what is wrong with a micrograph, independent of the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.ctf.spectrum import Spectrum

__all__ = ["ONE_SIDED", "STRONG_EDGE", "Symptoms", "find_symptoms"]

# Mean log power on an axis above what lies beside it.
STRONG_EDGE = 1.5
# Standard deviations of the two-fold part of the log power. Images without structure reach 4,
# micrographs that drifted by 400 A and were aligned as well as that goes, 8 to 16.
ONE_SIDED = 6.0
# A, where most of the power of structure is.
_STRUCTURE = (60.0, 10.0)

# A, where crystalline ice has its strong reflections: 3.90, 3.67, 3.44 hexagonal, 3.66 cubic, and
# a little more for pixel sizes that are not exact.
_ICE = (4.05, 3.3)
# Standard deviations of the log power of a ring's pixels.
_SPOT = 7.0
# Pixels beside the axes that count as axis, and those that are compared with them.
_AXIS, _BESIDE = 3, 16


@dataclass(frozen=True)
class Symptoms:
    """What a spectrum looks like.

    Attributes
    ----------
    spots
        Isolated pixels of the half plane far above their ring (7 standard deviations).
    spot_resolution
        Resolution of the strongest, A; NaN without.
    ice_spots
        How many of them lie where ice crystals reflect.
    edges
        Mean log power on the axes less that beside them: above 1 where the image has a strong
        edge or gradient.
    relief
        Standard deviation of the smoothed rotational average of the log power over the fitted
        range; near 0 for white noise.
    one_sided
        Signal to noise of a dependence of the power at 60 to 10 A on the direction: drift leaves
        structure across itself only, and an edge across the view is a streak.
    """

    spots: int
    spot_resolution: float
    ice_spots: int
    edges: float
    relief: float
    one_sided: float


def find_symptoms(spectrum: Spectrum, low_resolution: float, high_resolution: float) -> Symptoms:
    """Return what a spectrum looks like; the range, A, is that of the fit."""
    ky, kx = spectrum.frequencies()
    step = 1 / (spectrum.size * spectrum.pixel_size)
    k = np.hypot(ky, kx)
    log = np.log(spectrum.power.astype(np.float64))
    iy, ix = np.abs(np.rint(ky / step)), np.rint(kx / step)
    clear = (iy > _BESIDE) & (ix > _BESIDE) & (k < 0.5 / spectrum.pixel_size) & (k > 8 * step)
    ring = np.rint(k[clear] / step).astype(np.intp)
    values = log[clear]
    count = np.maximum(np.bincount(ring), 1)
    mean = np.bincount(ring, values) / count
    # The middle 68 % of a ring, so that the spots do not hide themselves; astigmatic rings
    # widen it, which only makes the test stricter.
    order = np.lexsort((values, ring))
    ends = np.cumsum(np.bincount(ring))
    starts = ends - np.bincount(ring)
    ranked = values[order]
    high = ranked[np.minimum(starts + (0.84 * count).astype(np.intp), len(ranked) - 1)]
    low = ranked[np.minimum(starts + (0.16 * count).astype(np.intp), len(ranked) - 1)]
    spread = np.maximum(0.5 * (high - low), 1e-6)
    excess = (values - 0.5 * (high + low)[ring]) / spread[ring]
    spot = excess > _SPOT
    where = 1 / k[clear]
    bins = np.arange(len(mean))
    range_ = (bins > 1 / (low_resolution * step)) & (bins < 1 / (high_resolution * step))
    range_ &= np.bincount(ring) > 0
    return Symptoms(
        int(spot.sum()),
        float(where[int(np.argmax(excess))]) if spot.any() else float("nan"),
        int(np.sum(spot & (where < _ICE[0]) & (where > _ICE[1]))),
        _edges(log, k, iy, ix, low_resolution, high_resolution),
        _relief(bins[range_], mean[range_], count[range_]),
        _one_sided(spectrum, log),
    )


def _one_sided(spectrum: Spectrum, log: FloatArray) -> float:
    """Return the signal to noise of the two-fold part of the log power of rings."""
    ky, kx = spectrum.frequencies()
    step = 1 / (spectrum.size * spectrum.pixel_size)
    k = np.hypot(ky, kx)
    keep = (k > 1 / _STRUCTURE[0]) & (k < 1 / _STRUCTURE[1])
    keep &= (np.abs(ky) > 2.1 * _AXIS * step) & (kx > 2.1 * _AXIS * step)
    if np.count_nonzero(keep) < 100:
        return 0.0
    ring = np.rint(k[keep] / step).astype(np.intp)
    count = np.maximum(np.bincount(ring), 1)

    def centred(values: FloatArray) -> FloatArray:
        return np.asarray(values - (np.bincount(ring, values) / count)[ring])

    rest = centred(log[keep])
    limit = 3 * rest.std()
    rest = centred(np.asarray(np.clip(rest, -limit, limit)))
    kx2, ky2, both = (
        np.asarray(np.broadcast_to(v, k.shape)[keep]) for v in (kx**2, ky**2, kx * ky)
    )
    k2 = kx2 + ky2
    waves: tuple[FloatArray, FloatArray] = ((kx2 - ky2) / k2, 2 * both / k2)
    parts = [float(np.sum(rest * centred(wave))) for wave in waves]
    return float(np.hypot(parts[0], parts[1]) / np.sqrt(max(0.5 * float(np.sum(rest**2)), 1e-12)))


def _relief(bins: AnyArray, mean: FloatArray, count: AnyArray) -> float:
    """Return the standard deviation of a cubic through a rotational average."""
    if len(bins) < 8:
        return 0.0
    curve = np.polynomial.Polynomial.fit(bins, mean, 3, w=np.sqrt(count))(bins)
    return float(np.std(curve))


def _edges(
    log: FloatArray,
    k: FloatArray,
    iy: FloatArray,
    ix: FloatArray,
    low_resolution: float,
    high_resolution: float,
) -> float:
    """Return how much brighter the brighter axis is than what lies beside it."""
    range_ = (k > 1 / low_resolution) & (k < 1 / high_resolution)
    out = 0.0
    for near, far in ((iy, ix), (ix, iy)):
        on = range_ & (near <= _AXIS - 2) & (far > _BESIDE)
        beside = range_ & (near > 2 * _AXIS) & (near <= _BESIDE) & (far > _BESIDE)
        if on.any() and beside.any():
            out = max(out, float(log[on].mean() - log[beside].mean()))
    return out
