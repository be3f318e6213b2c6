"""What is recorded about how each movie was acquired: read once from the file beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from icefloe.errors import InputError
from icefloe.formats.acquisition import Acquisition, metadata_files, read_acquisition
from icefloe.formats.atomic import output_directory, write_text
from icefloe.project.layout import Project

__all__ = ["acquisition_path", "load_acquisition", "record_acquisition"]

_SCHEMA = 1


def load_acquisition(project: Project, name: str) -> Acquisition | None:
    """Return what was recorded about an exposure; None if nothing was."""
    content = _read(acquisition_path(project, name))
    return Acquisition.from_numbers(content["values"]) if content else None


def record_acquisition(
    project: Project, name: str, movie: Path
) -> tuple[Acquisition | None, str | None]:
    """Read the metadata beside a movie unless this version of them is recorded, and record them.

    What was recorded stays when the file beside the movie is gone, so that nothing becomes stale
    when raw data move to an archive.

    Returns
    -------
    acquisition
        None if there are none, now or recorded.
    problem
        Why a file that is there could not be read.
    """
    known = _read(acquisition_path(project, name))
    problem = None
    for path in metadata_files(movie):
        try:
            status = path.stat()
        except OSError:
            continue
        stamp = [path.name, status.st_size, status.st_mtime_ns]
        if known and known.get("of") == stamp:
            break
        try:
            acquisition = read_acquisition(path, movie)
        except InputError as error:
            problem = str(error)
            continue
        target = acquisition_path(project, name)
        output_directory(target.parent)
        content = {"schema": _SCHEMA, "of": stamp, "values": acquisition.numbers()}
        write_text(target, json.dumps(content, ensure_ascii=False) + "\n")
        return acquisition, None
    return (Acquisition.from_numbers(known["values"]) if known else None), problem


def acquisition_path(project: Project, name: str) -> Path:
    """Return where an exposure's metadata are recorded."""
    return project.exposures / name / "acquisition.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = content["schema"] == _SCHEMA and isinstance(content["values"]["program"], str)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return content if whole else {}
