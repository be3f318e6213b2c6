"""Gradients of the correlation between frames and the sum of the other frames.

For every patch p and frame f, with aligned spectra A_f and reference R_f = sum of the others,

    C_f(d) = sum_k W(k) Re[A_f(k) exp(2 pi i k.d) conj(R_f(k))]

gives the gradient and the curvature with respect to the displacement d, and the variance of the
gradient that noise alone makes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from icefloe._types import ComplexArray, FloatArray, Tensor

__all__ = [
    "correlation_gradients",
    "correlation_gradients_torch",
    "ring_powers",
    "ring_powers_torch",
]


@njit(cache=True, nogil=True)
def _phase(turns: float) -> Any:
    # exp(2 pi i turns), single precision.
    angle = 2.0 * math.pi * turns
    return np.complex64(complex(math.cos(angle), math.sin(angle)))


@njit(cache=True, nogil=True, parallel=True, fastmath={"contract", "reassoc", "nsz"})
def correlation_gradients(
    spectra: ComplexArray,
    ky: FloatArray,
    kx: FloatArray,
    weight: FloatArray,
    displacements: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return gradients and moments of every patch and frame.

    Parameters
    ----------
    spectra
        (P, F, Y, X), complex64.
    ky, kx
        (Y,) and (X,), cycles per pixel.
    weight
        (Y, X), float32.
    displacements
        (P, F, 2), pixels (y, x), where the frames are thought to be.

    Returns
    -------
    gradients : ndarray
        (P, F, 2), of C with respect to the displacement.
    moments : ndarray
        (P, F, 8): curvatures yy and xx; variances of the two gradients; correlation C, the
        weighted powers of frame and reference, the variance of C.
    """
    n_patches, n_frames, ny, nx = spectra.shape
    gradients = np.zeros((n_patches, n_frames, 2))
    moments = np.zeros((n_patches, n_frames, 8))
    for p in prange(n_patches):
        aligned = np.empty((n_frames, ny, nx), np.complex64)
        total = np.zeros((ny, nx), np.complex64)
        phase = np.empty(nx, np.complex64)
        for f in range(n_frames):
            dy, dx = displacements[p, f, 0], displacements[p, f, 1]
            for j in range(nx):
                phase[j] = _phase(kx[j] * dx)
            for i in range(ny):
                row = _phase(ky[i] * dy)
                for j in range(nx):
                    value = spectra[p, f, i, j] * (phase[j] * row)
                    aligned[f, i, j] = value
                    total[i, j] += value
        for f in range(n_frames):
            zero: Any = 0.0
            gy = gx = hy = hx = vy = vx = cc = pa = pr = vc = zero
            for i in range(ny):
                sgx = shx = svx = np.float32(0.0)
                scc = spa = spr = sim = sva = np.float32(0.0)
                for j in range(nx):
                    a = aligned[f, i, j]
                    r = total[i, j] - a
                    w = weight[i, j]
                    re = w * (a.real * r.real + a.imag * r.imag)
                    im = w * (a.imag * r.real - a.real * r.imag)
                    aa = a.real * a.real + a.imag * a.imag
                    rr = r.real * r.real + r.imag * r.imag
                    k = kx[j]
                    sim += im
                    sgx += k * im
                    scc += re
                    shx += k * k * re
                    v = w * w * aa * rr
                    sva += v
                    svx += k * k * v
                    spa += w * aa
                    spr += w * rr
                q = ky[i]
                gy += q * sim
                gx += sgx
                hy += q * q * scc
                hx += shx
                vy += q * q * sva
                vx += svx
                vc += sva
                cc += scc
                pa += spa
                pr += spr
            two_pi = 2.0 * math.pi
            gradients[p, f, 0] = -two_pi * gy
            gradients[p, f, 1] = -two_pi * gx
            moments[p, f, 0] = two_pi * two_pi * hy
            moments[p, f, 1] = two_pi * two_pi * hx
            moments[p, f, 2] = 0.5 * two_pi * two_pi * vy
            moments[p, f, 3] = 0.5 * two_pi * two_pi * vx
            moments[p, f, 4] = cc
            moments[p, f, 5] = pa
            moments[p, f, 6] = pr
            moments[p, f, 7] = 0.5 * vc
    return gradients, moments


def correlation_gradients_torch(
    spectra: Tensor, ky: Tensor, kx: Tensor, weight: Tensor, displacements: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `correlation_gradients` returns, for tensors; patch by patch."""
    import torch

    gradients, moments = [], []
    two_pi = 2.0 * math.pi
    for a, d in zip(spectra, displacements, strict=True):
        py = torch.exp(2j * math.pi * ky[None, :] * d[:, :1]).to(a.dtype)
        px = torch.exp(2j * math.pi * kx[None, :] * d[:, 1:]).to(a.dtype)
        a = a * py[:, :, None] * px[:, None, :]
        r = a.sum(0, keepdim=True) - a
        cross = a * r.conj()
        re, im = weight * cross.real, weight * cross.imag
        power, reference = a.abs() ** 2, r.abs() ** 2
        v = weight**2 * power * reference
        q, k = ky[:, None], kx[None, :]

        def over(x: Tensor) -> Tensor:
            return x.sum((-2, -1), dtype=torch.float64)

        gradients.append(torch.stack([-two_pi * over(q * im), -two_pi * over(k * im)], -1))
        moments.append(
            torch.stack(
                [
                    two_pi**2 * over(q * q * re),
                    two_pi**2 * over(k * k * re),
                    0.5 * two_pi**2 * over(q * q * v),
                    0.5 * two_pi**2 * over(k * k * v),
                    over(re),
                    over(weight * power),
                    over(weight * reference),
                    0.5 * over(v),
                ],
                -1,
            )
        )
    return torch.stack(gradients), torch.stack(moments)


@njit(cache=True, nogil=True, parallel=True, fastmath={"contract", "reassoc", "nsz"})
def ring_powers(
    spectra: ComplexArray,
    ky: FloatArray,
    kx: FloatArray,
    rings: FloatArray,
    n_rings: int,
    displacements: FloatArray,
) -> FloatArray:
    """Return the power in rings of frequency, of frames and of their aligned sums.

    Parameters
    ----------
    spectra, ky, kx, displacements
        As for `correlation_gradients`.
    rings
        (Y, X), int64, the ring of each coefficient.
    n_rings
        R, more than the largest of them.

    Returns
    -------
    ndarray
        (2, R), float64: sums over patches and coefficients of all frames' power, and of the power
        of the sum of the aligned frames.
    """
    n_patches, n_frames, ny, nx = spectra.shape
    powers = np.zeros((n_patches, 2, n_rings))
    for p in prange(n_patches):
        total = np.zeros((ny, nx), np.complex64)
        power = np.zeros((ny, nx), np.float32)
        phase = np.empty(nx, np.complex64)
        for f in range(n_frames):
            dy, dx = displacements[p, f, 0], displacements[p, f, 1]
            for j in range(nx):
                phase[j] = _phase(kx[j] * dx)
            for i in range(ny):
                row = _phase(ky[i] * dy)
                for j in range(nx):
                    value = spectra[p, f, i, j]
                    power[i, j] += value.real * value.real + value.imag * value.imag
                    total[i, j] += value * (phase[j] * row)
        for i in range(ny):
            for j in range(nx):
                t = total[i, j]
                powers[p, 0, rings[i, j]] += power[i, j]
                powers[p, 1, rings[i, j]] += t.real * t.real + t.imag * t.imag
    out = np.zeros((2, n_rings))
    for p in range(n_patches):
        out += powers[p]
    return out


def ring_powers_torch(
    spectra: Tensor, ky: Tensor, kx: Tensor, rings: Tensor, n_rings: int, displacements: Tensor
) -> Tensor:
    """Return what `ring_powers` returns, for tensors; patch by patch."""
    import torch

    out = torch.zeros((2, n_rings), dtype=torch.float64, device=spectra.device)
    index = rings.ravel()
    for a, d in zip(spectra, displacements, strict=True):
        py = torch.exp(2j * math.pi * ky[None, :] * d[:, :1]).to(a.dtype)
        px = torch.exp(2j * math.pi * kx[None, :] * d[:, 1:]).to(a.dtype)
        total = (a * py[:, :, None] * px[:, None, :]).sum(0).abs() ** 2
        power = (a.abs() ** 2).sum(0)
        out[0].index_add_(0, index, power.ravel().to(torch.float64))
        out[1].index_add_(0, index, total.ravel().to(torch.float64))
    return out
