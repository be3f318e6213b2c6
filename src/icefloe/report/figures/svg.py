"""A sheet of SVG with just what scientific plots need: lines, dots, text, linear axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from icefloe._types import FloatArray

__all__ = [
    "Axis",
    "Sheet",
    "fmt",
    "format_number",
    "frame_colour",
    "nice_step",
    "path",
    "ticks",
]

# A role is a CSS class and how it looks where there is no CSS: on paper, in a viewer.
_LINE = 'fill="none" stroke-linejoin="round" stroke-linecap="round" '
ROLES: dict[str, str] = {
    "axis": 'fill="none" stroke="#7a858f" stroke-width="1"',
    "grid": 'fill="none" stroke="#e4e8ec" stroke-width="1"',
    "bar": 'fill="#4a8fc7"',
    "data": _LINE + 'stroke="#2f7ab8" stroke-width="1.3"',
    "faint": _LINE + 'stroke="#9db4c8" stroke-width="1.2"',
    "model": _LINE + 'stroke="#d1601f" stroke-width="1.4"',
    "quality": _LINE + 'stroke="#2f8f5b" stroke-width="1.4"',
    "noise": _LINE + 'stroke="#8a949e" stroke-width="1" stroke-dasharray="2 3"',
    "mark": 'fill="none" stroke="#1c232b" stroke-width="1.2" stroke-dasharray="5 3"',
    "band": 'fill="#5fb0d0" fill-opacity="0.22"',
    "frame": 'fill="none" stroke="#b9c2cb" stroke-width="1"',
    "dot": 'fill="#2f7ab8"',
    "bad": 'fill="#c2334d"',
    "badline": _LINE + 'stroke="#c2334d" stroke-width="2"',
    "start": 'fill="#1c232b"',
    "scale": 'fill="none" stroke="#1c232b" stroke-width="2.5"',
}
_TEXT = {
    "label": 'fill="#55606b"',
    # A rim of paper keeps it readable on top of curves.
    "strong": 'fill="#1c232b" stroke="#fff" stroke-width="3" paint-order="stroke"',
    "badtext": 'fill="#c2334d"',
}
_FONT = "Inter, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# First frame to last: blue, violet, rose, orange. All four can be seen on white and on black.
_RAMP = np.array([[47, 111, 223], [138, 79, 208], [216, 70, 139], [224, 115, 29]], dtype=float)


def frame_colour(fraction: float) -> str:
    """Return the colour of a moment in the movie, 0 for the first frame and 1 for the last."""
    place = min(max(fraction, 0.0), 1.0) * (len(_RAMP) - 1)
    channels = [np.interp(place, np.arange(len(_RAMP)), _RAMP[:, i]) for i in range(3)]
    return "#" + "".join(f"{round(float(c)):02x}" for c in channels)


def format_number(value: float) -> str:
    """Return a coordinate or tick with at most four significant digits and no ``-0``."""
    text = f"{value:.4g}"
    if "e" in text:
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.6f}".rstrip("0")
    return "0" if text == "-0" else text


def fmt(value: float) -> str:
    """Format a coordinate to a tenth of a pixel, as short as possible."""
    text = f"{value:.1f}"
    text = text[:-2] if text.endswith(".0") else text
    return "0" if text == "-0" else text


def nice_step(span: float, count: int = 5) -> float:
    """Return a step 1, 2 or 5 times a power of ten that cuts `span` into about `count`."""
    if not (math.isfinite(span) and span > 0):
        return 1.0
    raw = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`."""
    step = nice_step(high - low, count)
    first = math.ceil(low / step - 1e-6)
    last = math.floor(high / step + 1e-6)
    return [i * step for i in range(first, last + 1)]


@dataclass(frozen=True)
class Axis:
    """A linear map from values to a coordinate of the sheet."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Return the coordinate of one value."""
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.stop - self.start)

    def map(self, values: FloatArray) -> FloatArray:
        """Return the coordinates of an array of values, clipped to the axis."""
        span = self.high - self.low or 1.0
        part = np.clip((values - self.low) / span, 0.0, 1.0)
        return np.asarray(self.start + part * (self.stop - self.start))


class Sheet:
    """One SVG document under construction.

    Parameters
    ----------
    width, height
        Size of the coordinate system; the page may scale it.
    title
        What the figure shows, for people who do not see it.
    font
        Size of the letters in the same units.
    """

    def __init__(self, width: float, height: float, title: str, font: float = 11.0) -> None:
        self.width, self.height = width, height
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {fmt(width)} {fmt(height)}" '
            f'width="{fmt(width)}" height="{fmt(height)}" role="img" aria-label={quoteattr(title)} '
            f'font-family="{_FONT}" font-size="{fmt(font)}">'
        )
        self._parts: list[str] = []

    def raw(self, markup: str) -> None:
        """Add markup as it is."""
        self._parts.append(markup)

    def shape(self, role: str, d: str, extra: str = "") -> None:
        """Add a path."""
        if d:
            self.raw(f'<path class="{role}" {ROLES[role]} {extra}d="{d}"/>')

    def line(self, role: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """Add a straight line."""
        self.shape(role, f"M{fmt(x1)},{fmt(y1)}L{fmt(x2)},{fmt(y2)}")

    def rectangle(self, role: str, x: float, y: float, width: float, height: float) -> None:
        """Add a rectangle; one without an area is left out."""
        if width > 0 and height > 0:
            self.shape(
                role,
                f"M{fmt(x)},{fmt(y)}h{fmt(width)}v{fmt(height)}h{fmt(-width)}z",
            )

    def polyline(self, role: str, x: FloatArray, y: FloatArray, extra: str = "") -> None:
        """Add a line through points; NaN interrupts it."""
        self.shape(role, path(x, y), extra)

    def dots(self, role: str, points: Iterable[tuple[float, float]], radius: float = 2.0) -> None:
        """Add dots, as one path so that ten thousand stay cheap."""
        width = fmt(2 * radius)
        d = "".join(f"M{fmt(x)},{fmt(y)}h0" for x, y in points)
        colour = ROLES[role].replace("fill=", "stroke=")
        if d:
            self.raw(
                f'<path class="{role} round" {colour} stroke-width="{width}" '
                f'stroke-linecap="round" fill="none" d="{d}"/>'
            )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        role: str = "label",
        anchor: str = "start",
        rotate: float = 0.0,
    ) -> None:
        """Add a line of text; `anchor` is start, middle or end."""
        turn = f' transform="rotate({fmt(rotate)} {fmt(x)} {fmt(y)})"' if rotate else ""
        place = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.raw(
            f'<text class="{role}" {_TEXT[role]} x="{fmt(x)}" y="{fmt(y)}"{place}{turn}>'
            f"{escape(text)}</text>"
        )

    def x_axis(
        self, axis: Axis, y: float, marks: Sequence[tuple[float, str]], name: str = ""
    ) -> None:
        """Draw a horizontal axis at `y` with labelled marks beneath."""
        self.line("axis", axis.start, y, axis.stop, y)
        self.shape("axis", "".join(f"M{fmt(axis(v))},{fmt(y)}v4" for v, _ in marks))
        for value, label in marks:
            # The last label must not run off the sheet.
            place = min(axis(value), self.width - 1 - 3.1 * len(label))
            self.text(place, y + 15, label, anchor="middle")
        if name:
            self.text((axis.start + axis.stop) / 2, y + 31, name, anchor="middle")

    def y_axis(
        self,
        axis: Axis,
        x: float,
        marks: Sequence[tuple[float, str]],
        *,
        name: str = "",
        grid_to: float | None = None,
    ) -> None:
        """Label a vertical axis left of `x`, with grid lines to `grid_to`."""
        if grid_to is not None:
            self.shape(
                "grid",
                "".join(f"M{fmt(x)},{fmt(axis(v))}H{fmt(grid_to)}" for v, _ in marks),
            )
        for value, label in marks:
            self.text(x - 6, axis(value) + 3.8, label, anchor="end")
        if name:
            middle = (axis.start + axis.stop) / 2
            self.text(11, middle, name, anchor="middle", rotate=-90)

    def message(self, text: str) -> None:
        """Say in the middle why there is no figure."""
        self.text(self.width / 2, self.height / 2 + 4, text, anchor="middle")

    def group(self) -> str:
        """Return what was drawn without the document around it, to place in another sheet."""
        return "<g>" + "".join(self._parts) + "</g>"

    def to_bytes(self) -> bytes:
        """Return the finished document."""
        return (self._head + "".join(self._parts) + "</svg>").encode()


def path(x: FloatArray, y: FloatArray) -> str:
    """Return path data through points; a point that is not finite interrupts it."""
    out: list[str] = []
    pen = "M"
    for a, b in zip(np.asarray(x, float).tolist(), np.asarray(y, float).tolist(), strict=True):
        if math.isfinite(a) and math.isfinite(b):
            out.append(f"{pen}{fmt(a)},{fmt(b)}")
            pen = "L" if pen == "M" else " "
        else:
            pen = "M"
    return "".join(out)
