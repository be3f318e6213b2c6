"""Before and after motion correction, small enough to keep: frames, spectra, Thon rings."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.engine.preview import block_mean, to_grey
from icefloe.fourier import rotational_average
from icefloe.kernels.frames import sum_frames
from icefloe.motion.spectrum import TileSpectrum
from icefloe.motion.usable import runs

if TYPE_CHECKING:
    from icefloe.motion import MotionResult

__all__ = ["MotionView", "motion_view", "ring_gain"]

# Side of a picture, and of the field that is shown pixel by pixel.
_SIDE = 256
_SPECTRUM = 512
# Side of the middle whose spectrum is taken, in tiles: 4 x 4 of them, which overlap.
_TILES = 3.6
# A. Coarser detail is the background's, finer detail has no rings that a sum of tiles resolves.
_BANDS = ((20.0, 8.0), (8.0, 4.0))
_DEGREE = 4
# Rings are there if they are this much stronger than the scatter from ring to ring.
_VISIBLE = 3.0
# Less than this of the rings left without alignment cannot be told from nothing.
_FLOOR = 0.02


@dataclass(frozen=True, eq=False)
class MotionView:
    """What one looks at to judge a corrected movie.

    Attributes
    ----------
    frames
        (512, 512), uint8: a frame as counted on the left and the aligned sum on the right; above
        the whole field, below its middle, 256 pixels of the frame. Each of the four has 0.5 % of
        its pixels black and 0.5 % white.
    spectra
        (256, 256), uint8: logarithm of the power of the sum without (left half) and with
        alignment (right half), on one grey scale, up to 1/4 A or Nyquist.
    frame
        Which frame is shown, counted from 1.
    numbers
        For the record, see `motion_view`.
    """

    frames: AnyArray
    spectra: AnyArray
    frame: int
    numbers: dict[str, Any]


def motion_view(
    frames: Sequence[AnyArray] | AnyArray,
    result: MotionResult,
    *,
    gain: FloatArray | None = None,
    defects: BoolArray | None = None,
) -> MotionView:
    """Return pictures and spectra of a movie before and after its correction.

    The sum before is that of the same frames with the same gain, not shifted and not weighted by
    dose, compared with the aligned sum without dose weighting: both have the same electrons.

    Parameters
    ----------
    frames
        All frames of the movie (ny, nx), as given to `correct_motion`.
    result
        Of `correct_motion`.
    gain, defects
        As given to `correct_motion`, (ny, nx).

    Returns
    -------
    MotionView
        With `numbers` of ``frequency`` (1/A), ``before`` and ``after`` (rotational averages of
        power over the smooth background of the sum after) and ``ring_gains``: a list of
        ``from`` and ``to`` (A) and ``gain``, see `ring_gain`.
    """
    facts = result.facts
    first, n = int(facts["first_frame"]) - 1, int(facts["n_frames"])
    out = {int(f) - 1 for f in facts["frames_left_out"]}
    kept = [f for f in range(first, first + n) if f not in out]
    shown = min(kept, key=lambda f: abs(f - first - n // 2))
    movie_pixel = float(facts["movie_pixel_size"])
    unaligned = _unaligned_sum(frames, kept, result, gain, defects)
    with ThreadPoolExecutor(3) as pool:
        pictures = pool.submit(_frame_pictures, frames[shown], result)
        both = [(unaligned, movie_pixel), (result.plain, result.pixel_size)]
        before, after = pool.map(_spectrum, *zip(*both, strict=True))
    frequency, curves = _curves(before, after)
    gains = [
        {"from": low, "to": high, "gain": ring_gain(frequency, *curves, band=(low, high))}
        for low, high in _BANDS
        if 1 / high <= 1.02 * frequency[-1]  # the last sample may lie just below
    ]
    level = np.exp(_background(frequency, curves[1]))
    return MotionView(
        pictures.result(),
        _spectrum_halves(before, after, float(frequency[-1])),
        shown + 1,
        {
            "frequency": np.round(frequency, 5).tolist(),
            "before": np.round(curves[0] / level, 4).tolist(),
            "after": np.round(curves[1] / level, 4).tolist(),
            "ring_gains": gains,
        },
    )


def ring_gain(
    frequency: FloatArray, before: FloatArray, after: FloatArray, band: tuple[float, float]
) -> float | None:
    """Return by how much alignment made Thon rings stronger.

    Both curves are divided by the smooth background of the one after, and freed of a polynomial of
    the fourth degree in the band: what is left are rings and scatter. The rings before are
    regressed on those after, which stand out better; one over the slope is the gain in their
    power. Noise that both sums share pulls it towards 1. Nothing of a CTF fit enters.

    Parameters
    ----------
    frequency
        (n,), 1/A, evenly spaced.
    before, after
        (n,), rotational averages of power, positive.
    band
        A, from low to high frequency.

    Returns
    -------
    float or None
        None where no rings stand out after alignment; 50 where less than a fiftieth of them is
        left without.
    """
    inside = (frequency >= 1 / band[0]) & (frequency <= 1 / band[1])
    if np.count_nonzero(inside) < 4 * _DEGREE:
        return None
    x = frequency[inside]
    level = np.exp(_background(x, after[inside]))
    old, new = (_without_trend(x, curve[inside] / level) for curve in (before, after))
    # Rings are smooth from sample to sample, noise is not: 6 is the gain of second differences.
    noise = float(np.mean(np.diff(new, 2) ** 2)) / 6
    power = float(np.mean(new**2))
    if power < _VISIBLE * noise or power == 0:
        return None
    slope = float(np.mean(old * new)) / power
    return round(1 / max(slope, _FLOOR), 3)


def _background(frequency: FloatArray, power: FloatArray) -> FloatArray:
    # Logarithm of the smooth part; the fit's own scale keeps the polynomial well conditioned.
    fit = np.polynomial.Polynomial.fit(frequency, np.log(power), _DEGREE)
    return np.asarray(fit(frequency))


def _without_trend(frequency: FloatArray, values: FloatArray) -> FloatArray:
    fit = np.polynomial.Polynomial.fit(frequency, values, _DEGREE)
    return np.asarray(values - fit(frequency))


def _unaligned_sum(
    frames: Sequence[AnyArray] | AnyArray,
    kept: list[int],
    result: MotionResult,
    gain: FloatArray | None,
    defects: BoolArray | None,
) -> FloatArray:
    """Return gain times the sum of the kept frames, bad pixels at the mean of the others."""
    total: FloatArray = np.zeros(np.shape(frames[kept[0]]), np.float32)
    used = np.zeros(len(frames), dtype=bool)
    used[kept] = True
    for stretch in runs(used):
        total += sum_frames(np.asarray(frames)[stretch])
    bad = np.zeros(total.shape, dtype=bool)
    if gain is not None:
        total *= gain
        bad |= gain == 0
    if defects is not None:
        bad |= defects
    hot = np.asarray(result.hot_pixels, dtype=np.intp).reshape(-1, 2)
    bad[hot[:, 0], hot[:, 1]] = True
    total[bad] = 0
    total[bad] = total.sum(dtype=np.float64) / max(1, total.size - np.count_nonzero(bad))
    return total


def _spectrum(image: FloatArray, pixel_size: float) -> TileSpectrum:
    shape = (int(image.shape[0]), int(image.shape[1]))
    spectrum = TileSpectrum.for_frames(shape, pixel_size, _SPECTRUM)
    # Enough tiles for a picture; all of those of a large micrograph would cost four times as much.
    side = int(_TILES * spectrum.tile)
    y, x = (max(0, (n - side) // 2) for n in shape)
    spectrum.add(np.asarray(image[y : y + side, x : x + side], dtype=np.float32))
    # Per area and relative to the mean: then binning changes neither signal nor noise.
    spectrum.power *= (pixel_size / (abs(float(image.mean(dtype=np.float64))) or 1.0)) ** 2
    return spectrum


def _curves(
    before: TileSpectrum, after: TileSpectrum
) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Return frequencies (1/A), and both rotational averages at them.

    They begin at 1/20 A, or where large pixels leave less than that, at a quarter of Nyquist.
    """
    curves = []
    for spectrum in (before, after):
        radius, power = rotational_average(spectrum.power, (spectrum.size, spectrum.size))
        curves.append((radius / spectrum.pixel_size, power))
    limit = min(1 / _BANDS[-1][1], *(float(k[-1]) for k, _ in curves))
    k, _ = curves[1]
    frequency = k[(k >= min(1 / _BANDS[0][0], limit / 4)) & (k <= limit)]
    # A field without any noise has no logarithm.
    old, new = (np.maximum(np.interp(frequency, k, power), 1e-30) for k, power in curves)
    return frequency, (np.asarray(old), np.asarray(new))


def _spectrum_halves(before: TileSpectrum, after: TileSpectrum, limit: float) -> AnyArray:
    """Return log power up to `limit` (1/A), before on the left, after on the right."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    axis = (np.arange(_SIDE) - _SIDE / 2 + 0.5) / (_SIDE / 2) * limit
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    levels = []
    for spectrum, columns in ((before, axis < 0), (after, axis > 0)):
        # Rings of weak contrast need some averaging to be seen.
        smooth = gaussian_filter(spectrum.amplitude(), 1.2)
        step = 1 / (spectrum.size * spectrum.pixel_size)
        places = np.stack([ky[:, columns], kx[:, columns]]) / step + spectrum.size // 2
        levels.append(map_coordinates(np.log(np.maximum(smooth, 1e-12)), places, order=1))
    image = np.concatenate(levels, axis=1)
    # One scale for both, from the ring where Thon rings are: the centre would blacken the rest.
    radius = np.hypot(ky, kx)
    rings = image[(radius > min(1 / _BANDS[0][0], limit / 4)) & (radius < limit)]
    black, white = np.percentile(rings, (1.0, 99.5))
    return to_grey(np.clip(image, black, white), 0, 100)


def _frame_pictures(frame: AnyArray, result: MotionResult) -> AnyArray:
    ny, nx = frame.shape
    image = result.micrograph
    binning = result.pixel_size / float(result.facts["movie_pixel_size"])
    side = min(_SIDE, ny, nx)
    y, x = (ny - side) // 2, (nx - side) // 2
    small = max(1, round(side / binning))
    top, left = (
        min(round(v / binning), n - small) for v, n in zip((y, x), image.shape, strict=True)
    )
    counts = np.asarray(frame[y : y + side, x : x + side], dtype=np.float32)
    summed = image[max(0, top) : top + small, max(0, left) : left + small]
    rows = [
        [_fill(_shrink(frame)), _fill(_shrink(image))],
        [_fill(counts), _fill(np.asarray(summed, dtype=np.float32))],
    ]
    return np.block(rows)


def _shrink(image: AnyArray) -> FloatArray:
    """Return an image with blocks of pixels averaged, the longer side near the picture's."""
    factor = max(1, max(image.shape) // _SIDE)
    return block_mean(image, factor)


def _fill(image: FloatArray) -> AnyArray:
    """Return an image as uint8 in the middle of a black square, enlarged without smoothing."""
    grey = to_grey(image)
    fit = _SIDE / max(grey.shape)
    ny, nx = (max(1, round(n * fit)) for n in grey.shape)
    rows = np.minimum((np.arange(ny) + 0.5) / fit, grey.shape[0] - 1).astype(np.intp)
    columns = np.minimum((np.arange(nx) + 0.5) / fit, grey.shape[1] - 1).astype(np.intp)
    out = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
    top, left = (_SIDE - ny) // 2, (_SIDE - nx) // 2
    out[top : top + ny, left : left + nx] = grey[np.ix_(rows, columns)]
    return out
