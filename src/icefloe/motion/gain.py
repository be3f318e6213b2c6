"""Estimate a gain reference from movies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray, FrameSource
from icefloe.errors import EmptyMovieError, FrameShapeError
from icefloe.motion.defects import find_outliers

__all__ = ["GainEstimate", "estimate_gain"]


@dataclass
class GainEstimate:
    """A running sum of frames that becomes a gain.

    The specimen averages out over movies, what stays is the detector. A gain made from N counts
    a pixel has a relative error of ``1 / sqrt(N)``; below some 500 counts (4 %) it adds more
    noise than it removes for most detectors.

    Attributes
    ----------
    total
        (ny, nx), float64, sum of all frames; None before the first.
    n_frames
        Frames added.
    """

    total: FloatArray | None = None
    n_frames: int = 0

    def add(self, frames: FrameSource | AnyArray) -> None:
        """Add the frames of a movie, read one by one."""
        for i in range(len(frames)):
            frame = np.asarray(frames[i])
            if self.total is None:
                self.total = np.zeros(frame.shape)
            if frame.shape != self.total.shape:
                raise FrameShapeError(
                    f"A frame of shape {frame.shape} after frames of {self.total.shape}",
                    "movies of one detector mode",
                )
            self.total += frame
            self.n_frames += 1

    @property
    def counts(self) -> float:
        """Mean counts a pixel."""
        return 0.0 if self.total is None else float(self.total.mean())

    def finish(self) -> tuple[FloatArray, BoolArray]:
        """Return the gain and the defects found.

        Returns
        -------
        gain : ndarray
            (ny, nx), float32: ``mean / total``, so that gain times frame is flat; median 1; zero
            at defects.
        defects : ndarray
            (ny, nx), bool: hot and dead pixels.

        Raises
        ------
        EmptyMovieError
            No frame, or no counts.
        """
        if self.total is None or not self.total.any():
            raise EmptyMovieError("No counts to estimate a gain from", "movies with counts")
        total = self.total
        # With many counts the gain itself is what spreads; a tenth of the normal response or ten
        # times it is a defect whatever the spread.
        level = float(np.median(total[total > 0]))
        bad = (total < 0.1 * level) | (total > 10 * level)
        hot, dead = find_outliers(total.astype(np.float32), bad, 10.0)
        bad |= hot | dead
        gain = np.zeros(total.shape, np.float32)
        gain[~bad] = float(total[~bad].mean()) / total[~bad]
        gain /= np.median(gain[~bad])
        return gain, bad


def estimate_gain(movies: list[AnyArray]) -> FloatArray:
    """Return the multiplicative gain (ny, nx), float32, of movies (n, ny, nx) of counts."""
    estimate = GainEstimate()
    for movie in movies:
        estimate.add(movie)
    return estimate.finish()[0]
