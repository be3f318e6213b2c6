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

__all__ = ["CtfPlanes", "correct_ctf"]


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


def correct_ctf(
    windows: Tensor, parameters: Sequence[CtfParameters], planes: CtfPlanes, mode: str
) -> Tensor:
    """Return windows (n, box, box) times their CTF, or times its sign.

    Parameters
    ----------
    windows
        (n, box, box).
    parameters
        One for each window, or a single one for all.
    planes
        Of the same box.
    mode
        ``multiply`` or ``flip``.
    """
    from icefloe.fourier import irfft2, rfft2

    ctf = planes(parameters)
    if mode == "flip":
        # Not sign(): a zero of the CTF would take the frequency away.
        ctf = 1.0 - 2.0 * (ctf < 0)
    return irfft2(rfft2(windows) * ctf, (int(windows.shape[-2]), int(windows.shape[-1])))


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
