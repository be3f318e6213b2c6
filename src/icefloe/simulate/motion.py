"""The true motion of a simulated specimen, as closed formulae."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import FloatArray
from icefloe.simulate.seeds import generator
from icefloe.simulate.settings import SimulationSettings

__all__ = ["SimulatedField", "make_field"]

# Doses, e/A^2, over which the fast first motion, the doming and the slow bending fade.
_FAST, _DOME, _SLOW = 4.0, 8.0, 30.0
# Pixels a frame that a run-away stage moves, and its shaking.
_RUNAWAY, _SHAKE = 14.0, 6.0


@dataclass(frozen=True, eq=False)
class SimulatedField:
    """Motion of a specimen: of the frame as a whole, a dome and a bending wave.

    With p = (y, x) from the frame's centre in units of half the longer side,

        displacement(f, p) = global[f] + D(f) (d(p) - d(0)) + W(f) (w(p) - w(0))
        d(p) = dome_amplitude (p - c) exp(-|p - c|^2 / 2 s^2)
        w(p) = wave_amplitude sin(pi wave_vector . p + wave_phase)

    Attributes
    ----------
    shape
        Frame size (ny, nx).
    global_shifts
        (F, 2), pixels (dy, dx): the motion of the frame's centre, zero in frame 0.
    curves
        (2, F), D and W: 0 in frame 0, 1 in the last.
    dome
        c_y, c_x, s, amplitude in pixels.
    wave
        amplitude y, amplitude x (pixels), vector y, vector x, phase (radians).
    """

    shape: tuple[int, int]
    global_shifts: FloatArray
    curves: FloatArray
    dome: FloatArray
    wave: FloatArray

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.global_shifts)

    def displacement(self, frame: ArrayLike, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return (dy, dx), pixels, relative to frame 0; times are the middles of frames.

        Parameters
        ----------
        frame
            Frame number from 0; between two, the motion is interpolated.
        y, x
            Position in pixels. All three broadcast.

        Returns
        -------
        ndarray
            (..., 2), float64.
        """
        number = np.arange(self.n_frames)
        frame = np.asarray(frame, dtype=np.float64)
        rigid = np.stack([np.interp(frame, number, g) for g in self.global_shifts.T], axis=-1)
        early, late = (np.interp(frame, number, curve) for curve in self.curves)
        dome, wave = self._modes(np.asarray(y, np.float64), np.asarray(x, np.float64))
        return np.asarray(rigid + early[..., None] * dome + late[..., None] * wave)

    def inverse(self, frame: int, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return what to add to a place in a frame to find it in frame 0, (..., 2) pixels."""
        y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
        back = -self.displacement(frame, y, x)
        for _ in range(4):  # a contraction: the field changes by < 0.02 px over a pixel
            back = -self.displacement(frame, y + back[..., 0], x + back[..., 1])
        return back

    def local_rms(self) -> float:
        """Return the RMS, pixels, of the local motion at the last frame over the field."""
        y, x = np.meshgrid(*(np.linspace(0, n - 1, 17) for n in self.shape), indexing="ij")
        local = self.displacement(self.n_frames - 1, y, x) - self.global_shifts[-1]
        return float(np.sqrt(np.mean(np.sum(local**2, axis=-1))))

    def _modes(self, y: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        half = 0.5 * (max(self.shape) - 1)
        v = (y - 0.5 * (self.shape[0] - 1)) / half
        u = (x - 0.5 * (self.shape[1] - 1)) / half
        return (
            self._dome(v, u) - self._dome(np.zeros(()), np.zeros(())),
            self._wave(v, u) - self._wave(np.zeros(()), np.zeros(())),
        )

    def _dome(self, v: FloatArray, u: FloatArray) -> FloatArray:
        cy, cx, s, amplitude = self.dome
        bell = amplitude * np.exp(-((v - cy) ** 2 + (u - cx) ** 2) / (2 * s * s))
        dy, dx = np.broadcast_arrays((v - cy) * bell, (u - cx) * bell)
        return np.stack([dy, dx], axis=-1)

    def _wave(self, v: FloatArray, u: FloatArray) -> FloatArray:
        ay, ax, ky, kx, phase = self.wave
        wave = np.sin(math.pi * (ky * v + kx * u) + phase)
        return np.stack([ay * wave, ax * wave], axis=-1)


def make_field(settings: SimulationSettings, name: str) -> SimulatedField:
    """Return the motion of the movie `name`."""
    rng = generator(name, settings.seed, "motion")
    n = settings.n_frames
    # The specimen settles with dose, so what was dosed before has settled already.
    dose = settings.pre_exposure + (np.arange(n) + 0.5) * settings.dose_per_frame
    rigid = _rigid(settings, rng, dose)
    curves = np.stack([_rise(dose, _DOME), _rise(dose, _SLOW)])
    angle, k = rng.uniform(0, 2 * math.pi, 2), rng.uniform(0.5, 1.0)
    bend = rng.uniform(0.4, 0.7)
    unit = SimulatedField(
        shape=settings.movie_shape,
        global_shifts=rigid,
        curves=np.ones_like(curves),
        dome=np.array([*rng.uniform(-0.3, 0.3, 2), rng.uniform(0.8, 1.2), 1.0]),
        wave=np.array(
            [
                bend * math.sin(angle[0]),
                bend * math.cos(angle[0]),
                k * math.sin(angle[1]),
                k * math.cos(angle[1]),
                rng.uniform(-0.5, 0.5),
            ]
        ),
    )
    scale = settings.doming / unit.local_rms()
    dome, wave = unit.dome.copy(), unit.wave.copy()
    dome[3] *= scale
    wave[:2] *= scale
    return SimulatedField(settings.movie_shape, rigid, curves, dome, wave)


def _rise(dose: FloatArray, fade: float) -> FloatArray:
    curve = 1 - np.exp(-(dose - dose[0]) / fade)
    return np.asarray(curve / curve[-1] if len(dose) > 1 else curve)


def _rigid(settings: SimulationSettings, rng: np.random.Generator, dose: FloatArray) -> FloatArray:
    n = len(dose)
    time = np.linspace(0, 1, n)
    first, turn = rng.uniform(0, 2 * math.pi), rng.uniform(-1.2, 1.2)
    heading = np.array([math.sin(first), math.cos(first)])
    later = np.array([math.sin(first + turn), math.cos(first + turn)])
    if settings.drift_ruined:
        shake = _SHAKE * rng.standard_normal((n, 2))
        path = _RUNAWAY * np.arange(n)[:, None] * heading + shake
        return np.asarray(path - path[0])
    path = 0.65 * _rise(dose, _FAST)[:, None] * heading + 0.35 * time[:, None] * later
    sway = rng.standard_normal((3, 2)) * 0.05
    for order, amplitude in enumerate(sway, start=1):
        path = path + np.sin(math.pi * order * time)[:, None] * amplitude / order
    if n > 1:
        path = path * (settings.drift / max(1e-9, float(np.hypot(*(path[-1] - path[0])))))
    path = path + settings.jitter * rng.standard_normal((n, 2))
    return np.asarray(path - path[0])
