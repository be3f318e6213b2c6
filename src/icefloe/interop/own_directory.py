"""A directory that is written anew as a whole, and never at the cost of anybody else's files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icefloe.errors import OutputError, ProjectError
from icefloe.formats.atomic import output_directory

__all__ = ["replaced_directory"]

# Stands in the directory and lists what was written, so that nothing else is deleted.
_MANIFEST = ".written-by-icefloe"


@contextmanager
def replaced_directory(target: Path) -> Iterator[Path]:
    """Give a directory to write into, which takes the place of `target` at the end.

    If anything is raised inside, `target` stays as it was.

    Raises
    ------
    ProjectError
        `target` holds files that were not written so.
    OutputError
        It cannot be written.
    """
    _check_own(target)
    parent = target.parent
    for left in parent.glob(f".partial-*-{target.name}*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    temporary = parent / f".partial-{os.getpid()}-{target.name}"
    output_directory(temporary)
    try:
        yield temporary
        paths = sorted(p for p in temporary.rglob("*") if p.is_file())
        listed = "".join(f"{p.relative_to(temporary).as_posix()}\n" for p in paths)
        (temporary / _MANIFEST).write_text(listed, encoding="utf-8")
        _swap(temporary, target)
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_own(target: Path) -> None:
    """Refuse to replace a directory that holds anything that no export wrote."""
    if not target.exists():
        return
    try:
        own = set((target / _MANIFEST).read_text(encoding="utf-8").splitlines())
    except OSError:
        own = set()
    files = (p for p in target.rglob("*") if not p.is_dir())
    foreign = [n for p in files if (n := p.relative_to(target).as_posix()) not in own]
    foreign = sorted(n for n in foreign if n != _MANIFEST)
    if foreign:
        raise ProjectError(
            f"{target} holds files that this export did not write, such as {foreign[0]}",
            "a directory of its own, which it replaces as a whole",
            "Move them elsewhere; start RELION in the session's directory, not in relion/",
        )


def _swap(temporary: Path, target: Path) -> None:
    """Put the new directory in the place of the old one."""
    old = target.with_name(f".partial-{os.getpid()}-{target.name}-old")
    if target.exists():
        target.replace(old)
    temporary.replace(target)
    shutil.rmtree(old, ignore_errors=True)
