"""The camera: transfer, gain, defects, and counting."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.simulate.loops import poisson_counts
from icefloe.simulate.seeds import generator, key
from icefloe.simulate.settings import SimulationSettings

__all__ = ["Camera", "make_camera", "transfer"]


def transfer(k: FloatArray, settings: SimulationSettings) -> FloatArray:
    """Return the camera's transfer of signal at frequencies k, 1/A.

    ``m^((k / k_N)^2)`` with m the transfer at the physical Nyquist frequency. It acts on the
    signal alone: a counting camera places an electron on one pixel or its neighbour, so its noise
    stays white.
    """
    relative = k * (2 * settings.pixel_size)
    return np.asarray(settings.mtf_nyquist ** (relative * relative))


class Camera:
    """A camera with its gain and its defects.

    Attributes
    ----------
    gain
        (ny, nx) float32: what counts are multiplied by; 0 where a pixel is dead.
    defects
        (ny, nx) bool: dead and hot pixels.
    """

    def __init__(
        self, gain: FloatArray, hot: FloatArray, defects: BoolArray, settings: SimulationSettings
    ) -> None:
        self.gain, self.defects = gain, defects
        self._mean = settings.dose_per_frame * settings.movie_pixel_size**2
        bright = 1.0
        if settings.illumination:
            ny, nx = gain.shape
            v = np.linspace(-1, 1, ny, dtype=np.float32)[:, None]
            u = np.linspace(-1, 1, nx, dtype=np.float32)
            fall = v * v + u * u
            bright = 1 + settings.illumination * (fall.mean() - fall)
        with np.errstate(divide="ignore"):
            self._rate = np.where(gain > 0, self._mean * bright / gain, 0).astype(np.float32)
        self._hot = np.nonzero(hot)
        self._hot_rate = self._mean * hot[self._hot]

    def count(self, contrast: FloatArray, name: str, seed: int, frame: int) -> AnyArray:
        """Return the counts, uint16, of a frame with a relative contrast around 0."""
        expected = np.maximum(contrast + 1, 0.02, dtype=np.float32)
        expected *= self._rate
        expected[self._hot] += self._hot_rate
        counts = np.empty(contrast.shape, dtype=np.uint16)
        poisson_counts(expected, key(name, seed, "counts", frame), counts)
        return counts


def make_camera(settings: SimulationSettings, session: str = "camera") -> Camera:
    """Return the camera of a session: the same for all movies of equal settings."""
    rng = generator(session, settings.seed, "gain")
    ny, nx = shape = settings.movie_shape
    pattern = rng.standard_normal(shape, dtype=np.float32)
    columns = 0.4 * rng.standard_normal(nx, dtype=np.float32)
    slow = rng.standard_normal((6, 6), dtype=np.float32)
    slow = scipy.ndimage.zoom(slow, (ny / 6, nx / 6), order=3, mode="nearest", grid_mode=True)
    gain = np.asarray(1 + settings.gain_strength * (pattern * 0.8 + columns + 0.5 * slow))
    gain = np.clip(gain, 0.4, 2.5)
    gain *= (1 / gain).mean()  # so that raw counts have the mean of the dose
    hot, dead = np.zeros(shape, np.float32), np.zeros(shape, dtype=bool)
    dead[:, rng.integers(0, nx, settings.n_dead_columns)] = True
    dead[rng.integers(0, ny, settings.n_dead), rng.integers(0, nx, settings.n_dead)] = True
    where = rng.integers(0, ny, settings.n_hot), rng.integers(0, nx, settings.n_hot)
    hot[where] = rng.uniform(8, 40, settings.n_hot)
    hot[dead] = 0
    gain[dead] = 0
    return Camera(gain.astype(np.float32), hot, dead | (hot > 0), settings)
