"""The CTF of one micrograph: spectrum, search, refinement, and a judgement of the result."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.ctf.curves import Curves, fit_resolution, make_curves, threshold_resolution
from icefloe.ctf.diagnostic import diagnostic_image
from icefloe.ctf.quality import figure_of_merit, flattened, ice_ring_density, iciness
from icefloe.ctf.refine import Fit, refine
from icefloe.ctf.samples import Optics, take_samples
from icefloe.ctf.search import search
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.spectrum import Spectrum, amplitude_to_spectrum, power_spectrum
from icefloe.errors import SettingsError
from icefloe.optics import CtfParameters

__all__ = ["NO_RINGS", "CtfResult", "estimate_ctf", "estimate_ctf_from_spectrum"]

# The flag of a spectrum without Thon rings; its defocus means nothing.
NO_RINGS = "no Thon rings"
# Of noise, of gradients, edges and particles without CTF the fit makes 1 to 6.5; of real
# micrographs 20 and more (docs/ctf.md).
_MIN_SNR = 9.0
_FITTED = (
    "defocus_u", "defocus_v", "defocus_angle", "phase_shift", "astigmatism", "figure_of_merit",
    "fit_resolution", "fit_resolution_03", "defocus_error",
)  # fmt: skip


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
        A; to where rings are fitted by CTFFIND's rule; NaN where there are none.
    fit_resolution_03
        A; where the local correlation falls below 0.3.
    defocus_error
        Standard error of the mean defocus, A.
    ice_ring
        RELION's rlnCtfIceRingDensity of our rotational average; NaN beyond Nyquist.
    iciness
        CTFFIND5's ratio of power at the ice ring; NaN beyond Nyquist.
    snr
        Signal to noise of all rings together.
    pixel_size
        Pixel size of the micrograph, A.
    spectrum_pixel_size
        Effective pixel size of the spectrum, A.
    curves
        One-dimensional spectra.
    diagnostic
        (n, n), float32: measured and fitted rings side by side.
    flags
        What is doubtful; `NO_RINGS` marks a fit that must not be used.
    """

    parameters: CtfParameters
    figure_of_merit: float
    fit_resolution: float
    fit_resolution_03: float
    defocus_error: float
    ice_ring: float
    iciness: float
    snr: float
    pixel_size: float
    spectrum_pixel_size: float
    curves: Curves
    diagnostic: FloatArray
    flags: tuple[str, ...] = ()

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
            "ice_ring": self.ice_ring,
            "iciness": self.iciness,
            "voltage": p.voltage,
            "cs": p.cs,
            "amplitude_contrast": p.amplitude_contrast,
            "pixel_size": self.pixel_size,
            "spectrum_pixel_size": self.spectrum_pixel_size,
            "defocus_error": self.defocus_error,
        }
        out: dict[str, Any] = {k: _finite(v) for k, v in plain.items()}
        if self.failed:
            out |= dict.fromkeys(_FITTED)
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
    low, high = settings.low_resolution, settings.high_resolution
    samples = take_samples(spectrum, low, high)
    starts = search(samples, optics, settings)
    fits = [refine(samples, optics, s, settings) for s in starts if s.score > 0.8 * starts[0].score]
    fit = max(fits, key=lambda f: f.snr)
    p = fit.parameters
    curves = make_curves(spectrum, p, low)
    flat = flattened(spectrum, low)
    result = CtfResult(
        parameters=p,
        figure_of_merit=figure_of_merit(spectrum, flat, p, low, high),
        fit_resolution=fit_resolution(curves),
        fit_resolution_03=threshold_resolution(curves, low),
        defocus_error=fit.defocus_error,
        ice_ring=ice_ring_density(spectrum, flat),
        iciness=iciness(spectrum),
        snr=fit.snr,
        pixel_size=pixel_size,
        spectrum_pixel_size=spectrum.pixel_size,
        curves=curves,
        diagnostic=diagnostic_image(spectrum, flat, p, curves, low, high),
    )
    return replace(result, flags=_flags(result, fit, settings))


def _flags(result: CtfResult, fit: Fit, settings: CtfSettings) -> tuple[str, ...]:
    p = result.parameters
    if fit.snr < _MIN_SNR or result.figure_of_merit <= 0:
        return (NO_RINGS,)
    flags = []
    margin = 1.5 * settings.defocus_step
    if not settings.defocus_min + margin < p.defocus < settings.defocus_max - margin:
        flags.append("defocus at the limit of the search")
    if p.astigmatism > settings.max_astigmatism:
        flags.append("astigmatism beyond its limit")
    if result.fit_resolution > 10:
        flags.append("rings fitted to a low resolution only")
    return tuple(flags)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
