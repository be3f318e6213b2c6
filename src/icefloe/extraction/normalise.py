"""Grey levels of particles: no slope, and background of mean 0 and variance 1."""

from __future__ import annotations

import math

import numpy as np

from icefloe._types import BoolArray, FloatArray, Tensor
from icefloe.errors import SettingsError
from icefloe.fourier.device import is_tensor, to_device

__all__ = ["Background", "normalise"]


class Background:
    """The pixels of a box that are background, and what a plane through them needs.

    Parameters
    ----------
    box
        Side, pixels.
    radius
        Pixels farther than this from the centre at ``box // 2`` are background.

    Attributes
    ----------
    mask
        (box, box), True in the background.

    Raises
    ------
    SettingsError
        The circle leaves no background.
    """

    def __init__(self, box: int, radius: float) -> None:
        if 2 * radius > box:
            raise SettingsError(
                f"The background circle of {2 * radius:.1f} pixels is wider than the box of {box}",
                "a smaller background_diameter or a larger box",
            )
        c = np.arange(box, dtype=np.float64) - box // 2
        self.mask: BoolArray = np.asarray(c[:, None] ** 2 + c[None, :] ** 2 > radius**2)
        self.steps: FloatArray = c
        self.weights: FloatArray = self.mask.astype(np.float32)
        self.count = int(np.count_nonzero(self.mask))
        rows, columns = self.mask.sum(axis=1), self.mask.sum(axis=0)
        sy, sx, sxy = rows @ c, columns @ c, c @ (self.mask @ c)
        # Inverse of the sums of the products of 1, y and x.
        self.inverse: FloatArray = np.linalg.inv(
            np.array([[self.count, sy, sx], [sy, rows @ c**2, sxy], [sx, sxy, columns @ c**2]])
        )


def normalise(
    images: Tensor, background: Background, *, invert: bool = False
) -> tuple[Tensor, int]:
    """Subtract the plane through the background and divide by its standard deviation.

    Parameters
    ----------
    images
        (n, box, box) float32; an array, which may be changed in place, or a tensor.
    background
        Of the same box.
    invert
        Turn dark into bright as well.

    Returns
    -------
    images
        (n, box, box).
    flat
        Number of images without variation, of which only the plane was subtracted.
    """
    sign = -1.0 if invert else 1.0
    if is_tensor(images):
        return _normalise_tensor(images, background.mask, sign)
    images = np.ascontiguousarray(images, dtype=np.float32)
    work = np.empty(images.shape[1:], dtype=np.float32)
    return images, sum(_normalise_one(image, background, sign, work) for image in images)


def _normalise_one(
    image: FloatArray, background: Background, sign: float, work: FloatArray
) -> bool:
    """Do it for one image in place; return whether it has no variation.

    An image at a time stays in the cache. NumPy adds in pairs, so single precision is
    enough once the level is taken off, and in an order that does not depend on the threads.
    """
    steps = background.steps
    image -= image.mean()
    np.multiply(image, background.weights, out=work)
    rows = work.sum(axis=1).astype(np.float64)
    columns = work.sum(axis=0).astype(np.float64)
    level, dy, dx = background.inverse @ (rows.sum(), rows @ steps, columns @ steps)
    image -= (level + dy * steps).astype(np.float32)[:, None]
    image -= (dx * steps).astype(np.float32)
    np.multiply(image, background.weights, out=work)
    mean = float(work.sum()) / background.count
    np.multiply(work, work, out=work)
    variance = float(work.sum()) / background.count - mean * mean
    flat = variance < 1e-20
    image -= np.float32(mean)
    image *= np.float32(sign if flat else sign / math.sqrt(variance))
    return flat


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
