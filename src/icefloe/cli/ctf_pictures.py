"""The picture of one CTF fit that `icefloe ctf` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from icefloe.cli.inputs import MicrographInput
    from icefloe.ctf import CtfResult, CtfSettings
    from icefloe.report.figures.svg import Sheet

__all__ = ["ctf_picture", "write_ctf_picture"]

_SIDE, _GAP, _LINE, _TOP = 512.0, 20.0, 17.0, 26.0
_SMALL, _SURFACE = 300.0, 212.0
# Letters of 13 units in a line across the sheet.
_LETTERS = 165


def write_ctf_picture(
    item: MicrographInput,
    result: CtfResult,
    settings: CtfSettings,
    out: Path,
    grid: Sequence[Sequence[float]] | None = None,
    note: str = "",
) -> None:
    """Write NAME_ctf.svg beside the other files of a micrograph.

    Parameters
    ----------
    item, result, settings
        The micrograph, and its fit.
    out
        The directory.
    grid, note
        Its defocus surface and what to say of it, see `ctf_picture`.
    """
    from icefloe.formats.atomic import write_bytes

    picture = ctf_picture(item.name, result, settings, grid=grid, note=note)
    write_bytes(out / f"{item.name}_ctf.svg", picture)


def ctf_picture(
    name: str,
    result: CtfResult,
    settings: CtfSettings,
    *,
    grid: Sequence[Sequence[float]] | None = None,
    note: str = "",
) -> bytes:
    """Return one SVG: rings beside the model, curves, score over defocus, ring of ice, surface.

    A fit that failed is shown too, with the best that the search found and what could be changed.

    Parameters
    ----------
    name
        Of the micrograph, the heading.
    result, settings
        The fit, and how it was made.
    grid
        Defocus over the micrograph, A, from `icefloe.report.figures.surface_grid`; None for one
        defocus.
    note
        A line under the surface's heading, such as tilt and axis.
    """
    from icefloe.ctf.diagnostic import visible_part
    from icefloe.ctf.view import ctf_view
    from icefloe.report import figures
    from icefloe.report.figures.svg import Sheet

    view = ctf_view(result.spectrum, result.parameters, settings, fitted_to=result.fitted_to)
    numbers = {**result.numbers(), "view": view}
    part, edge = visible_part(result.diagnostic, result.spectrum_pixel_size, result.fit_resolution)
    grey = np.rint(np.clip(part, 0, 1) * 255).astype(np.uint8)
    lines = _lines(numbers, result.flags, result.advice)
    top = _TOP + _LINE * len(lines) + 6
    right = _SIDE + _GAP
    height = top + _SIDE + (0.0 if grid is None else _SURFACE)
    sheet = Sheet(right + 2 * _SMALL, height, f"CTF of {name}", font=13)
    sheet.raw('<rect width="100%" height="100%" fill="#fff"/>')
    sheet.text(4, 18, name, role="strong")
    for i, (line, role) in enumerate(lines):
        sheet.text(4, _TOP + 10 + _LINE * i, line, role=role)
    _place(sheet, figures.ctf_rings(figures.to_webp(grey, 85), numbers, edge), 0, top)
    _place(sheet, figures.spectrum_curves(numbers), right, top)
    below = top + 296
    _place(sheet, figures.defocus_score(numbers), right, below)
    _place(sheet, figures.ice_ring(numbers), right + _SMALL, below)
    if grid is not None:
        _place(sheet, figures.defocus_surface(grid, note=note), right, height - _SURFACE)
    return sheet.to_bytes()


def _place(sheet: Sheet, svg: bytes, x: float, y: float) -> None:
    from icefloe.report.figures.svg import fmt

    sheet.raw(f'<g transform="translate({fmt(x)} {fmt(y)})">{svg.decode()}</g>')


def _lines(
    numbers: Mapping[str, Any], flags: Sequence[str], advice: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the lines under the heading, each with its role."""
    import textwrap

    from icefloe.report.figures import ctf_facts

    facts = ctf_facts(numbers)
    lines = [(facts, "label")] if facts else []
    for text, role in [*((f, "badtext") for f in flags), *((a, "label") for a in advice)]:
        lines += [(line, role) for line in textwrap.wrap(text, _LETTERS)]
    return lines
