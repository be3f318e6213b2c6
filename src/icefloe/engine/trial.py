"""Tries settings on a few exposures in a session of its own beside the real one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icefloe.engine.executor import Observer, RunSummary, run_session
from icefloe.engine.session import Session
from icefloe.engine.setup import Changes, change_settings, changed_settings
from icefloe.engine.stage import Stage
from icefloe.errors import OutputError, ProjectError
from icefloe.formats.atomic import write_text
from icefloe.project import ExposureRecord, Project, load_record, load_records
from icefloe.project.sidecar import read_sidecar

__all__ = ["Trial", "adopted_changes", "run_trial"]

_MARK = "trial.json"
_FILES = ("gain", "defects", "dose_file", "templates", "model")


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes
    ----------
    directory
        The trial's session.
    names
        The exposures.
    old, new
        Their records, before and after; in the same order.
    summary
        What the trial ran.
    """

    directory: Path
    names: tuple[str, ...]
    old: tuple[ExposureRecord, ...]
    new: tuple[ExposureRecord, ...]
    summary: RunSummary


def run_trial(
    session: Session,
    changes: Changes,
    count: int,
    *,
    stages: Sequence[Stage] | None = None,
    observer: Observer | None = None,
) -> Trial:
    """Try changed settings on a few exposures; the session itself stays as it is.

    Their results are linked into a session beside (``NAME-trial``), so that only what the changes
    make stale is computed. A link is as good as a copy, since no result is ever changed in place.

    Parameters
    ----------
    session
        The session, with its present settings.
    changes
        New values by section and key.
    count
        Number of exposures, taken evenly from those that are done.

    Raises
    ------
    ProjectError
        No exposure is done, or the directory beside is something else.
    SettingsError
        A change is unknown or out of range.
    """
    project = session.project
    off = session.stages_off()
    records = load_records(project, without=off)
    done = [r for r in records if r.state == "done"]
    # After picks were chosen anew all of them wait for their particles to be cut out again.
    done = done or [r for r in records if r.state == "stale" and r.failure is None]
    if not done:
        raise ProjectError(
            f"No exposure of {project.root} is done, so there is nothing to compare with",
            hint="Run 'icefloe run' first",
        )
    places = [i * len(done) // min(count, len(done)) for i in range(min(count, len(done)))]
    old = tuple(done[i] for i in places)
    sources = project.read_registry()
    changed_settings(project, session.settings, changes)  # before the last trial is replaced
    trial = _empty_directory(project)
    settings = session.settings.model_dump(mode="json")
    for section in (settings["data"], settings["pick"], *settings["group"]):
        for key in _FILES:
            if section.get(key):
                section[key] = str(project.locate(section[key]))
    moved = type(session.settings).model_validate(settings)
    absolute = {section: dict(entries) for section, entries in changes.items()}
    for section in ("data", "pick"):
        for key in _FILES:
            if absolute.get(section, {}).get(key):
                absolute[section][key] = str(Path(absolute[section][key]).absolute())
    changed = change_settings(trial, moved, absolute)
    trial.write_registry({r.name: str(project.locate(sources[r.name])) for r in old})
    for record in old:
        _link_results(project, trial, record.name)
    for path in sorted(project.reference.glob("*")):
        _link_into(project, trial, path)
    _write_mark(trial, project, absolute)
    tried = Session(trial, changed, session.device)
    summary = run_session(tried, stages=stages, observer=observer)
    new = tuple(
        load_record(trial, r.name, sources[r.name], without=tried.stages_off()) for r in old
    )
    return Trial(trial.root, tuple(r.name for r in old), old, new, summary)


def adopted_changes(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the changes that the last trial of a session tried.

    Raises
    ------
    ProjectError
        There was none.
    """
    project = Project.open(directory)
    content = _mark(_beside(project))
    if content.get("of") != str(project.root):
        raise ProjectError(
            f"No settings were tried for {project.root}", hint="Use --test-on N first"
        )
    changes: Mapping[str, Mapping[str, Any]] = content["changes"]
    return {section: dict(entries) for section, entries in changes.items()}


def _beside(project: Project) -> Path:
    return project.root.with_name(f"{project.root.name}-trial")


def _mark(directory: Path) -> dict[str, Any]:
    try:
        content = json.loads((directory / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_mark(trial: Project, project: Project, changes: Changes) -> None:
    content = {"of": str(project.root), "changes": changes}
    write_text(trial.root / _MARK, json.dumps(content, ensure_ascii=False) + "\n")


def _empty_directory(project: Project) -> Project:
    directory = _beside(project)
    if directory.exists():
        if _mark(directory).get("of") != str(project.root) and any(directory.iterdir()):
            raise ProjectError(
                f"{directory} is no trial of this session, and would be replaced",
                hint="Move it away",
            )
        try:
            shutil.rmtree(directory)
        except OSError as error:
            raise OutputError(f"{directory} cannot be removed ({error.strerror})") from error
    trial = Project.create(directory)
    # At once: whatever happens next, the directory can be replaced by the next trial.
    _write_mark(trial, project, {})
    return trial


def _link_results(project: Project, trial: Project, name: str) -> None:
    """Link an exposure's sidecars and the files that they name."""
    for source in sorted((project.exposures / name).glob("*.json")):
        paths = [source]
        sidecar = read_sidecar(source)
        if sidecar is not None:
            paths += [project.locate(path) for path in sidecar.files.values()]
        for path in paths:
            _link_into(project, trial, path)
    _link_into(project, trial, project.masks / f"{name}_mask.mrc")


def _link_into(project: Project, trial: Project, source: Path) -> None:
    target = trial.root / source.relative_to(project.root)
    if not source.exists() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.is_symlink():
            target.symlink_to(os.path.realpath(source))
        else:
            os.link(source, target)
    except OSError:  # a file system without links
        try:
            shutil.copy2(source, target)
        except OSError as error:
            raise OutputError(f"{target} cannot be written ({error.strerror})") from error
