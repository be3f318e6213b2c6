"""Spectra of patches of every frame, on which the motion field is fitted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray, Tensor
from icefloe.fourier import frequency_axes, get_threads, is_tensor, rfft2
from icefloe.motion.whole_frame import taper

__all__ = ["PatchSpectra", "cut_patches", "patch_grid"]

# Patches overlap by a quarter, where their windows fade into one another.
_OVERLAP = 1.25
# Fraction of a patch over which windows fade at the edges of the frame.
_EDGE = 0.06
_PATCH_SIZE = 300.0


@dataclass(frozen=True)
class PatchSpectra:
    """Transforms of patches.

    Attributes
    ----------
    spectra
        (P, F, Y, X), complex64, array or tensor.
    centres
        (P, 2), pixels (y, x) of the binned frame: the middles of the windows' power.
    offsets
        (F, 2), whole pixels by which the patches of a frame were displaced when they were cut.
    shape
        Real-space size of a patch.
    ky, kx
        Frequencies, cycles per binned pixel.
    redundancy
        What patches share: the variance of a sum over patches of products of two spectra, in
        white noise, over the sum of their variances.
    """

    spectra: Tensor
    centres: FloatArray
    offsets: FloatArray
    shape: tuple[int, int]
    ky: FloatArray
    kx: FloatArray
    redundancy: float = 1.0


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

    The squares of neighbouring windows add up to one, so that every pixel counts alike; only at
    the edges of the frame they fade.

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
    ys, rows = _windows(ny, grid[0], h)
    xs, columns = _windows(nx, grid[1], w)
    offsets = np.rint(shifts).astype(np.int64)
    margin = int(np.abs(offsets).max(initial=0))
    windows = np.stack([np.outer(a, b) for a in rows for b in columns])
    ky, kx = frequency_axes((h, w))
    starts = [(int(y), int(x)) for y in ys for x in xs]
    middles = [_middles(ys, rows), _middles(xs, columns)]
    centres = np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(-1, 2)
    redundancy = _redundancy(ny, ys, rows) * _redundancy(nx, xs, columns)
    tensor = is_tensor(frames)
    mask: Tensor = windows
    if tensor:
        import torch

        mask = torch.from_numpy(windows).to(frames.device)
        spectra: Tensor = torch.empty(
            (len(starts), n, h, w // 2 + 1), dtype=torch.complex64, device=frames.device
        )
    else:
        spectra = np.empty((len(starts), n, h, w // 2 + 1), np.complex64)
    total = mask.sum((-2, -1))

    def transform(f: int) -> None:
        frame = frames[f] - frames[f].mean()
        dy, dx = (int(o) + margin for o in offsets[f])
        places = [(slice(y + dy, y + dy + h), slice(x + dx, x + dx + w)) for y, x in starts]
        if tensor:
            padded = torch.nn.functional.pad(frame, (margin, margin, margin, margin))
            stack = torch.stack([padded[place] for place in places])
        else:
            padded = np.pad(frame, margin)
            stack = np.stack([padded[place] for place in places])
        stack *= mask
        # The window's own transform would correlate at zero shift.
        stack -= (stack.sum((-2, -1)) / total)[:, None, None] * mask
        spectra[:, f] = rfft2(stack)

    with ThreadPoolExecutor(1 if tensor else get_threads()) as pool:
        list(pool.map(transform, range(n)))
    ends = (offsets.astype(float), (h, w), ky[:, 0], kx[0])
    return PatchSpectra(spectra, centres, *ends, redundancy)


def _windows(length: int, count: int, size: int) -> tuple[FloatArray, FloatArray]:
    # First pixels of patches, evenly spread with the outer ones at the edges, and their windows:
    # sine and cosine where two patches overlap.
    if count == 1:
        return np.array([(length - size) // 2], float), taper(size, _EDGE)[None]
    starts = np.rint(np.linspace(0, length - size, count))
    overlaps = np.maximum(size - np.diff(starts), 1.0)
    edge = max(1.0, _EDGE * size)
    before, after = np.append(edge, overlaps), np.append(overlaps, edge)
    position = np.arange(size) + 0.5
    rise = np.clip(position / before[:, None], 0, 1)
    fall = np.clip((size - position) / after[:, None], 0, 1)
    windows = np.sin(0.5 * np.pi * rise) * np.sin(0.5 * np.pi * fall)
    return starts, np.asarray(windows, dtype=np.float32)


def _middles(starts: FloatArray, windows: FloatArray) -> FloatArray:
    power = windows.astype(np.float64) ** 2
    return np.asarray(starts + power @ np.arange(windows.shape[1]) / power.sum(axis=1))


def _redundancy(length: int, starts: FloatArray, windows: FloatArray) -> float:
    power = windows.astype(np.float64) ** 2
    total = np.zeros(length)
    for start, values in zip(starts.astype(int), power, strict=True):
        total[start : start + len(values)] += values
    return float(np.sum(total**2) / np.sum(power**2))
