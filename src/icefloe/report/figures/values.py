"""Reading recorded numbers that may be missing, None or not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from icefloe._types import FloatArray

__all__ = ["array", "number", "pair"]


def number(numbers: Mapping[str, Any] | None, key: str) -> float | None:
    """Return a finite number, or None."""
    value = (numbers or {}).get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def array(values: Any, columns: int | None = None) -> FloatArray:
    """Return float64 values with NaN for None; empty where the shape is not (..., `columns`)."""
    empty = np.zeros((0,) if columns is None else (0, columns))
    try:
        found = np.asarray(values if values is not None else [], dtype=np.float64)
    except (TypeError, ValueError):  # ragged, or text
        return empty
    if columns is None:
        return found if found.ndim == 1 else empty
    return found if found.ndim >= 2 and found.shape[-1] == columns else empty


def pair(values: Any) -> tuple[int, int] | None:
    """Return (ny, nx), or None where it is not a usable shape."""
    found = array(values)
    if found.shape != (2,) or not np.all(np.isfinite(found)) or not np.all(found >= 1):
        return None
    return int(found[0]), int(found[1])
