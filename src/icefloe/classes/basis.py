"""Images as angular harmonics of their transforms: turning one is a phase of each coefficient.

On rings of spatial frequency k the transform of an image is expanded in the azimuth,

    a(m, k) = sum over pixels of X(r, phi) J_m(2 pi k r) exp(-i m phi),

exact for any grid (Jacobi-Anger) and computed for all images as one product of matrices. An image
turned by psi has a(m, k) exp(-i m psi), so the correlation of two images at all angles is a sum
over rings and then a short transform over m (a steerable basis; Zhao & Singer 2013, J. Opt. Soc.
Am. A 30, 871).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy.special import jv

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.classes.threads import in_threads
from icefloe.fourier.device import is_tensor

__all__ = ["Harmonics", "soft_mask"]


def soft_mask(n: int, diameter: float, edge: float) -> FloatArray:
    """Return a disc (n, n), 1 up to `diameter` / 2 and falling to 0 over `edge`, in pixels."""
    c = np.arange(n) - n // 2
    r = np.hypot(c[:, None], c[None, :])
    position = np.clip((r - 0.5 * diameter) / max(edge, 1e-6), 0, 1)
    return np.asarray(0.5 * (1 + np.cos(np.pi * position)), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Harmonics:
    """Harmonics of images in a soft disc up to a resolution.

    Attributes
    ----------
    n
        Side of the images, pixels.
    rings
        (R,) frequencies, cycles per pixel.
    orders
        Number M of orders m = 0 ... M - 1; negative ones follow from the image being real.
    pixels
        (p,) flat indices of the pixels inside.
    active
        (a,) flat indices of the coefficients (M, 2, R) that are not always zero.
    forward, backward
        (p, a) float32: with the mask and without. Coefficients are scaled so that the plain sum of
        their products is the inner product of two images in the band.
    """

    n: int
    rings: FloatArray
    orders: int
    pixels: AnyArray
    active: AnyArray
    forward: FloatArray
    backward: FloatArray

    @classmethod
    def make(cls, n: int, diameter: float, finest: float, edge: float = 3.0) -> Harmonics:
        """Return the basis for a disc of `diameter` pixels up to `finest` cycles per pixel."""
        mask = soft_mask(n, min(diameter, n - 2 * edge - 2), edge)
        pixels = np.flatnonzero(mask > 0)
        c = np.arange(n, dtype=np.float64) - n // 2
        y, x = c[pixels // n], c[pixels % n]
        radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
        # A function inside radius rho is sampled without loss at steps of 1 / (2 rho).
        step = 1 / (2 * radius.max() + 1)
        rings = (np.arange(max(2, math.ceil(min(finest, 0.5) / step))) + 0.5) * step
        orders = math.ceil(2 * math.pi * rings[-1] * radius.max()) + 2
        shape = (len(pixels), orders, 2, len(rings))
        basis = np.empty(shape, dtype=np.float32)
        # Pixels of a grid share few radii.
        own, which = np.unique(np.round(radius**2).astype(np.intp), return_inverse=True)
        arguments = 2 * np.pi * np.sqrt(own)[:, None] * rings
        scale = np.sqrt(2 * np.pi * rings * step)
        for m in range(orders):
            value = (jv(m, arguments) * scale * (1.0 if m == 0 else math.sqrt(2)))[which]
            basis[:, m, 0] = value * np.cos(m * azimuth)[:, None]
            basis[:, m, 1] = -value * np.sin(m * azimuth)[:, None]
        flat = basis.reshape(len(pixels), -1)
        # High orders vanish on inner rings: about half of the columns.
        energy = np.square(flat).sum(axis=0)
        active = np.flatnonzero(energy > 1e-4 * energy.max())
        backward = np.ascontiguousarray(flat[:, active])
        forward = backward * mask.ravel()[pixels, None]
        return cls(n, rings, orders, pixels, active, forward, backward)

    @functools.cached_property
    def ring_energy(self) -> FloatArray:
        """Return (R,) the mean energy that white noise of variance 1 has on each ring."""
        squares = np.zeros(self.orders * 2 * self.n_rings)
        squares[self.active] = np.square(self.forward).sum(axis=0, dtype=np.float64)
        energy: FloatArray = squares.reshape(self.orders, 2, self.n_rings).sum(axis=(0, 1))
        return energy

    @property
    def n_rings(self) -> int:
        """Number of rings."""
        return len(self.rings)

    def project(self, images: FloatArray) -> FloatArray:
        """Return the coefficients (..., M, 2, R) of images (..., n, n)."""
        lead = images.shape[:-2]
        rows = images.reshape(-1, self.n * self.n)
        out = np.zeros((len(rows), self.orders * 2 * self.n_rings), dtype=np.float32)

        def some(part: slice) -> None:
            out[part, self.active] = rows[part][:, self.pixels] @ self.forward

        in_threads(some, len(rows), 128)
        return out.reshape(*lead, self.orders, 2, self.n_rings)

    def image(self, coefficients: FloatArray) -> FloatArray:
        """Return the images (..., n, n) of coefficients, zero outside the disc."""
        lead = coefficients.shape[:-3]
        rows = coefficients.reshape(-1, self.orders * 2 * self.n_rings)
        out = np.zeros((len(rows), self.n * self.n), dtype=np.float32)

        def some(part: slice) -> None:
            out[part, self.pixels] = rows[part][:, self.active] @ self.backward.T

        in_threads(some, len(rows), 128)
        return out.reshape(*lead, self.n, self.n)

    def angle_matrix(self, n_angles: int) -> FloatArray:
        """Return (n_angles, 2 M): the transform over the orders, of real and imaginary parts."""
        angle = 2 * np.pi * np.arange(n_angles) / n_angles
        turn = np.arange(self.orders) * angle[:, None]
        return np.stack([np.cos(turn), -np.sin(turn)], axis=-1).reshape(n_angles, -1).astype("f4")


def turned(coefficients: Tensor, psi: FloatArray) -> Tensor:
    """Return coefficients (n, M, 2, R) of images turned by `psi` (n,), degrees, +x towards +y."""
    if is_tensor(coefficients):
        raise TypeError("turned() works on the host")
    turn = np.deg2rad(psi)[:, None] * np.arange(coefficients.shape[1])
    c, s = (f(turn).astype(np.float32)[:, :, None] for f in (np.cos, np.sin))
    real, imaginary = coefficients[:, :, 0], coefficients[:, :, 1]
    # exp(-i m psi) times the coefficient.
    return np.stack([real * c + imaginary * s, imaginary * c - real * s], axis=2)
