"""The 1-D power spectrum with the CTF that was fitted to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.report.figures.svg import Axis, Sheet, format_number, ticks
from icefloe.report.figures.values import array, number

__all__ = ["ICE_BAND", "resolution_marks", "spectrum_curves"]

_RESOLUTIONS = np.concatenate(
    [[30, 20, 15, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.8, 2.5, 2.2, 2, 1.8], np.arange(16, 3, -1) / 10]
)
# A; the strongest rings of hexagonal and cubic ice, and the band in which iciness is measured.
ICE_BAND = (3.9, 3.5)
_CURVES = (  # key, role, name in the legend, scaled like the spectrum
    ("experimental", "faint", "rotational mean", True),
    ("model", "model", "CTF fit", False),
    ("equiphase", "data", "equiphase mean", True),
    ("correlation", "quality", "correlation", False),
    ("noise", "noise", "noise level", False),
)


def spectrum_curves(numbers: Mapping[str, Any]) -> bytes:
    """Return the rotational and equiphase averages, the fitted CTF and its correlation.

    Parameters
    ----------
    numbers
        Of the CTF stage: `curves` with `frequency` in 1/A and any of `experimental`,
        `equiphase`, `model`, `correlation`, `noise`; the limits `fit_resolution`,
        `fit_resolution_03` and `aliasing_resolution`, A; `view` with `range`, A, the fitted one.
    """
    sheet = Sheet(580, 284, "Power spectrum against resolution with the fitted CTF")
    given = numbers.get("curves")
    curves: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    frequency = array(curves.get("frequency"))
    if len(frequency) < 4 or not np.isfinite(frequency).all() or frequency.max() <= 0:
        sheet.message("no spectrum measured")
        return sheet.to_bytes()
    x = Axis(0.0, float(frequency.max()), 42, 570)
    y = Axis(-0.3, 1.3, 226, 30)
    sheet.y_axis(y, 42, [(0.0, "0"), (0.5, "0.5"), (1.0, "1")], grid_to=570)
    if x.high > 1 / ICE_BAND[0]:
        left, right = x(1 / ICE_BAND[0]), min(x(1 / ICE_BAND[1]), 570.0)
        sheet.rectangle("band", left, 30, right - left, 196)
        sheet.text((left + right) / 2, 222, "ice", anchor="middle")
    scale = _amplitude(curves, frequency)
    legend = 42.0
    for key, role, name, scaled in _CURVES:
        values = array(curves.get(key))
        if len(values) != len(frequency) or not np.isfinite(values).any():
            continue
        shown = values * scale if scaled else values
        sheet.polyline(role, x.map(frequency), y.map(shown))
        sheet.line(role, legend, 12, legend + 16, 12)
        sheet.text(legend + 21, 16, name)
        legend += 34 + 5.9 * len(name)
    _limits(sheet, x, numbers)
    sheet.x_axis(x, 226, resolution_marks(x))
    # The same places as frequencies, in a second row.
    for value in ticks(x.low, x.high, 8)[1:]:
        sheet.text(min(x(value), 560), 256, format_number(value), anchor="middle")
    for y_text, unit in ((240.5, "Å"), (256, "1/Å")):
        sheet.text(34, y_text, unit, anchor="end")
    sheet.text(306, 276, "resolution and spatial frequency", anchor="middle")
    return sheet.to_bytes()


def _limits(sheet: Sheet, x: Axis, numbers: Mapping[str, Any]) -> None:
    """Mark the range that was fitted, and where fit and box end."""
    view = numbers.get("view")
    fitted = array(view.get("range")) if isinstance(view, Mapping) else array(None)
    if len(fitted) == 2 and np.all(fitted > 0):
        first, last = (x(min(1 / float(v), x.high)) for v in fitted)
        sheet.line("scale", first, 225, last, 225)
        sheet.text(first + 4, 221, f"fitted {fitted[0]:g}–{fitted[1]:g} Å", role="strong")
    marks = (
        ("fit_resolution", "mark", "fit to", 42.0),
        ("fit_resolution_03", "noise", "correlation 0.3 at", 56.0),
        ("aliasing_resolution", "noise", "rings too narrow for the box from", 70.0),
    )
    drawn: list[tuple[float, str, str, float]] = []
    for key, role, text, height in marks:
        limit = number(numbers, key)
        if limit and 1 / limit <= x.high * 1.001:
            drawn.append((limit, role, text, height))
    places = [x(min(1 / limit, x.high)) for limit, *_ in drawn]
    for (limit, role, text, height), place in zip(drawn, places, strict=True):
        sheet.line(role, place, 30, place, 226)
        label = f"{text} {format_number(round(limit, 2))} Å"
        if place + 8 + 6.2 * len(label) < 570:
            sheet.text(place + 5, height, label, role="strong")
        else:  # left of its line, and of any other that it would run across
            crossed = [p for p in places if place - 6.2 * len(label) < p <= place]
            sheet.text(min(crossed) - 5, height, label, role="strong", anchor="end")


def _amplitude(curves: Mapping[str, Any], frequency: FloatArray) -> float:
    """Return what brings the spectrum's rings to the height of the model's, about 0 to 1."""
    values = array(curves.get("equiphase"))
    if len(values) != len(frequency):
        values = array(curves.get("experimental"))
    if len(values) != len(frequency):
        return 1.0
    rings = values[(frequency > 1 / 20) & (frequency < 1 / 4) & np.isfinite(values)]
    top = float(np.percentile(rings, 98)) if len(rings) else 0.0
    return 1.0 if top <= 0 or 0.5 <= top <= 1.3 else 1.0 / top


def resolution_marks(x: Axis) -> list[tuple[float, str]]:
    """Return marks for an axis of frequencies in 1/A: 1/A and the resolution in A."""
    marks: list[tuple[float, str]] = []
    last = -100.0
    for value in _RESOLUTIONS.tolist():
        place = x(1 / value)
        inside = x.low * 0.9999 <= 1 / value <= x.high * 1.0001
        if inside and place - last >= 30:
            marks.append((1 / value, format_number(value)))
            last = place
    return marks
