"""What a corrected movie is worth: flags for what went wrong."""

from __future__ import annotations

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.fourier import rfft2
from icefloe.motion.fit import FieldFit

__all__ = ["SIGNIFICANT", "judge", "shared_pattern"]

# Correlation of neighbouring frames, at frequencies where specimens have nothing, that says they
# share a pattern of the detector, or are the same frame.
_PATTERN, _IDENTICAL = 0.005, 0.99
SIGNIFICANT = 4.0
"""Standard deviations of the summed correlation below which frames share no signal."""
# A track this long, A, blurs the frames themselves.
_RUNAWAY = 200.0
# Less of a side than this seen by all frames.
_OVERLAP = 0.8


def shared_pattern(stack: AnyArray, gain: FloatArray, groups: list[AnyArray]) -> float:
    """Return the mean correlation of neighbouring groups of frames beyond 0.4 cycles/pixel.

    Specimens have nothing there: what frames share is the detector's pattern.

    Parameters
    ----------
    stack
        (F, ny, nx), raw counts.
    gain
        (ny, nx), zero at bad pixels.
    groups
        Frames of each group.
    """
    _, ny, nx = stack.shape
    if len(groups) < 2:
        return 0.0
    h, w = min(ny, 512) // 2 * 2, min(nx, 512) // 2 * 2
    y, x = (ny - h) // 2, (nx - w) // 2
    window = (slice(y, y + h), slice(x, x + w))
    ky, kx = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    ring = (ky**2 + kx**2 > 0.16) & (np.abs(ky) > 0.02) & (np.abs(kx) > 0.02)
    good = gain[window]
    hole = good == 0
    previous = None
    cross = power = 0.0
    for group in groups:
        total = sum(stack[f][window].astype(np.float32) for f in group) * good
        # The same holes in all frames would be a pattern.
        total[hole] = total[~hole].mean() if not hole.all() else 0.0
        values = rfft2(total)[ring]
        if previous is not None:
            cross += float(np.sum((values * previous.conj()).real, dtype=np.float64))
            power += 0.5 * float(
                np.sum(np.abs(values) ** 2 + np.abs(previous) ** 2, dtype=np.float64)
            )
        previous = values
    return cross / power if power else 0.0


def judge(fit: FieldFit, pattern: float, *, pixel_size: float, max_shift: float) -> list[str]:
    """Return flags that say what an alignment is worth.

    Parameters
    ----------
    fit
        The motion of the frames, or groups of frames, that were aligned.
    pattern
        From `shared_pattern`.
    pixel_size
        Of the frames, A.
    max_shift
        Largest shift looked for, A.
    """
    shifts = fit.field.global_shifts
    if len(shifts) < 2:
        return []
    if pattern > _IDENTICAL:
        return ["identical frames"]
    flags: list[str] = []
    if fit.significance < SIGNIFICANT:
        flags.append("the frames share no signal: motion is not reliable")
    steps = np.diff(shifts, axis=0) * pixel_size
    length = float(np.hypot(steps[:, 0], steps[:, 1]).sum())
    if length > _RUNAWAY:
        flags.append(f"large motion: {length:.0f} A")
    # Shifts are looked for about their mean.
    if np.abs(shifts - shifts.mean(axis=0)).max() * pixel_size > 0.95 * max_shift:
        flags.append(f"motion as large as the largest looked for, {max_shift:g} A either way")
    seen = 1 - np.ptp(shifts, axis=0) / np.array(fit.field.shape)
    if seen.min() < _OVERLAP:
        flags.append(
            f"out of view: {100 * float(np.prod(np.maximum(seen, 0))):.0f} % of the field is "
            "in all frames"
        )
    if pattern > _PATTERN:
        flags.append(f"fixed pattern: {100 * pattern:.1f} % of the noise is the same in all frames")
        if np.abs(shifts).max() < 0.25:
            flags.append("locked at zero: the frames may have moved unseen")
    return flags
