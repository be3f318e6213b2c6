"""The loop that turns one EER frame's bit stream into counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["add_eer_frame"]


@njit(cache=True, nogil=True)
def add_eer_frame(
    stream: NDArray[np.uint8],
    run_bits: int,
    x_bits: int,
    y_bits: int,
    wasteful: bool,
    columns: int,
    x_shift: int,
    y_shift: int,
    counts: NDArray[Any],
) -> int:
    """Add a frame's electrons to `counts`.

    A code is `run_bits` that say how many pixels to go on, then `x_bits` and `y_bits` that say
    where in the pixel the electron hit; the lowest bits come first. The largest run means "go on,
    no electron" and has no sub-pixel bits, unless the encoder was `wasteful`. The highest
    sub-pixel bit is inverted, since the sensor counts from the pixel's centre.

    Parameters
    ----------
    stream
        The frame's bytes.
    columns
        Pixels in a row of the sensor.
    x_shift, y_shift
        How far to shift the full sub-pixel position to the left (negative: to the right) to get
        to the grid of `counts`.
    counts
        Changed in place; its rows times columns, over both upsamplings, are the sensor's pixels.

    Returns
    -------
    The pixel at which the stream ended; the sensor's number of pixels if the frame is whole.
    """
    rendered_rows, rendered_columns = counts.shape
    x_up = rendered_columns // columns
    rows = rendered_rows // x_up
    total = rows * columns
    longest = (1 << run_bits) - 1
    x_mask = (1 << x_bits) - 1
    y_mask = (1 << y_bits) - 1
    x_flip = 1 << (x_bits - 1)
    y_flip = 1 << (y_bits - 1)
    sub_bits = x_bits + y_bits
    size = stream.size
    window = np.uint64(0)
    held = 0
    at = 0
    position = 0
    while position < total:
        while held <= 48 and at < size:
            window |= np.uint64(stream[at]) << np.uint64(held)
            held += 8
            at += 1
        if held < run_bits:
            return position
        run = int(window & np.uint64(longest))
        window >>= np.uint64(run_bits)
        held -= run_bits
        position += run
        if position >= total:
            break
        if run == longest and not wasteful:
            continue
        if held < sub_bits:
            return position
        sub = int(window & np.uint64((1 << sub_bits) - 1))
        window >>= np.uint64(sub_bits)
        held -= sub_bits
        if run == longest:
            continue
        x = ((position % columns) << x_bits) | ((sub & x_mask) ^ x_flip)
        y = ((position // columns) << y_bits) | (((sub >> x_bits) & y_mask) ^ y_flip)
        x = x << x_shift if x_shift >= 0 else x >> -x_shift
        y = y << y_shift if y_shift >= 0 else y >> -y_shift
        counts[y, x] += 1
        position += 1
    return position
