"""From files on the command line to exposures with unique names."""

from __future__ import annotations

import glob
from bisect import insort
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icefloe.errors import InputError
from icefloe.project import Project
from icefloe.project.layout import natural_key
from icefloe.project.lock import registry_lock

__all__ = ["expand_inputs", "exposure_stem", "register"]

# So many are put into an ordered list one by one sooner than all are ordered anew.
_FEW = 50


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
    new: dict[str, str] = {}
    for path in paths:
        listed = project.listed(path)
        if listed not in names:
            stem = exposure_stem(path)
            parent = Path(project.locate(listed)).parent.name
            candidates = [stem, f"{parent}_{stem}"]
            number = 2
            while candidates[0] in sources or candidates[0] in new:
                candidates.pop(0)
                if not candidates:
                    candidates.append(f"{stem}_{number}")
                    number += 1
            names[listed] = candidates[0]
            new[candidates[0]] = listed
        result.append(names[listed])
    # Also where nothing is new: a lost list may have been put together again from the sidecars.
    project.write_registry(_merged(sources, new), ordered=True)
    return result


def _merged(sources: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Return both in natural order; `sources` is in that order.

    While movies come one by one there are many of them and one new one.
    """

    def key(item: tuple[str, str]) -> Any:
        return natural_key(item[0])

    items = list(sources.items())
    if len(new) > _FEW:
        return dict(sorted([*items, *new.items()], key=key))
    for item in new.items():
        insort(items, item, key=key)
    return dict(items)
