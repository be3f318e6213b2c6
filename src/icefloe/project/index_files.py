"""Lists a session's directories once, so that no file has to be asked for by itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icefloe.project.layout import STAGES, Project

__all__ = ["Listing", "Signature", "list_session"]

# Size, mtime_ns, ctime_ns and inode of a sidecar. Each is renamed into place, so that a new one
# has another inode; the times are only compared for being equal, never for which is later.
Signature = tuple[int, int, int, int]

_SIDECARS = {f"{stage}.json": stage for stage in STAGES}


@dataclass
class Listing:
    """What is on disk.

    Attributes
    ----------
    root
        The session's directory.
    sidecars
        By exposure and stage.
    files
        Paths relative to the session of all that is in the directories that were listed; links
        only if they lead to a file.
    directories
        Those that were listed.
    """

    root: str
    sidecars: dict[str, dict[str, Signature]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Return the recorded paths that are not there."""
        return [path for path in paths if path not in self.files and not self._outside(path)]

    def _outside(self, path: str) -> bool:
        directory = path.rpartition("/")[0]
        return directory not in self.directories and Path(self.root, path).exists()


def list_session(project: Project) -> Listing:
    """Return what is in the directories of a session's results."""
    listing = Listing(str(project.root))
    for directory in (project.micrographs, project.picks, project.particles):
        _list(listing, directory.name)
    exposures = project.exposures.name
    if project.exposures.is_dir():
        with os.scandir(project.exposures) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
        for name in names:
            _list(listing, f"{exposures}/{name}", listing.sidecars.setdefault(name, {}))
    return listing


def _list(listing: Listing, directory: str, sidecars: dict[str, Signature] | None = None) -> None:
    listing.directories.add(directory)
    try:
        entries = os.scandir(os.path.join(listing.root, directory))  # noqa: PTH118 (fast)
    except OSError:
        return
    with entries:
        for entry in entries:
            if entry.is_symlink() and not Path(entry.path).exists():
                continue
            listing.files.add(f"{directory}/{entry.name}")
            stage = _SIDECARS.get(entry.name)
            if sidecars is None or stage is None:
                continue
            try:
                status = entry.stat()
            except OSError:  # a run has just removed it
                continue
            sidecars[stage] = (
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
                status.st_ino,
            )
