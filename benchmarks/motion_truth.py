"""What motion correction is compared with: tracks as they were applied, and the least error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_PARAMETERS = 9 * 6
"""Of the local motion and one axis: nine terms in space, seven splines in time less a constant."""


class Tracks:
    """The motion through the tracks of patches, by the terms of Icefloe's field, hence exact."""

    def __init__(self, shape: tuple[int, int], whole: np.ndarray, local: np.ndarray) -> None:
        self.shape, self.whole, self.local = shape, whole, local

    @classmethod
    def read(cls, path: Path) -> Tracks:
        """Read the tracks from a metadata STAR of Icefloe."""
        from icefloe.formats.star import read_star
        from icefloe.interop.relion_motion import read_motion_star
        from icefloe.motion.basis import space_basis

        star = read_motion_star(path)
        table = read_star(path)["local_shift"]
        n = len(star.global_shifts)
        y, x = (np.asarray(table[f"rlnCoordinate{a}"], float).reshape(n, -1)[0] for a in "YX")
        shifts = [np.asarray(table[f"rlnMicrographShift{a}"], float).reshape(n, -1) for a in "YX"]
        grid = (len(np.unique(y)), len(np.unique(x)))
        basis, to_terms, _ = space_basis(star.shape, np.stack([y, x], axis=-1), grid)
        local = [to_terms.T @ np.linalg.lstsq(basis, -s.T, rcond=None)[0] for s in shifts]
        return cls(star.shape, -star.global_shifts, np.stack(local, axis=-1))

    def displacement(self, frame: Any, y: Any, x: Any) -> np.ndarray:
        """Return (..., 2), pixels."""
        from icefloe.motion.field import spatial_terms

        frame = np.asarray(frame)
        terms = spatial_terms(self.shape, y, x)
        coefficients = np.moveaxis(self.local, 1, 0)[frame]
        return self.whole[frame] + np.sum(terms[..., None] * coefficients, axis=-2)


def motion_bound(movie: Any) -> dict[str, float]:
    """Return the Cramer-Rao bound of the residual motion of a simulated movie, pixels RMS.

    For frames of an unknown Gaussian specimen of power S(k) per frame in noise of power N(k), the
    information on the shift of one of n frames relative to the others is, along one axis,

        J = sum over all k of (2 pi k)^2 / 2 S / N n S / (N + n S)

    S is that of the noise-free image with radiation damage averaged over the movie, N what frames
    have beyond S. The signal is taken as spread evenly over the frame. Two models without priors:
    shifts of whole frames that have nothing to do with one another, and beside them local motion
    of nine terms in space times seven splines in time. A fit with priors can do better where the
    motion is as smooth as they say, and must do worse where it bends more than its terms.
    """
    from icefloe.fourier import frequency_grid, rfft2
    from icefloe.optics import critical_dose

    settings, n = movie.truth.settings, len(movie.frames)
    shape = movie.frames.shape[1:]
    k = frequency_grid(shape, 1.0)
    ring = np.minimum(np.rint(k * min(shape)).astype(int), min(shape) // 2)
    twice = np.full(k.shape, 2.0)
    twice[:, 0] = 1.0
    count = np.bincount(ring.ravel(), twice.ravel())

    def power(image: np.ndarray) -> np.ndarray:
        f = rfft2(np.ascontiguousarray(image - image.mean(), dtype=np.float32))
        total = np.bincount(ring.ravel(), (twice * np.abs(f) ** 2).ravel())
        return np.asarray(total / count)

    frames = [movie.frames[f] * movie.gain * ~movie.defects for f in (0, n // 2, n - 1)]
    mean = float(np.mean(frames))
    radius = np.bincount(ring.ravel(), (twice * k).ravel()) / count
    dose = (np.arange(n) + 0.5) * settings.dose_per_frame
    critical = critical_dose(np.maximum(radius, 1e-6) / settings.movie_pixel_size, settings.voltage)
    damage = np.mean(np.exp(-dose[:, None] / critical), axis=0)
    signal = power(movie.truth.clean * mean) * damage
    noise = np.maximum(np.mean([power(f) for f in frames], axis=0) - signal, 1e-6 * signal)
    # The last ring is all that lies beyond Nyquist, the first the mean.
    use = slice(1, -1)
    s, q = signal[use], noise[use]
    information = count[use] * 0.5 * (2 * np.pi * radius[use]) ** 2 * s / q * n * s / (q + n * s)
    axis = 1 / (n * float(information.sum()))
    whole, local = np.sqrt(2 * axis * (n - 1)), np.sqrt(2 * axis * _PARAMETERS)
    return {"whole": float(whole), "local": float(local), "total": float(np.hypot(whole, local))}
