"""Micrographs with less noise, for looking and picking.

A network that saw one half of the dose and had to foretell the other half learns to show what the
two have in common, which is the specimen, and to leave out what they have not, which is the noise
(Lehtinen et al. 2018, arXiv:1803.04189; for micrographs Bepler et al. 2020, Nat. Commun. 11, 5208).
It works with pixels of 6 A: nothing finer than 12 A is left in its answer. What it shows is a guess
with a bias, so it is never for refinement.
"""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray
from icefloe.network.denoise_field import denoise_field
from icefloe.network.denoise_model import DenoiserModel, load_denoiser, need_torch
from icefloe.picking.normalise import clean_image, padded_border

__all__ = ["FOR_PICKERS", "denoise_image", "noise_back"]

# Share of the noise with which pickers find as much as in the micrograph itself.
FOR_PICKERS = 0.5
# Side of a tile in pixels of the network; 0.5 GB of activations.
_TILE, _SMALLEST = 1024, 512


def denoise_image(
    image: FloatArray,
    *,
    pixel_size: float,
    model: DenoiserModel | None = None,
    device: str = "cpu",
) -> FloatArray:
    """Return a micrograph with less noise, for looking and picking and never for refinement.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    pixel_size
        A.
    model
        From `load_denoiser` or `train_denoiser`; by default the general one that Icefloe ships.
    device
        ``cpu`` or ``cuda:N``.

    Returns
    -------
    ndarray
        (ny, nx) float32 in the grey values of the input. Detail finer than 12 A is gone; slow
        changes of the level, and what is far stronger than noise, are as they were. Single pixels
        that are not finite are filled; a border that only repeats its neighbours still does.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    MissingMetadataError, SettingsError, InputError
        As `denoise_field`.
    """
    need_torch()
    cleaned, _ = clean_image(image)
    # Rows that only repeat their neighbour would be smeared into what looks like a micrograph's
    # border; pickers leave them out only where they are exact repeats.
    top, bottom, left, right = padded_border(cleaned)
    ny, nx = cleaned.shape
    inner = cleaned[top : ny - bottom, left : nx - right]
    field = denoise_field(inner, pixel_size)
    found = field.grey(answer(model or load_denoiser(), field.pixels, device))
    return np.pad(found, ((top, bottom), (left, right)), "edge")


def noise_back(found: FloatArray, image: FloatArray, share: float = FOR_PICKERS) -> FloatArray:
    """Return a denoised image with a part of its noise.

    Pickers compare a peak with the noise around it, and next to none is left of that.

    Parameters
    ----------
    found, image
        (ny, nx) what `denoise_image` returned, and what it was given, without NaN.
    share
        Of the noise, 0 to 1.
    """
    return np.asarray(found + np.float32(share) * (image - found), dtype=np.float32)


def answer(model: DenoiserModel, pixels: FloatArray, device: str = "cpu") -> FloatArray:
    """Return the network's answer to a field, in smaller tiles where memory is short."""
    import torch

    from icefloe.network._torch import threads_for_torch

    place = "cpu" if device == "torch-cpu" else device
    tile = _TILE
    while True:
        try:
            with threads_for_torch(), torch.inference_mode():
                return tiled(model.net(place), pixels, place, tile)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            if tile > _SMALLEST:
                tile //= 2
            else:
                place, tile = "cpu", _TILE


def tiled(net: object, pixels: FloatArray, device: str = "cpu", tile: int = _TILE) -> FloatArray:
    """Return a torch module's answer; tiles overlap by what it can see and leave no seam."""
    from icefloe.network.architecture import MULTIPLE
    from icefloe.network.denoise_net import reach

    edge = reach()
    # The border is mirrored: zeros there would look like an edge.
    ny, nx = pixels.shape
    pad = min(32, min(ny, nx) - 1) // MULTIPLE * MULTIPLE
    wide = np.pad(pixels, ((pad, pad + -ny % MULTIPLE), (pad, pad + -nx % MULTIPLE)), "reflect")
    my, mx = wide.shape
    out = np.empty((my, mx), dtype=np.float32)
    step = max(MULTIPLE, tile - 2 * edge)
    rows = [(0, my)] if my <= tile else [(y, min(my, y + step)) for y in range(0, my, step)]
    columns = [(0, mx)] if mx <= tile else [(x, min(mx, x + step)) for x in range(0, mx, step)]
    for y0, y1 in rows:
        for x0, x1 in columns:
            top, left = max(0, y0 - edge), max(0, x0 - edge)
            part = wide[top : min(my, y1 + edge), left : min(mx, x1 + edge)]
            found = _forward(net, part, device)
            out[y0:y1, x0:x1] = found[y0 - top : y1 - top, x0 - left : x1 - left]
    return np.ascontiguousarray(out[pad : pad + ny, pad : pad + nx])


def _forward(net: object, part: FloatArray, device: str) -> FloatArray:
    import torch

    image = torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)).to(device)[None, None]
    found = net(image.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
    return np.asarray(found[0, 0].float().cpu().numpy())
