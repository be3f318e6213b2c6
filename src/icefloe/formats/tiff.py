"""TIFF movies and images.

Frames are flipped in y on reading: TIFF's first row is the top of the picture, MRC's the bottom.
RELION, IMOD and MotionCor2 do the same whatever the Orientation tag says, so gains, defects and
coordinates agree with theirs; `tests/test_formats_orientation.py` proves it against RELION.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe._types import FrameSource
from icefloe.errors import (
    EmptyMovieError,
    FrameShapeError,
    InputError,
    TruncatedFileError,
    UnsupportedFormatError,
)
from icefloe.formats._tiff_lzw import lzw_pages
from icefloe.formats._tiff_pages import TiffPage, walk_pages
from icefloe.formats.atomic import atomic_path
from icefloe.formats.frames import RandomAccess
from icefloe.formats.mrc import unpack_nibbles

__all__ = ["TiffReader", "read_tiff", "write_tiff_movie"]

# (y, x) of frames that hold two 4-bit pixels a byte: nothing in the file says so, but no camera
# has this size otherwise. K3 and K2 in super-resolution, in both orientations.
_PACKED_SIZES = {(8184, 5760), (11520, 4092), (7676, 3710), (7420, 3838)}
_ANGSTROMS = {2: 2.54e8, 3: 1e8}  # resolution units: inch, cm
_X_RESOLUTION, _RESOLUTION_UNIT = 282, 296


class TiffReader:
    """Frames of a TIFF movie, one a page. See `FrameReader` for the attributes.

    Parameters
    ----------
    flip
        Flip in y, as all but EER's `.gain` files need.

    Raises
    ------
    TruncatedFileError, EmptyMovieError, FrameShapeError, UnsupportedFormatError, InputError
    """

    def __init__(self, path: str | Path, *, flip: bool = True) -> None:
        self.path, self.flip = Path(path), flip
        self._file = RandomAccess(path)
        self._tiff: Any = None
        try:
            # tifffile only logs a link to a page beyond the end; here it is an error.
            walked = walk_pages(self._file)
            self._lzw = lzw_pages(self._file, walked)
            self._pages: Sequence[Any] = self._lzw or self._library_pages()
            self._check_pages()
        except BaseException:
            self.close()
            raise
        page: Any = self._pages[0]
        self._packed = page.dtype == np.uint8 and page.shape in _PACKED_SIZES
        rows, columns = page.shape
        self.shape = (rows, 2 * columns) if self._packed else (rows, columns)
        self.count = len(self._pages)
        self.dtype = np.dtype(page.dtype).newbyteorder("=")
        self.pixel_size = _pixel_size(walked[0])
        self.frame_dose_factors = np.ones(self.count)
        big = self._file.read(2, 2).tobytes() in (b"+\0", b"\0+")
        self.details = {
            "format": "BigTIFF" if big else "TIFF",
            "compression": "lzw" if self._lzw else page.compression.name.lower(),
            "strips": str(len(page.dataoffsets)),
        }
        if self._packed:
            self.details["packing"] = "4 bits a pixel"

    def _library_pages(self) -> list[Any]:
        import tifffile

        try:
            self._tiff = tifffile.TiffFile(self.path)
        except (tifffile.TiffFileError, OSError, ValueError) as error:
            raise UnsupportedFormatError(f"{self.path} is not a readable TIFF ({error})") from error
        self._tiff.filehandle.set_lock(True)  # several threads may read frames
        try:
            return list(self._tiff.pages)
        except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
            raise TruncatedFileError(
                f"{self.path}: a page cannot be read ({error})", hint="Copy the file again"
            ) from error

    def _check_pages(self) -> None:
        pages, found = self._pages, self._file.size
        if not pages:
            raise EmptyMovieError(f"{self.path} has no pages", hint="Copy the file again")
        first = pages[0]
        if len(first.shape) != 2 or first.dtype is None or first.dtype.kind not in "iuf":
            raise UnsupportedFormatError(
                f"{self.path} has pages of shape {first.shape} and type {first.dtype}",
                "grey images of integers or floats",
            )
        for number, page in enumerate(pages):
            if page.shape != first.shape or page.dtype != first.dtype:
                raise FrameShapeError(
                    f"Frame {number + 1} of {self.path} is {page.shape} {page.dtype}",
                    f"{first.shape} {first.dtype} like the first",
                    "Remove the odd page, or take the movie out",
                )
            ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
            if not ends or max(ends) > found or len(ends) != len(page.dataoffsets):
                raise TruncatedFileError(
                    f"{self.path} has {found} bytes, which end within frame {number + 1} "
                    f"of {len(pages)}",
                    f"{max(ends, default=0)} bytes",
                    "Copy the file again",
                )

    def read_into(self, index: int, out: NDArray[Any]) -> None:
        """Fill `out`, (y, x), with frame `index`.

        Raises
        ------
        InputError
            Its data cannot be decoded.
        """
        if self._packed:
            packed = np.empty((self.shape[0], self.shape[1] // 2), np.uint8)
            self._decode(index, packed)
            unpack_nibbles(packed, out)
        else:
            self._decode(index, out)

    def _decode(self, index: int, out: NDArray[Any]) -> None:
        try:
            if self._lzw:
                self._lzw[index].decode(self._file, self.flip, out)
            else:
                image = self._pages[index].asarray(maxworkers=1)  # frames are the threads' work
                out[...] = image[::-1] if self.flip else image
        except Exception as error:  # the codecs raise what they like
            raise InputError(
                f"Frame {index + 1} of {self.path} cannot be decoded ({str(error).rstrip('.')})",
                hint="Copy the file again",
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        if self._tiff is not None:
            self._tiff.close()


def _pixel_size(page: TiffPage) -> float | None:
    """Return the pixel size in A that SerialEM writes as resolution; a printer's dpi is none."""
    resolution, unit = page.tags.get(_X_RESOLUTION), _ANGSTROMS.get(page.value(_RESOLUTION_UNIT))
    if unit is None or not isinstance(resolution, tuple) or len(resolution) != 2:
        return None
    numerator, denominator = resolution
    size = unit * denominator / numerator if numerator else 0.0
    return float(f"{size:.6g}") if 0.01 < size < 1000 else None


def read_tiff(path: str | Path, *, flip: bool = True) -> tuple[NDArray[Any], float | None]:
    """Read a TIFF of one page.

    Returns
    -------
    image
        (y, x) in the type of the file, flipped in y unless told otherwise.
    pixel_size
        In A, None where the file has none.

    Raises
    ------
    UnsupportedFormatError
        Several pages.
    TruncatedFileError, InputError
    """
    reader = TiffReader(path, flip=flip)
    try:
        if reader.count != 1:
            raise UnsupportedFormatError(f"{path} has {reader.count} pages", "one image")
        image = np.empty(reader.shape, reader.dtype)
        reader.read_into(0, image)
        return image, reader.pixel_size
    finally:
        reader.close()


def write_tiff_movie(path: str | Path, frames: FrameSource, pixel_size: float | None) -> None:
    """Write frames as LZW TIFF, flipped in y so that reading gives them back as they are.

    Parameters
    ----------
    frames
        (n, y, x) of 8- or 16-bit integers or float32, or any sequence of such frames.
    pixel_size
        In A, stored as resolution; None leaves it out.

    Raises
    ------
    EmptyMovieError, InputError, OutputError, DiskFullError
    """
    import tifffile

    if not len(frames):
        raise EmptyMovieError(f"No frames to write to {path}")
    first = frames[0]
    if first.dtype.kind not in "iuf" or first.dtype.itemsize > 4:
        raise InputError(f"Frames of {first.dtype}", "integers of 8 or 16 bits, or float32")
    options: dict[str, Any] = {}
    if pixel_size:
        options = {"resolution": (1e8 / pixel_size,) * 2, "resolutionunit": "CENTIMETER"}
    # LZW may grow the data of noise a little; classic TIFF ends at 4 GiB.
    big = len(frames) * first.nbytes > 3 * 2**30
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=big) as writer:
        for index in range(len(frames)):
            writer.write(
                np.ascontiguousarray(frames[index][::-1]),
                compression="lzw",
                photometric="minisblack",
                metadata=None,
                software="Icefloe",
                contiguous=False,
                rowsperstrip=_strip_rows(first),
                **options,
            )


def _strip_rows(frame: NDArray[Any]) -> int:
    # Strips of 256 kB: large enough to compress, small enough to decode several at once.
    return max(1, 2**18 // int(frame[0].nbytes))
