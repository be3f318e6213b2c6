"""Compares the settings with what was recorded with the movies, and says once what differs."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from icefloe.engine.facts import compare_facts
from icefloe.formats.acquisition import metadata_files
from icefloe.project.acquisition import load_acquisition, record_acquisition
from icefloe.project.sidecar import read_sidecar

if TYPE_CHECKING:
    from icefloe.engine.session import Session

__all__ = ["FactCheck"]


@dataclass
class FactCheck:
    """Records the metadata of movies, and compares them with the settings.

    Attributes
    ----------
    session
        The session.
    """

    session: Session
    _told: set[str] = field(default_factory=set)
    _listings: dict[Path, set[str]] = field(default_factory=dict)
    _news: list[str] = field(default_factory=list)

    def record(self, name: str, listed: str, *, fresh: bool = False) -> bool:
        """Read and record what lies beside a movie; return whether anything is known about it.

        Each directory is listed once, which is cheap for many movies; `fresh` looks again.
        """
        project = self.session.project
        if not fresh and not self._anything_beside(project.locate(listed)):
            return load_acquisition(project, name) is not None
        acquisition, problem = record_acquisition(project, name, project.locate(listed))
        if problem is not None and acquisition is None:
            self._tell("unreadable", f"the metadata of {name} cannot be used: {problem}")
        return acquisition is not None

    def _anything_beside(self, movie: Path) -> bool:
        directory = movie.parent
        if directory not in self._listings:
            self._listings[directory] = set()
            with suppress(OSError), os.scandir(directory) as entries:
                self._listings[directory] = {entry.name for entry in entries}
        return any(path.name in self._listings[directory] for path in metadata_files(movie))

    def compare(self, name: str, listed: str) -> None:
        """Compare the settings that hold for an exposure with its metadata."""
        project = self.session.project
        acquisition = load_acquisition(project, name)
        if acquisition is None:
            return
        sidecar = read_sidecar(project.sidecar(name, "import"))
        n_frames = None if sidecar is None else sidecar.numbers.get("n_frames")
        data = self.session.view(name, listed).settings.data
        found = compare_facts(data, project.locate(listed), acquisition, n_frames)
        for key, message in found.items():
            self._tell(key, message)

    def news(self) -> list[str]:
        """Return what was not said yet; each kind of difference is said once a run."""
        news, self._news = self._news, []
        return news

    def _tell(self, key: str, message: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._news.append(message)
