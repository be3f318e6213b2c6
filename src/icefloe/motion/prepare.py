"""What is done to a movie before it is aligned: checks, reading, gain and defects, binning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray, FrameSource, Tensor
from icefloe.errors import (
    DefectError,
    EmptyMovieError,
    FrameShapeError,
    GainShapeError,
    GainValueError,
    SettingsError,
)
from icefloe.fourier import is_tensor, to_numpy
from icefloe.kernels.frames import bin_frame, sum_frames
from icefloe.motion.settings import MotionSettings

__all__ = [
    "Loaded",
    "bin_factor",
    "bin_frames",
    "check_facts",
    "load_frames",
    "reference",
    "total_counts",
]

# A binned frame smaller than this holds too little to align.
_SMALLEST = 192


@dataclass(frozen=True)
class Loaded:
    """Frames in memory, and how many the movie has."""

    stack: AnyArray
    n_total: int


def check_facts(pixel_size: float, dose_per_frame: float, voltage: float) -> None:
    """Raise SettingsError unless pixel size, dose and voltage are positive numbers."""
    for what, value, unit in (
        ("pixel size", pixel_size, "A"),
        ("dose per frame", dose_per_frame, "e/A^2"),
        ("voltage", voltage, "kV"),
    ):
        if not (np.isfinite(value) and value > 0):
            raise SettingsError(f"The {what} is {value} {unit}", "a positive number")


def load_frames(frames: FrameSource | AnyArray, settings: MotionSettings) -> Loaded:
    """Read the frames that the settings ask for into one array (n, ny, nx)."""
    n_total = len(frames)
    if n_total == 0:
        raise EmptyMovieError("The movie has no frames", hint="Check that it was written whole")
    first, last = settings.first_frame, settings.last_frame or n_total
    if first > n_total or last > n_total:
        raise SettingsError(
            f"Frames {first} to {last} were asked for and the movie has {n_total}",
            f"frames between 1 and {n_total}",
        )
    if isinstance(frames, np.ndarray) and frames.ndim == 3:
        stack = frames[first - 1 : last]
        if stack.dtype.isnative and stack.dtype in _COUNTABLE:
            return Loaded(_unsigned(np.ascontiguousarray(stack)), n_total)
    probe = np.asarray(frames[first - 1])
    if probe.ndim != 2:
        raise FrameShapeError(f"A frame of shape {probe.shape}", "two dimensions (y, x)")
    dtype = probe.dtype.newbyteorder("=")
    if dtype not in _COUNTABLE:
        dtype = np.dtype(np.float32)
    out = np.empty((last - first + 1, *probe.shape), dtype)
    for i in range(len(out)):
        frame = probe if i == 0 else np.asarray(frames[first - 1 + i])
        if frame.shape != probe.shape:
            raise FrameShapeError(
                f"Frame {first + i} has shape {frame.shape}, the first {probe.shape}",
                "frames of one size",
            )
        out[i] = frame
    return Loaded(_unsigned(out), n_total)


_COUNTABLE = tuple(np.dtype(t) for t in (np.uint8, np.int8, np.uint16, np.int16, np.float32))


def _unsigned(stack: AnyArray) -> AnyArray:
    # The loops are compiled for every type they meet, which takes seconds. Counts are not
    # negative, so that three types do.
    if stack.dtype.kind != "i":
        return stack
    if int(stack.min(initial=0)) < 0:
        return stack.astype(np.float32)
    return stack.view(stack.dtype.str.replace("i", "u"))


def reference(
    gain: FloatArray | None, defects: BoolArray | None, shape: tuple[int, int]
) -> tuple[FloatArray, BoolArray]:
    """Return the gain, float32, and the pixels known to be bad, both (ny, nx)."""
    bad = np.zeros(shape, dtype=bool)
    gain32 = np.ones(shape, np.float32)
    if gain is not None:
        if gain.shape != shape:
            raise GainShapeError(
                f"The gain is {gain.shape[1]} x {gain.shape[0]} pixels and the frames are "
                f"{shape[1]} x {shape[0]}",
                "the same size",
                "Rotate it by 90 degrees, or use the gain of this detector mode",
            )
        gain32 = np.array(gain, dtype=np.float32)
        least, most = float(gain32.min()), float(gain32.max())
        if not np.isfinite(least + most) or least == most == 0:
            raise GainValueError(
                "The gain is zero everywhere"
                if least == most == 0
                else "The gain holds NaN or infinite values",
                "finite factors, zero only at bad pixels",
            )
        bad |= gain32 == 0
    if defects is not None:
        if defects.shape != shape:
            raise DefectError(
                f"The defect map is {defects.shape[1]} x {defects.shape[0]} pixels and the frames "
                f"are {shape[1]} x {shape[0]}",
                "the same size",
            )
        bad |= np.asarray(defects, dtype=bool)
    return gain32, bad


def total_counts(stack: Tensor) -> FloatArray:
    """Return the sum of raw frames (ny, nx), float32, on the host."""
    if is_tensor(stack):
        from icefloe.kernels.warp_torch import sum_frames_torch

        return np.asarray(to_numpy(sum_frames_torch(stack)))
    return np.asarray(sum_frames(stack))


def bin_factor(shape: tuple[int, int], pixel_size: float, target: float) -> int:
    """Return how many pixels a side go into a binned pixel of at most `target` A."""
    wanted = max(1, int(target / pixel_size + 1e-6))
    return max(1, min(wanted, min(shape) // _SMALLEST))


def bin_frames(
    stack: Tensor, gain: Tensor, bad: BoolArray, factor: int
) -> tuple[Tensor, FloatArray]:
    """Return binned frames (F, by, bx), float32, and the mean of each frame (F,).

    Bad pixels are left out, and the means of rows and columns are taken off the binned frames.
    """
    by, bx = bad.shape[0] // factor, bad.shape[1] // factor
    good = ~bad[: by * factor, : bx * factor]
    count = good.reshape(by, factor, bx, factor).sum(axis=(1, 3))
    inverse = np.where(count > 0, 1.0 / np.maximum(count, 1), 0.0).astype(np.float32)
    n = len(stack)
    if is_tensor(stack):
        import torch

        from icefloe.kernels.warp_torch import bin_frame_torch

        scale = torch.from_numpy(inverse).to(stack.device)
        binned: Tensor = torch.stack([bin_frame_torch(f, gain, scale, factor) for f in stack])
        hole = torch.from_numpy(count == 0).to(stack.device)
        means = np.asarray(to_numpy(binned[:, ~hole].mean(1, dtype=torch.float64)))
        if bool(hole.any()):
            for f in range(n):
                binned[f][hole] = float(means[f])
        binned -= binned.mean(1, keepdim=True)
        binned -= binned.mean(2, keepdim=True)
        return binned, means
    out = np.empty((n, by, bx), np.float32)
    means = np.empty(n)
    empty = count == 0
    for f in range(n):
        out[f] = bin_frame(stack[f], gain, inverse, factor)
        means[f] = out[f].mean(dtype=np.float64) / max(1e-12, float(np.mean(~empty)))
        if empty.any():
            out[f][empty] = means[f]
        # A row or column whose gain is off would hold the alignment at zero.
        out[f] -= out[f].mean(axis=0)
        out[f] -= out[f].mean(axis=1)[:, None]
    return out, means
