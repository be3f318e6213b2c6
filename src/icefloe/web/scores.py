"""How many picks of the session limits of score and power keep, from a part of its exposures."""

from __future__ import annotations

from typing import Any

import numpy as np

from icefloe.project import ExposureRecord, Project, load_record

__all__ = ["pick_scores"]

_EXPOSURES = 120  # read at most; their lists of picks take some milliseconds each
_BINS = 100


def pick_scores(
    project: Project, records: list[ExposureRecord], stages_off: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return a histogram of score and power of the picks of exposures taken evenly.

    Parameters
    ----------
    project
        The session.
    records
        Its exposures, without their lists.
    stages_off
        Stages that do not count.

    Returns
    -------
    dict
        ``score`` and ``power``: 101 edges each (power: None where it was not measured); ``counts``:
        100 x 100 picks by score and power; ``total``: picks of the whole session; ``exposures``
        that were read, ``of`` those that have picks.
    """
    picked = [r for r in records if r.numbers.get("pick", {}).get("n_picks")]
    total = int(sum(r.numbers["pick"]["n_picks"] for r in picked))
    step = max(1, -(-len(picked) // _EXPOSURES))
    read = picked[::step]
    score: list[float] = []
    power: list[float] = []
    for known in read:
        full = load_record(project, known.name, project.listed(known.source), without=stages_off)
        numbers = full.numbers.get("pick", {})
        mine = numbers.get("score") or []
        score += mine
        power += numbers.get("power") or [float("nan")] * len(mine)
    found: dict[str, Any] = {"total": total, "exposures": len(read), "of": len(picked)}
    if not score:
        return {**found, "score": None, "power": None, "counts": None}
    s, p = np.asarray(score, dtype=np.float64), np.asarray(power, dtype=np.float64)
    measured = bool(np.isfinite(p).all()) and len(p) == len(s)
    edges = _edges(s)
    other = _edges(p) if measured else np.linspace(0, 1, _BINS + 1)
    counts, _, _ = np.histogram2d(s, p if measured else np.full(len(s), 0.5), (edges, other))
    return {
        **found,
        "score": edges.tolist(),
        "power": other.tolist() if measured else None,
        "counts": counts.astype(int).ravel().tolist(),
    }


def _edges(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, Any]:
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
