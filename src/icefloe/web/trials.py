"""Settings tried on a few exposures from the page, old and new side by side."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from icefloe.curation.measures import number_names, values_of
from icefloe.engine import Session
from icefloe.engine.setup import changed_settings
from icefloe.engine.trial import Trial, adopted_changes, run_trial
from icefloe.errors import IcefloeError, ProjectError
from icefloe.project import ExposureRecord, Project
from icefloe.project.records import Failure
from icefloe.project.sidecar import plain_json
from icefloe.web.numbers import describe
from icefloe.web.tools import SettingsIn, change

__all__ = ["AdoptIn", "TrialIn", "Trials"]


class TrialIn(BaseModel):
    """New settings to try, by section and key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    changes: Mapping[str, Mapping[str, Any]] = Field(min_length=1, max_length=40)
    count: int = Field(default=5, ge=1, le=50, description="Exposures.")


class AdoptIn(BaseModel):
    """Take over what was tried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    save: bool = Field(description="Write the settings, or only say what they make stale.")


class _CancelledError(Exception):
    """The person does not want the trial any more."""


class _Progress:
    """Counts what is done; what the engine tells while it works. Here it can be ended, too."""

    def __init__(self) -> None:
        self.done, self.total, self.now = 0, 0, ""
        self.cancelled = False

    def planned(self, total: int, todo: int) -> None:
        self.done, self.total = 0, todo

    def started(self, name: str, stage: str) -> None:
        if self.cancelled:  # no stage is begun any more; one at work is not cut short
            raise _CancelledError
        self.now = f"{name}: {stage}"

    def finished(self, name: str, failure: Failure | None, seconds: float) -> None:
        self.done = min(self.done + 1, self.total)

    def warned(self, message: str) -> None:
        self.now = message

    def making_reference(self, what: str) -> None:
        self.now = what


class Trials:
    """The last trial of a session; one at a time.

    Parameters
    ----------
    project
        The session. Its trial lies beside it, as that of ``icefloe run --test-on``.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._progress = _Progress()
        self._state, self._error = "none", ""
        self._trial: Trial | None = None
        self._changes: dict[str, dict[str, Any]] = {}

    def start(self, asked: TrialIn) -> None:
        """Begin a trial in the background.

        Raises
        ------
        ProjectError
            One is at work.
        SettingsError
            A change is unknown or out of range.
        """
        session = self._session()
        changes = {section: dict(entries) for section, entries in asked.changes.items()}
        changed_settings(self._project, session.settings, changes)  # complains at once
        with self._lock:
            if self._state == "running":
                raise ProjectError("A trial is at work already", hint="Wait for its end")
            self._state, self._error, self._trial = "running", "", None
            self._progress, self._changes = _Progress(), changes
        thread = threading.Thread(
            target=self._work, args=(session, changes, asked.count), name="trial", daemon=True
        )
        thread.start()

    def _session(self) -> Session:
        from icefloe.fourier import resolve_device

        return Session.open(self._project.root, resolve_device("auto"))

    def _work(self, session: Session, changes: dict[str, dict[str, Any]], count: int) -> None:
        try:
            trial = run_trial(session, changes, count, observer=self._progress)
            with self._lock:
                self._trial, self._state = trial, "done"
        except _CancelledError:
            with self._lock:
                self._state = "cancelled"
        except Exception as error:  # whatever it is, the page must hear of it
            text = str(error) if isinstance(error, IcefloeError) else f"{type(error).__name__}"
            with self._lock:
                self._state, self._error = "failed", text

    def cancel(self) -> None:
        """End the trial before its next stage; the session is as it was.

        Raises
        ------
        ProjectError
            None is at work.
        """
        with self._lock:
            if self._state != "running":
                raise ProjectError("No trial is at work")
            self._progress.cancelled = True
            self._progress.now = "ends after the stage that is at work"

    def state(self) -> dict[str, Any]:
        """Return how far it is, and once it is done the numbers before and after."""
        with self._lock:
            trial, progress = self._trial, self._progress
            found: dict[str, Any] = {
                "state": self._state,
                "error": self._error,
                "done": progress.done,
                "total": progress.total,
                "now": progress.now,
                "changes": self._changes,
            }
        if trial is not None:
            found |= _compared(trial)
        plain: dict[str, Any] = plain_json(found)
        return plain

    def record(self, name: str) -> tuple[Project, ExposureRecord, ExposureRecord] | None:
        """Return the trial's session, and an exposure before and after; None if it has none."""
        with self._lock:
            trial = self._trial
        if trial is None or name not in trial.names:
            return None
        place = trial.names.index(name)
        return Project(trial.directory), trial.old[place], trial.new[place]

    def adopt(self, *, save: bool) -> dict[str, Any]:
        """Make the tried settings the session's, or only say what that makes stale.

        Raises
        ------
        ProjectError
            Nothing was tried, or not to the end.
        """
        with self._lock:
            unfinished = self._state in ("running", "cancelled")
        if unfinished:
            raise ProjectError("The trial has not come to its end", hint="Try the settings again")
        changes = adopted_changes(self._project.root)
        return change(self._project, SettingsIn(changes=changes, save=save))


def _compared(trial: Trial) -> dict[str, Any]:
    records = [*trial.old, *trial.new]
    columns = [name for name in number_names(records) if describe(name).main]
    # Whatever else the changes moved is shown, too.
    for name in number_names(records):
        old, new = values_of(trial.old, name), values_of(trial.new, name)
        if name not in columns and not np.array_equal(old, new, equal_nan=True):
            columns.append(name)
    texts = [describe(name) for name in columns]
    return {
        "names": trial.names,
        "columns": [
            {"name": name, "label": text.label, "unit": text.unit, "about": text.about}
            for name, text in zip(columns, texts, strict=True)
        ],
        "old": [_finite(values_of(trial.old, name)) for name in columns],
        "new": [_finite(values_of(trial.new, name)) for name in columns],
        "failures": {r.name: r.failure.message for r in trial.new if r.failure is not None},
        "ran": trial.summary.ran,
    }


def _finite(values: Any) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in np.asarray(values, dtype=np.float64)]
