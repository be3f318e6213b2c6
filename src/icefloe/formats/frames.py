"""What every reader of movie frames offers, and helpers that they share."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import InputError, TruncatedFileError

__all__ = ["FrameReader", "RandomAccess", "open_binary"]


class FrameReader(Protocol):
    """Frames of one file, decoded one at a time when asked for; several threads may do so."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    count: int
    pixel_size: float | None
    frame_dose_factors: NDArray[np.float64]
    details: dict[str, str]

    def read_into(self, index: int, out: NDArray[Any]) -> None:
        """Fill `out`, C-contiguous (y, x) of the reader's shape and type, with frame `index`."""

    def close(self) -> None:
        """Let go of the file."""


def open_binary(path: str | Path) -> BinaryIO:
    """Open a file for reading.

    Raises
    ------
    InputError
        It is not there, is a directory or may not be read.
    """
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error


class RandomAccess:
    """Reads ranges of a file; several threads may do so at once.

    Not a memory map: a file that is cut or lost on a network disk while it is mapped kills the
    whole process, here it is an error.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_binary(path)
        self._lock = threading.Lock()
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """Return `count` bytes from `offset`.

        Raises
        ------
        TruncatedFileError
            The file ends before.
        """
        # np.empty would be filled even where the file is far too short for a nonsensical count.
        self._check(offset, count)
        data = np.empty(count, np.uint8)
        self.read_into(offset, data)
        return data

    def read_into(self, offset: int, out: NDArray[np.uint8]) -> None:
        """Fill `out`, contiguous bytes, from `offset`.

        Raises
        ------
        TruncatedFileError
            The file ends before.
        """
        self._check(offset, out.size)
        try:
            with self._lock:
                self._file.seek(offset)
                got = self._file.readinto(out.data)  # type: ignore[attr-defined]
        except OSError as error:
            raise InputError(f"{self.path} cannot be read ({error.strerror or error})") from error
        if got != out.size:
            raise TruncatedFileError(f"{self.path} got shorter while it was read")

    def _check(self, offset: int, count: int) -> None:
        if offset + count > self.size:
            raise TruncatedFileError(
                f"{self.path} ends at byte {self.size}",
                f"data up to byte {offset + count}",
                "Copy the file again",
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()
