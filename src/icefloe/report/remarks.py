"""What stages remarked, gathered over a session."""

from __future__ import annotations

import re
from collections.abc import Sequence

from icefloe.report.summary import Row

__all__ = ["flag_counts"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def flag_counts(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """Return each remark with the exposures that carry it, the commonest first.

    Remarks that differ only in their numbers ("large motion: 321 A") are one, with the range.
    """
    texts: dict[str, list[str]] = {}
    carriers: dict[str, list[str]] = {}
    for row in rows:
        for flag in row.flags:
            form = _NUMBER.sub("#", flag)
            texts.setdefault(form, []).append(flag)
            names = carriers.setdefault(form, [])
            if names[-1:] != [row.name]:
                names.append(row.name)
    found = [(_common(texts[form]), names) for form, names in carriers.items()]
    return sorted(found, key=lambda item: (-len(item[1]), item[0]))


def _common(flags: Sequence[str]) -> str:
    """Return remarks of one form as one, a range where a number differs."""
    columns = zip(*(_NUMBER.findall(flag) for flag in flags), strict=True)
    ranges = []
    for column in columns:
        low, high = min(column, key=float), max(column, key=float)
        ranges.append(low if low == high else f"{low} to {high}")
    values = iter(ranges)
    return _NUMBER.sub(lambda _: next(values), flags[0])
