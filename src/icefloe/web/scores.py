"""How many picks of the session limits of score and power keep, from a part of its exposures."""

from __future__ import annotations

from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.project import ExposureRecord, Project, load_record
from icefloe.web.exposure import pick_candidates

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
        100 x 100 candidates by score and power, of which the picker picked ``picked``; ``read``:
        picks of the exposures that were read, ``total``: of the whole session; ``exposures`` that
        were read, ``of`` those that have picks. Sessions without candidates have picks alone.
    """
    picked = [r for r in records if r.numbers.get("pick", {}).get("n_picks")]
    total = int(sum(r.numbers["pick"]["n_picks"] for r in picked))
    step = max(1, -(-len(picked) // _EXPOSURES))
    read = picked[::step]
    score: list[float] = []
    power: list[float] = []
    own: list[bool] = []
    for known in read:
        full = load_record(project, known.name, project.listed(known.source), without=stages_off)
        numbers = full.numbers.get("pick", {})
        found = pick_candidates(project, full) or {**numbers, "picked": numbers.get("n_picks", 0)}
        mine = found.get("score") or []
        score += mine
        power += found.get("power") or [float("nan")] * len(mine)
        own += [i < found["picked"] for i in range(len(mine))]
    facts: dict[str, Any] = {"total": total, "exposures": len(read), "of": len(picked)}
    facts["read"] = int(sum(r.numbers["pick"]["n_picks"] for r in read))
    if not score:
        return {**facts, "score": None, "power": None, "counts": None, "picked": None}
    s, p = np.asarray(score, dtype=np.float64), np.asarray(power, dtype=np.float64)
    measured = bool(np.isfinite(p).all())
    p = p if measured else np.full(len(s), 0.5)
    edges = (_edges(s), _edges(p) if measured else np.linspace(0, 1, _BINS + 1))
    counts, of_picker = (
        np.histogram2d(s[which], p[which], edges)[0].astype(int).ravel().tolist()
        for which in (slice(None), np.asarray(own))
    )
    return {
        **facts,
        "score": edges[0].tolist(),
        "power": edges[1].tolist() if measured else None,
        "counts": counts,
        "picked": of_picker,
    }


def _edges(values: FloatArray) -> FloatArray:
    """Return edges with as many values in each bin: a few wild ones must not make bins coarse."""
    found = np.quantile(values, np.linspace(0, 1, _BINS + 1))
    if not found[-1] > found[0]:
        found = np.linspace(found[0], found[0] + 1.0, _BINS + 1)
    return np.asarray(found)
