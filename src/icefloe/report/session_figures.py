"""A session's numbers as pages of figures: distributions, series, pairs against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.curation import Curation
from icefloe.curation.measures import values_of
from icefloe.project import ExposureRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PAGE",
    "PLOTTED",
    "Plotted",
    "histogram_page",
    "pairs_page",
    "rejected_of",
    "series_page",
    "table_of",
]

PAGE = (8.27, 11.69)  # A4, inches
_KEPT, _REJECTED, _LINE, _SOFT = "#2f6fab", "#c8452f", "#222222", "#8a8f98"
_SMALL = 7.0


@dataclass(frozen=True)
class Plotted:
    """A number that the pages show.

    Attributes
    ----------
    name
        ``stage.key``.
    label
        With the unit.
    factor
        From the recorded unit to the label's.
    paired
        Whether it stands in the page of pairs.
    """

    name: str
    label: str
    factor: float = 1.0
    paired: bool = True


PLOTTED: tuple[Plotted, ...] = (
    Plotted("ctf.defocus", "Defocus (µm)", 1e-4),
    Plotted("ctf.astigmatism", "Astigmatism (Å)"),
    Plotted("ctf.fit_resolution", "CTF fit resolution (Å)"),
    Plotted("ctf.iciness", "Ice ring (relative power)"),
    Plotted("motion.motion_total", "Total motion (Å)"),
    Plotted("motion.motion_early", "Early motion (Å)", paired=False),
    Plotted("pick.n_picks", "Picks"),
    Plotted("look.mean", "Mean grey value", paired=False),
    Plotted("look.roughness", "Roughness"),
    Plotted("look.dark_depth", "Darkest places (spreads)", paired=False),
    Plotted("look.area_contrast", "Contrast of areas (spreads)", paired=False),
    Plotted("look.lattice", "Strongest spot (spreads)", paired=False),
)


def table_of(records: Sequence[ExposureRecord]) -> dict[Plotted, FloatArray]:
    """Return the values of what is plotted, (n,) each; what no exposure has is left out."""
    table = {p: values_of(records, p.name) * p.factor for p in PLOTTED}
    return {p: values for p, values in table.items() if np.any(np.isfinite(values))}


def rejected_of(records: Sequence[ExposureRecord], curation: Curation | None) -> BoolArray:
    """Return which exposures are rejected, (n,)."""
    if curation is None:
        return np.zeros(len(records), dtype=bool)
    return np.array([curation.verdicts[r.name].state == "rejected" for r in records], dtype=bool)


def histogram_page(table: Mapping[Plotted, FloatArray], rejected: BoolArray) -> Figure:
    """Return a page with the distribution of each number, rejected exposures on top in red."""
    figure, axes = _grid("Distributions", len(table), 2, rejected)
    for axis, (plotted, values) in zip(axes, table.items(), strict=False):
        known = np.isfinite(values)
        low, high = _range(values[known])
        inside = known & (values >= low) & (values <= high)
        edges = _edges(low, high, values[known])
        kept, out = values[inside & ~rejected], values[inside & rejected]
        axis.hist([kept, out], bins=edges.tolist(), stacked=True, color=[_KEPT, _REJECTED])
        median = float(np.median(values[known]))
        axis.axvline(median, color=_LINE, linewidth=0.8)
        beyond = int(known.sum() - inside.sum())
        note = f"median {median:.4g}" + (f"; {beyond} off the scale" if beyond else "")
        axis.set_title(plotted.label, loc="left", fontsize=9)
        axis.set_title(note, loc="right", fontsize=_SMALL, color=_SOFT)
    return figure


def series_page(table: Mapping[Plotted, FloatArray], rejected: BoolArray) -> Figure:
    """Return a page with each number in the order of the exposures and its running median."""
    figure, axes = _grid("In the order of the exposures", len(table), 1, rejected)
    order = np.arange(1, len(rejected) + 1)
    for axis, (plotted, values) in zip(axes, table.items(), strict=False):
        known = np.isfinite(values)
        low, high = _range(values[known])
        shown = np.clip(values, low, high)  # what is off the scale stands at its edge
        size = float(np.clip(900 / len(order), 0.6, 9))
        for chosen, colour in ((known & ~rejected, _KEPT), (known & rejected, _REJECTED)):
            axis.scatter(order[chosen], shown[chosen], s=size, color=colour, linewidths=0)
        if known.sum() >= 12:
            axis.plot(order[known], _running_median(values[known]), color=_LINE, linewidth=0.8)
        axis.set_xlim(0.5, max(len(order), 2) + 0.5)
        pad = 0.06 * (high - low)
        axis.set_ylim(low - pad, high + pad)
        axis.set_title(plotted.label, loc="left", fontsize=8, pad=2)
        if axis is not axes[len(table) - 1]:
            axis.tick_params(labelbottom=False)
    axes[len(table) - 1].set_xlabel("exposure, in natural order of the names", fontsize=8)
    return figure


def pairs_page(table: Mapping[Plotted, FloatArray], rejected: BoolArray) -> Figure:
    """Return a page with pairs of numbers against each other, their distributions between."""
    from matplotlib.figure import Figure

    chosen = {p: v for p, v in table.items() if p.paired}
    n = len(chosen)
    figure = Figure(figsize=(PAGE[1], PAGE[0]))
    figure.suptitle("Pairs", x=0.06, ha="left", fontsize=13)
    _explain(figure, 0.98, rejected)
    axes = figure.subplots(n, n, squeeze=False)
    figure.subplots_adjust(0.07, 0.08, 0.98, 0.92, wspace=0.08, hspace=0.08)
    size = float(np.clip(300 / len(rejected), 0.4, 5))
    for row, (down, y) in enumerate(chosen.items()):
        for column, (across, x) in enumerate(chosen.items()):
            axis = axes[row][column]
            axis.tick_params(labelsize=5, length=2, pad=1)
            known = np.isfinite(x) & np.isfinite(y)
            low, high = _range(x[np.isfinite(x)])
            if row == column:
                kept, out = x[known & ~rejected], x[known & rejected]
                bins = np.linspace(low, high, 25).tolist()
                axis.hist([kept, out], bins=bins, stacked=True, color=[_KEPT, _REJECTED])
                axis.tick_params(labelleft=False, left=False)
            else:
                bottom, top = _range(y[np.isfinite(y)])
                for part, colour in ((known & ~rejected, _KEPT), (known & rejected, _REJECTED)):
                    px, py = np.clip(x[part], low, high), np.clip(y[part], bottom, top)
                    axis.scatter(px, py, s=size, color=colour, linewidths=0)
                pad = 0.06 * (top - bottom)
                axis.set_ylim(bottom - pad, top + pad)
            pad = 0.06 * (high - low)
            axis.set_xlim(low - pad, high + pad)
            if row < n - 1:
                axis.tick_params(labelbottom=False)
            else:
                axis.set_xlabel(across.label, fontsize=6)
            if column:
                axis.tick_params(labelleft=False)
            else:
                axis.set_ylabel(down.label, fontsize=6)
    figure.align_ylabels()
    return figure


def _explain(figure: Figure, right: float, rejected: BoolArray) -> None:
    if rejected.any():
        text = "red: rejected exposures"
        figure.text(right, 0.965, text, ha="right", fontsize=8, color=_REJECTED)


def _grid(title: str, count: int, columns: int, rejected: BoolArray) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=PAGE)
    figure.suptitle(title, x=0.08, ha="left", fontsize=13)
    _explain(figure, 0.97, rejected)
    rows = -(-count // columns)
    found: AnyArray = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(0.09, 0.05, 0.97, 0.925, hspace=0.55 if columns > 1 else 0.3)
    axes = list(found.ravel())
    for axis in axes:
        axis.tick_params(labelsize=_SMALL)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes


def _range(values: FloatArray) -> tuple[float, float]:
    """Return a range that holds the data but not single wild values."""
    low, high = float(values.min()), float(values.max())
    if len(values) >= 8:
        first, last = (float(v) for v in np.percentile(values, (10, 90)))
        margin = 2.5 * max(last - first, 1e-9 * max(abs(last), 1.0))
        low, high = max(low, first - margin), min(high, last + margin)
    if high - low < 1e-9 * max(abs(high), 1.0):
        pad = 0.05 * abs(high) or 0.5
        low, high = low - pad, high + pad
    return low, high


def _edges(low: float, high: float, values: FloatArray) -> FloatArray:
    count = int(np.clip(2 * np.sqrt(len(values)), 8, 40))
    if not np.all(values == np.round(values)):
        return np.linspace(low, high, count + 1)
    # Counts: bins of whole numbers, each of as many as the others.
    width = max(1, round((high - low) / count))
    return np.arange(math.floor(low), high + width + 1, width) - 0.5


def _running_median(values: FloatArray) -> FloatArray:
    width = max(5, len(values) // 25) | 1
    padded = np.pad(values, width // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return np.asarray(np.nanmedian(windows, axis=-1))
