"""Windows with their CTF's signs flipped, or multiplied by it.

Defocus spreads a particle's detail over its surroundings, so this is done in a box larger than the
particle's, from which the particle's is then cut: what was spread comes back inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from icefloe._types import Tensor
from icefloe.fourier.device import is_tensor, to_device
from icefloe.optics import CtfParameters, wavelength

__all__ = ["CtfPlanes", "correct_ctf", "signs"]


class CtfPlanes:
    """The CTF of many particles on one grid.

    With ``k = (kx, ky)`` and the astigmatic defocus ``D + A cos 2(a - a0)`` the phase is linear in
    three planes that all particles share, ``k^2``, ``kx^2 - ky^2`` and ``2 kx ky``; no angle is
    needed at any pixel.

    Parameters
    ----------
    box
        Side of the windows, pixels.
    pixel_size
        A.
    device
        Where the planes live.
    """

    def __init__(self, box: int, pixel_size: float, device: str = "cpu") -> None:
        ky = np.fft.fftfreq(box, pixel_size)[:, None]
        if box % 2 == 0:
            ky[box // 2] *= -1  # the row of both signs is taken for the positive one, as by RELION
        kx = np.fft.rfftfreq(box, pixel_size)[None, :]
        self._device = device
        self._k2, self._cosine, self._sine = (
            to_device(plane.astype(np.float32), device)
            for plane in (ky**2 + kx**2, kx**2 - ky**2, 2 * kx * ky)
        )

    def __call__(self, parameters: Sequence[CtfParameters]) -> Tensor:
        """Return the CTFs, (n, box, box // 2 + 1) float32, positive at low frequency.

        The sign is opposite to `optics.ctf_2d`: dark particles stay dark.
        """
        rows = np.array([_coefficients(p) for p in parameters], dtype=np.float32)
        terms = to_device(rows, self._device)[:, :, None, None]
        chi = terms[:, 0] * self._k2 + terms[:, 1] * self._cosine
        chi += terms[:, 2] * self._sine
        chi += terms[:, 3] * (self._k2 * self._k2)
        chi += terms[:, 4]
        if is_tensor(chi):
            import torch

            return torch.sin(chi)
        return np.sin(chi, out=chi)


def correct_ctf(windows: Tensor, transfer: Tensor) -> Tensor:
    """Return windows with their transforms multiplied.

    Parameters
    ----------
    windows
        (n, box, box).
    transfer
        (n, box, box // 2 + 1), or (1, ...) for all: `CtfPlanes` or their `signs`.
    """
    shape = (int(windows.shape[-2]), int(windows.shape[-1]))
    if is_tensor(windows):
        from icefloe.fourier import irfft2, rfft2

        return irfft2(rfft2(windows) * transfer, shape)
    import scipy.fft

    # Few windows at a time, and many of these calls at once: no threads in each.
    spectrum = scipy.fft.rfft2(windows)
    spectrum *= transfer
    return scipy.fft.irfft2(spectrum, s=shape, overwrite_x=True)


def signs(ctf: Tensor) -> Tensor:
    """Return 1 or -1 for CTFs; a zero counts as positive, or it would take the frequency away."""
    return 1.0 - 2.0 * (ctf < 0) if is_tensor(ctf) else np.where(ctf < 0, -1, 1).astype(np.float32)


def _coefficients(p: CtfParameters) -> tuple[float, float, float, float, float]:
    # chi = c0 k^2 + c1 (kx^2 - ky^2) + c2 2 kx ky + c3 k^4 + c4, as in optics.phase_aberration.
    lam = wavelength(p.voltage)
    half = 0.5 * (p.defocus_u - p.defocus_v)
    angle = 2 * math.radians(p.defocus_angle)
    w = p.amplitude_contrast
    constant = math.radians(p.phase_shift) + math.atan2(w, math.sqrt(max(0.0, 1 - w * w)))
    return (
        math.pi * lam * p.defocus,
        math.pi * lam * half * math.cos(angle),
        math.pi * lam * half * math.sin(angle),
        -0.5 * math.pi * lam**3 * p.cs * 1e7,
        constant,
    )
