"""A few images from which every template at every angle is put together.

Templates at 72 angles differ little from one another. Their transform over the angle separates
them into angular harmonics (steerable filters: Freeman & Adelson 1991, IEEE PAMI 13, 891); within
a harmonic the templates are expanded in their principal components. A micrograph is correlated
with the components only, and the correlations are combined: see `docs/template_matching.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray

__all__ = ["AngularBasis", "angular_basis"]


@dataclass(frozen=True)
class AngularBasis:
    """Components and how they make up the templates.

    The template t at angle j is ``even[t, j] @ images[:n_even] + odd[t, j] @ images[n_even:]``.
    Half a turn further on, the odd harmonics change sign: `even` and `odd` hold the first half of
    the angles only, where the number of angles is even; else all, and nothing is odd.

    Attributes
    ----------
    images
        (r, n, n) float32.
    even
        (k, h, n_even) float32.
    odd
        (k, h, r - n_even) float32.
    turns
        Number of angles.
    residual
        Largest relative error (root of the energy) of a template.
    """

    images: FloatArray
    even: FloatArray
    odd: FloatArray
    turns: int
    residual: float

    def templates(self) -> FloatArray:
        """Return the (k, turns, n, n) templates that the components make up."""
        n = self.even.shape[-1]
        even = np.tensordot(self.even, self.images[:n], 1)
        odd = np.tensordot(self.odd, self.images[n:], 1)
        if self.even.shape[1] == self.turns:
            return np.asarray(even + odd)
        return np.concatenate([even + odd, even - odd], axis=1)


def angular_basis(stack: FloatArray, tolerance: float) -> AngularBasis:
    """Return the fewest components that make up all templates.

    Parameters
    ----------
    stack
        (k, turns, n, n), each of energy 1.
    tolerance
        Largest relative error of a template, root of the mean energy over its angles.
    """
    k, turns, n, _ = stack.shape
    flat = stack.reshape(k, turns, n * n)
    used = np.flatnonzero(np.any(flat != 0, axis=(0, 1)))
    harmonics = np.fft.rfft(flat[:, :, used].astype(np.float64), axis=1) / turns
    # A harmonic and its conjugate are one: but for the first, and the last of an even number.
    count = np.full(harmonics.shape[1], 2.0)
    count[0] = 1.0
    if turns % 2 == 0:
        count[-1] = 1.0
    single = count == 1.0
    by_harmonic = harmonics.transpose(1, 0, 2)
    gram = by_harmonic @ by_harmonic.conj().transpose(0, 2, 1)
    values, vectors = np.linalg.eigh(gram)
    # Energy that each component adds to each template: (m, component, k).
    energy = count[:, None, None] * (values[:, None, :] * np.abs(vectors) ** 2).transpose(0, 2, 1)
    order = np.argsort(-(count[:, None] * values).ravel(), kind="stable")
    total = energy.sum(axis=(0, 1))
    left = total - np.cumsum(energy.reshape(-1, k)[order], axis=0)
    enough = np.flatnonzero(left.max(axis=1) <= tolerance**2)
    last = int(enough[0]) if enough.size else len(order) - 1
    parts: dict[int, tuple[list[FloatArray], list[FloatArray]]] = {0: ([], []), 1: ([], [])}
    halved = turns % 2 == 0
    angles = 2 * np.pi * np.arange(turns // 2 if halved else turns) / turns
    for m, component in sorted(divmod(int(o), k) for o in order[: last + 1]):
        image = vectors[m, :, component].conj() @ by_harmonic[m]
        weight = vectors[m, :, component][:, None] * np.exp(1j * m * angles) * count[m]
        images, weights = parts[m % 2 if halved else 0]
        norm = max(float(np.linalg.norm(image)), 1e-12)
        images.append(image.real / norm)
        weights.append(weight.real * norm)
        if not single[m]:
            images.append(image.imag / norm)
            weights.append(-weight.imag * norm)
    whole = np.zeros((len(parts[0][0]) + len(parts[1][0]), n * n), dtype=np.float32)
    whole[:, used] = np.array([*parts[0][0], *parts[1][0]])
    empty = np.zeros((0, k, len(angles)))
    even, odd = (
        np.ascontiguousarray(
            np.moveaxis(np.array(weights) if weights else empty, 0, -1), dtype=np.float32
        )
        for _, weights in (parts[0], parts[1])
    )
    residual = float(np.sqrt(max(left[last].max(), 0.0)))
    return AngularBasis(whole.reshape(-1, n, n), even, odd, turns, residual)
