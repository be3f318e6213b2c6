"""What picking found beside its picks, so that limits can be made looser afterwards, too.

Beside the picks of an exposure lie the best peaks below the threshold, in the same units. Limits of
score and power choose among all of them (`PickLimits`), so a chosen limit needs neither the
micrograph nor its score map again. The lists of picks (``picks/``, the sidecar) hold what is chosen
only.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from icefloe._types import AnyArray, BoolArray

if TYPE_CHECKING:
    from icefloe.engine.pick_settings import PickLimits
    from icefloe.picking import Picks

__all__ = ["CANDIDATES", "Candidates", "candidates_of", "choose", "read_candidates"]

CANDIDATES = "candidates"  # role of the file
_COLUMNS = ("y", "x", "score", "diameter", "contrast", "power", "psi", "template")
_TYPES = {"template": np.int64}
_NOTHING = "no particles found"
_BEYOND = "no pick is within the limits of pick.limits"


@dataclass(frozen=True)
class Candidates:
    """Peaks of one micrograph, the highest score first, rounded as they are recorded.

    Attributes
    ----------
    columns
        By name (`y`, `x`, `score`, ...), (n,) each.
    picked
        The first so many are what the picker picked.
    threshold
        Its lowest score.
    """

    columns: Mapping[str, AnyArray]
    picked: int
    threshold: float

    def __len__(self) -> int:
        return len(self.columns["score"])

    def within(self, limits: PickLimits) -> BoolArray:
        """Return which of them limits choose: without any those that the picker picked."""
        n = len(self)
        score = self.columns["score"]
        keep = np.arange(n) < self.picked if limits.score is None else score >= limits.score
        power = self.columns.get("power")
        if power is not None and limits.min_power is not None:
            keep &= power >= limits.min_power
        if power is not None and limits.max_power is not None:
            keep &= power <= limits.max_power
        return np.asarray(keep)

    def packed(self) -> bytes:
        """Return the content of a file (NumPy's npz, the same bytes for the same peaks)."""
        out = io.BytesIO()
        arrays: dict[str, Any] = {"picked": self.picked, "threshold": self.threshold}
        np.savez_compressed(out, allow_pickle=False, **arrays, **self.columns)
        return out.getvalue()


def candidates_of(picks: Picks) -> Candidates:
    """Return the picks of a picker with the weaker peaks that it noted."""
    parts = [_rounded(picks)] if picks.weaker is None else [_rounded(picks), _rounded(picks.weaker)]
    columns = {
        key: np.concatenate([np.asarray(part[key], dtype=_TYPES.get(key)) for part in parts])
        for key in _COLUMNS
        if all(key in part for part in parts)
    }
    return Candidates(columns, len(picks), parts[0]["threshold"])


def _rounded(picks: Picks) -> dict[str, Any]:
    return {"contrast": np.round(picks.contrast, 3).tolist(), **picks.numbers()}


def read_candidates(path: Path) -> Candidates | None:
    """Return what a file holds; None if there is none, or it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            columns = {key: stored[key] for key in _COLUMNS if key in stored}
            found = Candidates(columns, int(stored["picked"]), float(stored["threshold"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None
    sizes = {len(values) for values in columns.values()}
    return found if len(sizes) == 1 and {"y", "x", "score"} <= set(columns) else None


def choose(
    candidates: Candidates, limits: PickLimits, numbers: Mapping[str, Any], flags: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the numbers and flags of what limits choose.

    Parameters
    ----------
    candidates
        Of a micrograph.
    limits
        Of score and power.
    numbers, flags
        Of the same micrograph with any limits: what concerns single picks is replaced.
    """
    keep = candidates.within(limits)
    chosen = dict(numbers)
    for key, values in candidates.columns.items():
        chosen[key] = values[keep].tolist()
    score = candidates.columns["score"][keep]
    chosen["n_picks"] = len(score)
    chosen["median_score"] = round(float(np.median(score)), 4) if len(score) else None
    chosen["threshold"] = candidates.threshold if limits.score is None else limits.score
    chosen.pop("limits", None)
    if not limits.none:
        chosen["limits"] = list(limits.model_dump().values())
    kept = [flag for flag in flags if flag not in (_NOTHING, _BEYOND)]
    if not len(score):
        kept.append(_NOTHING if limits.none else _BEYOND)
    return chosen, tuple(kept)
