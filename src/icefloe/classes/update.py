"""Class averages from particles whose class, angle and place are known, as harmonics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from icefloe._types import AnyArray, FloatArray
from icefloe.classes.basis import Harmonics, turned
from icefloe.classes.scoring import Templates
from icefloe.fourier import irfft2, rfft2, shift_phases

__all__ = ["Sums", "accumulate", "class_coefficients", "make_templates", "shift_images"]


@dataclass
class Sums:
    """Weighted sums of the particles of each class.

    Attributes
    ----------
    images
        (K, M, 2, R) sums of CTF times particle, turned and moved back.
    weights
        (K, R) sums of the squared CTF.
    counts
        (K,) number of particles.
    """

    images: FloatArray
    weights: FloatArray
    counts: FloatArray

    def decayed(self, by: float, new: Sums) -> Sums:
        """Return these sums times `by` plus new ones."""
        return Sums(
            self.images * by + new.images,
            self.weights * by + new.weights,
            self.counts * by + new.counts,
        )


def shift_images(images: FloatArray, shifts: FloatArray) -> FloatArray:
    """Return images (k, n, n) moved by `shifts` (k, 2), pixels."""
    shape = (int(images.shape[-2]), int(images.shape[-1]))
    return np.asarray(irfft2(shift_phases(rfft2(images), shape, shifts), shape))


def accumulate(
    basis: Harmonics,
    coefficients: FloatArray,
    transfer: FloatArray,
    classes: AnyArray,
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
    classes, psi, shift_index
        (n,) class, angle in degrees, and which of the `shifts` (S, 2) the class was moved by
        before it was turned.
    n_classes
        K.
    """
    n, n_shifts = len(coefficients), len(shifts)
    back = turned(coefficients, -psi).reshape(n, -1)
    cell = classes * n_shifts + shift_index
    cells = np.unique(cell)
    pick = csr_matrix(
        (np.ones(n, np.float32), (np.searchsorted(cells, cell), np.arange(n))), (len(cells), n)
    )
    shape = (basis.orders, 2, basis.n_rings)
    images = basis.image(np.asarray(pick @ back).reshape(-1, *shape))
    moved = shift_images(images, -shifts[cells % n_shifts])
    whole = np.zeros((n_classes, basis.n, basis.n), dtype=np.float32)
    np.add.at(whole, cells // n_shifts, moved)
    member = csr_matrix((np.ones(n, np.float32), (classes, np.arange(n))), (n_classes, n))
    return Sums(
        basis.project(whole),
        np.asarray(member @ transfer),
        np.bincount(classes, minlength=n_classes).astype(np.float64),
    )


def class_coefficients(
    basis: Harmonics, sums: Sums, noise: FloatArray, floor: float = 0.05
) -> FloatArray:
    """Return the averages (K, M, 2, R), each ring weighted by how much of it is signal.

    A Wiener filter: the power of the average beyond what noise leaves in it, over its power.

    Parameters
    ----------
    basis
        Of the sums.
    sums
        Of `accumulate`.
    noise
        (R,) power of a particle per coefficient.
    floor
        Smallest weight of a ring.
    """
    weight = np.maximum(sums.weights, 1e-3)[:, None, None, :]
    average = sums.images / weight
    power = np.square(average).sum(axis=(1, 2)) / basis.ring_energy
    left = noise / weight[:, 0, 0]
    factor = np.clip((power - left) / np.maximum(power, 1e-20), floor, 1)
    return np.asarray(average * factor[:, None, None, :], dtype=np.float32)


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
