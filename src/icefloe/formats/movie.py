"""Open a movie of any format, by what is in the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import EmptyMovieError, UnsupportedFormatError
from icefloe.formats.frames import FrameReader, open_binary
from icefloe.formats.mrc import MrcReader, looks_like_mrc

__all__ = ["Movie", "file_kind", "open_movie"]


class Movie:
    """The frames of one movie, decoded one at a time when asked for.

    Use it as a context manager. Frames come in the convention of `docs/design.md`: TIFF flipped
    in y, MRC and EER as they are.

    Attributes
    ----------
    path
        The file.
    shape
        Size of a frame, (y, x).
    dtype
        Type of the counts, as in the file.
    pixel_size
        In A; None where the file has none. Of the rendered grid for EER.
    frame_dose_factors
        Dose of each frame in units of a full one, (n,); less than 1 for the shorter last fraction
        of an EER file.
    details
        Facts about the file for people to read.
    """

    def __init__(self, path: str | Path, reader: FrameReader) -> None:
        self.path = Path(path)
        self._reader = reader
        self.shape = reader.shape
        self.dtype = reader.dtype
        self.pixel_size = reader.pixel_size
        self.frame_dose_factors = reader.frame_dose_factors
        self.details = reader.details

    def __len__(self) -> int:
        return self._reader.count

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"frame {index} of a movie with {count}")
        frame = np.empty(self.shape, self.dtype)
        self._reader.read_into(index % count, frame)
        return frame

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def __enter__(self) -> Movie:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def read(self, threads: int = 1) -> NDArray[Any]:
        """Return all frames, (n, y, x), decoded by so many threads.

        Decompression lets go of Python's lock: 4k LZW frames decode about as many times faster.
        Each thread needs memory for one compressed frame besides.
        """
        from concurrent.futures import ThreadPoolExecutor

        stack = np.empty((len(self), *self.shape), self.dtype)

        def decode(index: int) -> None:
            self._reader.read_into(index, stack[index])

        with ThreadPoolExecutor(max(1, threads)) as pool:
            for _ in pool.map(decode, range(len(self))):
                pass
        return stack


def open_movie(
    path: str | Path,
    *,
    eer_upsampling: int = 1,
    eer_frames_per_fraction: int | None = None,
    eer_fractions: int | None = None,
    eer_dose_per_fraction: float | None = None,
    eer_total_dose: float | None = None,
) -> Movie:
    """Open an MRC, TIFF or EER movie.

    The format is told from the content, not from the name. The `eer_` arguments have no effect
    on other formats; see `icefloe.formats.eer.EerReader` for them.

    Raises
    ------
    UnsupportedFormatError, TruncatedFileError, EmptyMovieError, FrameShapeError, InputError
    """
    kind = file_kind(path)
    reader: FrameReader
    if kind == "mrc":
        reader = MrcReader(path)
    elif kind == "eer":
        from icefloe.formats.eer import EerReader

        reader = EerReader(
            path,
            upsampling=eer_upsampling,
            frames_per_fraction=eer_frames_per_fraction,
            fractions=eer_fractions,
            dose_per_fraction=eer_dose_per_fraction,
            total_dose=eer_total_dose,
        )
    elif kind == "tiff":
        from icefloe.formats.tiff import TiffReader

        reader = TiffReader(path)
    else:
        raise UnsupportedFormatError(
            f"{path} is not a movie ({kind})",
            "MRC (also .gz, .bz2), TIFF or EER",
            "Convert DM4 with IMOD's dm2mrc, HDF5 with EMAN2's e2proc2d.py",
        )
    return Movie(path, reader)


def file_kind(path: str | Path) -> str:
    """Return what a file's content is: mrc, tiff, eer, png, jpeg or another word.

    Raises
    ------
    EmptyMovieError
        The file has no bytes.
    InputError
        It cannot be read.
    """
    with open_binary(path) as handle:
        start = handle.read(1024)
    if not start:
        raise EmptyMovieError(f"{path} is empty (0 bytes)", hint="Copy the file again")
    for magic, kind in (
        (b"\x89PNG", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"\x1f\x8b", "mrc"),
        (b"BZh", "mrc"),
        (b"\x89HDF", "HDF5"),
        (b"ThermoFisherECCompr", "raw ECC, the predecessor of EER"),
        (b"\0\0\0\3\0\0\0", "DM3"),
        (b"\0\0\0\4\0\0\0", "DM4"),
    ):
        if start.startswith(magic):
            return kind
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        from icefloe.formats.eer import is_eer

        return "eer" if is_eer(path) else "tiff"
    suffix = Path(path).suffix.lower()
    if looks_like_mrc(start) or suffix in (".mrc", ".mrcs", ".st", ".map"):
        return "mrc"
    return "an unknown format"
