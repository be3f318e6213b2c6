"""EER movies: every electron of Falcon 4 and its successors, one TIFF page a camera frame.

The decoder is our own, over the page offsets of the BigTIFF: camera frames are read one at a time
and summed into fractions, so a movie of thousands of frames needs the memory of one fraction.
Frames are not flipped in y.

Reference: Thermo Fisher Scientific, "EER file format" (the README of EerReaderLib); Guo et al.
(2020), IUCrJ 7, 860.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import (
    EmptyMovieError,
    FrameShapeError,
    SettingsError,
    TruncatedFileError,
    UnsupportedFormatError,
)
from icefloe.formats._tiff_pages import TiffPage, walk_pages
from icefloe.formats.frames import RandomAccess

__all__ = ["EerReader", "is_eer"]

_COMPRESSIONS = (65000, 65001, 65002)
_DEFAULT_FRACTIONS = 40
_COMPRESSION, _METADATA = 259, 65001
_RUN_BITS, _X_BITS, _Y_BITS = 65007, 65008, 65009


@dataclass(frozen=True)
class _Coding:
    """How a file's bit stream is cut up."""

    run_bits: int
    x_bits: int
    y_bits: int
    wasteful: bool


class EerReader:
    """Fractions of an EER movie. See `FrameReader` for the attributes.

    Parameters
    ----------
    upsampling
        1 renders the sensor's pixels (4K), 2 half pixels (8K), 4 quarter pixels (16K).
    frames_per_fraction
        Camera frames to sum; the remainder makes a shorter last fraction, whose entry in
        `frame_dose_factors` is less than 1.
    fractions
        Number of fractions, of equal length to within one camera frame. At most one of the three
        ways to group may be given; 40 fractions if none is.
    dose_per_fraction, total_dose
        Sum as many camera frames as come nearest to `dose_per_fraction`, in e/A^2, when the whole
        file has `total_dose`.

    Raises
    ------
    TruncatedFileError, EmptyMovieError, FrameShapeError, UnsupportedFormatError
    SettingsError
        Several ways to group, or numbers out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        upsampling: int = 1,
        frames_per_fraction: int | None = None,
        fractions: int | None = None,
        dose_per_fraction: float | None = None,
        total_dose: float | None = None,
    ) -> None:
        self.path = Path(path)
        if upsampling not in (1, 2, 4):
            raise SettingsError(f"EER upsampling {upsampling}", "1 (4K), 2 (8K) or 4 (16K)")
        self._file = RandomAccess(path)
        try:
            self._pages = self._frame_pages()
            self._coding = _coding(self._pages[0], path)
            if upsampling > 2 ** min(self._coding.x_bits, self._coding.y_bits):
                raise UnsupportedFormatError(
                    f"{path} holds positions of half pixels only", hint="Use an upsampling of 2"
                )
            self._bounds = _group(
                len(self._pages), frames_per_fraction, fractions, dose_per_fraction, total_dose
            )
        except BaseException:
            self._file.close()
            raise
        self.upsampling = upsampling
        rows, columns = self._pages[0].shape
        self.shape = (rows * upsampling, columns * upsampling)
        self.count = len(self._bounds) - 1
        lengths = np.diff(self._bounds)
        # A camera frame puts at most one electron into a pixel.
        self.dtype = np.dtype(np.uint8 if lengths.max() <= 255 else np.uint16)
        if frames_per_fraction is None and dose_per_fraction is None:
            self.frame_dose_factors = lengths / lengths.mean()
        else:
            self.frame_dose_factors = lengths / lengths.max()
        self.metadata = _metadata(self._file, self._pages)
        self.pixel_size = self._pixel_size()
        compression = self._pages[0].value(_COMPRESSION)
        self.details = {
            "format": "EER",
            "compression": f"{compression} ({self._coding.run_bits}-bit runs)",
            "camera frames": str(len(self._pages)),
        }
        if frames_per_fraction is not None or dose_per_fraction is not None:
            self.details["camera frames a fraction"] = str(int(lengths.max()))
        for name in ("exposureTime", "totalDose", "meanDoseRate"):
            if name in self.metadata:
                self.details[name] = self.metadata[name]

    def _frame_pages(self) -> list[TiffPage]:
        # The first page may be the camera's sum image, uncompressed.
        pages = [
            page for page in walk_pages(self._file) if page.value(_COMPRESSION, 1) in _COMPRESSIONS
        ]
        if not pages:
            raise EmptyMovieError(f"{self.path} has no EER frames")
        for number, page in enumerate(pages, 1):
            if page.shape != pages[0].shape:
                raise FrameShapeError(
                    f"Camera frame {number} of {self.path} is {page.shape}",
                    f"{pages[0].shape} like the first",
                )
            if page.end > self._file.size:
                raise TruncatedFileError(
                    f"{self.path} has {self._file.size} bytes, which end within camera frame "
                    f"{number} of {len(pages)}",
                    f"{page.end} bytes",
                    "Copy the file again",
                )
        return pages

    def _pixel_size(self) -> float | None:
        # In m, of the sensor's pixels.
        try:
            size = float(self.metadata["sensorPixelSize.width"]) * 1e10 / self.upsampling
        except (KeyError, ValueError):
            return None
        return float(f"{size:.6g}") if 0.01 < size < 1000 else None

    def read_into(self, index: int, out: NDArray[Any]) -> None:
        """Fill `out`, (y, x), with the counts of fraction `index`.

        Raises
        ------
        TruncatedFileError
            The bit stream of a camera frame does not end with the last pixel.
        """
        from icefloe.kernels.eer import add_eer_frame

        out[...] = 0
        coding, up = self._coding, self.upsampling.bit_length() - 1
        rows, columns = self._pages[0].shape
        for number in range(self._bounds[index], self._bounds[index + 1]):
            page = self._pages[number]
            stream = np.concatenate([self._file.read(offset, size) for offset, size in page.strips])
            end = add_eer_frame(
                stream,
                coding.run_bits,
                coding.x_bits,
                coding.y_bits,
                coding.wasteful,
                columns,
                up - coding.x_bits,
                up - coding.y_bits,
                out,
            )
            if end != rows * columns:
                raise TruncatedFileError(
                    f"Camera frame {number + 1} of {self.path} ends at pixel {end}",
                    f"{rows * columns}",
                    "Copy the file again",
                )

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def is_eer(path: str | Path) -> bool:
    """Say whether a TIFF holds EER frames: in its first page, or its second after a sum image."""
    file = RandomAccess(path)
    try:
        pages = walk_pages(file, limit=2, strict=False)
        return any(page.value(_COMPRESSION, 1) in _COMPRESSIONS for page in pages)
    finally:
        file.close()


def _coding(page: TiffPage, path: object) -> _Coding:
    compression = page.value(_COMPRESSION)
    if compression == 65000:  # the prototype wrote sub-pixel bits after every run
        return _Coding(8, 2, 2, wasteful=True)
    if compression == 65001:
        return _Coding(7, 2, 2, wasteful=False)
    coding = _Coding(
        int(page.value(_RUN_BITS, 7)),
        int(page.value(_X_BITS, 2)),
        int(page.value(_Y_BITS, 2)),
        wasteful=False,
    )
    if not (1 <= coding.run_bits <= 16 and 1 <= coding.x_bits <= 4 and 1 <= coding.y_bits <= 4):
        raise UnsupportedFormatError(f"{path} declares codes of {coding}", "1-16, 1-4 and 1-4 bits")
    return coding


def _group(
    count: int,
    frames_per_fraction: int | None,
    fractions: int | None,
    dose_per_fraction: float | None,
    total_dose: float | None,
) -> list[int]:
    """Return the first camera frame of each fraction, and their number as the last."""
    ways = (frames_per_fraction, fractions, dose_per_fraction)
    if sum(way is not None for way in ways) > 1:
        raise SettingsError(
            "Several ways to group EER frames", "frames per fraction, fractions, or a dose"
        )
    if dose_per_fraction is not None:
        if not total_dose or total_dose <= 0 or dose_per_fraction <= 0:
            raise SettingsError(
                f"EER grouping by {dose_per_fraction} e/A^2 of a total of {total_dose}",
                "both doses, positive",
            )
        frames_per_fraction = max(1, round(dose_per_fraction * count / total_dose))
    if frames_per_fraction is not None:
        if frames_per_fraction < 1:
            raise SettingsError(f"{frames_per_fraction} EER frames per fraction", "at least 1")
        return [*range(0, count, frames_per_fraction), count]
    number = min(count, _DEFAULT_FRACTIONS) if fractions is None else fractions
    if not 1 <= number <= count:
        raise SettingsError(f"{number} fractions of {count} EER frames", f"1 to {count}")
    return [index * count // number for index in range(number + 1)]


def _metadata(file: RandomAccess, pages: list[TiffPage]) -> dict[str, str]:
    """Return the items of the XML in the first page that has it."""
    for page in walk_pages(file, limit=1) + pages[:1]:
        text = page.bytes(_METADATA).decode("utf-8", "replace")
        items = re.findall(r'<item name="([^"]+)"[^>]*>([^<]*)</item>', text)
        if items:
            return dict(items)
    return {}
