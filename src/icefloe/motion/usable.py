"""Which frames of a movie can be used: not the empty, saturated or repeated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.errors import EmptyMovieError, InputError

__all__ = ["FrameCheck", "check_frames", "number_ranges", "runs"]

# Counts relative to the dose, in units of the median frame's. Beyond the outer pair a frame is
# left out; beyond the inner pair its dose is not what was said.
_DARK, _DIM, _BRIGHT, _GLARING = 0.2, 0.67, 1.5, 3.0
# Part of a frame's pixels at the top of their type's range that is no longer a hot spot.
_CLIPPED, _BURNT = 0.01, 0.2
# Tops of counters: 4, 7, 8, 15 and 16 bits.
_TOPS = (15, 127, 255, 32767, 65535)
# Frames are judged by so many rows.
_ROWS = 256


@dataclass(frozen=True)
class FrameCheck:
    """What was found about the frames of a movie.

    Attributes
    ----------
    used
        (F,), bool, frames that are aligned and summed.
    dose_factors
        (F,), what the stated dose of each frame must be multiplied by: less than 1 where the beam
        was blanked, 1 elsewhere.
    flags
        What was found, in words.
    """

    used: BoolArray
    dose_factors: FloatArray
    flags: tuple[str, ...]


def check_frames(stack: AnyArray, expected: FloatArray, first: int = 1) -> FrameCheck:
    """Find frames that cannot be used.

    A frame is left out if it is constant (empty, or all pixels saturated), if more than a fifth of
    its pixels are at the top of their type's range, if its counts relative to its dose are
    below 0.2 or above 3 of the median frame's, or if it repeats the one before. Dim frames, below
    0.67, got as much less dose as they have fewer counts, whether used or not: the beam was
    blanked. What a saturated or repeated frame got is not known; its dose stays as stated.

    Parameters
    ----------
    stack
        (F, ny, nx), raw counts; some of the rows are read.
    expected
        (F,), dose of each frame as stated, in any unit.
    first
        Number of the first frame, for the flags.

    Raises
    ------
    EmptyMovieError
        All frames are constant.
    InputError
        A frame holds values that are not numbers.
    """
    n = len(stack)
    rows = slice(None, None, max(1, stack.shape[1] // _ROWS))
    level, constant, clipped = np.zeros(n), np.zeros(n, bool), np.zeros(n)
    repeated = np.zeros(n, bool)
    top = _top(stack[:, rows])
    before: AnyArray | None = None
    for f in range(n):
        sample = stack[f, rows]
        if sample.dtype.kind == "f" and not np.isfinite(sample).all():
            raise InputError(
                f"Frame {f + first} holds values that are not numbers",
                hint="Check or convert the movie",
            )
        constant[f] = sample.min() == sample.max()
        # The median of rows: a hot pixel must not make a frame bright.
        level[f] = np.median(sample.mean(axis=1, dtype=np.float64))
        if top is not None:
            clipped[f] = np.count_nonzero(sample == top) / sample.size
        if before is not None and not constant[f]:
            repeated[f] = np.array_equal(sample, before)
        before = sample
    if constant.all():
        raise EmptyMovieError(
            f"Every frame holds one value only ({stack.flat[0]:g})",
            "counts that differ from pixel to pixel",
            "Check the movie; the beam may have been blanked, or the camera saturated",
        )
    flags: list[str] = []
    if np.count_nonzero(repeated) == n - 1 > 0:
        # Nothing says which of them is real; `judge` flags them.
        repeated[:] = False
    normal = ~constant
    relative = _relative(level, expected, normal)
    burnt = clipped > _BURNT
    if np.count_nonzero(burnt & normal) > 0.5 * np.count_nonzero(normal):
        burnt[:] = False
    dark, glaring = relative < _DARK, relative > _GLARING
    # Empty frames have no level to be judged by, and a frame is named once.
    empty = constant & (relative < _DIM)
    flat = constant & ~empty
    saturated = (burnt | glaring) & ~constant
    dark &= ~constant
    repeated &= ~(saturated | dark)
    used = ~(constant | saturated | dark | repeated)
    for what, which in (
        ("empty", empty),
        ("almost empty", dark),
        ("one value in all pixels", flat),
        ("saturated or far too bright", saturated),
        ("the same as the frame before", repeated),
    ):
        if which.any():
            flags.append(f"left out: {number_ranges(np.flatnonzero(which) + first)} ({what})")
    some = used & (clipped > _CLIPPED)
    if some.any():
        flags.append(
            f"saturated: up to {100 * clipped[used].max():.0f} % of the pixels of "
            f"{number_ranges(np.flatnonzero(some) + first)} are at {top}, the top of their range"
        )
    uneven = used & ((relative < _DIM) | (relative > _BRIGHT))
    if uneven.any():
        flags.append(
            f"uneven counts: {number_ranges(np.flatnonzero(uneven) + first)} with "
            f"{relative[uneven].min():.2f} to {relative[uneven].max():.2f} of the others' for "
            "the same dose"
        )
    factors = np.where((relative < _DIM) & ~repeated, np.maximum(relative, 0.0), 1.0)
    return FrameCheck(used, factors, tuple(flags))


def runs(used: BoolArray) -> list[slice]:
    """Return the stretches of consecutive frames that are used."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], used, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def number_ranges(numbers: Sequence[int] | AnyArray) -> str:
    """Return "frame 3" or "frames 3, 7-9" for increasing numbers."""
    values = [int(v) for v in numbers]
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][-1] + 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    text = ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
    return f"{'frame' if len(values) == 1 else 'frames'} {text}"


def _top(sample: AnyArray) -> int | None:
    # The highest value, if it is one at which a counter stops.
    if sample.dtype.kind not in "ui":
        return None
    highest = int(sample.max(initial=0))
    return highest if highest in _TOPS else None


def _relative(level: FloatArray, expected: FloatArray, normal: BoolArray) -> FloatArray:
    dose = np.asarray(expected, dtype=np.float64)
    rate = np.divide(level, dose, out=np.zeros_like(level), where=dose > 0)
    usable = normal & (dose > 0)
    median = float(np.median(rate[usable])) if usable.any() else 0.0
    # A frame said to have no dose and found to have none is as expected: and of no use.
    return rate / median if median > 0 else np.ones_like(rate)
