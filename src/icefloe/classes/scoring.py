"""How well every particle fits every class, at all angles and shifts: products of matrices.

With y the particle times its CTF and b a class, both as harmonics, the score is

    S = max over angle and shift of  <y, b> / sqrt(sum over rings of CTF^2 |b|^2),

products in the metric of the noise. It has unit variance where there is only noise, whatever the
class's own strength, and the CTF of each particle is in it in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.classes.threads import in_threads
from icefloe.fourier.device import is_tensor, to_device, to_numpy

__all__ = ["Templates", "angle_curves", "best_scores"]

# Particles and template rows that are worked on at a time: the products stay in the cache.
_PARTICLES, _ROWS = 128, 100
_ON_DEVICE = 4096


@dataclass(frozen=True)
class Templates:
    """Classes, shifted and in the metric of the noise.

    Attributes
    ----------
    rows
        (K, S, M, 2, R) coefficients over the noise's power.
    power
        (K, R) of the classes, over the noise's.
    """

    rows: FloatArray
    power: FloatArray


def best_scores(
    coefficients: FloatArray,
    transfer: FloatArray,
    templates: Templates,
    angles: FloatArray,
    device: str = "cpu",
) -> tuple[FloatArray, AnyArray]:
    """Return the best score of each particle in each class, and the shift it has there.

    Parameters
    ----------
    coefficients
        (n, M, 2, R) of particles times their CTF.
    transfer
        (n, R) squared CTF on the rings.
    templates
        The classes.
    angles
        (P, 2 M) of `Harmonics.angle_matrix`.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.

    Returns
    -------
    score : ndarray
        (n, K) float32.
    shift : ndarray
        (n, K) int, index along S.
    """
    n, orders, _, n_rings = coefficients.shape
    n_classes, n_shifts = templates.rows.shape[:2]
    score = np.empty((n, n_classes), dtype=np.float32)
    shift = np.empty((n, n_classes), dtype=np.int32)
    rows = _complex_rows(templates.rows)  # (M, 2, K, S, 2 R)
    step = max(1, _ROWS // n_shifts)
    blocks = [
        to_device(np.ascontiguousarray(rows[:, :, k : k + step]).reshape(orders, -1, 2 * n_rings),
                  device)
        for k in range(0, n_classes, step)
    ]  # fmt: skip
    matrix = to_device(angles, device)

    def compare(part: slice) -> None:
        columns = coefficients[part].reshape(-1, orders, 2 * n_rings).transpose(1, 2, 0)
        y = to_device(np.ascontiguousarray(columns), device)
        for block, k in zip(blocks, range(0, n_classes, step), strict=True):
            high, index = _block(block, y, matrix, n_shifts)
            score[part, k : k + step] = to_numpy(high).T
            shift[part, k : k + step] = to_numpy(index).T

    if device == "cpu":
        in_threads(compare, n, _PARTICLES)
    else:
        for start in range(0, n, _ON_DEVICE):
            compare(slice(start, min(start + _ON_DEVICE, n)))
    norm = np.sqrt(transfer @ templates.power.T)
    score /= np.maximum(norm, 1e-12)
    return score, shift


def _complex_rows(rows: FloatArray) -> FloatArray:
    # Real and imaginary part of y conj(b), from the real and imaginary parts of y.
    b = np.moveaxis(rows, 2, 0)  # (M, K, S, 2, R)
    real, imaginary = b[..., 0, :], b[..., 1, :]
    return np.stack(
        [np.concatenate([real, imaginary], -1), np.concatenate([-imaginary, real], -1)], axis=1
    )


def _block(rows: Tensor, y: Tensor, matrix: Tensor, n_shifts: int) -> tuple[Tensor, Tensor]:
    # rows (M, 2 K S, 2 R), y (M, 2 R, B); both (K, B) on return.
    orders, width, particles = rows.shape[0], rows.shape[1] // 2, y.shape[2]
    if is_tensor(y):
        import torch

        terms = torch.matmul(rows, y).reshape(2 * orders, width * particles)
        curve = torch.amax(matrix @ terms, 0).reshape(-1, n_shifts, particles)
        high, index = curve.max(dim=1)
        return high, index
    terms = np.matmul(rows, y).reshape(2 * orders, width * particles)
    curve = (matrix @ terms).max(axis=0).reshape(-1, n_shifts, particles)
    index = curve.argmax(axis=1)
    return np.take_along_axis(curve, index[:, None], 1)[:, 0], index


def angle_curves(coefficients: FloatArray, rows: FloatArray, angles: FloatArray) -> FloatArray:
    """Return (n, P) products of particles (n, M, 2, R) with one template row each, at P angles."""
    real = np.einsum("nmr,nmr->nm", coefficients[:, :, 0], rows[:, :, 0])
    real += np.einsum("nmr,nmr->nm", coefficients[:, :, 1], rows[:, :, 1])
    imaginary = np.einsum("nmr,nmr->nm", coefficients[:, :, 1], rows[:, :, 0])
    imaginary -= np.einsum("nmr,nmr->nm", coefficients[:, :, 0], rows[:, :, 1])
    terms = np.stack([real, imaginary], axis=-1).reshape(len(coefficients), -1)
    curves: Any = terms @ angles.T
    return np.asarray(curves)
