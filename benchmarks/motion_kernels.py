"""Interpolation kernels compared: what a sum of many frames keeps of each frequency."""

from __future__ import annotations

import numpy as np


def interpolation_table() -> str:
    """Return the efficiency of interpolation kernels, |mean H|^2 / mean |H|^2 along one axis.

    H is the response at a fraction of a pixel. The signal of a sum is multiplied by the mean of
    H, its noise power by the mean of |H|^2; a filter afterwards changes neither ratio, so that
    this is the part of the signal-to-noise ratio that is left whatever is done later.
    """
    from scipy.interpolate import BSpline

    def cubic(x: np.ndarray, a: float) -> np.ndarray:
        x = np.abs(x)
        inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
        outer = a * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x < 1, inner, np.where(x < 2, outer, 0))

    def spline(x: np.ndarray, degree: int) -> np.ndarray:
        knots = np.arange(degree + 2) - 0.5 * (degree + 1)
        return np.nan_to_num(BSpline.basis_element(knots, extrapolate=False)(x))

    def lanczos(x: np.ndarray, taps: int) -> np.ndarray:
        return np.where(np.abs(x) < taps, np.sinc(x) * np.sinc(x / taps), 0)

    kernels = {
        "bilinear": (2, lambda x: np.maximum(0, 1 - np.abs(x))),
        "Catmull-Rom": (4, lambda x: cubic(x, -0.5)),
        "Keys a = -0.75": (4, lambda x: cubic(x, -0.75)),
        "cubic B-spline": (4, lambda x: spline(x, 3)),
        "Lanczos 3": (6, lambda x: lanczos(x, 3)),
        "quintic B-spline": (6, lambda x: spline(x, 5)),
        "Lanczos 4": (8, lambda x: lanczos(x, 4)),
        "septic B-spline": (8, lambda x: spline(x, 7)),
    }
    k = np.array([0.125, 0.25, 0.333, 0.4, 0.45, 0.475])
    t = (np.arange(256) + 0.5) / 256
    lines = [f"{'cycles/pixel':18}taps" + "".join(f"{v:8.3f}" for v in k)]
    for name, (taps, kernel) in kernels.items():
        distance = np.arange(-taps, taps + 1)[None, :] - t[:, None]
        phase = np.exp(-2j * np.pi * k[:, None, None] * distance)
        response = np.sum(kernel(distance) * phase, axis=-1)
        kept = np.abs(response.mean(1)) ** 2 / np.mean(np.abs(response) ** 2, axis=1)
        lines.append(f"{name:18}{taps:4}" + "".join(f"{v:8.3f}" for v in kept))
    return "\n".join(lines)
