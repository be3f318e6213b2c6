"""Is there space for the next exposure's results?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from icefloe.errors import DiskFullError

if TYPE_CHECKING:
    from icefloe.engine.session import Session

__all__ = ["DiskSpace", "free_bytes"]


def free_bytes(directory: Path) -> int | None:
    """Return the space that a user may still fill; None if the file system does not say."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


@dataclass
class DiskSpace:
    """Watches the free space of a session's disk.

    Attributes
    ----------
    directory
        Where results go.
    keep_gb
        Space that is to stay free, GB; 0 watches nothing.
    free
        Returns the free space in bytes.
    """

    directory: Path
    keep_gb: float
    free: Callable[[Path], int | None] = free_bytes

    @classmethod
    def of(cls, session: Session) -> DiskSpace:
        """Return the watch that a session's settings ask for."""
        output = getattr(session.settings, "output", None)
        return cls(session.project.root, 0.0 if output is None else output.min_free_gb)

    def check(self) -> None:
        """Raise if there is too little.

        Raises
        ------
        DiskFullError
        """
        shortage = self.shortage()
        if shortage is not None:
            raise DiskFullError(
                f"The disk is nearly full: {shortage}",
                hint="Free some space and run the same command again; what is done is kept",
            )

    def shortage(self) -> str | None:
        """Return what is wrong, None while there is enough."""
        if self.keep_gb <= 0:
            return None
        free = self.free(self.directory)
        if free is None or free >= self.keep_gb * 1e9:
            return None
        return (
            f"{free / 1e9:.2f} GB are free on the disk of {self.directory}, less than the "
            f"{self.keep_gb:g} GB of output.min_free_gb"
        )
