"""Class averages from particles whose class, angle and place are known, as harmonics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from icefloe._types import AnyArray, FloatArray
from icefloe.classes.basis import Harmonics, turned
from icefloe.classes.scoring import Templates
from icefloe.fourier import irfft2, rfft2, shift_phases

__all__ = [
    "References",
    "Sums",
    "accumulate",
    "half_agreement",
    "make_references",
    "make_templates",
    "shift_images",
]


@dataclass
class Sums:
    """Weighted sums of the particles of each class, in two half sets.

    Attributes
    ----------
    images
        (K, 2, M, 2, R) sums of CTF times particle, turned and moved back.
    weights
        (K, 2, R) sums of the squared CTF.
    """

    images: FloatArray
    weights: FloatArray

    def decayed(self, by: float, new: Sums) -> Sums:
        """Return these sums times `by` plus new ones."""
        return Sums(self.images * by + new.images, self.weights * by + new.weights)


@dataclass(frozen=True)
class References:
    """Classes as they are compared with particles.

    Attributes
    ----------
    coefficients
        (2, K, M, 2, R): what particles of each half set are compared with.
    gain
        (2, K, R): by how much a unit of a particle's CTF times image has entered them.
    """

    coefficients: FloatArray
    gain: FloatArray


def shift_images(images: FloatArray, shifts: FloatArray) -> FloatArray:
    """Return images (k, n, n) moved by `shifts` (k, 2), pixels."""
    shape = (int(images.shape[-2]), int(images.shape[-1]))
    return np.asarray(irfft2(shift_phases(rfft2(images), shape, shifts), shape))


def accumulate(
    basis: Harmonics,
    coefficients: FloatArray,
    transfer: FloatArray,
    classes: AnyArray,
    halves: AnyArray,
    psi: FloatArray,
    shift_index: AnyArray,
    shifts: FloatArray,
    n_classes: int,
) -> Sums:
    """Add up particles in their classes.

    Parameters
    ----------
    basis
        Of the coefficients.
    coefficients, transfer
        (n, M, 2, R) and (n, R), of the particles.
    classes, halves, psi, shift_index
        (n,) class, half set, angle in degrees, and which of the `shifts` (S, 2) the class was moved
        by before it was turned.
    n_classes
        K.
    """
    n, n_shifts = len(coefficients), len(shifts)
    back = turned(coefficients, -psi).reshape(n, -1)
    group = 2 * classes + halves
    cell = group * n_shifts + shift_index
    cells = np.unique(cell)
    one = np.ones(n, np.float32)
    pick = csr_matrix((one, (np.searchsorted(cells, cell), np.arange(n))), (len(cells), n))
    shape = (basis.orders, 2, basis.n_rings)
    images = basis.image(np.asarray(pick @ back).reshape(-1, *shape))
    moved = shift_images(images, -shifts[cells % n_shifts])
    whole = np.zeros((2 * n_classes, basis.n, basis.n), dtype=np.float32)
    np.add.at(whole, cells // n_shifts, moved)
    member = csr_matrix((one, (group, np.arange(n))), (2 * n_classes, n))
    return Sums(
        basis.project(whole).reshape(n_classes, 2, *shape),
        np.asarray(member @ transfer).reshape(n_classes, 2, -1),
    )


def make_references(
    basis: Harmonics, sums: Sums, noise: FloatArray, join: float, floor: float = 0.05
) -> References:
    """Return what particles are compared with: averages, each ring weighted by its signal.

    Rings coarser than `join` come from both half sets and have the weight of a Wiener filter, the
    power beyond what noise leaves over the power. Finer ones come from the particle's own half set
    and have that of the correlation with the other one: what classes invent by aligning noise, the
    halves invent differently, and it is not followed (Scheres & Chen 2012, Nat. Methods 9, 853;
    the coarse rings keep the halves in one frame).

    Parameters
    ----------
    basis
        Of the sums.
    sums
        Of `accumulate`.
    noise
        (R,) power of a particle per coefficient.
    join
        Cycles per pixel.
    floor
        Smallest weight of a coarse ring.
    """
    total, weight = sums.images.sum(axis=1), np.maximum(sums.weights.sum(axis=1), 1e-3)
    average = total / weight[:, None, None, :]
    power = np.square(average).sum(axis=(1, 2)) / basis.ring_energy
    gain = np.clip((power - noise / weight) / np.maximum(power, 1e-20), floor, 1) / weight
    coefficients = np.stack([total * gain[:, None, None, :]] * 2)
    gains = np.stack([gain] * 2)
    split = basis.rings > join
    if split.any():
        part = sums.images[..., split]
        agree = half_agreement(part)
        for h in (0, 1):
            own = agree / np.maximum(sums.weights[:, h][:, split], 1e-3)
            coefficients[h][..., split] = part[:, h] * own[:, None, None, :]
            gains[h][:, split] = own
    return References(coefficients.astype(np.float32), gains.astype(np.float32))


def half_agreement(images: FloatArray) -> FloatArray:
    """Return (K, R) correlations of half sets (K, 2, M, 2, R), each averaged with that of all."""
    cross = (images[:, 0] * images[:, 1]).sum(axis=(1, 2))
    first, second = (np.square(images[:, h]).sum(axis=(1, 2)) for h in (0, 1))
    each = cross / np.maximum(np.sqrt(first * second), 1e-20)
    every = cross.sum(axis=0) / np.maximum(np.sqrt(first.sum(axis=0) * second.sum(axis=0)), 1e-20)
    return np.asarray(np.clip(0.5 * (each + every), 0, 1))


def make_templates(
    basis: Harmonics, coefficients: FloatArray, shifts: FloatArray, noise: FloatArray
) -> Templates:
    """Return classes (K, M, 2, R) at all `shifts` (S, 2), in the metric of the noise (R,)."""
    images = basis.image(coefficients)
    spectra = rfft2(images)
    shape = (basis.n, basis.n)
    moved = irfft2(shift_phases(spectra[:, None], shape, shifts[None]), shape)
    rows = basis.project(np.asarray(moved)) / noise
    power = (np.square(coefficients).sum(axis=(1, 2)) / noise).astype(np.float32)
    return Templates(rows.astype(np.float32), power)
