"""Two fits of independent halves of the data, such as odd and even frames, as a check."""

from __future__ import annotations

from icefloe._types import AnyArray
from icefloe.ctf.estimate import estimate_ctf_from_spectrum
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.uncertainty import CtfErrors, half_difference
from icefloe.errors import FitError

__all__ = ["errors_from_halves"]


def errors_from_halves(
    first: AnyArray,
    second: AnyArray,
    *,
    pixel_size: float,
    voltage: float = 300.0,
    cs: float = 2.7,
    amplitude_contrast: float = 0.1,
    settings: CtfSettings | None = None,
) -> CtfErrors:
    """Return the standard errors of a CTF that two halves of the data make apparent.

    The noise of odd and of even frames is independent and their specimen is the same, so this is
    a check of the errors that a fit states which does not rely on the fit's model of the noise.
    It is one draw: the average over several micrographs tells.

    Parameters
    ----------
    first, second
        Amplitude spectra of the halves, each as for `estimate_ctf_from_spectrum`.
    pixel_size, voltage, cs, amplitude_contrast, settings
        As for `estimate_ctf_from_spectrum`.

    Raises
    ------
    FitError
        A half has no Thon rings.
    """
    fits = []
    for name, amplitude in (("first", first), ("second", second)):
        result = estimate_ctf_from_spectrum(
            amplitude,
            pixel_size=pixel_size,
            voltage=voltage,
            cs=cs,
            amplitude_contrast=amplitude_contrast,
            settings=settings,
        )
        if result.failed:
            raise FitError(f"The {name} half of the data has no Thon rings", "two fits to compare")
        fits.append(result)
    return half_difference(fits[0].parameters, fits[1].parameters)
