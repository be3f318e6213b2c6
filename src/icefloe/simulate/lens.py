"""The microscope: from phases on the specimen to contrast on the camera."""

from __future__ import annotations

import math

import numpy as np

from icefloe._types import AnyArray, ComplexArray, FloatArray
from icefloe.fourier import frequency_axes, irfft2
from icefloe.optics import CtfParameters, defocus_at_angle, phase_aberration, wavelength
from icefloe.simulate.detector import transfer
from icefloe.simulate.loops import random_coefficients
from icefloe.simulate.seeds import key
from icefloe.simulate.settings import SimulationSettings

__all__ = ["Lens", "centre_ctf", "plane_height"]

# Strips of tilted ice, A of defocus.
_STRIP = 250.0


def centre_ctf(settings: SimulationSettings) -> CtfParameters:
    """Return the optics at the frame's centre, mid-height of the ice."""
    half = 0.5 * settings.astigmatism
    return CtfParameters(
        defocus_u=settings.defocus + half,
        defocus_v=settings.defocus - half,
        defocus_angle=settings.astigmatism_angle,
        voltage=settings.voltage,
        cs=settings.cs,
        amplitude_contrast=settings.amplitude_contrast,
        phase_shift=settings.phase_shift,
    ).normalised()


def plane_height(settings: SimulationSettings, y: AnyArray, x: AnyArray) -> FloatArray:
    """Return by how much the defocus at pixels (y, x) exceeds the centre's, A.

    It grows in the direction 90 degrees from the tilt axis, ``axis + 90``, for a positive tilt.
    """
    ny, nx = settings.movie_shape
    axis = math.radians(settings.tilt_axis)
    across = math.cos(axis) * (y - 0.5 * (ny - 1)) - math.sin(axis) * (x - 0.5 * (nx - 1))
    return np.asarray(math.tan(math.radians(settings.tilt)) * settings.movie_pixel_size * across)


class Lens:
    """Frequencies of the canvas and what lens and camera do to them.

    A tilted layer is put together from strips of equal height, which overlap linearly.
    """

    def __init__(
        self, settings: SimulationSettings, name: str, shape: tuple[int, int], margin: int
    ) -> None:
        self.shape, self.settings, self.name = shape, settings, name
        ky, kx = frequency_axes(shape, settings.movie_pixel_size)
        self.k2 = (ky * ky + kx * kx).astype(np.float32)
        self.k = np.sqrt(self.k2)
        ctf = centre_ctf(settings)
        self._tilt = (math.pi * wavelength(settings.voltage) * self.k2).astype(np.float32)
        defocus = defocus_at_angle(ctf, np.arctan2(ky, kx))
        self._chi = phase_aberration(ctf, ky * ky + kx * kx, defocus).astype(np.float32)
        envelope = np.exp(-0.25 * settings.envelope_bfactor * self.k2)
        envelope *= settings.contrast * transfer(self.k, settings)
        self.envelope = envelope.astype(np.float32)
        self.heights: tuple[float, ...] = (0.0,)
        self.windows: tuple[FloatArray, ...] = ()
        if settings.tilt:
            y, x = np.arange(shape[0])[:, None] - margin, np.arange(shape[1]) - margin
            height = plane_height(settings, y, x).astype(np.float32) / _STRIP
            strips = range(math.floor(height.min()), math.ceil(height.max()) + 1)
            self.heights = tuple(n * _STRIP for n in strips)
            self.windows = tuple(np.maximum(0, 1 - np.abs(height - n)) for n in strips)

    def ctf(self, height: float) -> FloatArray:
        """Return the CTF where the defocus is larger by `height`, without envelopes."""
        return np.asarray(-np.sin(self._chi + self._tilt * np.float32(height)))

    def _mean_square_ctf(self, height: float, thickness: float) -> FloatArray:
        """Return CTF^2 averaged over a layer: ``(1 - cos(2 chi) sinc(lambda k^2 t)) / 2``.

        The node of thick ice: Tichelaar, Hagen, Gorelik & Xue (2020), Ultramicroscopy 216, 113023.
        """
        node = np.sinc(self._tilt * (thickness / math.pi))
        return np.asarray(
            0.5 - 0.5 * np.cos(2 * (self._chi + self._tilt * np.float32(height))) * node
        )

    def amplitudes(self, phase_power: FloatArray, thickness: float) -> list[FloatArray]:
        """Return, for each strip, the amplitudes of the contrast of a random phase.

        `phase_power` is per area, rad^2 A^2, of a layer of this thickness.
        """
        power = 4 * phase_power * self.envelope**2
        return [
            self.amplitude(power * self._mean_square_ctf(height, thickness))
            for height in self.heights
        ]

    def layer(self, phase_power: FloatArray, thickness: float, purpose: str) -> FloatArray:
        """Return the contrast, (cy, cx), of a layer with a random phase that stays."""
        noise = self.noise(purpose)
        images = [irfft2(noise * a, self.shape) for a in self.amplitudes(phase_power, thickness)]
        if not self.windows:
            return np.asarray(images[0])
        return np.asarray(sum(w * i for w, i in zip(self.windows, images, strict=True)))

    def noise(self, purpose: str) -> ComplexArray:
        """Return random coefficients of variance 1 in each part."""
        out = np.empty(self.k.shape, dtype=np.complex64)
        random_coefficients(out, key(self.name, self.settings.seed, purpose))
        return out

    def amplitude(self, power: FloatArray) -> FloatArray:
        """Return what unit coefficients are multiplied by to have a power spectrum.

        `power` is per area, A^2. A real image takes only the real part of the columns that are
        their own mirror image, which then need twice the power.
        """
        ny, nx = self.shape
        scale = ny * nx / self.settings.movie_pixel_size**2 / 2
        out = np.sqrt(power * scale).astype(np.float32)
        out[:, 0] *= math.sqrt(2)
        if nx % 2 == 0:
            out[:, -1] *= math.sqrt(2)
        out[0, 0] = 0
        return np.asarray(out)
