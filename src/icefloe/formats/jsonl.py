"""Files of JSON lines to which lines are only added.

Lines are flushed to disk before the call returns. One that a crash cut short is passed over and
does no harm to those before and after it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from icefloe.errors import DiskFullError, OutputError

__all__ = ["append_lines", "read_lines"]


def append_lines(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Add one line an item, all in one write; other processes may add theirs at the same time.

    Raises
    ------
    DiskFullError, OutputError
        They cannot be written.
    """
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # A line that was cut short must not swallow the next one.
            size = handle.seek(0, os.SEEK_END)
            if size:
                handle.seek(size - 1)
                if handle.read(1) != b"\n":
                    text = "\n" + text
            handle.write(text.encode())
            handle.flush()
            os.fsync(handle.fileno())
        if is_new:
            _sync_directory(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"The disk is full: {path} could not be written",
                hint="Free some space and run the same command again; what is done is kept",
            ) from error
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error})",
            "a session directory that you may write to",
        ) from error


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return all items in order, and the number of lines that cannot be read.

    Raises
    ------
    OutputError
        There is a file, and it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror})") from error
    found, broken = [], 0
    for line in lines:
        if not line.strip():
            continue
        try:
            item = json.loads(line.decode())
        except ValueError:
            item = None
        if isinstance(item, dict):
            found.append(item)
        else:
            broken += 1
    return found, broken


def _sync_directory(directory: Path) -> None:
    # The name of a new file is safe only when its directory is on disk, too.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
