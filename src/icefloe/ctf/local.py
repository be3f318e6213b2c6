"""The local CTF: defocus over the micrograph, tilt of the specimen, defocus of every particle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import AnyArray, FloatArray
from icefloe.ctf.local_fit import JointFit, Start, fit_surface
from icefloe.ctf.samples import Optics
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.surface import DefocusSurface
from icefloe.ctf.tiles import Tiles, cut_tiles
from icefloe.ctf.tilt import search_plane
from icefloe.optics import CtfParameters, wavelength

__all__ = ["NO_LOCAL_RINGS", "LocalCtf", "estimate_local_ctf", "local_defocus"]

# The flag of tiles that agree on no plane.
NO_LOCAL_RINGS = "no Thon rings in tiles"
# Falls of chi^2 from which a slope (two numbers: by chance in 3 of 10,000) and a curvature are
# believed.
_SIGNIFICANT, _CURVED = 16.0, 25.0
# Signal to noise from which tiles that agree on a plane are believed (docs/ctf_local.md).
_MIN_SNR = 10.0
# Least and largest side of a tile, A.
_LENGTH = (600.0, 1200.0)


@dataclass(frozen=True, eq=False)
class LocalCtf:
    """Defocus as a function of the place.

    Attributes
    ----------
    parameters
        The optics at the micrograph's centre.
    surface
        Mean defocus over the micrograph; constant where no slope is significant.
    tilt_angle, tilt_error
        Tilt of the fitted plane and its standard error, degrees; also where not significant.
    tilt_axis, axis_error
        Azimuth of the tilt axis, degrees from +x towards +y in (-180, 180]; the defocus grows in
        the direction ``tilt_axis + 90``. Its standard error is infinite without a tilt.
    defocus_error
        Standard error of the defocus at the centre, A.
    tilt_gain, curvature_gain
        Fall of chi^2 from a constant defocus to a plane, and from there to a curved surface.
    snr
        Signal to noise of all rings of all tiles.
    n_tiles
        Tiles fitted.
    flags
        What is doubtful; `NO_LOCAL_RINGS` marks a fit that must not be used.
    """

    parameters: CtfParameters
    surface: DefocusSurface
    tilt_angle: float
    tilt_error: float
    tilt_axis: float
    axis_error: float
    defocus_error: float
    tilt_gain: float
    curvature_gain: float
    snr: float
    n_tiles: int
    flags: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the tiles show no common rings."""
        return NO_LOCAL_RINGS in self.flags

    @property
    def significant(self) -> bool:
        """Whether the defocus varies over the micrograph beyond doubt."""
        found = self.tilt_gain > _SIGNIFICANT or self.curvature_gain > _CURVED
        return not self.failed and found

    def defocus_at(self, y: ArrayLike, x: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return defocus U and V, A, at pixels (y, x) of the micrograph; the angle is one."""
        mean = self.surface.at(y, x)
        half = 0.5 * self.parameters.astigmatism
        return mean + half, mean - half

    def numbers(self) -> dict[str, Any]:
        """Return the JSON-able figures; `local_defocus` reads them. None: no value."""
        plain = {
            "tilt_angle": self.tilt_angle,
            "tilt_error": self.tilt_error,
            "tilt_axis": self.tilt_axis,
            "tilt_axis_error": self.axis_error,
            "defocus_error": self.defocus_error,
            "tilt_gain": self.tilt_gain,
            "curvature_gain": self.curvature_gain,
            "astigmatism": self.parameters.astigmatism,
            "defocus_angle": self.parameters.defocus_angle,
        }
        out: dict[str, Any] = {
            k: float(v) if math.isfinite(v) and not self.failed else None for k, v in plain.items()
        }
        out |= {"snr": self.snr, "n_tiles": self.n_tiles, "significant": self.significant}
        out["surface"] = None if self.failed else self.surface.numbers()
        out["flags"] = list(self.flags)
        return out


def local_defocus(
    numbers: Mapping[str, Any], y: ArrayLike, x: ArrayLike
) -> tuple[FloatArray, FloatArray, float]:
    """Return defocus U and V, A, at pixels (y, x), and their angle, from `LocalCtf.numbers()`."""
    mean = DefocusSurface.from_numbers(numbers["surface"]).at(y, x)
    half = 0.5 * float(numbers["astigmatism"])
    return mean + half, mean - half, float(numbers["defocus_angle"])


def estimate_local_ctf(
    image: AnyArray,
    start: CtfParameters,
    *,
    pixel_size: float,
    settings: CtfSettings | None = None,
    trusted: bool = True,
) -> LocalCtf:
    """Return the defocus over a micrograph, fitted to the spectra of all tiles together.

    Parameters
    ----------
    image
        (ny, nx), any real type.
    start
        Of the global fit, `CtfResult.parameters`: optics, astigmatism, phase shift.
    pixel_size
        A.
    settings
        Choices of the global fit.
    trusted
        Whether the global fit found rings. If not, as of a strong tilt, only its optics are used.

    Raises
    ------
    InputError, SettingsError
        The micrograph or the resolution range cannot be cut into tiles.
    """
    choice = settings or CtfSettings()
    optics = Optics(start.voltage, start.cs, start.amplitude_contrast)
    tiles = _tiles(image, start, pixel_size, choice, trusted)
    own = _vector(start) if trusted else (0.0, 0.0)
    phase = start.phase_shift
    limits = (choice.defocus_min, choice.defocus_max)
    found = search_plane(tiles, optics, limits, choice.max_tilt, own, phase)
    known: list[Start] = [((start.defocus,), own)] if trusted else []
    plane = fit_surface(tiles, optics, [(found, own), *known], phase)
    refined: Start = (plane.surface.coefficients, plane.astigmatism)
    flat = fit_surface(tiles, optics, [refined, *known], phase, n_terms=1)
    curved = fit_surface(tiles, optics, [refined], phase, n_terms=6)
    return _judge(start, flat, plane, curved, len(tiles), choice)


def _tiles(
    image: AnyArray, start: CtfParameters, pixel_size: float, choice: CtfSettings, trusted: bool
) -> Tiles:
    low, high = choice.low_resolution, choice.high_resolution
    lam = wavelength(start.voltage)
    defocus = abs(start.defocus) if trusted else 20000.0
    # A tile must hold the autocorrelation of its rings, 2 lambda D k, four times.
    length = float(np.clip(8 * lam * defocus / (1.3 * high), *_LENGTH))
    rings = lam * defocus * (1 / high**2 - 1 / low**2)
    degree = int(np.clip(round(rings / 2) + 2, 3, 7)) if trusted else 5
    return cut_tiles(
        image,
        pixel_size,
        length=length,
        low_resolution=low,
        high_resolution=high,
        degree=degree,
    )


def _vector(p: CtfParameters) -> tuple[float, float]:
    half, angle = 0.5 * p.astigmatism, 2 * math.radians(p.defocus_angle)
    return half * math.cos(angle), half * math.sin(angle)


def _judge(
    start: CtfParameters,
    flat: JointFit,
    plane: JointFit,
    curved: JointFit,
    n_tiles: int,
    choice: CtfSettings,
) -> LocalCtf:
    tilt_gain = max(plane.gain - flat.gain, 0.0)
    curvature_gain = max(curved.gain - plane.gain, 0.0)
    flags: list[str] = []
    used = flat
    if plane.snr < _MIN_SNR:
        flags.append(NO_LOCAL_RINGS)
    elif curvature_gain > _CURVED:
        used = curved
    elif tilt_gain > _SIGNIFICANT:
        used = plane
    gy, gx = plane.surface.gradient
    slope2 = gy * gy + gx * gx
    covariance = plane.covariance[1:3, 1:3] / plane.surface.half**2
    along, across = np.array([gy, gx]), np.array([-gx, gy])
    size = math.sqrt(max(slope2, 1e-30))
    slope_error = math.sqrt(max(along @ covariance @ along, 0.0)) / size
    turn_error = math.sqrt(max(across @ covariance @ across, 0.0)) / size
    axis_error = math.degrees(math.atan(turn_error / size))
    if plane.surface.tilt > choice.max_tilt:
        flags.append("tilt beyond its limit")
    a, b = used.astigmatism
    half = math.hypot(a, b)
    coefficients = tuple(used.surface.coefficients)
    surface = DefocusSurface(
        coefficients if len(coefficients) > 1 else (*coefficients, 0.0, 0.0),
        used.surface.shape,
        used.surface.pixel_size,
    )
    centre = float(surface.at(0.5 * (surface.shape[0] - 1), 0.5 * (surface.shape[1] - 1)))
    parameters = CtfParameters(
        centre + half,
        centre - half,
        0.5 * math.degrees(math.atan2(b, a)),
        start.voltage,
        start.cs,
        start.amplitude_contrast,
        start.phase_shift,
    ).normalised()
    return LocalCtf(
        parameters=parameters,
        surface=surface,
        tilt_angle=plane.surface.tilt,
        tilt_error=math.degrees(slope_error / (1 + slope2)),
        tilt_axis=plane.surface.axis,
        axis_error=axis_error if tilt_gain > _SIGNIFICANT else math.inf,
        defocus_error=math.sqrt(used.covariance[0, 0]),
        tilt_gain=tilt_gain,
        curvature_gain=curvature_gain,
        snr=plane.snr,
        n_tiles=n_tiles,
        flags=tuple(flags),
    )
