"""The curve of a training, and what the scores are worth, as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from icefloe._types import BoolArray, FloatArray
    from icefloe.network import Training

__all__ = ["draw_reliability", "draw_training"]

_BLUE, _ORANGE, _GREY = "#1f77b4", "#d95f02", "#999999"


def draw_training(done: Training, path: Path) -> None:
    """Draw losses, average precision and the reliability of scores.

    Raises
    ------
    OutputError
    """
    from matplotlib.figure import Figure

    from icefloe.formats.atomic import atomic_path

    steps = np.array([h.step for h in done.history])
    figure = Figure(figsize=(11, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].plot(steps[1:], [h.loss for h in done.history[1:]], color=_GREY, label="training")
    axes[0].plot(steps, [h.check_loss for h in done.history], color=_BLUE, label="validation")
    axes[0].set(xlabel="batches", ylabel="loss", title="Loss")
    axes[0].legend(frameon=False)
    axes[1].plot(steps, [h.average_precision for h in done.history], color=_BLUE, marker=".")
    best = done.history[done.best]
    axes[1].plot(best.step, best.average_precision, "o", color=_ORANGE, label="kept")
    axes[1].set(xlabel="batches", title="Average precision, validation strips")
    axes[1].legend(frameon=False)
    draw_reliability(axes[2], done.scores, done.right)
    axes[2].set_title("Scores of the validation picks")
    for ax in axes[:2]:
        ax.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def draw_reliability(axes: Any, scores: FloatArray, right: BoolArray) -> None:
    """Draw the share of right picks over their score, with 95 % intervals."""
    from icefloe.network.calibration import reliability

    said, true, number = reliability(scores, right)
    there = number >= 5
    # Wilson's interval.
    z, n, p = 1.96, number[there], true[there]
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    bars = np.clip([p - (centre - half), centre + half - p], 0, None)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1)
    axes.errorbar(said[there], p, yerr=bars, fmt="o", color=_BLUE, capsize=2)
    for x, y, count in zip(said[there], p, n, strict=True):
        axes.annotate(str(count), (x, y), (4, -9), textcoords="offset points", fontsize=7)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share of right picks")
    axes.spines[["top", "right"]].set_visible(False)
