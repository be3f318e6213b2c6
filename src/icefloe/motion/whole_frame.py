"""Whole-frame motion from scratch: finds drifts of any size, to a fraction of a binned pixel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter1d

from icefloe._types import FloatArray, Tensor
from icefloe.fourier import (
    bfactor_filter,
    crop_rfft,
    fast_size,
    frequency_grid,
    get_threads,
    irfft2,
    is_tensor,
    rfft2,
    shift_phases,
    to_numpy,
)

__all__ = ["alignment_filter", "find_shifts", "taper"]

# Structure coarser than this, A, is beam and ice, which need not move with the specimen.
_COARSEST = 500.0
# Schedule: factor on the smallest B-factor, and over how many e/A^2 correlations are averaged.
_SCHEDULE = ((16.0, 6.0), (16.0, 3.0), (8.0, 3.0), (4.0, 2.0), (2.0, 1.0), (1.0, 0.0))
_MAX_ROUNDS = 16


def taper(length: int, edge: float) -> FloatArray:
    """Return a window (length,) with raised-cosine edges over the fraction `edge` at each end."""
    position = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5)
    ramp = np.clip(position / max(1.0, edge * length), 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * ramp), dtype=np.float32)


def alignment_filter(shape: tuple[int, int], pixel_size: float, bfactor: float) -> FloatArray:
    """Return the weight of each frequency in a correlation of two images.

    ``exp(-B k^2 / 4)`` for each of the two, isotropic; nothing coarser than 500 A (less in small
    images), and nothing on the axes kx = 0 and ky = 0, where hot columns and rows live.
    """
    weight = bfactor_filter(shape, pixel_size, 2 * bfactor)
    coarsest = min(_COARSEST, 0.35 * pixel_size * min(shape))
    weight = weight * (1 - np.exp(-((frequency_grid(shape, pixel_size) * coarsest) ** 4)))
    weight[0, :] = 0
    weight[:, 0] = 0
    return np.asarray(weight, dtype=np.float32)


def find_shifts(
    frames: Tensor,
    *,
    pixel_size: float,
    dose_per_frame: float,
    bfactor: float,
    max_shift: float,
) -> tuple[FloatArray, bool]:
    """Find the displacement of whole frames.

    Each frame is correlated with the sum of the others as aligned so far, first on coarse detail
    and with the correlations of neighbouring frames averaged (in the frame of the motion found so
    far), then finer and each by itself.

    Parameters
    ----------
    frames
        (F, ny, nx), binned frames.
    pixel_size
        Their pixel size, A.
    dose_per_frame
        e/A^2.
    bfactor
        B-factor of the last rounds, A^2.
    max_shift
        Largest shift between frames, A.

    Returns
    -------
    shifts : ndarray
        (F, 2), displacement of the specimen in pixels of `frames`, mean zero.
    converged : bool
        Whether the last round moved no frame by more than half a pixel.
    """
    n, ny, nx = (int(s) for s in frames.shape)
    shifts = np.zeros((n, 2))
    if n < 2:
        return shifts, True
    # Half the sampling, unless that leaves too little.
    step = 1 if min(ny, nx) < 256 else 2
    full = _spectra(frames, step)
    full_shape = (ny // step // 2 * 2, nx // step // 2 * 2)
    pixel = pixel_size * step
    spectra, shape, reduced = full, full_shape, 1.0
    converged = False
    for turn in range(_MAX_ROUNDS):
        sharp, dose = _SCHEDULE[min(turn, len(_SCHEDULE) - 1)]
        wanted = _reduced_shape(full_shape, pixel, bfactor * sharp)
        if wanted != shape:
            spectra, shape = crop_rfft(full, full_shape, wanted), wanted
            reduced = full_shape[0] / shape[0]
        weight = alignment_filter(shape, pixel * reduced, bfactor * sharp)
        # Rounding to even sizes stretches the axes by different hairs.
        scale = np.array(full_shape) / shape
        limit = max_shift / pixel
        reach = [max(1, min(int(limit / reduced), size // 2 - 2)) for size in shape]
        surfaces = _correlate(spectra, shape, shifts / scale, weight, reach)
        sigma = dose / dose_per_frame
        if sigma > 0.3:
            surfaces = gaussian_filter1d(surfaces, min(sigma, n / 4), axis=0, mode="nearest")
        move = np.array([_peak(s) for s in surfaces]) * scale
        # The others move too: of two frames each must go half the way.
        shifts += move * ((n - 1) / n)
        shifts -= shifts.mean(axis=0)
        np.clip(shifts, -limit, limit, out=shifts)
        if turn >= len(_SCHEDULE) - 1 and np.abs(move - move.mean(axis=0)).max() < 0.25:
            converged = True
            break
    return shifts * step, converged


def _reduced_shape(shape: tuple[int, int], pixel_size: float, bfactor: float) -> tuple[int, int]:
    # As few frequencies as the B-factor leaves more than 2 % of.
    finest = np.sqrt(bfactor / (-2 * np.log(0.02)))
    factor = max(1.0, finest / (2 * pixel_size))
    ny, nx = (min(n, fast_size(max(64, int(np.ceil(n / factor))))) for n in shape)
    return ny, nx


def _spectra(frames: Tensor, step: int) -> Tensor:
    # Of the frames, windowed and binned by `step`, cropped to even sizes.
    n = int(frames.shape[0])
    ny, nx = (int(s) // step // 2 * 2 for s in frames.shape[1:])
    window = np.outer(taper(ny, 0.06), taper(nx, 0.06))
    if is_tensor(frames):
        import torch

        inside = frames[:, : ny * step, : nx * step].reshape(n, ny, step, nx, step).mean((2, 4))
        mask = torch.from_numpy(window).to(frames.device)
        return rfft2((inside - inside.mean((1, 2), keepdim=True)) * mask)
    out = np.empty((n, ny, nx // 2 + 1), np.complex64)

    def transform(f: int) -> None:
        image = np.zeros((ny, nx), np.float32)
        for i, j in np.ndindex(step, step):
            image += frames[f, i : ny * step : step, j : nx * step : step]
        image -= np.float32(image.mean(dtype=np.float64))
        image *= window
        out[f] = rfft2(image)

    with ThreadPoolExecutor(get_threads()) as pool:
        list(pool.map(transform, range(n)))
    return out


def _correlate(
    spectra: Tensor,
    shape: tuple[int, int],
    shifts: FloatArray,
    weight: FloatArray,
    reach: list[int],
) -> FloatArray:
    # Correlation surfaces of the frames, moved to where they are thought to belong, with the sum
    # of the others, for shifts up to `reach`, zero in the middle. Their peak lies at the
    # displacement that is still missing.
    (ny, nx), (my, mx) = shape, reach
    rows, columns = np.arange(-my, my + 1) % ny, np.arange(-mx, mx + 1) % nx
    aligned = shift_phases(spectra, shape, -shifts)
    total = aligned.sum(0)
    if is_tensor(spectra):
        import torch

        w: Tensor = torch.from_numpy(weight).to(spectra.device)
        surfaces = to_numpy(irfft2(aligned * (total - aligned).conj() * w, shape))
        return np.asarray(surfaces[:, rows][:, :, columns])
    out = np.empty((len(spectra), 2 * my + 1, 2 * mx + 1), np.float32)

    def transform(f: int) -> None:
        product = aligned[f]
        product *= np.conj(total - product) * weight
        # Only rows within reach go through the second half of the transform.
        half = scipy.fft.ifft(product, axis=0)[rows]
        out[f] = scipy.fft.irfft(half, nx, axis=1)[:, columns]

    with ThreadPoolExecutor(get_threads()) as pool:
        list(pool.map(transform, range(len(spectra))))
    return out


def _peak(window: FloatArray) -> FloatArray:
    my, mx = (n // 2 for n in window.shape)
    y, x = (int(i) for i in np.unravel_index(int(np.argmax(window)), window.shape))
    peak = float(window[y, x])
    found = np.array([y - my, x - mx], dtype=np.float64)
    if 0 < y < 2 * my:
        found[0] += _parabola(float(window[y - 1, x]), peak, float(window[y + 1, x]))
    if 0 < x < 2 * mx:
        found[1] += _parabola(float(window[y, x - 1]), peak, float(window[y, x + 1]))
    return found


def _parabola(left: float, peak: float, right: float) -> float:
    bend = left - 2 * peak + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0
