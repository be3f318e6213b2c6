"""To which resolution Thon rings are fitted, by several rules, and what the box can show."""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.curves import Curves, local_correlation, ring_period
from icefloe.ctf.sampling import lag_window
from icefloe.optics import CtfParameters, wavelength

__all__ = ["aliasing_resolution", "ctffind_resolution", "fit_resolution", "threshold_resolution"]

# Rings count as fitted while they make up a quarter of the variance around a frequency.
_LEVEL = 0.5


def fit_resolution(curves: Curves, p: CtfParameters, low_resolution: float) -> float:
    """Return the resolution, A, to which the rings follow the fit; infinite if nowhere.

    The correlation is taken in windows twice as wide as those of `Curves.correlation` (four
    rings, or a twentieth of the box). The end is the last frequency at which it is 0.5 or more
    before a gap longer than a 25th of the box and one and a half rings. A shorter gap does not
    end the rings, if at least half its length of good correlation follows: form factors of
    particles have zeros, and a window of few values dips by chance.

    Parameters
    ----------
    curves, p
        Of the fit.
    low_resolution
        Where to start from, A, or at a tenth of the range.
    """
    n = 2 * (len(curves.frequency) - 1)
    step = float(curves.frequency[1])
    period = ring_period(curves.frequency, step, p)
    window = 2 * np.maximum(n / 40, 2 * period)
    good = local_correlation(curves.equiphase, curves.model, window) >= _LEVEL
    longest = np.maximum(n / 25, 1.5 * period)
    end: int | None = None
    run = 0
    for i in range(_start(curves, low_resolution), len(good)):
        run = run + 1 if good[i] else 0
        gap = 0 if end is None else i - run - end
        if good[i] and (end is None or 2 * run >= gap):
            end = i
        elif end is not None and gap > longest[i]:
            break
    return float("inf") if end is None else float(1 / curves.frequency[end])


def ctffind_resolution(curves: Curves) -> float:
    """Return the resolution, A, to which rings are fitted, by the letter of CTFFIND's rule.

    From a tenth of the range on: the frequency at which the correlation falls below 0.1, or
    below 0.5 after it was above 0.66; each once it has been above for more than 3 bins. Rohou &
    Grigorieff (2015), J. Struct. Biol. 192, 216. Infinite if that is at the start.
    """
    cc = curves.correlation
    first = max(1, len(cc) // 10)
    above_low = above_high = 0
    last = len(cc) - 1
    for i in range(first, len(cc)):
        if (above_low > 3 and cc[i] < 0.1) or (above_high > 3 and cc[i] < 0.5):
            last = i
            break
        above_low += int(cc[i] > 0.1)
        above_high += int(cc[i] > 0.66)
    if above_low <= 3:
        return float("inf")
    return float(1 / curves.frequency[last])


def threshold_resolution(
    curves: Curves, low_resolution: float, threshold: float = 0.3, bins: int = 3
) -> float:
    """Return where the correlation first stays below a threshold, A, as cryoSPARC and Warp say.

    Parameters
    ----------
    curves
        The curves.
    low_resolution
        A; where to start from, or at a tenth of the range, at the first correlation above.
    threshold
        Correlation.
    bins
        How many bins in a row must be below.
    """
    cc = curves.correlation
    start = _start(curves, low_resolution)
    above = np.flatnonzero(cc[start:] >= threshold)
    if not len(above):
        return float("inf")
    below = 0
    for i in range(start + int(above[0]), len(cc)):
        below = below + 1 if cc[i] < threshold else 0
        if below == bins:
            return float(1 / curves.frequency[i - bins + 1])
    return float(1 / curves.frequency[-1])


def aliasing_resolution(curves: Curves, p: CtfParameters) -> float:
    """Return the resolution, A, beyond which rings are narrower than the box can show.

    There the lag window of the spectrum leaves less than half of them: a ring, from maximum to
    maximum, takes 2.3 bins or fewer. NaN if that is beyond Nyquist. CTFFIND warns earlier, where
    extrema are fewer than 4 bins apart.
    """
    n = 2 * (len(curves.frequency) - 1)
    pixel_size = 0.5 / float(curves.frequency[-1])
    lam = wavelength(p.voltage)
    k = curves.frequency
    lag = 2 * lam * k * np.abs(p.defocus_u - lam**2 * p.cs * 1e7 * k * k)
    lost = np.flatnonzero(lag_window(lag, n, pixel_size) < 0.5)
    return float(1 / k[lost[0]]) if len(lost) else float("nan")


def _start(curves: Curves, low_resolution: float) -> int:
    """Return the first bin that is judged."""
    from_k: FloatArray = np.array(max(1 / low_resolution, 0.1 * float(curves.frequency[-1])))
    return int(np.searchsorted(curves.frequency, from_k))
