"""From files on the command line to exposures with unique names."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from icefloe.errors import InputError
from icefloe.project import Project
from icefloe.project.layout import natural_key
from icefloe.project.lock import registry_lock

__all__ = ["expand_inputs", "exposure_stem", "register"]


def expand_inputs(patterns: Sequence[str | Path]) -> list[Path]:
    """Return the files that names and glob patterns mean, in natural order, each once.

    Parameters
    ----------
    patterns
        Files, or patterns such as ``movies/*.tiff``.

    Raises
    ------
    InputError
        A name is no file, or a pattern matches none.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        text = str(pattern)
        if Path(text).is_file():
            found[Path(text)] = None
            continue
        if Path(text).is_dir():
            raise InputError(
                f"{text} is a directory", "movies or micrographs", f"Give '{text}/*.tiff' or so"
            )
        matches = [p for p in map(Path, glob.glob(text, recursive=True)) if p.is_file()]  # noqa: PTH207
        if not matches:
            raise InputError(f"There is no file {text}", hint="Check the path")
        found.update(dict.fromkeys(matches))
    return sorted(found, key=lambda path: natural_key(str(path)))


def exposure_stem(path: Path) -> str:
    """Return a file's name without what says its format."""
    name = path.name
    for suffix in (".gz", ".bz2"):
        name = name.removesuffix(suffix)
    return Path(name).stem


def register(project: Project, paths: Sequence[Path]) -> list[str]:
    """Add files to the session and return the names of their exposures.

    A file that is known keeps its name. Where two have one name, the later one gets its
    directory's name in front, and a number if that is not enough.
    """
    with registry_lock(project):
        return _register(project, paths)


def _register(project: Project, paths: Sequence[Path]) -> list[str]:
    sources = project.read_registry()
    names = {source: name for name, source in sources.items()}
    result = []
    for path in paths:
        listed = project.listed(path)
        if listed not in names:
            stem = exposure_stem(path)
            parent = Path(project.locate(listed)).parent.name
            candidates = [stem, f"{parent}_{stem}"]
            number = 2
            while candidates[0] in sources:
                candidates.pop(0)
                if not candidates:
                    candidates.append(f"{stem}_{number}")
                    number += 1
            names[listed] = candidates[0]
            sources[candidates[0]] = listed
        result.append(names[listed])
    project.write_registry(dict(sorted(sources.items(), key=lambda item: natural_key(item[0]))))
    return result
