"""From the amplitudes of a large transform to those of a small box, without aliases.

The kernel is a raised cosine, whose Fourier transform, the lag window, is flat up to near the
longest autocorrelation length that the box can represent and zero beyond it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.fourier import is_tensor

__all__ = ["lag_window", "low_rows", "sample_half_plane"]

# Roll-off of the lag window: it is flat up to (1 - a) / (1 + a) of half the box.
_ROLL_OFF = 0.15
# Pixels of the box at which the kernel, by then below 0.002, is cut off.
_REACH = 16.0


def lag_window(lag: FloatArray, n: int, pixel_size: float) -> FloatArray:
    """Return what the smoothing leaves of ripples of a period ``1 / lag`` in frequency.

    Parameters
    ----------
    lag
        A, along an axis.
    n, pixel_size
        Side of the spectrum, pixels, and its effective pixel size, A.
    """
    end = 0.5 * n * pixel_size
    start = end * (1 - _ROLL_OFF) / (1 + _ROLL_OFF)
    position = np.clip((np.abs(lag) - start) / (end - start), 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * position))


def low_rows(size: int, kept: int, *, signed: bool = False) -> AnyArray:
    """Return the rows of the lowest frequencies, in the order of a transform, or their numbers."""
    rows = np.r_[0 : kept // 2, size - kept // 2 : size]
    return np.asarray(np.where(rows >= (size + 1) // 2, rows - size, rows) if signed else rows)


def sample_half_plane(
    amplitude: Tensor,
    padded: tuple[int, ...],
    kept: tuple[int, ...],
    pixel_size: float,
    box: int,
    effective: float,
) -> Tensor:
    """Return the amplitudes smoothed and sampled on the half plane (box, box // 2 + 1)."""
    length = box * effective
    step = [1 / (n * pixel_size) for n in padded]
    half_y, half_x = (n // 2 for n in kept)
    wy = _kernel(low_rows(box, box, signed=True), step[0] * length, -half_y, half_y - 1)
    # The order in which a transform has its rows.
    wy = wy[:, low_rows(kept[0], kept[0], signed=True) + half_y]
    wx = _kernel(np.arange(box // 2 + 1), step[1] * length, -half_x, half_x)
    positive, negative = wx[:, half_x:], wx[:, half_x - 1 :: -1]
    # |F(y, -x)| is |F(-y, x)|: negative columns are the positive ones with reversed rows.
    reverse = (-np.arange(box)) % box
    if is_tensor(amplitude):
        import torch

        wy, positive, negative = (
            torch.from_numpy(np.ascontiguousarray(w.toarray())).to(amplitude)
            for w in (wy, positive, negative)
        )
        reverse = torch.from_numpy(reverse).to(amplitude.device)
    rows = wy @ amplitude
    return (positive @ rows.T).T + (negative @ rows[reverse][:, 1:].T).T


def _kernel(to: AnyArray, ratio: float, first: int, last: int) -> Any:
    """Return the raised-cosine kernel as a sparse matrix whose rows sum to 1.

    Sparse products are as fast here as dense ones, and unlike those give the same bytes for any
    number of threads.

    Parameters
    ----------
    to
        Frequencies to sample at, in steps of the box.
    ratio
        Steps of the transform in steps of the box.
    first, last
        Frequencies of the transform, in its steps.
    """
    width = math.ceil(_REACH / ratio)
    nearest = np.rint(to / ratio).astype(np.intp)
    source = nearest[:, None] + np.arange(-width, width + 1)[None, :]
    x = (to[:, None] - source * ratio) / (1 + _ROLL_OFF)
    bottom = 1 - np.square(2 * _ROLL_OFF * x)
    # At the kernel's removable singularity the quotient tends to pi / 4.
    near = np.abs(bottom) < 1e-9
    shape = np.where(near, np.pi / 4, np.cos(np.pi * _ROLL_OFF * x) / np.where(near, 1, bottom))
    weights = np.where((source >= first) & (source <= last), np.sinc(x) * shape, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(to)), source.shape[1])
    columns = np.clip(source.ravel() - first, 0, last - first)
    return csr_matrix(
        (weights.ravel().astype(np.float32), (rows, columns)), (len(to), last - first + 1)
    )
