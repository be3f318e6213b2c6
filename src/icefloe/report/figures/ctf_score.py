"""How the score of a CTF fit depends on the defocus that is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.report.figures.svg import Axis, Sheet, format_number, ticks
from icefloe.report.figures.values import array, number

__all__ = ["defocus_score", "next_peak"]

_LEFT, _RIGHT, _TOP, _FOOT = 40.0, 290.0, 44.0, 166.0


def next_peak(score: FloatArray) -> int | None:
    """Return where the best maximum outside the highest one's flanks is; None without one."""
    best = int(np.argmax(score))
    left, right = best, best
    while left > 0 and score[left - 1] <= score[left]:
        left -= 1
    while right < len(score) - 1 and score[right + 1] <= score[right]:
        right += 1
    inner = np.arange(1, len(score) - 1)
    tops = inner[(score[inner] > score[inner - 1]) & (score[inner] >= score[inner + 1])]
    tops = tops[(tops < left) | (tops > right)]
    return int(tops[np.argmax(score[tops])]) if len(tops) else None


def defocus_score(numbers: Mapping[str, Any]) -> bytes:
    """Return the score over the search range, with the defocus found and the runner-up.

    Parameters
    ----------
    numbers
        Of the CTF stage: `view` with `search`, a mapping with `defocus`, A, `score` and `noise`;
        `defocus_u`, `defocus_v`, `defocus_error`, A.
    """
    sheet = Sheet(300, 204, "Score of the CTF fit against defocus")
    view = numbers.get("view")
    search = view.get("search") if isinstance(view, Mapping) else None
    found: Mapping[str, Any] = search if isinstance(search, Mapping) else {}
    defocus, score = array(found.get("defocus")), array(found.get("score"))
    usable = len(defocus) >= 4 and len(score) == len(defocus)
    if not usable or not (np.isfinite(score).all() and np.isfinite(defocus).all()):
        sheet.message("no search recorded")
        return sheet.to_bytes()
    microns = defocus / 1e4
    x = Axis(float(microns[0]), float(microns[-1]), _LEFT, _RIGHT)
    low, high = min(float(score.min()), 0.0), max(float(score.max()), 0.1)
    y = Axis(low - 0.03 * (high - low), high + 0.06 * (high - low), _FOOT, _TOP)
    marks = [(v, format_number(v)) for v in ticks(y.low, y.high, 4)]
    sheet.y_axis(y, _LEFT, marks, grid_to=_RIGHT)
    noise = number(found, "noise")
    if noise and noise < y.high:
        sheet.line("noise", _LEFT, y(noise), _RIGHT, y(noise))
    sheet.polyline("data", x.map(microns), y.map(score))
    u, v = number(numbers, "defocus_u"), number(numbers, "defocus_v")
    error = number(numbers, "defocus_error")
    title = "score, no fit"
    if u is not None and v is not None:
        mean = 0.5 * (u + v)
        if x.low <= mean / 1e4 <= x.high:
            sheet.line("mark", x(mean / 1e4), _TOP, x(mean / 1e4), _FOOT)
        title = f"D = {mean:.0f}" + ("" if error is None else f" ± {error:.0f}") + " Å"
    sheet.text(8, 16, title, role="strong")
    other = next_peak(score)
    if other is not None and score.max() > 0:
        part = 100 * score[other] / score.max()
        sheet.text(8, 32, f"next peak {part:.0f} % as high, at {microns[other]:.2f} µm")
        sheet.dots("bad", [(x(float(microns[other])), y(float(score[other])))], 2.4)
    places = [(v, format_number(v)) for v in ticks(x.low, x.high, 6)]
    sheet.x_axis(x, _FOOT, places, "mean defocus (µm)")
    return sheet.to_bytes()
