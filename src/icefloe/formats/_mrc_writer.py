"""Write MRC images and stacks, with no time stamp: the same data gives the same bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import FrameShapeError, InputError
from icefloe.formats.atomic import atomic_path

__all__ = ["MrcStackWriter", "write_mrc"]

_HEADER_SIZE = 1024
_MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}
_LABEL = b"Written by Icefloe"
_BLOCK = 2**16  # pixels


def write_mrc(
    path: str | Path, data: NDArray[Any], pixel_size: float | None, *, float16: bool = False
) -> None:
    """Write an image (y, x) or a stack (n, y, x), whole or not at all.

    The same data gives the same bytes: there is no time stamp. Types that MRC lacks are widened:
    uint8 to uint16, larger integers and float64 to float32.

    Parameters
    ----------
    pixel_size
        In A; None or 0 leaves the cell empty.
    float16
        Write mode 12, half the size with 11 bits of precision.

    Raises
    ------
    InputError
        Data of another number of dimensions, without pixels, or too large for 16 bits.
    OutputError, DiskFullError
    """
    array = np.asarray(data)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise InputError(f"An array of shape {array.shape}", "(y, x) or (n, y, x) with pixels")
    images = array[None] if array.ndim == 2 else array
    dtype = np.dtype(np.float16) if float16 else _storable(array.dtype)
    with MrcStackWriter(path, images.shape[1:], pixel_size, dtype=dtype) as writer:
        for image in images:
            writer.append(image)


class MrcStackWriter:
    """Writes a stack image by image; the file appears when the `with` block ends well.

    Parameters
    ----------
    shape
        Size of each image, (y, x).
    pixel_size
        In A; None or 0 leaves the cell empty.
    dtype
        int8, int16, uint16, float16 or float32.
    """

    def __init__(
        self,
        path: str | Path,
        shape: tuple[int, ...],
        pixel_size: float | None,
        *,
        dtype: Any = np.float32,
    ) -> None:
        self.path, self.shape = Path(path), (int(shape[0]), int(shape[1]))
        self.pixel_size = float(pixel_size or 0.0)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        if self.dtype.str[1:] not in _MODES:
            raise InputError(f"MRC has no mode for {self.dtype}", f"one of {sorted(_MODES)}")
        self.count = 0
        self._minimum, self._maximum = np.inf, -np.inf
        self._mean, self._square, self._pixels = 0.0, 0.0, 0

    def __enter__(self) -> MrcStackWriter:
        self._context = _atomic_file(self.path)
        self._file = self._context.__enter__()
        self._file.write(bytes(_HEADER_SIZE))
        return self

    def append(self, image: NDArray[Any]) -> None:
        """Add one image.

        Raises
        ------
        FrameShapeError
            It has another size than the first.
        InputError
            Its values do not fit into 16 bits.
        """
        if image.shape != self.shape:
            raise FrameShapeError(f"An image of {image.shape}", f"{self.shape} like the others")
        # Some rows at a time: they stay in the cache, and no copy of the image is made.
        rows = max(1, _BLOCK // max(1, image.shape[1]))
        for first in range(0, image.shape[0], rows):
            block = image[first : first + rows]
            with np.errstate(over="ignore"):
                stored = np.ascontiguousarray(block, dtype=self.dtype)
            values = stored.astype(np.float64)
            low, high = float(values.min()), float(values.max())
            if (
                self.dtype.str[1:] == "f2"
                and not np.isfinite(low + high)
                and not np.array_equal(np.isinf(values), np.isinf(block))
            ):
                raise InputError(
                    f"{self.path}: values up to {float(np.nanmax(np.abs(image))):g} do not fit "
                    "into 16-bit floats",
                    "at most 65504",
                    "Write 32-bit floats",
                )
            self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
            self._add_moments(values)
            self._file.write(stored.data)
        self.count += 1

    def _add_moments(self, values: NDArray[np.float64]) -> None:
        # Running mean and sum of squared deviations, block by block (Chan et al. 1979).
        size, before = values.size, self._pixels
        with np.errstate(invalid="ignore"):  # infinities are the caller's to judge
            mean = float(values.mean())
            values -= mean
            square = float(np.square(values, out=values).sum())
        delta = mean - self._mean
        self._mean += delta * size / (before + size)
        self._square += square + delta * delta * before * size / (before + size)
        self._pixels = before + size

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._file.seek(0)
                self._file.write(self._header())
            except OSError as failure:
                self._context.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._context.__exit__(kind, error, trace)

    def _header(self) -> bytes:
        rows, columns = self.shape
        deviation = np.sqrt(self._square / max(1, self._pixels))
        statistics = (self._minimum, self._maximum, self._mean) if self.count else (0.0, -1.0, -2.0)
        header = bytearray(_HEADER_SIZE)
        struct.pack_into("<4i", header, 0, columns, rows, self.count, _MODES[self.dtype.str[1:]])
        struct.pack_into("<3i", header, 28, columns, rows, 1)
        cell = (columns * self.pixel_size, rows * self.pixel_size, self.pixel_size)
        struct.pack_into("<6f", header, 40, *cell, 90.0, 90.0, 90.0)
        struct.pack_into("<3i3f", header, 64, 1, 2, 3, *statistics)
        struct.pack_into("<i", header, 108, 20140)  # version of the format
        header[208:216] = b"MAP DD\0\0"
        struct.pack_into("<fi", header, 216, float(deviation), 1)
        header[224:304] = _LABEL.ljust(80)
        return bytes(header)


@contextmanager
def _atomic_file(path: Path) -> Iterator[BinaryIO]:
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        yield handle


def _storable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype == np.bool_:
        return np.dtype(np.int8)
    if dtype == np.uint8:
        return np.dtype(np.uint16)
    if dtype.str[1:] in _MODES:
        return dtype
    if dtype.kind in "iuf":
        return np.dtype(np.float32)
    raise InputError(f"Data of type {dtype}", "numbers that are not complex")
