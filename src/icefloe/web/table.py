"""All exposures of a session as columns, kept up to date from its index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.curation.measures import number_names, values_of
from icefloe.project import ExposureRecord
from icefloe.web.numbers import describe
from icefloe.web.places import PLACE

__all__ = ["STATES", "VERDICTS", "Table", "pack"]

STATES = ("done", "failed", "stale", "waiting")
VERDICTS = ("accepted", "rejected", "pending")
BY = ("rules", "person", "failure")


@dataclass
class Table:
    """The numbers of all exposures.

    Attributes
    ----------
    records
        By name, in order.
    verdicts
        ``(state, by)`` by name.
    changed
        By name, the version in which the exposure last changed.
    version
        Counts up with every change.
    columns
        Names of the numbers, in the order in which they were first met.
    rows
        By name, float32 values of the columns that were known when the exposure changed.
    places
        By name, where the exposure was taken: the values of `PLACE`.
    """

    records: dict[str, ExposureRecord] = field(default_factory=dict)
    verdicts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    version: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    rows: dict[str, FloatArray] = field(default_factory=dict)
    places: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)

    def update(
        self,
        records: Mapping[str, ExposureRecord],
        order: Sequence[str],
        verdicts: Mapping[str, tuple[str, str]],
    ) -> bool:
        """Take over what is new; return whether anything changed.

        Parameters
        ----------
        records
            Of exposures that are new or changed.
        order
            The names of all there are, in order.
        verdicts
            Of all.
        """
        judged = {name for name in order if verdicts.get(name) != self.verdicts.get(name)}
        moved = list(self.records) != list(order)
        touched = set(records) | judged
        if not touched and not moved:
            return False
        self.version += 1
        self._keep(list(records.values()))
        merged = {name: records.get(name) or self.records[name] for name in order}
        self.changed = {name: self.changed.get(name, self.version) for name in order}
        self.changed.update({name: self.version for name in touched if name in merged})
        self.records, self.verdicts = merged, dict(verdicts)
        self.rows = {name: self.rows[name] for name in order}
        return True

    def _keep(self, records: Sequence[ExposureRecord]) -> None:
        """Read the numbers of records once, all of a number at a time."""
        for name in number_names(records):
            self.columns.setdefault(name, len(self.columns))
        found = np.full((len(records), len(self.columns)), np.nan, dtype=np.float32)
        for name, column in self.columns.items():
            found[:, column] = values_of(records, name)
        self.rows.update(zip((r.name for r in records), found, strict=True))

    def _matrix(self, names: Sequence[str]) -> FloatArray:
        found = np.full((len(self.columns), len(names)), np.nan, dtype=np.float32)
        for i, name in enumerate(names):
            row = self.rows[name]
            found[: len(row), i] = row
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many exposures are in each state and have each verdict."""
        states = Counter(str(record.state) for record in self.records.values())
        verdicts = Counter(state for state, _ in self.verdicts.values())
        return {
            "states": {state: states.get(state, 0) for state in STATES},
            "verdicts": {state: verdicts.get(state, 0) for state in VERDICTS},
        }

    def packed(self, since: int = -1) -> bytes:
        """Return the exposures that changed after version `since`, see `pack`."""
        rows = [
            (place, record)
            for place, (name, record) in enumerate(self.records.items())
            if self.changed[name] > since
        ]
        records = [record for _, record in rows]
        names = [record.name for record in records]
        matrix = self._matrix(names)
        columns = sorted(self.columns)
        head: dict[str, Any] = {
            "version": self.version,
            "total": len(self.records),
            "names": names,
            "columns": [_text(name) for name in columns],
            "failures": {
                r.name: [r.failure.stage, r.failure.message] for r in records if r.failure
            },
            "counts": self.counts(),
        }
        verdicts = [self.verdicts.get(name, ("pending", "rules")) for name in names]
        extra = {
            "place": [place for place, _ in rows],
            "state": [STATES.index(record.state) for record in records],
            "verdict": [VERDICTS.index(state) for state, _ in verdicts],
            "by": [BY.index(by) for _, by in verdicts],
        }
        arrays: list[FloatArray] = [np.asarray(values) for values in extra.values()]
        head["extra"] = list(extra)
        if self.places:
            unknown = (np.nan,) * len(PLACE)
            places = np.array([self.places.get(name, unknown) for name in names])
            arrays += list(places.reshape(-1, len(PLACE)).T)
            head["extra"] += PLACE
        arrays += [matrix[self.columns[name]] for name in columns]
        return pack(head, arrays)


def pack(head: Mapping[str, Any], arrays: Iterable[FloatArray]) -> bytes:
    """Return numbers for the page: length of the head, the head as JSON, float32 columns.

    The length is a little-endian unsigned 32-bit integer; the JSON is padded with blanks so that
    the columns begin at a multiple of 4 bytes. What was not measured is NaN.
    """
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    parts = [len(text).to_bytes(4, "little"), text]
    parts += [np.asarray(a, dtype="<f4").tobytes() for a in arrays]
    return b"".join(parts)


def _text(name: str) -> dict[str, Any]:
    text = describe(name)
    shown = {"name": name, "label": text.label, "unit": text.unit, "about": text.about}
    return {**shown, "main": text.main}
