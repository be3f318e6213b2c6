"""Whether a fit may be believed, what is wrong with it, and what to change.

A fit is believed when its rings are seen in more than one place. Noise alone reaches a signal to
noise of 4 to 5, but bumps that are no Thon rings, such as the form factor of large particles in
focus, reach 14: they lie in one part of the range, whereas rings of a CTF fit everywhere. So
what counts is the signal to noise that is left without the best third of the rings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from icefloe.ctf.refine import Fit
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.symptoms import ONE_SIDED, STRONG_EDGE, Symptoms

__all__ = ["NO_RINGS", "Verdict", "at_limit", "believable", "judge", "supported_snr"]

# The flag of a spectrum without Thon rings; its defocus means nothing.
NO_RINGS = "no Thon rings"
# Noise has a support of 2 to 3.4; discs in focus have up to 4.5, and end before 10 A (docs/ctf.md).
_MIN_SNR, _MIN_SUPPORT = 6.5, 5.0
# Where the best third stands out, the others may be a little weaker.
_CLEAR_SNR, _CLEAR_SUPPORT = 9.0, 4.3
# Rings that reach no further than this, A, are believed with more support only.
_COARSE, _COARSE_SUPPORT = 10.0, 8.0
# Degrees and standard errors of a phase shift that was not fitted.
_PHASE, _PHASE_SIGMA = 15.0, 5.0
# Of the mean of exp(2 i azimuth): rings within 45 degrees to either side of an axis have 0.64.
_ONE_DIRECTION = 0.6
_SPOTS = 3
_FLAT = 0.04


@dataclass(frozen=True)
class Verdict:
    """What is doubtful about a fit (`flags`), and what a person could change (`advice`)."""

    flags: tuple[str, ...]
    advice: tuple[str, ...]


def supported_snr(fit: Fit) -> float:
    """Return the signal to noise of the rings without their best third."""
    lesser = sorted(fit.band_snr)[:2]
    return math.sqrt(max(sum(math.copysign(v * v, v) for v in lesser), 0.0))


def believable(fit: Fit, figure_of_merit: float = 1.0, fit_resolution: float = 0.0) -> bool:
    """Return whether the fit describes Thon rings and not noise or other structure."""
    support = supported_snr(fit)
    if figure_of_merit <= 0 or (fit_resolution > _COARSE and support < _COARSE_SUPPORT):
        return False
    return (fit.snr >= _MIN_SNR and support >= _MIN_SUPPORT) or (
        fit.snr >= _CLEAR_SNR and support >= _CLEAR_SUPPORT
    )


def at_limit(fit: Fit, settings: CtfSettings) -> str:
    """Return the name of the limit of the defocus search that the fit has run into, or ''."""
    margin = 1.5 * settings.defocus_step
    if fit.parameters.defocus < settings.defocus_min + margin:
        return "defocus_min"
    return "defocus_max" if fit.parameters.defocus > settings.defocus_max - margin else ""


def judge(
    fit: Fit,
    settings: CtfSettings,
    symptoms: Symptoms,
    *,
    figure_of_merit: float,
    fit_resolution: float,
    aliasing_resolution: float,
    better: str = "",
) -> Verdict:
    """Return flags and advice.

    Parameters
    ----------
    fit, settings, symptoms
        The best fit in the range asked for, that range, and what the spectrum looks like.
    figure_of_merit, fit_resolution, aliasing_resolution
        As in `CtfResult`.
    better
        What was found to fit better outside the range asked for, as a sentence; the fit itself is
        then not believed.
    """
    causes, remedies = _causes(fit, symptoms)
    if better or not believable(fit, figure_of_merit, fit_resolution):
        if not (better or causes or remedies):
            remedies = [
                "Look at the spectrum: without visible rings the exposure cannot be used; with "
                "them, check voltage, Cs and pixel size"
            ]
        return Verdict((NO_RINGS, *causes), tuple([better] if better else remedies))
    flags, advice = causes, remedies
    limit = at_limit(fit, settings)
    p = fit.parameters
    if limit:
        flags.append("defocus at the limit of the search")
        advice.append(
            f"Widen {limit}, now {getattr(settings, limit):.0f} A: the fit ends at "
            f"{p.defocus:.0f} A"
        )
    if p.astigmatism > settings.max_astigmatism:
        flags.append("astigmatism beyond its limit")
        advice.append(
            f"Raise max_astigmatism, now {settings.max_astigmatism:.0f} A, if "
            f"{p.astigmatism:.0f} A can be true"
        )
    if abs(fit.phase_offset) > max(_PHASE, _PHASE_SIGMA * fit.phase_offset_error):
        flags.append("rings out of phase")
        advice.append(
            f"A phase shift of about {fit.phase_offset % 180:.0f} degrees fits better: fit it "
            "(phase_shift) if there was a phase plate, else check voltage, Cs, amplitude contrast "
            "and pixel size"
        )
    if fit_resolution > _COARSE:
        flags.append("rings fitted to a low resolution only")
        advice.append(f"Set high_resolution to about {min(fit_resolution, 15):.0f} A")
    if aliasing_resolution > max(settings.high_resolution, 1.1 * fit_resolution) or (
        aliasing_resolution > 1.02 * settings.high_resolution
    ):
        advice.append(
            f"Rings beyond {aliasing_resolution:.1f} A are narrower than the box shows: use a "
            f"box of {_larger(settings.box, aliasing_resolution, settings.high_resolution)} pixels"
        )
    return Verdict(tuple(flags), tuple(advice))


def _larger(box: int, aliasing: float, wanted: float) -> int:
    """Return a box, a multiple of 128, that shows rings to the resolution wanted, A."""
    return min(128 * math.ceil(box * aliasing / wanted / 128), 2048)


def _causes(fit: Fit, symptoms: Symptoms) -> tuple[list[str], list[str]]:
    """Return what the spectrum itself says is wrong, and what follows."""
    flags, advice = [], []
    if symptoms.spots >= _SPOTS:
        if 2 * symptoms.ice_spots >= symptoms.spots:
            flags.append("lattice spots of crystalline ice")
            advice.append("Crystalline ice in view: leave the exposure out, or pick beside it")
        else:
            flags.append(f"lattice spots at {symptoms.spot_resolution:.1f} A")
    if fit.direction > _ONE_DIRECTION and fit.snr > _MIN_SUPPORT:
        flags.append("rings in one direction only: drift")
        advice.append("Drift during the exposure: look at its motion, and leave it out")
    elif symptoms.one_sided > ONE_SIDED and not believable(fit):
        flags.append("structure in one direction only: drift, or an edge across the view")
        advice.append("Look at the motion during the exposure, and at the image")
    if symptoms.edges > STRONG_EDGE and not believable(fit):
        flags.append("a strong edge or gradient, as of a grid bar or large shifts")
    if symptoms.relief < _FLAT and not (flags or believable(fit)):
        flags.append("nothing but noise: an empty or blocked view")
    return flags, advice
