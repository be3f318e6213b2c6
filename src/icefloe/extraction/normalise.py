"""Grey levels of particles: no slope, and background of mean 0 and variance 1."""

from __future__ import annotations

import numpy as np

from icefloe._types import BoolArray, FloatArray, Tensor
from icefloe.errors import SettingsError
from icefloe.fourier import to_device

__all__ = ["background_mask", "normalise"]


def background_mask(box: int, radius: float) -> BoolArray:
    """Return the pixels (box, box) farther than `radius` pixels from the centre at box / 2.

    Raises
    ------
    SettingsError
        The circle leaves no background.
    """
    if 2 * radius > box:
        raise SettingsError(
            f"The background circle of {2 * radius:.1f} pixels is wider than the box of {box}",
            "a smaller background_diameter or a larger box",
        )
    c = np.arange(box) - box // 2
    return np.asarray(c[:, None] ** 2 + c[None, :] ** 2 > radius**2)


def normalise(images: Tensor, mask: BoolArray, device: str) -> tuple[Tensor, Tensor]:
    """Subtract the plane through the background and divide by its standard deviation.

    Parameters
    ----------
    images
        (n, box, box) float32.
    mask
        (box, box), True in the background.
    device
        Where `images` lives.

    Returns
    -------
    images
        (n, box, box).
    flat
        (n,) bool, images without variation, of which only the plane was subtracted.
    """
    box = mask.shape[0]
    c = (np.arange(box) - box // 2) / box
    y, x = np.broadcast_arrays(c[:, None], c[None, :])
    design = np.stack([np.ones(mask.sum()), x[mask], y[mask]])  # (3, m)
    # The plane is linear in the pixels, so one small matrix serves all images.
    solve = np.linalg.solve(design @ design.T, design).astype(np.float32)
    terms = np.stack([np.ones((box, box)), x, y]).reshape(3, -1).astype(np.float32)
    chosen = to_device(np.flatnonzero(mask), device)
    flat_images = images.reshape(images.shape[0], box * box)
    # A large offset would cost the plane its digits in single precision.
    flat_images = flat_images - _mean(flat_images[:, chosen])
    plane = flat_images[:, chosen] @ to_device(np.ascontiguousarray(solve.T), device)
    flat_images = flat_images - plane @ to_device(terms, device)
    background = flat_images[:, chosen]
    mean = _mean(background)
    deviation = _mean((background - mean) ** 2) ** 0.5
    flat = deviation[:, 0] < 1e-10
    deviation[flat] = 1.0
    return ((flat_images - mean) / deviation).reshape(images.shape), flat


def _mean(rows: Tensor) -> Tensor:
    """Return the mean of each row, (n, 1)."""
    means: FloatArray = rows.mean(1)
    return means[:, None]
