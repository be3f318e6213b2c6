"""The two-dimensional spectrum beside the fitted CTF, with its limits drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icefloe.report.figures.images import picture
from icefloe.report.figures.svg import Sheet, fmt, format_number
from icefloe.report.figures.values import array, number

__all__ = ["ctf_rings"]

_SIDE = 512.0
_QUADRANTS = (  # x, y, anchor, what is seen there
    (504.0, 20.0, "end", "measured"),
    (8.0, 20.0, "start", "measured, equiphase mean"),
    (8.0, 504.0, "start", "fitted CTF²"),
)


def ctf_rings(
    image: bytes | None,
    numbers: Mapping[str, Any],
    edge: float | None = None,
    *,
    small: bool = False,
) -> bytes:
    """Return the picture of a fit with a circle at each limit and a scale of resolution.

    Parameters
    ----------
    image
        WebP, square, zero frequency in the middle: measured rings on the right, on the left their
        equiphase mean above and the model below.
    numbers
        Of the CTF stage: `fit_resolution`, A; `view` with `range`, A; `spectrum_pixel_size`, A,
        for the edge where it is not given.
    edge
        Frequency at the middle of the picture's sides, 1/A; Nyquist of the spectrum if left out.
    small
        For a place of half the size: larger letters, and no names in the corners.
    """
    font = 26.0 if small else 14.0
    sheet = Sheet(_SIDE, _SIDE, "2-D power spectrum with the fitted CTF", font=font)
    pixel_size = number(numbers, "spectrum_pixel_size")
    if edge is None and pixel_size:
        edge = 0.5 / pixel_size
    if image is None:
        sheet.rectangle("frame", 0.5, 0.5, _SIDE - 1, _SIDE - 1)
        sheet.message("no spectrum measured")
        return sheet.to_bytes()
    side = fmt(_SIDE)
    sheet.raw(f'<image width="{side}" height="{side}" href="{picture(image)}"/>')
    for x, y, anchor, text in () if small else _QUADRANTS:
        sheet.text(x, y, text, role="strong", anchor=anchor)
    if not edge:
        return sheet.to_bytes()
    resolution = number(numbers, "fit_resolution")
    if resolution and 1 / resolution < edge:
        _circle(sheet, 1 / resolution / edge, "#ffd34d", "7 5")
    view = numbers.get("view")
    limits = array(view.get("range")) if isinstance(view, Mapping) else array(None)
    if len(limits) == 2 and limits[1] > 0 and 1 / limits[1] < edge:
        _circle(sheet, 1 / float(limits[1]) / edge, "#6fd0ff", "2 5")
    _scale(sheet, edge, resolution, font)
    return sheet.to_bytes()


def _circle(sheet: Sheet, part: float, colour: str, dashes: str) -> None:
    """Draw a circle at a part of the distance from the middle to the sides."""
    radius, middle = fmt(part * _SIDE / 2), fmt(_SIDE / 2)
    for width, stroke in ((3.4, "#000"), (1.8, colour)):
        sheet.raw(
            f'<circle cx="{middle}" cy="{middle}" r="{radius}" fill="none" stroke="{stroke}" '
            f'stroke-width="{width}" stroke-dasharray="{dashes}" stroke-opacity="0.9"/>'
        )


def _scale(sheet: Sheet, edge: float, resolution: float | None, font: float) -> None:
    """Write resolutions along the way down from the middle, and the fit's beside its circle."""
    middle, last = _SIDE / 2, 0.0
    for value in (20, 10, 7, 5, 4, 3.5, 3, 2.5, 2):
        place = middle / value / edge
        if place - last < 2.4 * font or place > middle - 1.1 * font:
            continue
        if resolution and abs(place - middle / resolution / edge) < 1.3 * font:
            continue
        last = place
        text = f"{format_number(value)} Å"
        sheet.text(middle + 4, middle + place + 0.3 * font, text, role="strong")
    if resolution and middle / resolution / edge < middle - 4:
        place = middle + middle / resolution / edge
        text = f"fit to {format_number(round(resolution, 2))} Å"
        sheet.text(middle + 4, min(place + font, _SIDE - 6), text, role="strong")
