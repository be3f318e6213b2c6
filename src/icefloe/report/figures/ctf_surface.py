"""The defocus over a micrograph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.report.figures.svg import Sheet, fmt, format_number, frame_colour
from icefloe.report.figures.values import array, number, pair

__all__ = ["defocus_surface", "recorded_surface", "surface_grid"]

_SIDE, _TOP, _LEVELS = 220.0, 44.0, 24


def surface_grid(
    defocus: Callable[[FloatArray, FloatArray], FloatArray], shape: tuple[int, int], cells: int = 24
) -> list[list[float]]:
    """Return a surface at the middles of a grid of cells, for `defocus_surface`.

    Parameters
    ----------
    defocus
        Takes y and x in pixels of the micrograph, broadcast, and returns A.
    shape
        (ny, nx) of the micrograph, pixels.
    cells
        How many cells the longer side has.
    """
    ny, nx = (max(1, round(cells * n / max(shape))) for n in shape)
    y = ((np.arange(ny) + 0.5) * shape[0] / ny - 0.5)[:, None]
    x = ((np.arange(nx) + 0.5) * shape[1] / nx - 0.5)[None, :]
    values = np.broadcast_to(defocus(y, x), (ny, nx))
    return [[round(float(v), 1) for v in row] for row in values]


def recorded_surface(numbers: Mapping[str, Any]) -> tuple[list[list[float]] | None, str]:
    """Return the grid for `defocus_surface` and a note; None where one defocus is used.

    Parameters
    ----------
    numbers
        Of the CTF stage: `local` with `used`, `surface`, `tilt_angle` and `tilt_axis`, degrees.
    """
    local = numbers.get("local")
    if not isinstance(local, Mapping) or not local.get("used"):
        return None, ""
    surface = local.get("surface")
    if not isinstance(surface, Mapping) or pair(surface.get("shape")) is None:
        return None, ""
    coefficients = array(surface.get("coefficients"))
    if len(coefficients) not in (3, 6) or not number(surface, "pixel_size"):
        return None, ""
    if not np.any(coefficients[1:]):  # no slope was found
        return None, ""
    from icefloe.ctf import DefocusSurface

    found = DefocusSurface.from_numbers(surface)
    angle, axis = number(local, "tilt_angle"), number(local, "tilt_axis")
    note = "" if angle is None or axis is None else f"tilt {angle:.1f}°, axis at {axis:.0f}°"
    return surface_grid(found.at, found.shape), note.replace("-", "−")


def defocus_surface(grid: Any, *, note: str = "") -> bytes:
    """Return a map of the defocus, colours from the smallest (blue) to the largest (orange).

    Parameters
    ----------
    grid
        (ny, nx), A, from `surface_grid`; cells are square, row 0 is on top. None or anything
        else stands for a micrograph of one defocus.
    note
        What else to say, such as tilt and axis.
    """
    sheet = Sheet(300, 204, "Defocus over the micrograph")
    values = _grid(grid)
    if values.ndim != 2 or min(values.shape) < 1 or not np.isfinite(values).all():
        sheet.message("one defocus for the micrograph")
        return sheet.to_bytes()
    low, high = float(values.min()), float(values.max())
    ny, nx = values.shape
    cell = min(_SIDE / nx, (196 - _TOP) / ny)
    span = max(high - low, 1e-9)
    level = np.minimum((values - low) / span * _LEVELS, _LEVELS - 1).astype(int)
    for i in range(_LEVELS):
        # Cells overlap by a hair, since edges that only touch show as lines.
        d = "".join(
            f"M{fmt(8 + c * cell)},{fmt(_TOP + r * cell)}h{fmt(cell + 0.3)}v{fmt(cell + 0.3)}"
            f"h{fmt(-cell - 0.3)}z"
            for r, c in zip(*np.nonzero(level == i), strict=True)
        )
        if d:
            fill = f'fill="{frame_colour(i / (_LEVELS - 1))}" shape-rendering="crispEdges"'
            sheet.raw(f'<path {fill} d="{d}"/>')
    left, height = 8 + nx * cell + 14, ny * cell
    for i in range(_LEVELS):
        top, thick = _TOP + height * (1 - (i + 1) / _LEVELS), height / _LEVELS + 0.4
        sheet.raw(
            f'<rect x="{fmt(left)}" y="{fmt(top)}" width="9" height="{fmt(thick)}" '
            f'fill="{frame_colour(i / (_LEVELS - 1))}"/>'
        )
    for value, place in ((high, _TOP + 9), (low, _TOP + height)):
        sheet.text(left + 14, place, f"{format_number(round(value / 1e4, 3))}")
    sheet.text(8, 16, f"defocus over the micrograph: {high - low:.0f} Å, in µm", role="strong")
    if note:
        sheet.text(8, 32, note)
    return sheet.to_bytes()


def _grid(grid: Any) -> FloatArray:
    try:
        return np.asarray(grid, dtype=np.float64)
    except (TypeError, ValueError):  # ragged, or text
        return np.zeros(0)
