"""One spectrum for a tilted micrograph, and the fit that it allows.

The tiles' spectra are stretched until their rings lie where those of the centre's defocus do, and
averaged; so curves, resolution and picture are those of a micrograph that is not tilted. As
CTFFIND5 does, whose stretch is ``sqrt(D_t / D)``; here the spherical aberration is in it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.fft
from scipy.ndimage import map_coordinates

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.ctf.estimate import CtfResult, estimate_ctf_from_spectrum
from icefloe.ctf.local import LocalCtf, estimate_local_ctf
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.spectrum import PIXEL_TARGET, Spectrum
from icefloe.ctf.surface import DefocusSurface
from icefloe.ctf.thickness import estimate_thickness
from icefloe.ctf.tiles import tile_starts
from icefloe.errors import InputError, SettingsError
from icefloe.fourier import get_threads, is_tensor, to_numpy
from icefloe.optics import CtfParameters, defocus_at_angle, good_size, wavelength

__all__ = ["corrected_spectrum", "further_numbers", "refine_locally"]

# A of defocus: tiles so close share one stretch, less than a tenth of a ring at 5 A and 300 kV.
_GROUP = 100.0


def refine_locally(
    result: CtfResult,
    image: AnyArray | Tensor,
    *,
    pixel_size: float,
    settings: CtfSettings | None = None,
) -> tuple[CtfResult, LocalCtf]:
    """Return the fit of a micrograph made again where tilt matters, and its local CTF.

    Where the defocus varies over the micrograph by more than half a ring at the fine limit of the
    fit, the spectrum is corrected for it and fitted again; so a tilted micrograph whose rings are
    washed out is recovered. Otherwise the result is returned as it came.

    Parameters
    ----------
    result
        Of `estimate_ctf`, also one that failed.
    image
        (ny, nx), any real type, array or tensor.
    pixel_size
        Of the image, A.
    settings
        As for `estimate_ctf`.
    """
    choice = settings or CtfSettings()
    data = to_numpy(image) if is_tensor(image) else np.asarray(image)
    local = estimate_local_ctf(
        data, result.parameters, pixel_size=pixel_size, settings=choice, trusted=not result.failed
    )
    p = local.parameters
    half_ring = 0.5 * choice.high_resolution**2 / wavelength(p.voltage)
    if not local.significant or _spread(local.surface) < half_ring:
        return result, local
    spectrum = corrected_spectrum(data, local.surface, p, choice.box)
    again = estimate_ctf_from_spectrum(
        spectrum.centred(),
        pixel_size=spectrum.pixel_size,
        voltage=p.voltage,
        cs=p.cs,
        amplitude_contrast=p.amplitude_contrast,
        settings=choice,
    )
    if again.failed or abs(again.parameters.defocus - p.defocus) > half_ring:
        return result, local
    return replace(again, pixel_size=result.pixel_size), local


def further_numbers(
    result: CtfResult,
    image: AnyArray | Tensor,
    *,
    pixel_size: float,
    settings: CtfSettings,
) -> tuple[CtfResult, dict[str, Any]]:
    """Return the fit and what the settings ask for beyond it, as JSON-able figures.

    ``local`` holds `LocalCtf.numbers()` and ``used``: whether particles get a defocus of their own;
    a micrograph that cannot be cut into tiles has a flag there instead. ``thickness`` holds
    `ThicknessFit.numbers()`. Both are left out where they are not asked for.

    Parameters
    ----------
    result
        Of `estimate_ctf`.
    image, pixel_size
        The micrograph, and its pixel size, A.
    settings
        `local` and `thickness` say what is asked for.
    """
    further: dict[str, Any] = {}
    data = to_numpy(image) if is_tensor(image) else np.asarray(image)
    if settings.local != "off":
        try:
            again, local = refine_locally(result, data, pixel_size=pixel_size, settings=settings)
            result = again
            wanted = settings.local == "on" or local.significant
            used = wanted and not result.failed and not local.failed
            further["local"] = {**local.numbers(), "used": used}
        except (InputError, SettingsError) as error:
            further["local"] = {"used": False, "significant": False, "flags": [str(error)]}
    if settings.thickness and not result.failed:
        low = settings.low_resolution
        fit = estimate_thickness(result.spectrum, result.parameters, low_resolution=low)
        further["thickness"] = fit.numbers()
    return result, further


def _spread(surface: DefocusSurface) -> float:
    """Return the range of defocus over the micrograph, A."""
    ny, nx = surface.shape
    y, x = np.meshgrid(np.linspace(0, ny - 1, 9), np.linspace(0, nx - 1, 9), indexing="ij")
    return float(np.ptp(surface.at(y, x)))


def corrected_spectrum(
    image: AnyArray, surface: DefocusSurface, parameters: CtfParameters, box: int
) -> Spectrum:
    """Return the mean spectrum of tiles, each stretched to the defocus of the centre.

    Parameters
    ----------
    image
        (ny, nx), any real type.
    surface
        Mean defocus over it.
    parameters
        At the centre.
    box
        Side of the spectrum, pixels.
    """
    pixel_size = surface.pixel_size
    tile = max(box, good_size(box * PIXEL_TARGET / pixel_size))
    tile = min(tile, 2 * (min(image.shape) // 2))
    effective = tile * pixel_size / box
    data = np.asarray(image, dtype=np.float32)
    window = np.outer(*[np.hanning(tile + 1)[:-1]] * 2).astype(np.float32)
    ys, xs = tile_starts(data.shape, tile, 0.5)
    centres = surface.at(ys[:, None] + tile // 2, xs[None, :] + tile // 2)
    groups: dict[int, FloatArray] = {}
    counts: dict[int, int] = {}
    rows = np.r_[0 : box // 2, tile - box // 2 : tile]
    for i, y in enumerate(ys):
        part = np.stack([data[y : y + tile, x : x + tile] for x in xs])
        part = (part - part.mean(axis=(1, 2), keepdims=True)) * window
        f = scipy.fft.rfft2(part, workers=get_threads())[:, rows, : box // 2 + 1]
        for j, power in enumerate(f.real**2 + f.imag**2):
            group = round(float(centres[i, j] - parameters.defocus) / _GROUP)
            groups[group] = groups.get(group, 0.0) + power
            counts[group] = counts.get(group, 0) + 1
    total = np.zeros((box, box // 2 + 1))
    seen = np.zeros((box, box // 2 + 1))
    for group in sorted(groups):
        rate, inside = _stretch(parameters, group * _GROUP, box, effective)
        total += np.where(inside, _sample(groups[group], rate), 0.0)
        seen += np.where(inside, counts[group], 0.0)
    power = total / np.maximum(seen, 1.0)
    # Only the corners, beyond what every tile reaches, have nothing.
    power = np.where(seen > 0, power, np.min(power[seen > 0]))
    return Spectrum(np.maximum(power, power.max() * 1e-12).astype(np.float32), effective)


def _stretch(
    p: CtfParameters, height: float, box: int, pixel_size: float
) -> tuple[FloatArray, FloatArray]:
    """Return where a tile's spectrum has the phase of each frequency, relative to it.

    Solves ``(D + h) u - c u^2 = D k^2 - c k^4`` for ``u``, with ``c = lambda^2 Cs / 2``; also
    returned is where that lies within the tile's spectrum and before the phase turns round.
    """
    ky = np.fft.fftfreq(box, pixel_size)[:, None]
    kx = np.fft.rfftfreq(box, pixel_size)[None, :]
    k2 = ky**2 + kx**2
    c = 0.5 * wavelength(p.voltage) ** 2 * p.cs * 1e7
    defocus = defocus_at_angle(p, np.arctan2(ky, kx))
    there = np.where(np.abs(defocus + height) < 1.0, 1.0, defocus + height)
    target = defocus * k2 - c * k2 * k2
    root = 1 - 4 * c * target / there**2
    u = 2 * target / there / (1 + np.sqrt(np.maximum(root, 0.0)))
    rate = np.sqrt(np.maximum(u, 0.0) / np.maximum(k2, 1e-12))
    inside = (root > 0) & (u >= 0) & (u < (0.5 / pixel_size) ** 2) & (2 * c * k2 < np.abs(defocus))
    return rate, inside


def _sample(power: FloatArray, rate: FloatArray) -> FloatArray:
    """Return a half plane sampled at `rate` times each frequency, linearly."""
    box = power.shape[0]
    y = np.fft.fftfreq(box, 1 / box)[:, None] * rate
    x = np.arange(power.shape[1])[None, :] * rate
    out = map_coordinates(np.fft.fftshift(power, axes=0), [y + box // 2, x], order=1)
    return np.asarray(out)
