"""Where the index lies, who may write it, and how it is thrown away."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icefloe.project.layout import Project

__all__ = ["MADE_AGAIN", "UselessIndexError", "index_path", "one_writer", "throw_away"]

MADE_AGAIN = "{} {}; it is made again from the session's files"


class UselessIndexError(Exception):
    """Why an index is of no use."""


def index_path(project: Project) -> Path:
    """Return where the index lies."""
    return project.root / "index.sqlite"


@contextmanager
def one_writer(project: Project) -> Iterator[None]:
    """Hold the lock of those who write the index."""
    with (project.root / ".index.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def throw_away(project: Project) -> None:
    """Remove the index and what SQLite keeps beside it; call it while holding the lock."""
    path = index_path(project)
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
