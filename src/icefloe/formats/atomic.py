"""Files that are either whole or not there.

Everything Icefloe writes goes to a temporary name in the same directory, is flushed to disk and
renamed; so a killed run never leaves a half file that looks finished.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from icefloe.errors import DiskFullError, OutputError

__all__ = ["atomic_path", "output_directory", "write_bytes", "write_text"]

_PREFIX = ".partial-"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name to write to; on success flush it and rename it to `path`.

    Raises
    ------
    DiskFullError, OutputError
        The file could not be written; nothing is left behind.
    """
    target = Path(path)
    # The suffix stays, since libraries choose the format by it.
    temporary = target.with_name(f"{_PREFIX}{os.getpid()}-{target.name}")
    try:
        try:
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _as_output_error(error, target) from error


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def output_directory(path: str | Path) -> Path:
    """Create a directory with its parents and check that files can be written there.

    Raises
    ------
    OutputError
        It cannot be created or written.
    """
    directory = Path(path)
    probe = directory / f"{_PREFIX}{os.getpid()}-probe"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _as_output_error(error, directory) from error
    return directory


def _as_output_error(error: OSError, target: Path) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"The disk is full: {target} could not be written",
            hint="Free some space and run the same command again; what is done is kept",
        )
    reason = error.strerror or str(error)
    return OutputError(
        f"{target} cannot be written ({reason})",
        "a directory that exists or can be made, on a disk that is not read-only",
        "Choose another --out, or change its permissions",
    )
