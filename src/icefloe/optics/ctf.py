"""The contrast transfer function of a weak phase object, in 1D and 2D.

Conventions, those of CTFFIND and RELION: underfocus is positive; the azimuth of astigmatism is
the angle of the axis of largest defocus U, measured from the +x (column) axis towards +y
(increasing row); ``CTF = -sin(chi)``, so that protein is dark in an underfocused image.
Mindell & Grigorieff (2003), J. Struct. Biol. 142, 334; Rohou & Grigorieff (2015), 192, 216.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import FloatArray
from icefloe.optics.wavelength import wavelength

__all__ = ["CtfParameters", "ctf_1d", "ctf_2d", "defocus_at_angle", "phase_aberration"]


@dataclass(frozen=True)
class CtfParameters:
    """What the objective lens did to an image.

    Attributes
    ----------
    defocus_u, defocus_v
        Largest and smallest defocus, A, underfocus positive.
    defocus_angle
        Azimuth of `defocus_u`, degrees from +x towards +y, in (-90, 90].
    voltage
        Acceleration voltage, kV.
    cs
        Spherical aberration, mm.
    amplitude_contrast
        Fraction of amplitude contrast, 0 to 1.
    phase_shift
        Phase shift of a phase plate, degrees.
    """

    defocus_u: float
    defocus_v: float
    defocus_angle: float = 0.0
    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.1
    phase_shift: float = 0.0

    @property
    def defocus(self) -> float:
        """Mean defocus, A."""
        return 0.5 * (self.defocus_u + self.defocus_v)

    @property
    def astigmatism(self) -> float:
        """Difference of the two defoci, A."""
        return abs(self.defocus_u - self.defocus_v)

    def normalised(self) -> CtfParameters:
        """Return the same optics with U >= V and the angle in (-90, 90]."""
        u, v, angle = self.defocus_u, self.defocus_v, self.defocus_angle
        if v > u:
            u, v, angle = v, u, angle + 90.0
        angle = -((90.0 - angle) % 180.0) + 90.0
        return replace(self, defocus_u=u, defocus_v=v, defocus_angle=angle)

    def shifted(self, height: float) -> CtfParameters:
        """Return the optics of a specimen point whose defocus is larger by `height`, A."""
        return replace(self, defocus_u=self.defocus_u + height, defocus_v=self.defocus_v + height)


def defocus_at_angle(parameters: CtfParameters, angle: ArrayLike) -> FloatArray:
    """Return the defocus, A, along the azimuth `angle` in radians (any shape)."""
    p = parameters
    azimuth = np.asarray(angle) - math.radians(p.defocus_angle)
    return np.asarray(p.defocus + 0.5 * (p.defocus_u - p.defocus_v) * np.cos(2 * azimuth))


def phase_aberration(parameters: CtfParameters, k2: ArrayLike, defocus: ArrayLike) -> FloatArray:
    """Return chi, radians, for squared frequencies `k2` (1/A^2) and defoci (A)."""
    p = parameters
    k2 = np.asarray(k2)
    lam = wavelength(p.voltage)
    cs = p.cs * 1e7
    w = p.amplitude_contrast
    constant = math.radians(p.phase_shift) + math.atan2(w, math.sqrt(max(0.0, 1 - w * w)))
    wave = np.pi * lam * k2 * (np.asarray(defocus) - 0.5 * lam * lam * cs * k2)
    return np.asarray(wave + constant)


def ctf_1d(parameters: CtfParameters, k: ArrayLike) -> FloatArray:
    """Return the CTF at frequencies `k` (1/A, any shape) for the mean defocus."""
    k2 = np.square(np.asarray(k, dtype=np.float64))
    return -np.sin(phase_aberration(parameters, k2, parameters.defocus))


def ctf_2d(
    parameters: CtfParameters, shape: tuple[int, int], pixel_size: float, *, real: bool = True
) -> FloatArray:
    """Return the CTF on the grid of a transform.

    Parameters
    ----------
    parameters
        The optics.
    shape
        Size (ny, nx) of the image in real space.
    pixel_size
        Pixel size, A.
    real
        For the half plane of a real transform, (ny, nx // 2 + 1); otherwise (ny, nx). Zero
        frequency is at [0, 0] in both.

    Returns
    -------
    ndarray
        float32 values in [-1, 1].
    """
    ny, nx = shape
    ky = np.fft.fftfreq(ny, pixel_size)[:, None]
    kx = (np.fft.rfftfreq(nx, pixel_size) if real else np.fft.fftfreq(nx, pixel_size))[None, :]
    defocus = defocus_at_angle(parameters, np.arctan2(ky, kx))
    chi = phase_aberration(parameters, ky**2 + kx**2, defocus)
    return np.asarray(-np.sin(chi), dtype=np.float32)
