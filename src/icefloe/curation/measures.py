"""The numbers that rules read: one value an exposure, as it is, as a z-score or as a ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.curation.rules import Measure
from icefloe.project import ExposureRecord

__all__ = ["MIN_VALUES", "measured", "number_names", "relative", "values_of"]

# Of a normal distribution: standard deviation over median and over mean absolute deviation.
_MEDIAN_DEVIATION, _MEAN_DEVIATION = 1.482602218505602, 1.2533141373155003
# Numbers that mean nothing without Thon rings.
_OF_THE_FIT = ("defocus", "astigmatism", "fit_resolution", "phase_shift")
# Fewer than these have no median worth comparing with.
MIN_VALUES = 8


def values_of(records: Sequence[ExposureRecord], name: str) -> FloatArray:
    """Return a number of every exposure, (n,), NaN where it was not measured.

    Parameters
    ----------
    records
        The exposures.
    name
        ``stage.key``, with further dots into nested figures. ``ctf.defocus`` is the mean of
        defocus U and V.
    """
    return np.array([_value(record, name) for record in records], dtype=np.float64)


def _value(record: ExposureRecord, name: str) -> float:
    stage, _, key = name.partition(".")
    fitted = stage == "ctf" and key.startswith(_OF_THE_FIT)
    numbers = record.ctf if fitted else record.numbers.get(stage)
    value: Any = numbers
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None and name == "ctf.defocus" and numbers is not None:
        pair = (numbers.get("defocus_u"), numbers.get("defocus_v"))
        value = None if None in pair else (float(pair[0]) + float(pair[1])) / 2  # type: ignore[arg-type]
    if isinstance(value, bool | int | float):
        return float(value)
    return math.nan


def number_names(records: Sequence[ExposureRecord]) -> list[str]:
    """Return every number that at least one exposure has, sorted."""
    found: set[str] = set()
    for record in records:
        for stage, numbers in record.numbers.items():
            found.update(f"{stage}.{key}" for key in _scalars(numbers))
        if record.ctf is not None:
            found.add("ctf.defocus")
    return sorted(found)


def _scalars(numbers: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in numbers.items():
        if isinstance(value, Mapping):
            keys += _scalars(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float):
            keys.append(prefix + key)
    return keys


def measured(values: FloatArray, measure: Measure, window: int | None) -> FloatArray:
    """Return values as they are, as z-scores or as ratios; NaN where there is none.

    Parameters
    ----------
    values
        (n,), in order, NaN where not measured.
    measure
        Which.
    window
        Number of exposures that the median is taken over, those nearest in order; all if None.
    """
    if measure == "value":
        return values
    known = np.flatnonzero(np.isfinite(values))
    out = np.full(len(values), np.nan)
    found = values[known]
    if len(known) < MIN_VALUES:
        return out
    if window is None or window >= len(known):
        out[known] = relative(found, found, measure)
        return out
    for place, index in enumerate(known):
        # At both ends the window keeps its width.
        start = min(max(0, place - window // 2), len(known) - window)
        near = found[start : start + window]
        out[index] = relative(found[place : place + 1], near, measure)[0]
    return out


def relative(values: FloatArray, among: FloatArray, measure: Measure) -> FloatArray:
    """Return z-scores or ratios of values among others.

    Where more than half of the others are equal, their mean absolute deviation takes the place of
    the median one; where all are equal, what differs
    from them is infinitely far.
    """
    median = float(np.median(among))
    with np.errstate(divide="ignore", invalid="ignore"):
        if measure == "ratio":
            return np.asarray(values / median)
        deviation = np.abs(among - median)
        scale = _MEDIAN_DEVIATION * float(np.median(deviation))
        scale = scale or _MEAN_DEVIATION * float(deviation.mean())
        z = (values - median) / scale
    return np.where(values == median, 0.0, z)
