"""The defocus over a micrograph: a plane, or a plane and a slight curvature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import FloatArray

__all__ = ["DefocusSurface"]


@dataclass(frozen=True)
class DefocusSurface:
    """Mean defocus as a polynomial of the place.

    ``D = c0 + c1 v + c2 u [+ c3 (v^2 - 1/3) + c4 u v + c5 (u^2 - 1/3)]`` where v and u are y and
    x from the micrograph's centre in units of `half`.

    Attributes
    ----------
    coefficients
        Three or six, A of defocus; underfocus is positive.
    shape
        (ny, nx) of the micrograph.
    pixel_size
        A.
    """

    coefficients: tuple[float, ...]
    shape: tuple[int, int]
    pixel_size: float

    @property
    def half(self) -> float:
        """Half the longer side, A."""
        return 0.5 * max(self.shape) * self.pixel_size

    def terms(self, y: ArrayLike, x: ArrayLike, n: int | None = None) -> FloatArray:
        """Return the polynomial's terms (..., n) at pixels (y, x)."""
        scale = self.pixel_size / self.half
        v = (np.asarray(y, dtype=np.float64) - 0.5 * (self.shape[0] - 1)) * scale
        u = (np.asarray(x, dtype=np.float64) - 0.5 * (self.shape[1] - 1)) * scale
        v, u = np.broadcast_arrays(v, u)
        columns = [np.ones_like(u), v, u, v * v - 1 / 3, u * v, u * u - 1 / 3]
        return np.stack(columns[: n or len(self.coefficients)], axis=-1)

    def at(self, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return the mean defocus, A, at pixels (y, x) of the micrograph (any shape)."""
        return np.asarray(np.sum(self.terms(y, x) * np.asarray(self.coefficients), axis=-1))

    @property
    def gradient(self) -> tuple[float, float]:
        """Slope at the centre along y and x: A of defocus per A."""
        return self.coefficients[1] / self.half, self.coefficients[2] / self.half

    @property
    def tilt(self) -> float:
        """Angle of tilt, degrees, 0 to 90."""
        return math.degrees(math.atan(math.hypot(*self.gradient)))

    @property
    def axis(self) -> float:
        """Azimuth of the tilt axis, degrees from +x towards +y, in (-180, 180].

        The defocus grows in the direction ``axis + 90``.
        """
        gy, gx = self.gradient
        azimuth = math.degrees(math.atan2(gy, gx)) - 90.0
        return -((180.0 - azimuth) % 360.0) + 180.0

    def numbers(self) -> dict[str, Any]:
        """Return the JSON-able figures from which `from_numbers` makes it again."""
        return {
            "coefficients": [float(c) for c in self.coefficients],
            "shape": list(self.shape),
            "pixel_size": self.pixel_size,
        }

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> DefocusSurface:
        """Return the surface of a sidecar."""
        ny, nx = (int(n) for n in numbers["shape"])
        coefficients = tuple(float(c) for c in numbers["coefficients"])
        return cls(coefficients, (ny, nx), float(numbers["pixel_size"]))
