"""What a corrected movie is worth: flags for what went wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import BoolArray, FloatArray
from icefloe.fourier import rfft2
from icefloe.motion.fit import FieldFit

__all__ = ["NO_PATTERN", "SIGNIFICANT", "Pattern", "judge", "shared_pattern"]

# A pattern of the detector weaker than this, relative to the counts, may be what a good gain left;
# a larger share of the frames' power than this says that they are the same frame.
_PATTERN, _IDENTICAL = 0.015, 0.99
_SURE = 6.0
# Side of the part of a frame in which it is looked for.
_WINDOW = 2048
SIGNIFICANT = 4.0
"""Standard deviations of the summed correlation below which frames share no signal."""
# A track this long, A, blurs the frames themselves.
_RUNAWAY = 200.0
# Less of a side than this seen by all frames.
_OVERLAP = 0.8


@dataclass(frozen=True)
class Pattern:
    """What all frames of a movie have in common where specimens have nothing.

    Attributes
    ----------
    share
        Part of a frame's power that is the same in all, from 0 to 1.
    rms
        Its standard deviation relative to the counts.
    sigma
        Its significance.
    """

    share: float
    rms: float
    sigma: float


NO_PATTERN = Pattern(0.0, 0.0, 0.0)


def shared_pattern(
    one: FloatArray, other: FloatArray, bad: BoolArray, frames: tuple[int, int]
) -> Pattern:
    """Return the pattern that two sums of frames share beyond 0.4 cycles/pixel.

    Sums, not single frames: the pattern grows with their number, and noise with its root only.

    Parameters
    ----------
    one, other
        (ny, nx), gain-corrected sums of the first and of the other frames.
    bad
        (ny, nx), pixels to leave out.
    frames
        How many are in each sum.
    """
    if min(frames) == 0:
        return NO_PATTERN
    h, w = (min(n, _WINDOW) // 2 * 2 for n in one.shape)
    y, x = ((n - size) // 2 for n, size in zip(one.shape, (h, w), strict=True))
    window = (slice(y, y + h), slice(x, x + w))
    ky, kx = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    ring = (ky**2 + kx**2 > 0.16) & (np.abs(ky) > 0.02) & (np.abs(kx) > 0.02)
    hole = bad[window]
    if hole.all():
        return NO_PATTERN
    spectra, level = [], 1.0
    for total in (one, other):
        part = total[window].copy()
        mean = float(part[~hole].mean(dtype=np.float64))
        # The same holes in all frames would be a pattern.
        part[hole] = mean
        spectra.append(rfft2(part)[ring])
        level *= mean
    cross = float(np.sum((spectra[0] * spectra[1].conj()).real, dtype=np.float64))
    powers = [float(np.sum(np.abs(f) ** 2, dtype=np.float64)) for f in spectra]
    if min(powers) == 0 or level <= 0:
        return NO_PATTERN
    number = int(np.count_nonzero(ring))
    correlation = cross / np.sqrt(powers[0] * powers[1])
    # Of frames with a share p in common, sums of m correlate by m p / (1 + (m - 1) p).
    m = np.sqrt(frames[0] * frames[1])
    share = correlation / (m - (m - 1) * correlation)
    rms = np.sqrt(max(cross, 0.0) / (number * h * w * level))
    # The real part of independent noise has half of the power.
    return Pattern(float(share), float(rms), float(correlation * np.sqrt(2 * number)))


def judge(fit: FieldFit, pattern: Pattern, *, pixel_size: float, max_shift: float) -> list[str]:
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
    if pattern.share > _IDENTICAL:
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
    if pattern.sigma > _SURE and pattern.rms > _PATTERN:
        flags.append(f"fixed pattern: {pattern.rms:.1%} RMS of the counts is in all frames")
        if np.abs(shifts).max() < 0.25:
            flags.append("locked at zero: the frames may have moved unseen")
    return flags
