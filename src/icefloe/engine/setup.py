"""Opens or makes a session with changed settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icefloe.engine.pick_settings import PickSettings
from icefloe.engine.settings import SessionSettings
from icefloe.errors import ProjectError, SettingsError
from icefloe.project import Project, read_settings, write_settings
from icefloe.project.settings_check import build_settings

__all__ = [
    "Changes",
    "change_settings",
    "changed_settings",
    "first_settings",
    "open_or_create",
]

# New values by section and key.
Changes = Mapping[str, Mapping[str, Any]]

# Each of them gives the dose: whoever sets one means that the others no longer count.
_DOSES = ("dose_per_frame", "total_dose", "dose_file")
_FILES = {"data.gain", "data.defects", "data.dose_file", "pick.templates", "pick.model"}


def open_or_create(
    directory: Path, changes: Changes, *, may_create: bool
) -> tuple[Project, SessionSettings]:
    """Return the session at `directory` with `changes` made in its settings file.

    Raises
    ------
    ProjectError
        There is no session, and none may be made: nothing to put into it was given.
    SettingsError
        A change is unknown or out of range; nothing is written then.
    """
    if (directory / "icefloe.toml").is_file():
        project = Project.create(directory)  # directories that were removed are made again
        settings = read_settings(project.settings_file, SessionSettings)
        return project, change_settings(project, settings, changes) if changes else settings
    if not may_create:
        Project.open(directory)
        raise ProjectError(f"{directory} is not a session")
    project = Project(Project.create(directory).root)
    return project, change_settings(project, first_settings(), changes)


def first_settings() -> SessionSettings:
    """Return the settings that a new session begins with.

    Picking needs nothing of the user: by a network that learns the particle where torch is
    installed, by templates elsewhere. The settings file says which, so a session picks alike
    wherever it is gone on with.
    """
    from icefloe.network import network_installed

    pick = PickSettings(method="learn" if network_installed() else "auto")
    return SessionSettings(pick=pick)


def change_settings(
    project: Project, settings: SessionSettings, changes: Changes
) -> SessionSettings:
    """Write `settings` with `changes` to the session's file, and return them."""
    changed = changed_settings(project, settings, changes)
    write_settings(project.settings_file, changed)
    return changed


def changed_settings(
    project: Project, settings: SessionSettings, changes: Changes
) -> SessionSettings:
    """Return `settings` with `changes`.

    Files inside the session are named relative to it, so that it can be moved.

    Raises
    ------
    SettingsError
        A change is unknown or out of range.
    """
    content = settings.model_dump(mode="json")
    for section, entries in changes.items():
        target = content.setdefault(section, {})
        if not isinstance(target, dict):
            raise SettingsError(
                f"[[{section}]] cannot be set by an option",
                hint=f"Edit {project.settings_file}",
            )
        for key, value in entries.items():
            if section == "data" and key in _DOSES:
                target.update({other: None for other in _DOSES if other != key})
            if f"{section}.{key}" in _FILES and value:
                value = project.listed(project.locate(value))
            *inner, last = key.split(".")
            place = target
            for part in inner:
                place = place.setdefault(part, {})
            place[last] = value
    _imply_method(content.get("pick"), changes.get("pick", {}))
    _drop_limits(content.get("pick"), settings.pick, changes.get("pick", {}))
    return build_settings(SessionSettings, content, "These settings")


def _imply_method(pick: Any, changes: Mapping[str, Any]) -> None:
    """Choose the method that other changes mean where none is chosen."""
    if not isinstance(pick, dict) or "method" in changes:
        return
    if changes.get("templates"):
        pick["method"] = "template"
    elif changes.get("model"):
        pick["method"] = "network"
    elif changes.get("diameter") and pick.get("method") == "none":
        pick["method"] = first_settings().pick.method


def _drop_limits(pick: Any, before: PickSettings, changes: Mapping[str, Any]) -> None:
    """Forget limits of picks that were chosen for other scores, or for another threshold."""
    if not isinstance(pick, dict) or before.limits.none:
        return
    if any(key.startswith("limits") for key in changes):
        return
    if pick.get("method") != before.method:
        pick["limits"] = dict.fromkeys(type(before.limits).model_fields)
    elif any(key.endswith(".threshold") for key in changes):
        pick["limits"] = {**before.limits.model_dump(), "score": None}
