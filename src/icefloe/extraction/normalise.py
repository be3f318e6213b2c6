"""Grey levels of particles: no slope, and background of mean 0 and variance 1."""

from __future__ import annotations

import numpy as np

from icefloe._types import BoolArray, FloatArray, Tensor
from icefloe.errors import SettingsError
from icefloe.fourier.device import is_tensor, to_device

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


def normalise(images: Tensor, mask: BoolArray, *, invert: bool = False) -> tuple[Tensor, int]:
    """Subtract the plane through the background and divide by its standard deviation.

    Parameters
    ----------
    images
        (n, box, box) float32; an array, which may be changed in place, or a tensor.
    mask
        (box, box), True in the background.
    invert
        Turn dark into bright as well.

    Returns
    -------
    images
        (n, box, box).
    flat
        Number of images without variation, of which only the plane was subtracted.
    """
    if is_tensor(images):
        return _normalise_tensor(images, mask, -1.0 if invert else 1.0)
    from icefloe.kernels.windows import normalise_windows

    images = np.ascontiguousarray(images, dtype=np.float32)
    flat = np.zeros(len(images), dtype=np.bool_)
    design = _design(mask)[:, mask.ravel()]
    inverse = np.linalg.inv(design @ design.T)
    normalise_windows(images, mask, inverse, -1.0 if invert else 1.0, flat)
    return images, int(np.count_nonzero(flat))


def _normalise_tensor(images: Tensor, mask: BoolArray, sign: float) -> tuple[Tensor, int]:
    # The plane is linear in the pixels, so one small matrix serves all images.
    terms = _design(mask)
    terms[1:] /= mask.shape[0]
    design = terms[:, mask.ravel()]
    solve = np.linalg.solve(design @ design.T, design).astype(np.float32)
    device = "torch-cpu" if images.device.type == "cpu" else str(images.device)
    chosen = to_device(np.flatnonzero(mask), device)
    rows = images.reshape(images.shape[0], -1)
    # A large offset would cost the plane its digits in single precision.
    rows = rows - rows[:, chosen].mean(1)[:, None]
    plane = rows[:, chosen] @ to_device(np.ascontiguousarray(solve.T), device)
    rows = rows - plane @ to_device(terms.astype(np.float32), device)
    background = rows[:, chosen]
    mean = background.mean(1)[:, None]
    deviation = ((background - mean) ** 2).mean(1)[:, None] ** 0.5
    flat = deviation[:, 0] < 1e-10
    deviation[flat] = 1.0
    return ((rows - mean) * (sign / deviation)).reshape(images.shape), int(flat.sum())


def _design(mask: BoolArray) -> FloatArray:
    """Return 1, y and x at every pixel, (3, box * box), from the middle of the box."""
    box = mask.shape[0]
    c = np.arange(box, dtype=np.float64) - box // 2
    y, x = np.broadcast_arrays(c[:, None], c[None, :])
    return np.stack([np.ones((box, box)), y, x]).reshape(3, -1)
