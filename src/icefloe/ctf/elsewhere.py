"""Fits outside the range that was asked for: where rings go on, and where a fit has failed."""

from __future__ import annotations

import math

from icefloe.ctf.judge import believable
from icefloe.ctf.refine import Fit, refine
from icefloe.ctf.samples import Optics, Samples
from icefloe.ctf.search import Candidate, search
from icefloe.ctf.settings import CtfSettings

__all__ = ["best_fit", "extended_fit", "found_elsewhere"]

# A. The widest search.
_NEAREST, _FARTHEST = 1000.0, 90000.0
# A fit elsewhere has to be this much better than one that was found where it was asked for.
_BETTER = 1.15
# Standard errors, and A, by which a wider range may move the defocus.
_MOVED, _NEAR = 5.0, 50.0


def best_fit(samples: Samples, optics: Optics, settings: CtfSettings) -> Fit:
    """Return the best of the refined candidates of a search."""
    starts = search(samples, optics, settings)
    fits = [refine(samples, optics, s, settings) for s in starts if s.score > 0.8 * starts[0].score]
    return max(fits, key=lambda f: f.snr)


def extended_fit(samples: Samples, optics: Optics, settings: CtfSettings, fit: Fit) -> Fit:
    """Return the fit refined again with the samples of a wider range, if that is the same one.

    It is dropped where it has moved by more than its stated errors allow, or explains less.
    """
    p = fit.parameters
    start = Candidate(
        p.defocus, p.astigmatism, math.radians(p.defocus_angle), p.phase_shift, score=1.0
    )
    wider = refine(samples, optics, start, settings, rounds=3)
    error = math.sqrt(fit.covariance[0, 0])
    same = abs(wider.parameters.defocus - p.defocus) < max(_MOVED * error, _NEAR)
    return wider if same and wider.snr >= fit.snr and believable(wider) else fit


def found_elsewhere(samples: Samples, optics: Optics, settings: CtfSettings, fit: Fit) -> str:
    """Return what to change so that rings are found, as a sentence; '' if nothing helps.

    Tried in turn: the whole range of defocus, and a phase plate. A narrower range of resolution is
    not tried: what fits only there need not be rings.
    """
    needed = _BETTER * fit.snr if believable(fit) else 0.0

    def good(other: Fit) -> bool:
        return believable(other) and other.snr > needed

    wide = settings.model_copy(
        update={
            "defocus_min": min(_NEAREST, settings.defocus_min),
            "defocus_max": max(_FARTHEST, settings.defocus_max),
            "defocus_step": max(settings.defocus_step, 200.0),
        }
    )
    other = best_fit(samples, optics, wide)
    d = other.parameters.defocus
    if good(other) and not settings.defocus_min <= d <= settings.defocus_max:
        if d > settings.defocus_max:
            change = f"set defocus_max to {math.ceil(d / 900) * 1000:.0f} A"
        else:
            change = f"set defocus_min to {max(math.floor(d / 1100) * 1000, 500):.0f} A"
        return f"Rings fit a defocus of {d:.0f} A, outside the search: {change}"
    if not settings.phase_shift:
        plate = settings.model_copy(update={"phase_shift": True})
        other = best_fit(samples, optics, plate)
        if good(other):
            return (
                f"Rings fit with a phase shift of {other.parameters.phase_shift:.0f} degrees: was "
                "there a phase plate? Then set phase_shift"
            )
    return ""
