"""A sheet of small windows cut out of micrographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray

__all__ = ["window_sheet"]

_SIDE, _COLUMNS, _GAP = 72, 12, 4
# Side of a window in diameters.
_REACH = 1.7


class _Pictured(Protocol):
    @property
    def image(self) -> FloatArray: ...
    @property
    def pixel_size(self) -> float: ...
    @property
    def numbers(self) -> Mapping[str, Any]: ...
    @property
    def threshold(self) -> float: ...
    def kept(self) -> BoolArray: ...


def window_sheet(groups: Sequence[tuple[_Pictured, AnyArray]]) -> tuple[AnyArray, int]:
    """Return an RGB picture of windows around some picks, and how many there are.

    Parameters
    ----------
    groups
        Micrographs, each with the indices of its picks. Those that are picked have a green bar
        below them, those with a score above the threshold that are not, a red one.
    """
    cells = []
    for found, indices in groups:
        if not len(indices):
            continue
        windows = [_window(found, int(i)) for i in indices]
        low, high = np.percentile(np.concatenate([w.ravel() for w in windows]), (1, 99))
        kept = found.kept()
        for i, window in zip(indices.tolist(), windows, strict=True):
            grey = np.clip((window - low) / max(float(high - low), 1e-12), 0, 1) * 255
            cell = np.repeat(np.rint(grey).astype(np.uint8)[:, :, None], 3, axis=2)
            if kept[i]:
                cell[-4:] = (60, 200, 140)
            elif found.numbers["score"][i] >= found.threshold:
                cell[-4:] = (210, 60, 80)
            cells.append(cell)
    rows = max(1, -(-len(cells) // _COLUMNS))
    step = _SIDE + _GAP
    sheet = np.full((rows * step - _GAP, _COLUMNS * step - _GAP, 3), 255, dtype=np.uint8)
    for n, cell in enumerate(cells):
        y, x = n // _COLUMNS * step, n % _COLUMNS * step
        sheet[y : y + _SIDE, x : x + _SIDE] = cell
    return sheet, len(cells)


def _window(found: _Pictured, index: int) -> FloatArray:
    """Return the surroundings of a pick, (side, side), averaged to coarse pixels."""
    from PIL import Image

    numbers = found.numbers
    half = max(4, round(0.5 * _REACH * float(numbers["diameter"][index]) / found.pixel_size))
    y, x = round(float(numbers["y"][index])), round(float(numbers["x"][index]))
    ny, nx = found.image.shape
    top, bottom = max(y - half, 0), min(y + half, ny)
    left, right = max(x - half, 0), min(x + half, nx)
    part = np.asarray(found.image[top:bottom, left:right], dtype=np.float32)
    # Beyond the border stands the mean of what is there.
    around = ((top - y + half, y + half - bottom), (left - x + half, x + half - right))
    window = Image.fromarray(np.pad(part, around, constant_values=float(part.mean())))
    # About 24 pixels a window take out the noise; then it is enlarged smoothly.
    coarse = window.resize((24, 24), Image.Resampling.BOX)
    return np.asarray(coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
