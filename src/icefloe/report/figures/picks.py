"""Why these are the picks: scores of noise and particles, contrast, size, and where nothing is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from icefloe._types import BoolArray, FloatArray
from icefloe.picking.threshold import ScoreSplit
from icefloe.report.figures.svg import Axis, Sheet, fmt, format_number, ticks
from icefloe.report.figures.values import array

__all__ = [
    "mask_outline",
    "score_contrast",
    "score_histogram",
    "size_evidence",
]


def score_histogram(
    scores: FloatArray,
    threshold: float,
    *,
    split: ScoreSplit | None = None,
    others: Sequence[float] = (),
    note: str = "",
    label: str = "Score",
) -> bytes:
    """Return the scores of all peaks with the fitted parts and the threshold.

    Parameters
    ----------
    scores
        (n,) of picks and of what was not picked.
    threshold
        The one that counts.
    split
        Of these or nearly these scores; if it is clear, its two parts are drawn as curves.
    others
        Further thresholds, drawn thin.
    note
        Why the threshold is where it is.
    label
        Name of the score.
    """
    sheet = Sheet(420, 236, f"Histogram of {label.lower()}, threshold {threshold:.3g}")
    v = array(list(scores))
    v = v[np.isfinite(v)]
    sheet.text(8, 16, label, role="strong")
    if not len(v):
        sheet.message("no peaks")
        return sheet.to_bytes()
    low, high = min(float(v.min()), threshold), max(float(v.max()), threshold)
    pad = 0.03 * max(high - low, 1e-6)
    low, high = low - pad, high + pad
    edges = np.linspace(low, high, int(np.clip(3 * np.sqrt(len(v)), 16, 60)) + 1)
    counts = np.histogram(v, edges)[0]
    x = Axis(low, high, 40, 410)
    y = Axis(0, float(counts.max()) * 1.12, 180, 34)
    marks = [(t, f"{t:.0f}") for t in ticks(0, float(counts.max()), 4) if t == round(t)]
    sheet.y_axis(y, 40, marks, grid_to=410)
    for left, right, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True):
        wide = max(x(right) - x(left) - 0.8, 0.4)
        sheet.rectangle("bar", x(left) + 0.4, y(count), wide, 180 - y(count))
    if split is not None and split.clear:
        s = np.linspace(low, high, 160)
        curves = replace(split, counts=counts, edges=edges).curves(s)
        for role, curve in zip(("noise", "quality"), curves, strict=True):
            sheet.polyline(role, x.map(s), y.map(curve))
    for other in others:
        if low < other < high:
            sheet.line("faint", x(other), 34, x(other), 180)
    sheet.line("mark", x(threshold), 28, x(threshold), 180)
    sheet.x_axis(x, 180, [(t, format_number(t)) for t in ticks(low, high, 6)])
    kept = int((v >= threshold).sum())
    sheet.text(410, 16, f"{kept} of {len(v)} peaks above {threshold:.3g}", anchor="end")
    for i, line in enumerate(_lines(note, 74)[:2]):
        sheet.text(8, 214 + 14 * i, line)
    return sheet.to_bytes()


def score_contrast(
    scores: FloatArray, contrast: FloatArray, threshold: float, limit: float
) -> bytes:
    """Return score against contrast of all peaks, with the limits of what is picked.

    Parameters
    ----------
    scores, contrast
        (n,) of picks and of what was not picked; contrast relative to the median pick.
    threshold, limit
        Lowest score and largest contrast that are picked; a limit of 0 is none.
    """
    sheet = Sheet(420, 236, "Score against contrast")
    s, c = array(list(scores)), array(list(contrast))
    known = np.isfinite(s) & np.isfinite(c) if len(s) == len(c) else np.zeros(len(s), dtype=bool)
    s, c = s[known], c[known] if len(c) == len(known) else c[:0]
    sheet.text(8, 16, "Score against contrast", role="strong")
    if not len(s):
        sheet.message("contrast not recorded")
        return sheet.to_bytes()
    top = float(np.percentile(np.abs(c), 99))
    top = max(top, 1.15 * limit, 1.5) if limit else max(top, 1.5)
    low = min(float(np.percentile(c, 1)), 0.0)
    x = Axis(low - 0.05 * (top - low), top, 44, 410)
    y_low, y_high = float(s.min()), float(s.max())
    pad = 0.05 * max(y_high - y_low, 1e-6)
    y = Axis(y_low - pad, y_high + pad, 184, 28)
    marks = [(t, format_number(t)) for t in ticks(y.low, y.high, 5)]
    sheet.y_axis(y, 44, marks, grid_to=410)
    kept = s >= threshold
    if limit:
        kept &= np.abs(c) <= limit
    for role, part in (("faint", ~kept), ("dot", kept)):
        points = zip(x.map(c[part]).tolist(), y.map(s[part]).tolist(), strict=True)
        sheet.dots("start" if role == "faint" else role, points, 1.1 if role == "faint" else 1.6)
    sheet.line("mark", 44, y(threshold), 410, y(threshold))
    if limit and limit < top:
        sheet.line("mark", x(limit), 28, x(limit), 184)
    sheet.x_axis(
        x,
        184,
        [(t, format_number(t)) for t in ticks(x.low, top, 6)],
        "contrast (usual picks: 1)",
    )
    beyond = int((np.abs(c) > top).sum())
    text = f"{int(kept.sum())} picked" + (f"; {beyond} beyond the scale" if beyond else "")
    sheet.text(410, 16, text, anchor="end")
    return sheet.to_bytes()


def size_evidence(numbers: Mapping[str, Any], diameter: float | None) -> bytes:
    """Return how far particles stand out from noise, against the diameter that is looked for.

    Parameters
    ----------
    numbers
        Of a reference: `sizes`, A, and `evidence`, the separation of the two score populations.
    diameter
        The one that was taken, A.
    """
    sheet = Sheet(420, 220, "Evidence of the particles' size")
    sizes, evidence = array(numbers.get("sizes")), array(numbers.get("evidence"))
    sheet.text(8, 16, "Which size stands out from the noise", role="strong")
    if not len(sizes) or len(sizes) != len(evidence) or not evidence.max() > 0:
        sheet.message("no size stands out")
        return sheet.to_bytes()
    x = Axis(float(np.log(sizes[0])), float(np.log(sizes[-1])), 44, 406)
    top = float(evidence.max()) * 1.15
    y = Axis(0, top, 172, 30)
    sheet.y_axis(
        y, 44, [(t, format_number(t)) for t in ticks(0, top, 4)], name="separation", grid_to=406
    )
    points = list(zip(x.map(np.log(sizes)).tolist(), y.map(evidence).tolist(), strict=True))
    sheet.polyline("data", np.array([p[0] for p in points]), np.array([p[1] for p in points]))
    sheet.dots("dot", points, 2.6)
    if diameter is not None:
        place = x(float(np.clip(np.log(diameter), x.low, x.high)))
        sheet.line("mark", place, 26, place, 172)
        sheet.text(406, 16, f"diameter {diameter:.0f} Å", anchor="end")
    labels = [s for s in (50, 75, 100, 150, 200, 300, 400) if sizes[0] <= s <= sizes[-1]]
    sheet.x_axis(
        x, 172, [(float(np.log(s)), str(s)) for s in labels], "diameter of disc or ring, Å"
    )
    return sheet.to_bytes()


def mask_outline(mask: BoolArray, height: float, width: float) -> str:
    """Return the borders of a mask over a picture of this size, as path data."""
    padded = np.pad(np.asarray(mask, dtype=bool), 1)
    fy, fx = height / mask.shape[0], width / mask.shape[1]
    parts = []
    # Horizontal borders between rows, then vertical ones: runs of pixels as one line.
    for across, border in (
        (True, padded[1:] != padded[:-1]),
        (False, padded[:, 1:] != padded[:, :-1]),
    ):
        rows = border[:, 1:-1] if across else border[1:-1].T
        for i, row in enumerate(rows):
            steps = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(np.int8), [0]))))
            for a, b in zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True):
                if across:
                    parts.append(f"M{fmt(a * fx)},{fmt(i * fy)}H{fmt(b * fx)}")
                else:
                    parts.append(f"M{fmt(i * fx)},{fmt(a * fy)}V{fmt(b * fy)}")
    return "".join(parts)


def _lines(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)
