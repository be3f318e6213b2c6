"""The averages that are shown: all frequencies, from half sets, corrected for the CTF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.classes.basis import soft_mask
from icefloe.classes.loop import Assignment
from icefloe.classes.prepare import Particles
from icefloe.fourier import crop_rfft, frequency_grid, irfft2, rfft2, rotational_average

__all__ = ["ClassAverages", "average_classes", "fourier_ring_correlation", "resolution_at"]

# Half-set correlation at the resolution: the average of both halves then correlates by 1/2 with
# the truth (Rosenthal & Henderson 2003, J. Mol. Biol. 333, 721).
THRESHOLD = 0.143
_OVERSAMPLING = 2
_CHUNK = 512


@dataclass(frozen=True)
class ClassAverages:
    """Averages of classes.

    Attributes
    ----------
    images
        (K, b, b) float32, divided by the CTF and filtered by what the half sets share.
    halves
        (K, 2, b, b) float32, of the half sets, divided by the CTF and not filtered.
    frc
        (K, b // 2 + 1) correlation of the half sets on rings.
    resolution
        (K,) A, where that falls below 0.143; infinite for an empty class.
    counts
        (K,) particles.
    """

    images: FloatArray
    halves: FloatArray
    frc: FloatArray
    resolution: FloatArray
    counts: AnyArray


def average_classes(
    particles: Particles, state: Assignment, n_classes: int, diameter: float, halves: AnyArray
) -> ClassAverages:
    """Average each class in two halves.

    Parameters
    ----------
    particles, state
        The images and where they belong.
    n_classes
        K.
    diameter
        Of the mask in which halves are compared, A.
    halves
        (n,) 0 or 1.
    """
    box = particles.box
    cell = state.classes * 2 + halves
    order = np.argsort(cell, kind="stable")
    sums = _sums(particles, state, cell, order, 2 * n_classes)
    counts = np.bincount(cell, minlength=2 * n_classes).reshape(n_classes, 2)
    weights = _weights(particles, cell, 2 * n_classes)
    spectra = rfft2(sums) / np.maximum(weights, 1e-3 * max(1.0, float(weights.max())))
    present = counts.sum(axis=1) > 0
    mask = soft_mask(box, min(diameter / particles.pixel_size, box - 8), 4.0)
    frc = np.zeros((n_classes, box // 2 + 1))
    resolution = np.full(n_classes, np.inf)
    images = np.zeros((n_classes, box, box), dtype=np.float32)
    both = rfft2(sums.reshape(n_classes, 2, box, box).sum(axis=1))
    total = weights.reshape(n_classes, 2, *weights.shape[1:]).sum(axis=1)
    half_images = np.asarray(irfft2(spectra, (box, box)), np.float32)
    half_images = half_images.reshape(n_classes, 2, box, box)
    k = frequency_grid((box, box))
    for j in np.flatnonzero(present).tolist():
        if counts[j].min() > 0:
            frc[j] = fourier_ring_correlation(half_images[j, 0] * mask, half_images[j, 1] * mask)
            resolution[j] = resolution_at(frc[j], particles.pixel_size)
        filtered = both[j] * _wiener(frc[j], k, total[j])
        images[j] = irfft2(filtered, (box, box))
    return ClassAverages(images, half_images, frc, resolution, counts.sum(axis=1))


def _sums(
    particles: Particles, state: Assignment, cell: AnyArray, order: AnyArray, n_cells: int
) -> FloatArray:
    from icefloe.kernels.turn import turn_and_add

    box = particles.box
    wide = _OVERSAMPLING * box
    out = np.zeros((n_cells, box, box), dtype=np.float32)
    psi, places = np.deg2rad(state.psi), np.asarray(state.places, dtype=np.float64)
    for start in range(0, len(order), _CHUNK):
        part = order[start : start + _CHUNK]
        images = irfft2(crop_rfft(particles.spectra[part], (box, box), (wide, wide)), (wide, wide))
        cells, first = np.unique(cell[part], return_index=True)
        starts = np.append(first, len(part))
        target = np.zeros((len(cells), box, box), dtype=np.float32)
        turn_and_add(np.ascontiguousarray(images, np.float32), psi[part], places[part], starts,
                     _OVERSAMPLING, target)  # fmt: skip
        out[cells] += target
    return out


def _weights(particles: Particles, cell: AnyArray, n_cells: int) -> FloatArray:
    """Return (n_cells, b, b // 2 + 1) sums of squared CTFs, round."""
    box = particles.box
    # Finer than the pixels, and to the corners.
    rings = np.arange(2 * box) * (0.75 / (2 * box - 1))
    squares = np.zeros((n_cells, len(rings)))
    for start in range(0, len(cell), 4096):
        part = slice(start, start + 4096)
        lenses = particles.ctf[part] if particles.ctf else None
        some = Particles(
            particles.spectra[part], box, particles.pixel_size, particles.used[part], lenses,
            particles.noise, particles.mode, (),
        ).transfer(rings, 1.0 / box)  # fmt: skip
        np.add.at(squares, cell[part], some.astype(np.float64))
    k = frequency_grid((box, box))
    position = k / (rings[1] - rings[0])
    below = np.minimum(position.astype(np.intp), len(rings) - 2)
    t = position - below
    return np.asarray(squares[:, below] * (1 - t) + squares[:, below + 1] * t)


def fourier_ring_correlation(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the correlation of two images (n, n) on the n // 2 + 1 rings of their transforms."""
    shape = (int(a.shape[-2]), int(a.shape[-1]))
    fa, fb = rfft2(a), rfft2(b)
    cross, pa, pb = rotational_average(
        np.stack([np.real(fa * np.conj(fb)), np.abs(fa) ** 2, np.abs(fb) ** 2]), shape
    )[1]
    return np.asarray(cross / np.maximum(np.sqrt(pa * pb), 1e-30))


def resolution_at(frc: FloatArray, pixel_size: float, threshold: float = THRESHOLD) -> float:
    """Return the resolution, A, where a curve from 0 to Nyquist first falls below a threshold.

    One ring below between two above is noise and is passed over.
    """
    smooth = frc.copy()
    smooth[1:-1] = np.maximum(frc[1:-1], np.minimum(frc[:-2], frc[2:]))
    below = np.flatnonzero(smooth[2:] < threshold)
    last = len(frc) - 1
    if not below.size:
        return 2 * pixel_size
    i = int(below[0]) + 2
    high, low = smooth[i - 1], smooth[i]
    where = i - 1 + ((high - threshold) / (high - low) if high > threshold else 0.0)
    return float(2 * pixel_size * last / max(where, 0.5))


def _wiener(frc: FloatArray, k: FloatArray, weight: FloatArray) -> FloatArray:
    """Return what sums are multiplied by: 1 / weight, times the signal's share of the power."""
    smooth = np.clip(frc, 0, 0.999)
    smooth[1:-1] = 0.25 * smooth[:-2] + 0.5 * smooth[1:-1] + 0.25 * smooth[2:]
    smooth[0] = smooth[1]
    # Beyond the resolution half sets agree by chance here and there.
    below = np.flatnonzero(frc[2:] < THRESHOLD)
    end = int(below[0]) + 3 if below.size else len(frc)
    smooth[end:] = np.minimum(smooth[end:], 0.0)
    share = 2 * smooth / (1 + smooth)
    rings = np.linspace(0, 0.5, len(frc))
    return np.asarray(
        np.interp(k, rings, share, right=0.0) / np.maximum(weight, 1e-6 + 0.01 * weight.mean())
    )
