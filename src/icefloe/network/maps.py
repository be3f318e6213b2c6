"""The network's answer for every pixel of a field, in tiles where memory is short."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from icefloe._types import FloatArray
from icefloe.network._torch import threads_for_torch
from icefloe.network.architecture import MULTIPLE, receptive_radius
from icefloe.network.model import PickerModel

__all__ = ["VIEWS", "answer_maps", "class_maps", "mean_maps"]

# Side of a tile; 0.5 GB of activations on the CPU.
_TILE, _SMALLEST = 1024, 256
# Quarter turns whose answers a trained network may average, and the most pixels a micrograph of all
# of them together: some 0.7 s of two cores.
VIEWS, _MOST_SEEN = 4, 1_500_000


def answer_maps(
    model: PickerModel, pixels: FloatArray, device: str = "cpu"
) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Return the maps of particle centres and of junk, and what was done for lack of memory.

    Parameters
    ----------
    model
        The network.
    pixels
        (2, ny, nx) float32, of a `NetworkField`.
    device
        ``cpu``, ``torch-cpu`` or ``cuda:N``.

    Returns
    -------
    centres, junk : ndarray
        (ny, nx) float32 in 0..1.
    flags : tuple of str
    """
    place = "cpu" if device == "torch-cpu" else device
    tile = _TILE
    flags: tuple[str, ...] = ()
    affordable = max(1, _MOST_SEEN // (pixels.shape[1] * pixels.shape[2]))
    views = min(model.card.views, affordable)
    while True:
        try:
            with threads_for_torch(), torch.inference_mode():
                centres, junk = mean_maps(model.net(place), pixels, place, views, tile)
            return centres, junk, flags
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            if tile > _SMALLEST:
                tile //= 2
                flags = (f"too little memory on {place}: worked in tiles of {tile} pixels",)
            else:
                flags = (f"too little memory on {place}: worked on the CPU",)
                place, tile = "cpu", _TILE


def mean_maps(
    net: Any, pixels: FloatArray, device: str, views: int, tile: int = _TILE
) -> tuple[FloatArray, FloatArray]:
    """Return the mean of the maps of an image and of its first quarter turns, `views` in all."""
    total = np.zeros((2, *pixels.shape[1:]), dtype=np.float32)
    for turns in range(views):
        turned = np.ascontiguousarray(np.rot90(pixels, turns, (1, 2)))
        total += np.rot90(np.stack(class_maps(net, turned, device, tile)), -turns, (1, 2))
    return total[0] / views, total[1] / views


def class_maps(
    net: Any, pixels: FloatArray, device: str, tile: int = _TILE
) -> tuple[FloatArray, FloatArray]:
    """Return the maps of centres and junk from a torch module; tiles overlap and leave no seam."""
    ny, nx = pixels.shape[1:]
    out = np.empty((2, ny, nx), dtype=np.float32)
    reach = -(-receptive_radius() // MULTIPLE) * MULTIPLE
    step = max(MULTIPLE, tile - 2 * reach)
    rows = [0] if ny <= tile else range(0, ny, step)
    columns = [0] if nx <= tile else range(0, nx, step)
    for y in rows:
        for x in columns:
            y1 = ny if ny <= tile else min(ny, y + step)
            x1 = nx if nx <= tile else min(nx, x + step)
            top, left = max(0, y - reach), max(0, x - reach)
            part = pixels[:, top : min(ny, y1 + reach), left : min(nx, x1 + reach)]
            answer = _answer(net, part, device)
            out[:, y:y1, x:x1] = answer[:, y - top : y1 - top, x - left : x1 - left]
    return out[0], out[1]


def _answer(net: Any, part: FloatArray, device: str) -> FloatArray:
    ny, nx = part.shape[1:]
    image = torch.from_numpy(np.ascontiguousarray(part)).to(device)[None]
    image = functional.pad(image, (0, -nx % MULTIPLE, 0, -ny % MULTIPLE))
    logits = net(image.contiguous(memory_format=torch.channels_last)).float()
    chances = torch.softmax(logits, dim=1)[0, 1:, :ny, :nx]
    return np.asarray(chances.cpu().numpy())
