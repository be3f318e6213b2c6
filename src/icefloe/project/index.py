"""A cache of all sidecars in one SQLite file, for lists, queries and the page.

Files are the truth. The index is brought up to date whenever it is opened, by the size, times and
inode of each sidecar and by which files are there; it can be deleted at any time, and is thrown
away if it is damaged or of another version.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from icefloe.project.index_store import (
    MADE_AGAIN,
    UselessIndexError,
    index_path,
    one_writer,
    throw_away,
)
from icefloe.project.index_tables import SCHEMA, Index, Tell
from icefloe.project.layout import Project

__all__ = ["SCHEMA", "Index", "index_is_of_use", "index_path", "open_index"]

# Primary result codes of a file that is no index, or one that was damaged.
_DAMAGED = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_MISMATCH,
}


def index_is_of_use(project: Project) -> bool:
    """Return whether there is anything recorded that an index could hold."""
    if index_path(project).is_file():
        return True
    with suppress(OSError), os.scandir(project.exposures) as entries:
        return any(True for _ in entries)
    return False


@contextmanager
def open_index(project: Project, tell: Tell | None = None) -> Iterator[Index]:
    """Give the index of a session, brought up to date.

    Where it cannot be written (a session of someone else's, a full disk), it is made in memory.

    Parameters
    ----------
    project
        The session; a run may be working on it.
    tell
        Is told when an index was thrown away, or could not be written.
    """
    index = _opened(project, tell or _silent)
    with closing(index):
        yield index


def _silent(text: str) -> None:
    """Drop a message."""


def _opened(project: Project, tell: Tell) -> Index:
    for _ in range(2):
        try:
            with one_writer(project):
                index = Index(project, index_path(project), tell)
                try:
                    index.refresh()
                except BaseException:
                    index.close()
                    raise
                return index
        except UselessIndexError as found:
            reason = str(found)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code not in _DAMAGED:
                tell(f"The index cannot be written ({error}); the session's files are read instead")
                break
            reason = f"is damaged ({error})"
        except OSError as error:
            tell(f"The index cannot be written ({error}); the session's files are read instead")
            break
        tell(MADE_AGAIN.format(index_path(project).name, reason))
        try:
            with one_writer(project):
                throw_away(project)
        except OSError:
            break
    index = Index(project, None, tell)
    index.refresh()
    return index
