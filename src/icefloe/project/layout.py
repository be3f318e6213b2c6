"""Where the files of a session lie."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from icefloe.errors import ProjectError
from icefloe.formats.atomic import output_directory, write_text

__all__ = ["OPTIONAL_STAGES", "STAGES", "Project"]

# In the order in which they run for each exposure.
STAGES = ("import", "motion", "ctf", "look", "pick", "extract")
# Added later: an exposure that was finished before it existed counts as finished without it.
OPTIONAL_STAGES = frozenset({"look"})

_REGISTRY_SCHEMA = 1

_Stamp = tuple[int, int, int, int]
# The list that was read or written last, by its file, and what that looked like then: a live run
# asks for it with each movie that comes.
_REGISTRIES: dict[Path, tuple[_Stamp, dict[str, str]]] = {}


@dataclass(frozen=True)
class Project:
    """A session directory.

    Attributes
    ----------
    root
        The directory, absolute.
    """

    root: Path

    @classmethod
    def create(cls, directory: str | Path) -> Project:
        """Return the project at `directory`, whose directories are made if they are missing.

        Raises
        ------
        OutputError
            The directory cannot be made or written.
        """
        project = cls(_absolute(directory))
        for path in (project.root, project.exposures, project.micrographs, project.picks):
            output_directory(path)
        for path in (project.particles, project.masks_found):
            output_directory(path)
        return project

    @classmethod
    def open(cls, directory: str | Path) -> Project:
        """Return the existing project at `directory`.

        Raises
        ------
        ProjectError
            It is not a session directory.
        """
        project = cls(_absolute(directory))
        if not project.settings_file.is_file():
            what = "is not there" if not project.root.exists() else "has no icefloe.toml"
            raise ProjectError(
                f"{directory} is not a session: it {what}",
                "a directory made by 'icefloe init' or 'icefloe run'",
                "Give the session's directory, or make one with 'icefloe init DIR'",
            )
        return project

    @property
    def settings_file(self) -> Path:
        """The settings, one commented TOML file."""
        return self.root / "icefloe.toml"

    @property
    def registry_file(self) -> Path:
        """The list of exposures and their files."""
        return self.root / "exposures.json"

    @property
    def exposures(self) -> Path:
        """One directory an exposure, with its sidecars and previews."""
        return self.root / "exposures"

    @property
    def micrographs(self) -> Path:
        """Micrographs and what belongs to them: spectra, CTF text."""
        return self.root / "micrographs"

    @property
    def picks(self) -> Path:
        """Coordinates, one STAR file a micrograph."""
        return self.root / "picks"

    @property
    def reference(self) -> Path:
        """The reference that picking made from the session's first exposures."""
        return self.picks / "reference"

    @property
    def masks(self) -> Path:
        """A person's masks of junk, NAME_mask.mrc; nothing is ever written here."""
        return self.picks / "masks"

    @property
    def masks_found(self) -> Path:
        """The masks that picking found, to look at or to copy and change."""
        return self.picks / "masks_found"

    @property
    def particles(self) -> Path:
        """Particle stacks, one a micrograph."""
        return self.root / "particles"

    @property
    def lock_file(self) -> Path:
        """Held by the run that works on this session."""
        return self.root / ".icefloe.lock"

    def sidecar(self, name: str, stage: str) -> Path:
        """Return the path of a stage's sidecar."""
        return self.exposures / name / f"{stage}.json"

    def listed(self, path: str | Path) -> str:
        """Return `path` as it is recorded: relative to the session if inside it, else absolute."""
        absolute = _absolute(path)
        if absolute.is_relative_to(self.root):
            return absolute.relative_to(self.root).as_posix()
        return str(absolute)

    def locate(self, listed: str | Path) -> Path:
        """Return the absolute path of a recorded one."""
        return self.root / listed

    def read_registry(self) -> dict[str, str]:
        """Return the recorded source path of every exposure, by name, in natural order.

        A lost or damaged list is put together again from the import sidecars.
        """
        stamp = _stamp(self.registry_file)
        if (known := self._known_registry(stamp)) is not None:
            return dict(known)
        try:
            content = json.loads(self.registry_file.read_text(encoding="utf-8"))
            sources = {str(k): str(v) for k, v in content["exposures"].items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            sources, stamp = self._registry_from_sidecars(), None
        ordered = dict(sorted(sources.items(), key=lambda item: natural_key(item[0])))
        _REGISTRIES.clear()
        if stamp is not None:
            _REGISTRIES[self.registry_file] = (stamp, dict(ordered))
        return ordered

    def write_registry(self, sources: Mapping[str, str], *, ordered: bool = False) -> None:
        """Record the source path of every exposure; a file that says so already is left alone.

        Parameters
        ----------
        sources
            By name.
        ordered
            They are in natural order: the next reading is spared.
        """
        if self._known_registry(_stamp(self.registry_file)) == dict(sources):
            return
        content = {"schema": _REGISTRY_SCHEMA, "exposures": dict(sources)}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        with suppress(OSError, ValueError):
            if self.registry_file.read_text(encoding="utf-8") == text:
                return
        write_text(self.registry_file, text)
        if not ordered:
            return
        # Another process may have written it since: it is remembered if it is still this one.
        stamp = _stamp(self.registry_file)
        with suppress(OSError, ValueError):
            same = self.registry_file.read_text(encoding="utf-8") == text
            if same and stamp is not None and stamp == _stamp(self.registry_file):
                _REGISTRIES.clear()
                _REGISTRIES[self.registry_file] = (stamp, dict(sources))

    def _known_registry(self, stamp: _Stamp | None) -> dict[str, str] | None:
        known = _REGISTRIES.get(self.registry_file)
        return known[1] if known is not None and known[0] == stamp else None

    def _registry_from_sidecars(self) -> dict[str, str]:
        from icefloe.project.sidecar import read_sidecar

        sources = {}
        if self.exposures.is_dir():
            for directory in self.exposures.iterdir():
                sidecar = read_sidecar(directory / "import.json")
                if sidecar is not None and sidecar.input is not None:
                    sources[directory.name] = sidecar.input.path
        return sources


def _stamp(path: Path) -> _Stamp | None:
    with suppress(OSError):
        status = path.stat()
        # A list that is written anew is another file.
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return None


def _absolute(path: str | Path) -> Path:
    # Not resolve(): a facility's links to its data are stable, what they point to is not.
    return Path(os.path.abspath(path))  # noqa: PTH100


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sorting key under which x2 comes before x10."""
    return tuple(
        (0, int(part)) if part.isdigit() else (1, part)
        for part in re.split(r"([0-9]+)", name)
        if part
    )
