"""The water's noise, frame after frame.

Molecules move in the beam by about 1 A per e/A^2, so that their image loses its memory at a rate
that grows with k^2: near 3.7 A within two electrons, at 20 A not within a movie.
"""

from __future__ import annotations

import numpy as np

from icefloe._types import ComplexArray, FloatArray
from icefloe.fourier import irfft2
from icefloe.simulate.loops import average_walk, random_coefficients
from icefloe.simulate.scene import Scene
from icefloe.simulate.seeds import key
from icefloe.simulate.settings import SimulationSettings

__all__ = ["Water"]


class Water:
    """Gaussian noise with the spectrum and the memory of water.

    Parameters
    ----------
    settings, name, scene
        As in `simulate_movie`.
    dose
        Dose of one exposure, e/A^2, over which the motion averages.
    prefilter
        Multiplies the amplitudes.
    """

    def __init__(
        self,
        settings: SimulationSettings,
        name: str,
        scene: Scene,
        dose: float,
        prefilter: FloatArray | None = None,
    ) -> None:
        self._settings, self._name, self._scene = settings, name, scene
        self._index = 0
        on = settings.ice_strength > 0
        self.strips = on and bool(scene.windows)
        shape = scene.signal.shape
        self._noise = np.zeros(shape, dtype=np.complex64)
        self._zero = np.zeros(shape, dtype=np.float32)
        self._amplitudes: list[FloatArray] = []
        if not on:
            return
        # The average of an Ornstein-Uhlenbeck process over an exposure in which its correlation
        # falls to exp(-x), given its ends: a share of their sum, and a variance around it.
        x = np.maximum(scene.water_rate * dose, 1e-2)
        self._keep = np.exp(-x).astype(np.float32)
        share = np.tanh(x / 2) / x
        variance = 2 * (x + np.expm1(-x)) / x**2
        spread = np.maximum(0, variance - 2 * share**2 * (1 + np.exp(-x)))
        self._share, self._bridge = share.astype(np.float32), np.sqrt(spread).astype(np.float32)
        self._state = self._random("water")
        self._still = settings.ice_static_fraction
        if self._still:
            self._fixed = self._random("still")
        self._amplitudes = [a if prefilter is None else a * prefilter for a in scene.water]

    def next_frame(self) -> tuple[ComplexArray, FloatArray]:
        """Return the next exposure's unit noise and its amplitude (0 where strips are used)."""
        if not self._amplitudes:
            return self._noise, self._zero
        walk = key(self._name, self._settings.seed, "water walk", self._index)
        self._index += 1
        average_walk(self._state, self._keep, self._share, self._bridge, walk, self._noise)
        if self._still:
            self._noise *= np.float32(np.sqrt(1 - self._still))
            self._noise += np.float32(np.sqrt(self._still)) * self._fixed
        return self._noise, self._zero if self.strips else self._amplitudes[0]

    def strips_image(self, blur: FloatArray | float = 1.0) -> FloatArray:
        """Return the noise of the present exposure, (cy, cx), strip by strip of equal defocus."""
        total = np.zeros(self._scene.shape, dtype=np.float32)
        for amplitude, window in zip(self._amplitudes, self._scene.windows, strict=True):
            total += window * irfft2(self._noise * (amplitude * blur), self._scene.shape)
        return total

    def image(self) -> FloatArray:
        """Return the noise of the next exposure, (cy, cx)."""
        noise, amplitude = self.next_frame()
        if self.strips:
            return self.strips_image()
        return np.asarray(irfft2(noise * amplitude, self._scene.shape))

    def _random(self, purpose: str) -> ComplexArray:
        out = np.empty_like(self._noise)
        random_coefficients(out, key(self._name, self._settings.seed, purpose))
        return out
