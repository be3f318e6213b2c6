"""The CTF of one micrograph: spectrum, search, refinement, and a judgement of the result."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from threadpoolctl import threadpool_limits

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.ctf.curves import Curves, make_curves
from icefloe.ctf.diagnostic import diagnostic_image
from icefloe.ctf.elsewhere import best_fit, extended_fit, found_elsewhere
from icefloe.ctf.judge import NO_RINGS, at_limit, believable, judge
from icefloe.ctf.quality import figure_of_merit, flattened, ice_ring_density, iciness
from icefloe.ctf.resolution import (
    aliasing_resolution,
    ctffind_resolution,
    fit_resolution,
    threshold_resolution,
)
from icefloe.ctf.samples import CROSS, WIDE_CROSS, Optics, take_samples
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.spectrum import Spectrum, amplitude_to_spectrum, power_spectrum
from icefloe.ctf.symptoms import STRONG_EDGE, find_symptoms
from icefloe.ctf.uncertainty import CtfErrors, errors_of
from icefloe.errors import SettingsError
from icefloe.optics import CtfParameters

__all__ = ["NO_RINGS", "CtfResult", "estimate_ctf", "estimate_ctf_from_spectrum"]

_FITTED = (
    "defocus_u", "defocus_v", "defocus_angle", "phase_shift", "astigmatism", "figure_of_merit",
    "fit_resolution", "fit_resolution_03", "fit_resolution_ctffind", "aliasing_resolution",
    "defocus_error", "defocus_u_error", "defocus_v_error", "astigmatism_error",
    "defocus_angle_error", "phase_shift_error",
)  # fmt: skip
# A; where rings end so early, they may be those of another defocus or phase.
_DOUBTFUL = 7.0
# Where rings go on beyond the fitted range, it ends a little beyond them.
_BEYOND = 0.9


@dataclass(frozen=True)
class CtfResult:
    """A fitted CTF and how far to trust it.

    Attributes
    ----------
    parameters
        The optics, U >= V, angle in (-90, 90] degrees.
    figure_of_merit
        Normalised correlation of the spectrum with ``|CTF|``, comparable with CTFFIND's.
    fit_resolution
        A; to where rings are fitted, gaps tolerated; infinite where there are none.
    fit_resolution_03
        A; where the local correlation falls below 0.3.
    fit_resolution_ctffind
        A; by the letter of CTFFIND's rule, which ends at the first dip.
    aliasing_resolution
        A; where rings become too narrow for the box; NaN if beyond Nyquist.
    errors
        Standard errors of the parameters.
    ice_ring
        RELION's rlnCtfIceRingDensity of our rotational average; NaN beyond Nyquist.
    iciness
        CTFFIND5's ratio of power at the ice ring; NaN beyond Nyquist.
    snr
        Signal to noise of all rings together.
    fitted_to
        A; fine end of the range that was fitted, beyond `high_resolution` where rings go on.
    pixel_size
        Pixel size of the micrograph, A.
    spectrum_pixel_size
        Effective pixel size of the spectrum, A.
    curves
        One-dimensional spectra.
    spectrum
        What was fitted.
    fitted_from
        A; the coarse limit of the fit.
    flags
        What is doubtful; `NO_RINGS` marks a fit that must not be used.
    advice
        What a person could change.
    """

    parameters: CtfParameters
    figure_of_merit: float
    fit_resolution: float
    fit_resolution_03: float
    fit_resolution_ctffind: float
    aliasing_resolution: float
    errors: CtfErrors
    ice_ring: float
    iciness: float
    snr: float
    fitted_to: float
    pixel_size: float
    spectrum_pixel_size: float
    curves: Curves
    spectrum: Spectrum = field(repr=False)
    fitted_from: float
    flags: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @cached_property
    def diagnostic(self) -> FloatArray:
        """Measured and fitted rings side by side, (n, n), float32."""
        low, flat = self.fitted_from, flattened(self.spectrum, self.fitted_from)
        p, high = self.parameters, self.fitted_to
        return diagnostic_image(self.spectrum, flat, p, self.curves, low, high)

    @property
    def defocus_error(self) -> float:
        """Standard error of the mean defocus, A."""
        return self.errors.defocus

    @property
    def failed(self) -> bool:
        """Whether no CTF was found."""
        return NO_RINGS in self.flags

    def numbers(self) -> dict[str, Any]:
        """Return the JSON-able figures; None stands for a value that does not exist.

        Of a failed fit all fitted values are None, so that none is taken for a result.
        """
        p = self.parameters
        plain = {
            "defocus_u": p.defocus_u,
            "defocus_v": p.defocus_v,
            "defocus_angle": p.defocus_angle,
            "phase_shift": p.phase_shift,
            "astigmatism": p.astigmatism,
            "figure_of_merit": self.figure_of_merit,
            "fit_resolution": self.fit_resolution,
            "fit_resolution_03": self.fit_resolution_03,
            "fit_resolution_ctffind": self.fit_resolution_ctffind,
            "aliasing_resolution": self.aliasing_resolution,
            "ice_ring": self.ice_ring,
            "iciness": self.iciness,
            "voltage": p.voltage,
            "cs": p.cs,
            "amplitude_contrast": p.amplitude_contrast,
            "pixel_size": self.pixel_size,
            "spectrum_pixel_size": self.spectrum_pixel_size,
            "snr": self.snr,
            "fitted_to": self.fitted_to,
            "defocus_error": self.errors.defocus,
            "defocus_u_error": self.errors.defocus_u,
            "defocus_v_error": self.errors.defocus_v,
            "astigmatism_error": self.errors.astigmatism,
            "defocus_angle_error": self.errors.angle,
            "phase_shift_error": self.errors.phase_shift,
        }
        out: dict[str, Any] = {k: _finite(v) for k, v in plain.items()}
        if self.failed:
            out |= dict.fromkeys(_FITTED)
        out["advice"] = list(self.advice)
        out["curves"] = {
            name: [_finite(round(float(v), 6)) for v in values]
            for name, values in asdict(self.curves).items()
        }
        return out


def estimate_ctf(
    image: AnyArray | Tensor,
    *,
    pixel_size: float,
    voltage: float = 300.0,
    cs: float = 2.7,
    amplitude_contrast: float = 0.1,
    settings: CtfSettings | None = None,
    device: str = "cpu",
) -> CtfResult:
    """Return the CTF of a micrograph.

    Parameters
    ----------
    image
        (ny, nx), any real type; best not dose weighted. An array or a tensor.
    pixel_size
        A.
    voltage, cs, amplitude_contrast
        kV, mm, fraction. Cs may be 0 (corrected microscopes).
    settings
        Choices; the defaults suit most single-particle data.
    device
        Where the transform runs; the fit itself is small and runs on the CPU.

    Raises
    ------
    InputError, SettingsError
        The image or a number cannot be used.
    FitError
        All pixels are equal.
    """
    choice = settings or CtfSettings()
    optics = _optics(voltage, cs, amplitude_contrast)
    spectrum = power_spectrum(image, pixel_size, choice.box, device)
    return _estimate(spectrum, optics, choice, pixel_size)


def estimate_ctf_from_spectrum(
    amplitude: AnyArray,
    *,
    pixel_size: float,
    voltage: float = 300.0,
    cs: float = 2.7,
    amplitude_contrast: float = 0.1,
    settings: CtfSettings | None = None,
) -> CtfResult:
    """Return the CTF of an amplitude spectrum, such as the sum that motion correction makes.

    Parameters
    ----------
    amplitude
        (n, n), even, zero frequency at [n // 2, n // 2], as in RELION's ``_PS.mrc``.
    pixel_size
        Effective pixel size of the spectrum, A; the frequency step is ``1 / (n * pixel_size)``.
    voltage, cs, amplitude_contrast, settings
        As for `estimate_ctf`; the spectrum's own size counts instead of `settings.box`.

    Raises
    ------
    InputError, SettingsError, FitError
        As `estimate_ctf`.
    """
    optics = _optics(voltage, cs, amplitude_contrast)
    spectrum = amplitude_to_spectrum(amplitude, pixel_size)
    return _estimate(spectrum, optics, settings or CtfSettings(), pixel_size)


def _optics(voltage: float, cs: float, amplitude_contrast: float) -> Optics:
    if not (math.isfinite(cs) and cs >= 0):
        raise SettingsError(f"The spherical aberration is {cs} mm", "zero or a positive number")
    if not 0 <= amplitude_contrast <= 1:
        raise SettingsError(
            f"The amplitude contrast is {amplitude_contrast}", "a fraction from 0 to 1"
        )
    return Optics(voltage, cs, amplitude_contrast)


def _estimate(
    spectrum: Spectrum, optics: Optics, settings: CtfSettings, pixel_size: float
) -> CtfResult:
    # With more threads BLAS rounds differently, and matrices of this size are slower.
    with threadpool_limits(1, "blas"):
        return _judged(spectrum, optics, settings, pixel_size)


def _judged(
    spectrum: Spectrum, optics: Optics, settings: CtfSettings, pixel_size: float
) -> CtfResult:
    low, high = settings.low_resolution, settings.high_resolution
    symptoms = find_symptoms(spectrum, low, high)
    cross = WIDE_CROSS if symptoms.edges > STRONG_EDGE else CROSS
    asked = samples = take_samples(spectrum, low, high, cross)
    fit = best_fit(samples, optics, settings)
    curves = make_curves(spectrum, fit.parameters, low)
    if settings.extend_range and believable(fit):
        seen = fit_resolution(curves, fit.parameters, low)
        if seen < high:
            wider = take_samples(spectrum, low, _BEYOND * seen, cross)
            again = extended_fit(wider, optics, settings, fit)
            if again is not fit:
                fit, samples = again, wider
                curves = make_curves(spectrum, fit.parameters, low)
    p = fit.parameters
    flat = flattened(spectrum, low)
    result = CtfResult(
        parameters=p,
        figure_of_merit=figure_of_merit(spectrum, flat, p, low, high),
        fit_resolution=fit_resolution(curves, p, low),
        fit_resolution_03=threshold_resolution(curves, low),
        fit_resolution_ctffind=ctffind_resolution(curves),
        aliasing_resolution=aliasing_resolution(curves, p),
        errors=errors_of(p, fit.covariance),
        ice_ring=ice_ring_density(spectrum, flat),
        iciness=iciness(spectrum),
        snr=fit.snr,
        pixel_size=pixel_size,
        spectrum_pixel_size=spectrum.pixel_size,
        curves=curves,
        fitted_to=samples.resolution,
        spectrum=spectrum,
        fitted_from=low,
    )
    trusted = believable(fit, result.figure_of_merit, result.fit_resolution)
    doubtful = not trusted or result.fit_resolution > _DOUBTFUL or at_limit(fit, settings)
    verdict = judge(
        fit,
        settings,
        symptoms,
        figure_of_merit=result.figure_of_merit,
        fit_resolution=result.fit_resolution,
        aliasing_resolution=result.aliasing_resolution,
        better=found_elsewhere(asked, optics, settings, fit) if doubtful else "",
    )
    return replace(result, flags=verdict.flags, advice=verdict.advice)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
