"""Detector defects: lists and maps, as a mask of the movie's frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icefloe._types import BoolArray
from icefloe.errors import DefectError, IcefloeError
from icefloe.formats.frames import open_binary
from icefloe.formats.movie import file_kind
from icefloe.formats.mrc import read_mrc
from icefloe.formats.tiff import read_tiff

__all__ = ["read_defects"]


def read_defects(path: str | Path, shape: tuple[int, int]) -> BoolArray:
    """Read a defect file as a mask, True where a pixel is bad.

    Parameters
    ----------
    path
        A map (MRC, also compressed, or TIFF, flipped in y like TIFF movies; nonzero is bad), a
        text of `x y width height` lines (MotionCor2), or SerialEM's text.
    shape
        Size of the movie's frames, (y, x).

    Raises
    ------
    DefectError
        A map of another size, a defect outside the frame, or text that is none of the formats.
    """
    kind = file_kind(path)
    if kind in ("mrc", "tiff"):
        return _read_map(path, kind, shape)
    with open_binary(path) as handle:
        data = handle.read()
    if b"\0" in data:
        raise DefectError(f"{path} is neither text nor MRC nor TIFF", "a defect list or map")
    lines = [line.split("#", 1)[0].split() for line in data.decode("latin-1").splitlines()]
    rows = [(number, words) for number, words in enumerate(lines, 1) if words]
    if any(words[0].startswith("CameraSize") for _, words in rows):
        return _serialem(path, rows, shape)
    return _boxes(path, rows, shape)


def _read_map(path: str | Path, kind: str, shape: tuple[int, int]) -> BoolArray:
    try:
        data, _ = read_mrc(path) if kind == "mrc" else read_tiff(path)
    except IcefloeError as error:
        raise DefectError(f"The defect map cannot be read: {error}") from error
    data = data[0] if data.ndim == 3 and len(data) == 1 else data
    if data.shape != tuple(shape):
        raise DefectError(
            f"The defect map {path} is {data.shape[::-1]} (columns, rows)",
            f"{tuple(shape)[::-1]} like the movie's frames",
        )
    return np.asarray(data != 0)


def _boxes(
    path: str | Path, rows: list[tuple[int, list[str]]], shape: tuple[int, int]
) -> BoolArray:
    mask = np.zeros(shape, bool)
    for number, words in rows:
        try:
            x, y, width, height = (int(float(word)) for word in words)
        except ValueError:
            raise DefectError(
                f"Line {number} of {path} is {' '.join(words)!r}", "four numbers: x y width height"
            ) from None
        if width < 1 or height < 1:
            raise DefectError(f"Line {number} of {path}: a box of {width} x {height}", "at least 1")
        _mark(mask, x, y, width, height, f"Line {number} of {path}")
    return mask


def _mark(mask: BoolArray, x: int, y: int, width: int, height: int, where: str) -> None:
    rows, columns = mask.shape
    if x < 0 or y < 0 or x + width > columns or y + height > rows:
        raise DefectError(
            f"{where}: the box at x {x}, y {y} of {width} x {height} is outside",
            f"a frame of {columns} columns and {rows} rows",
            "Is the list of another camera, or of a rotated frame?",
        )
    mask[y : y + height, x : x + width] = True


def _serialem(
    path: str | Path, rows: list[tuple[int, list[str]]], shape: tuple[int, int]
) -> BoolArray:
    """Read SerialEM's list, whose y counts from the top of the picture.

    It is written for the frames that it is saved with, so the RotationAndFlip that it records
    needs nothing done, as in IMOD's alignframes.
    """
    values: dict[str, list[tuple[str, list[int]]]] = {}
    for number, words in rows:
        where = f"Line {number} of {path}"
        try:
            values.setdefault(words[0], []).append((where, [int(word) for word in words[1:]]))
        except ValueError:
            raise DefectError(f"{where} is {' '.join(words)!r}", "a keyword and integers") from None

    def single(name: str) -> int:
        return (values.get(name, [("", [0])])[0][1] or [0])[0]

    columns, lines = single("CameraSizeX"), single("CameraSizeY")
    if columns < 1 or lines < 1:
        raise DefectError(f"{path} has no size of the camera", "CameraSizeX and CameraSizeY")
    mask = np.zeros((lines, columns), bool)
    # In a list scaled to super-resolution each bad pixel stands for a block of them.
    scaled = single("WasScaled")
    block = 1 if scaled <= 0 else 2 if scaled == 1 else 4
    for where, numbers in values.get("BadPixels", []):
        for x, y in _tuples(numbers, 2, where):
            _mark(mask, x, y, min(block, columns - x), min(block, lines - y), where)
    for where, numbers in values.get("BadColumns", []):
        for x in numbers:
            _mark(mask, x, 0, 1, lines, where)
    for where, numbers in values.get("BadRows", []):
        for y in numbers:
            _mark(mask, 0, y, columns, 1, where)
    for where, numbers in values.get("PartialBadColumn", []):
        for x, width, first, last in _tuples(numbers, 4, where):
            _mark(mask, x, first, width, last - first + 1, where)
    for where, numbers in values.get("PartialBadRow", []):
        for y, height, first, last in _tuples(numbers, 4, where):
            _mark(mask, first, y, last - first + 1, height, where)
    for where, numbers in values.get("UsableArea", []):
        for top, left, bottom, right in _tuples(numbers, 4, where):
            if bottom > 0 and right > 0:
                inside = np.zeros_like(mask)
                inside[top : bottom + 1, left : right + 1] = True
                mask |= ~inside
    return _rescaled(np.ascontiguousarray(mask[::-1]), shape, path)


def _tuples(numbers: list[int], length: int, where: str) -> list[list[int]]:
    if len(numbers) % length or not numbers:
        raise DefectError(f"{where} has {len(numbers)} numbers", f"a multiple of {length}")
    return [numbers[i : i + length] for i in range(0, len(numbers), length)]


def _rescaled(mask: BoolArray, shape: tuple[int, int], path: object) -> BoolArray:
    """Bring a mask of the whole camera to the frames of a binned or super-resolution movie."""
    have, want = mask.shape, (int(shape[0]), int(shape[1]))
    if have == want:
        return mask
    up, down = want[0] // have[0], have[0] // want[0]
    if up > 1 and want == (up * have[0], up * have[1]):
        return np.repeat(np.repeat(mask, up, axis=0), up, axis=1)
    if down > 1 and have == (down * want[0], down * want[1]):
        blocks: NDArray[np.bool_] = mask.reshape(want[0], down, want[1], down)
        return np.asarray(blocks.any(axis=(1, 3)))
    raise DefectError(
        f"{path} is for a camera of {have[1]} x {have[0]} (columns x rows)",
        f"{want[1]} x {want[0]} like the movie's frames, or an exact multiple",
        "Is it the list of another camera, or of a rotated frame?",
    )
