"""TIFF movies and images.

Frames are flipped in y on reading: TIFF's first row is the top of the picture, MRC's the bottom.
RELION, IMOD and MotionCor2 do the same whatever the Orientation tag says, so gains, defects and
coordinates agree with theirs; `tests/test_formats_orientation.py` proves it against RELION.
"""

from __future__ import annotations

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
from icefloe.formats._tiff_pages import walk_pages
from icefloe.formats.atomic import atomic_path
from icefloe.formats.frames import RandomAccess
from icefloe.formats.mrc import unpack_nibbles

__all__ = ["TiffReader", "read_tiff", "write_tiff_movie"]

# (y, x) of frames that hold two 4-bit pixels a byte: nothing in the file says so, but no camera
# has this size otherwise. K3 and K2 in super-resolution, in both orientations.
_PACKED_SIZES = {(8184, 5760), (11520, 4092), (7676, 3710), (7420, 3838)}
_ANGSTROMS = {2: 2.54e8, 3: 1e8}  # resolution units: inch, cm


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
        import tifffile

        self.path, self.flip = Path(path), flip
        # tifffile only logs a link to a page beyond the end; here it is an error.
        file = RandomAccess(path)
        self._size = file.size
        try:
            walk_pages(file)
        finally:
            file.close()
        try:
            self._tiff = tifffile.TiffFile(self.path)
        except (tifffile.TiffFileError, OSError, ValueError) as error:
            raise UnsupportedFormatError(f"{path} is not a readable TIFF ({error})") from error
        self._tiff.filehandle.set_lock(True)  # several threads may read frames
        try:
            self._pages = self._checked_pages()
        except BaseException:
            self._tiff.close()
            raise
        page = self._pages[0]
        self._packed = page.dtype == np.uint8 and page.shape in _PACKED_SIZES
        rows, columns = page.shape
        self.shape = (rows, 2 * columns) if self._packed else (rows, columns)
        self.count = len(self._pages)
        self.dtype = np.dtype(page.dtype).newbyteorder("=")
        self.pixel_size = _pixel_size(page)
        self.frame_dose_factors = np.ones(self.count)
        self.details = {
            "format": "BigTIFF" if self._tiff.is_bigtiff else "TIFF",
            "compression": page.compression.name.lower(),
            "strips": str(len(page.dataoffsets)),
        }
        if self._packed:
            self.details["packing"] = "4 bits a pixel"

    def _checked_pages(self) -> list[Any]:
        import tifffile

        try:
            pages = list(self._tiff.pages)
        except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
            raise TruncatedFileError(
                f"{self.path}: a page cannot be read ({error})", hint="Copy the file again"
            ) from error
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
            if not ends or max(ends) > self._size or len(ends) != len(page.dataoffsets):
                raise TruncatedFileError(
                    f"{self.path} has {self._size} bytes, which end within frame {number + 1} "
                    f"of {len(pages)}",
                    f"{max(ends, default=0)} bytes",
                    "Copy the file again",
                )
        return pages

    def read(self, index: int) -> NDArray[Any]:
        """Return frame `index` in native byte order.

        Raises
        ------
        InputError
            Its data cannot be decoded.
        """
        try:
            image = self._pages[index].asarray()
        except Exception as error:  # the codecs raise what they like
            raise InputError(
                f"Frame {index + 1} of {self.path} cannot be decoded ({error})",
                hint="Copy the file again",
            ) from error
        image = np.asarray(image[::-1] if self.flip else image, dtype=self.dtype)
        if self._packed:
            return unpack_nibbles(image, self.shape[1])
        return np.ascontiguousarray(image)

    def close(self) -> None:
        """Let go of the file."""
        self._tiff.close()


def _pixel_size(page: Any) -> float | None:
    """Return the pixel size in A that SerialEM writes as resolution; a printer's dpi is none."""
    try:
        numerator, denominator = page.tags["XResolution"].value
        unit = _ANGSTROMS[int(page.tags["ResolutionUnit"].value)]
        size = unit * denominator / numerator
    except (KeyError, ZeroDivisionError, TypeError, ValueError):
        return None
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
        return reader.read(0), reader.pixel_size
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
