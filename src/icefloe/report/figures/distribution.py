"""One number over a session: how it is distributed, and how it went with time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icefloe._types import FloatArray
from icefloe.report.figures.svg import Axis, Sheet, format_number, nice_step, ticks

__all__ = ["histogram", "series"]

_MANY = 400  # points; beyond it dots become smaller


def _finite(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _robust_range(values: FloatArray) -> tuple[float, float]:
    """Return a range that holds the data but not single wild values.

    Beyond four times the distance of the outer deciles from each other nothing is of interest
    but that it is there. The deciles are values of the data: one interpolated towards a wild
    value would let it in where there are few.
    """
    low, high = float(values.min()), float(values.max())
    if len(values) >= 5:
        first = float(np.percentile(values, 10, method="higher"))
        last = float(np.percentile(values, 90, method="lower"))
        margin = 1.5 * max(last - first, 1e-9 * max(abs(last), 1.0))
        low, high = max(low, first - margin), min(high, last + margin)
    if high - low < 1e-9 * max(abs(high), 1.0):
        pad = 0.05 * abs(high) or 0.5
        low, high = low - pad, high + pad
    return low, high


def histogram(values: Sequence[float | None], *, label: str, unit: str = "") -> bytes:
    """Return a histogram with its median.

    Parameters
    ----------
    values
        One for each exposure, None where it was not measured.
    label, unit
        Name and unit of the number, for the axis.
    """
    name = f"{label} ({unit})" if unit else label
    sheet = Sheet(300, 184, f"Histogram of {name}")
    found = _finite(values)
    found = found[np.isfinite(found)]
    if len(found) == 0:
        sheet.text(8, 16, name, role="strong")
        sheet.message("not measured")
        return sheet.to_bytes()
    low, high = _robust_range(found)
    step = nice_step(high - low, int(np.clip(np.sqrt(len(found)) * 2, 6, 24)))
    if np.all(found == np.round(found)):
        step = max(1.0, step)
    first, last = np.floor(low / step + 1e-6), np.floor(high / step + 1e-6) + 1
    edges = np.arange(first, last + 1) * step
    counts = np.histogram(found, edges)[0]
    below, above = int(np.sum(found < edges[0])), int(np.sum(found > edges[-1]))

    x = Axis(float(edges[0]), float(edges[-1]), 34, 290)
    top = int(counts.max())
    marks = [v for v in ticks(0, top, 4) if v == round(v)]
    y = Axis(0, top * 1.06, 150, 34)
    sheet.y_axis(y, 34, [(v, f"{v:.0f}") for v in marks], grid_to=290)
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        sheet.rectangle("bar", x(left) + 0.6, y(count), x(right) - x(left) - 1.2, 150 - y(count))
    sheet.x_axis(x, 150, [(v, format_number(v)) for v in ticks(x.low, x.high, 5)])
    median = float(np.median(found))
    sheet.line("mark", x(median), 30, x(median), 150)
    sheet.text(8, 16, name, role="strong")
    sheet.text(292, 16, f"median {format_number(_short(median))}", anchor="end")
    beyond = [f"{below} below"] * (below > 0) + [f"{above} above"] * (above > 0)
    if beyond:
        sheet.text(292, 180, "off the scale: " + ", ".join(beyond), anchor="end")
    elif len(found) < len(values):
        sheet.text(292, 180, f"{len(found)} of {len(values)} measured", anchor="end")
    return sheet.to_bytes()


def _short(value: float) -> float:
    """Round to three significant digits."""
    return float(f"{value:.3g}")


def series(
    values: Sequence[float | None],
    *,
    label: str,
    unit: str = "",
    failed: Sequence[bool] = (),
    names: Sequence[str] = (),
) -> bytes:
    """Return a number against the order of the exposures, with a running median.

    Parameters
    ----------
    values
        One for each exposure, None where it was not measured.
    label, unit
        Name and unit of the number, for the axis.
    failed
        True for exposures that failed; a red mark at the foot.
    names
        Names of the exposures, shown when the pointer rests on a dot; left out above 400.
    """
    name = f"{label} ({unit})" if unit else label
    sheet = Sheet(430, 140, f"{name} in the order of the exposures")
    found = _finite(values)
    good = np.isfinite(found)
    sheet.text(8, 14, name, role="strong")
    if not good.any():
        sheet.message("not measured")
        return sheet.to_bytes()
    low, high = _robust_range(found[good])
    pad = 0.06 * (high - low)
    x = Axis(1, max(len(found), 2), 46, 420)
    y = Axis(low - pad, high + pad, 108, 26)
    marks = ticks(y.low, y.high, 4)
    sheet.y_axis(y, 40, [(v, format_number(v)) for v in marks], grid_to=424)
    order = np.arange(1, len(found) + 1, dtype=np.float64)
    if good.sum() >= 12:
        width = max(5, int(good.sum()) // 25) | 1
        sheet.polyline("model", x.map(order[good]), y.map(_running_median(found[good], width)))
    inside = good & (found >= y.low) & (found <= y.high)
    radius = 2.6 if len(found) <= 100 else 1.8 if len(found) <= _MANY else 1.1
    dots = [(x(float(i)), y(float(v))) for i, v in zip(order[inside], found[inside], strict=True)]
    sheet.dots("dot", dots, radius)
    outside = good & ~inside
    edge = np.where(found[outside] > y.high, y.stop, y.start)
    sheet.dots(
        "bad", [(x(float(i)), float(e)) for i, e in zip(order[outside], edge, strict=True)], radius
    )
    if names and len(found) <= _MANY:
        _tooltips(sheet, names, found, x, y)
    for i in np.flatnonzero(np.asarray(failed, dtype=bool)):
        sheet.line("badline", x(i + 1.0), 109, x(i + 1.0), 114)
    whole = [v for v in ticks(1, len(found), 8) if v == round(v) and v >= 1]
    whole = [v for v in whole if v - 1 > len(found) / 30] if len(found) > 4 else whole
    sheet.x_axis(x, 114, [(v, f"{v:.0f}") for v in ([1.0] if len(found) > 4 else []) + whole])
    return sheet.to_bytes()


def _tooltips(sheet: Sheet, names: Sequence[str], found: FloatArray, x: Axis, y: Axis) -> None:
    from xml.sax.saxutils import escape

    for i, (name, value) in enumerate(zip(names, found.tolist(), strict=True)):
        if np.isfinite(value):
            place = float(y.map(np.array([value]))[0])
            sheet.raw(
                f'<circle cx="{x(i + 1.0):.1f}" cy="{place:.1f}" r="6" fill="transparent">'
                f"<title>{escape(name)}: {format_number(value)}</title></circle>"
            )


def _running_median(values: FloatArray, width: int) -> FloatArray:
    # At both ends the window holds what there is.
    padded = np.pad(values, width // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return np.asarray(np.nanmedian(windows, axis=-1))
