"""Spectra of patches of every frame, on which the motion field is fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray, Tensor
from icefloe.fourier import frequency_axes, is_tensor, rfft2
from icefloe.motion.whole_frame import taper

__all__ = ["PatchSpectra", "cut_patches", "patch_grid"]

# Patches overlap by a quarter, since their window fades the edges.
_OVERLAP = 1.25
_PATCH_SIZE = 300.0


@dataclass(frozen=True)
class PatchSpectra:
    """Transforms of patches.

    Attributes
    ----------
    spectra
        (P, F, Y, X), complex64, array or tensor.
    centres
        (P, 2), pixels (y, x) of the binned frame.
    offsets
        (F, 2), whole pixels by which the patches of a frame were displaced when they were cut.
    shape
        Real-space size of a patch.
    ky, kx
        Frequencies, cycles per binned pixel.
    """

    spectra: Tensor
    centres: FloatArray
    offsets: FloatArray
    shape: tuple[int, int]
    ky: FloatArray
    kx: FloatArray


def patch_grid(
    patches: tuple[int, int] | str, shape: tuple[int, int], pixel_size: float
) -> tuple[int, int]:
    """Return the number of patches in y and x for a frame of `shape` and `pixel_size` (A)."""
    if not isinstance(patches, str):
        return patches
    counts = [int(np.clip(round(n * pixel_size / _PATCH_SIZE), 1, 12)) for n in shape]
    return counts[0], counts[1]


def cut_patches(frames: Tensor, grid: tuple[int, int], shifts: FloatArray) -> PatchSpectra:
    """Cut patches out of binned frames, following the whole-frame motion, and transform them.

    Parameters
    ----------
    frames
        (F, ny, nx), array or tensor.
    grid
        Patches in y and x.
    shifts
        (F, 2), whole-frame displacement in binned pixels.
    """
    n, ny, nx = (int(s) for s in frames.shape)
    sizes = []
    for length, count in zip((ny, nx), grid, strict=True):
        size = length if count == 1 else min(length, int(length / count * _OVERLAP))
        sizes.append(size - size % 2)
    h, w = sizes
    ys = _centres(ny, grid[0], h)
    xs = _centres(nx, grid[1], w)
    offsets = np.rint(shifts).astype(np.int64)
    margin = int(np.abs(offsets).max(initial=0))
    edge = 0.06 if grid == (1, 1) else 0.25
    window = np.outer(taper(h, edge), taper(w, edge))
    ky, kx = frequency_axes((h, w))
    starts = [(int(y), int(x)) for y in ys for x in xs]
    centres = np.array([[y + 0.5 * (h - 1), x + 0.5 * (w - 1)] for y, x in starts])
    tensor = is_tensor(frames)
    if tensor:
        import torch

        mask: Tensor = torch.from_numpy(window).to(frames.device)
        spectra: Tensor = torch.empty(
            (len(starts), n, h, w // 2 + 1), dtype=torch.complex64, device=frames.device
        )
    else:
        mask = window
        spectra = np.empty((len(starts), n, h, w // 2 + 1), np.complex64)
    for f in range(n):
        frame = frames[f] - frames[f].mean()
        if tensor:
            padded = torch.nn.functional.pad(frame, (margin, margin, margin, margin))
        else:
            padded = np.pad(frame, margin)
        dy, dx = (int(o) + margin for o in offsets[f])
        cut = [padded[y + dy : y + dy + h, x + dx : x + dx + w] for y, x in starts]
        stack = torch.stack(cut) if tensor else np.stack(cut)
        total = mask.sum()
        # The window's own transform would correlate at zero shift.
        mean = (stack * mask).sum((-2, -1)) / total
        spectra[:, f] = rfft2((stack - mean[:, None, None]) * mask)
    return PatchSpectra(spectra, centres, offsets.astype(float), (h, w), ky[:, 0], kx[0])


def _centres(length: int, count: int, size: int) -> FloatArray:
    # First pixels of windows, evenly spread with the outer ones at the edges.
    if count == 1:
        return np.array([(length - size) // 2])
    return np.rint(np.linspace(0, length - size, count)).astype(np.int64)
