"""Which exposures share an optics group, and names of the groups that do not change.

A group has one microscope setting, one pixel size and, where the metadata tell, one beam shift.
What is known about groups is kept in ``optics_groups.json``, so that later exports with more
movies call each group as before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icefloe.formats.atomic import write_text
from icefloe.interop.optics import OpticsGroup
from icefloe.optics.shift_groups import ShiftGroup, group_shifts
from icefloe.project import ExposureRecord, Project
from icefloe.project.acquisition import load_acquisition

__all__ = ["OpticsNumbers"]

_SCHEMA = 1
Key = tuple[str, ...]


class OpticsNumbers:
    """The optics groups of a session.

    Parameters
    ----------
    project
        The session.
    records
        Its exposures that have a micrograph, in order.
    data_of
        Returns the settings of the section [data] that hold for an exposure.
    tolerance
        Largest distance within a group of beam shifts; found from the shifts if None.
    """

    def __init__(
        self,
        project: Project,
        records: Sequence[ExposureRecord],
        data_of: Callable[[str], Mapping[str, Any]],
        tolerance: float | None = None,
    ) -> None:
        self._path = project.root / "optics_groups.json"
        self._data_of = data_of
        self._ids, known = _read(self._path)
        shifts = {}
        for record in records:
            acquisition = load_acquisition(project, record.name)
            if acquisition is not None and acquisition.shift is not None:
                shifts[record.name] = acquisition.shift
        numbers, self._shift_groups = group_shifts(
            np.array(list(shifts.values()), dtype=np.float64), known=known, tolerance=tolerance
        )
        self._shifts = dict(zip(shifts, (int(n) for n in numbers), strict=True))
        used = set()
        for record in records:
            new = 1 + max(self._ids.values(), default=0)
            used.add(self._ids.setdefault(self._key(record), new))
        # RELION counts from 1 without gaps, though a group's exposures may all have been removed.
        self._numbers = {one: place for place, one in enumerate(sorted(used), 1)}

    @property
    def shift_count(self) -> int:
        """Number of groups of beam shifts that exposures of this session are in."""
        return len(set(self._shifts.values()))

    def group(self, record: ExposureRecord) -> OpticsGroup:
        """Return an exposure's optics group."""
        one = self._ids[self._key(record)]
        name = str(self._data_of(record.name)["optics_group"])
        return OpticsGroup(
            **self._optics(record),
            number=self._numbers[one],
            name=name if one == 1 else f"{name}_{one}",
        )

    def save(self) -> None:
        """Keep the names for later exports, where there is more than one group.

        Raises
        ------
        OutputError
        """
        if len(self._ids) < 2:
            return
        content = {
            "schema": _SCHEMA,
            "shifts": [{"number": g.number, "centre": g.centre} for g in self._shift_groups],
            "groups": [{"id": one, "of": key} for key, one in self._ids.items()],
        }
        text = json.dumps(content, indent=1) + "\n"
        if not self._path.is_file() or self._path.read_text(encoding="utf-8") != text:
            write_text(self._path, text)

    def _optics(self, record: ExposureRecord) -> dict[str, Any]:
        imported, motion = record.numbers["import"], record.numbers.get("motion", {})
        ctf = record.numbers.get("ctf", self._data_of(record.name))
        original = float(motion.get("movie_pixel_size", imported["pixel_size"]))
        return {
            "voltage": float(ctf["voltage"]),
            "cs": float(ctf["cs"]),
            "amplitude_contrast": float(ctf["amplitude_contrast"]),
            "original_pixel_size": original,
            "micrograph_pixel_size": float(motion.get("pixel_size", original)),
        }

    def _key(self, record: ExposureRecord) -> Key:
        shift = self._shifts.get(record.name, 0)
        optics = (f"{value:.9g}" for value in self._optics(record).values())
        return (*optics, str(self._data_of(record.name)["optics_group"]), str(shift))


def _read(path: Path) -> tuple[dict[Key, int], list[ShiftGroup]]:
    """Return the ids of known groups, and those of beam shifts."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != _SCHEMA:
            return {}, []
        ids = {tuple(str(k) for k in one["of"]): int(one["id"]) for one in content["groups"]}
        shifts = [
            ShiftGroup(int(one["number"]), (float(one["centre"][0]), float(one["centre"][1])))
            for one in content["shifts"]
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return {}, []
    return ids, shifts
