"""What should not be there: ice crystals, the carbon's edge."""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage

from icefloe._types import BoolArray, FloatArray

__all__ = ["carbon_film", "ice_crystals"]


def ice_crystals(
    shape: tuple[int, int], pixel_size: float, count: int, rng: np.random.Generator
) -> FloatArray:
    """Return the relative loss of intensity, 0 to 0.6, behind ice crystals.

    Each is a rounded polygon, 100 to 350 A in radius, thick in the middle, in the inner part of
    the image.
    """
    loss = np.zeros(shape, dtype=np.float32)
    for _ in range(count):
        radius = rng.uniform(100, 350) / pixel_size
        cy, cx = (rng.uniform(0.1, 0.9) * n for n in shape)
        corners, turn = rng.integers(5, 8), rng.uniform(0, math.pi)
        depth, squeeze = rng.uniform(0.35, 0.6), rng.uniform(0.6, 1.0)
        top, left = max(0, int(cy - 1.5 * radius)), max(0, int(cx - 1.5 * radius))
        window = (
            slice(top, min(shape[0], int(cy + 1.5 * radius) + 1)),
            slice(left, min(shape[1], int(cx + 1.5 * radius) + 1)),
        )
        y, x = np.ogrid[window]
        dy, dx = (y - cy), (x - cx) * squeeze
        sector = 2 * math.pi / corners
        azimuth = (np.arctan2(dy, dx) + turn) % sector - sector / 2
        distance = np.hypot(dy, dx) * np.cos(azimuth) / (radius * math.cos(sector / 2))
        edge = 15 / pixel_size / radius
        body = 1 / (1 + np.exp(np.clip((distance - 1) / edge, -30, 30)))
        loss[window] = np.maximum(
            loss[window], (depth * body * (1 - 0.35 * np.minimum(distance, 1) ** 2))
        )
    return loss


def carbon_film(
    shape: tuple[int, int], pixel_size: float, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray]:
    """Return how much of each pixel the carbon covers, 0 to 1, and where it covers at all.

    The film begins outside a hole of 0.6 um radius whose rim crosses the view.
    """
    radius = 6000 / pixel_size
    azimuth = rng.uniform(0, 2 * math.pi)
    reach = rng.uniform(0.15, 0.3) * min(shape)  # from the view's centre to the rim
    cy = 0.5 * shape[0] + (reach - radius) * math.sin(azimuth)
    cx = 0.5 * shape[1] + (reach - radius) * math.cos(azimuth)
    y, x = np.ogrid[: shape[0], : shape[1]]
    rough = scipy.ndimage.gaussian_filter(rng.standard_normal((64, 64)), 3) * 400 / pixel_size
    rough = scipy.ndimage.zoom(
        rough, (shape[0] / 64, shape[1] / 64), order=1, mode="nearest", grid_mode=True
    )
    outside = (np.hypot(y - cy, x - cx) - radius + rough) * pixel_size / 25
    cover = 1 / (1 + np.exp(-np.clip(outside, -30, 30)))
    return cover.astype(np.float32), np.asarray(cover > 0.02)
