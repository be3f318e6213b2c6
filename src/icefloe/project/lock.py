"""One run at a time works on a session."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from icefloe.errors import OutputError, ProjectLockedError

if TYPE_CHECKING:
    from icefloe.project.layout import Project

__all__ = ["is_locked", "project_lock", "registry_lock"]

_LOOKS, _LOOK = 8, 0.05  # times, and seconds between


@contextmanager
def project_lock(project: Project) -> Iterator[None]:
    """Hold the session while the block runs.

    The operating system lets go of the lock when the process ends, however it ends; a lock file
    that a killed run left behind therefore does no harm.

    Raises
    ------
    ProjectLockedError
        Another run holds it; the message names its process and machine.
    OutputError
        The lock file cannot be written.
    """
    try:
        handle = project.lock_file.open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{project.lock_file} cannot be written ({error.strerror or error})",
            "a session directory that you may write to",
        ) from error
    with handle:
        try:
            _lock(handle)
        except OSError as error:
            handle.seek(0)
            raise ProjectLockedError(
                f"Another run works on {project.root}: {_holder(handle.read())}",
                hint="Wait until it ends, or stop it; what it finished is kept",
            ) from error
        handle.truncate(0)
        handle.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        handle.flush()
        yield


def _lock(handle: TextIO) -> None:
    """Lock a file; wait for those who only look (`is_locked`), which hold it for a moment."""
    for attempt in range(_LOOKS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == _LOOKS - 1:
                raise
            time.sleep(_LOOK)
        else:
            return


def is_locked(project: Project) -> bool:
    """Return whether a run works on the session, as far as this machine can tell."""
    try:
        with project.lock_file.open("r", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def registry_lock(project: Project) -> Iterator[None]:
    """Wait for, and hold, the list of exposures, so that two who add to it lose nothing.

    Raises
    ------
    OutputError
        The lock file cannot be written.
    """
    try:
        handle = (project.root / ".exposures.lock").open("a")
    except OSError as error:
        raise OutputError(
            f"{project.root} cannot be written ({error.strerror or error})",
            "a session directory that you may write to",
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _holder(text: str) -> str:
    try:
        content = json.loads(text)
        return f"process {content['pid']} on {content['host']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said who it is"
