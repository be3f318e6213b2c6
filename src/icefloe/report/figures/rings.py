"""Power spectra before and after motion correction, and the gain in Thon rings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from icefloe.report.figures.spectrum import resolution_marks
from icefloe.report.figures.svg import Axis, Sheet, format_number
from icefloe.report.figures.values import array, number

__all__ = ["ring_curves", "ring_text"]

_CURVES = (("before", "faint", "not aligned"), ("after", "data", "aligned"))


def ring_text(numbers: Mapping[str, Any]) -> str:
    """Return the gain in Thon rings in words, empty where nothing was measured.

    Parameters
    ----------
    numbers
        `ring_gains`: mappings with `from` and `to`, A, and `gain`, None where there are no rings.
    """
    gains = numbers.get("ring_gains")
    parts = []
    for band in gains if isinstance(gains, list | tuple) else ():
        if not isinstance(band, Mapping):
            continue
        low, high, gain = (number(band, key) for key in ("from", "to", "gain"))
        if low is None or high is None:
            continue
        # Beyond 50 the measure says only that nothing was left.
        text = "none" if gain is None else "> 50" if gain >= 50 else f"{gain:.2f}"
        times = "" if gain is None else "× "
        parts.append(f"{times}{text} at {format_number(low)}–{format_number(high)} Å")
    return "Thon rings: " + ", ".join(parts) if parts else ""


def ring_curves(numbers: Mapping[str, Any]) -> bytes:
    """Return the rotational averages of the sums without and with alignment.

    Parameters
    ----------
    numbers
        `frequency`, 1/A; `before` and `after`, power over the background of the sum after;
        `ring_gains`, see `ring_text`.
    """
    sheet = Sheet(580, 268, "Power spectra before and after motion correction")
    frequency = array(numbers.get("frequency"))
    curves = {key: array(numbers.get(key)) for key, _, _ in _CURVES}
    if len(frequency) < 4 or any(len(c) != len(frequency) for c in curves.values()):
        sheet.message("no spectra measured")
        return sheet.to_bytes()
    values = np.concatenate(list(curves.values()))
    values = values[np.isfinite(values)]
    if not values.size or not np.isfinite(frequency).all():
        sheet.message("no spectra measured")
        return sheet.to_bytes()
    x = Axis(float(frequency[0]), float(frequency[-1]), 42, 570)
    low, high = np.percentile(values, [0.5, 99.5])
    pad = 0.08 * max(float(high - low), 0.02)
    y = Axis(float(low) - pad, float(high) + pad, 226, 30)
    marks = [v for v in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0) if y.low <= v <= y.high]
    sheet.y_axis(y, 42, [(v, format_number(v)) for v in marks], grid_to=570)
    legend = 42.0
    for key, role, name in _CURVES:
        sheet.polyline(role, x.map(frequency), y.map(curves[key]))
        sheet.line(role, legend, 12, legend + 16, 12)
        sheet.text(legend + 21, 16, name)
        legend += 36 + 6.2 * len(name)
    sheet.text(570, 16, ring_text(numbers), anchor="end", role="strong")
    sheet.x_axis(x, 226, resolution_marks(x), "resolution (Å)")
    return sheet.to_bytes()
