"""Particles as blobs: correlation with balls, hollow balls or ellipsoids in an evenly lit image.

A micrograph is reduced to some 16 pixels a particle and divided by its local standard deviation.
Templates of one or two shapes and several sizes are correlated with it; for each the heights of
all local maxima are split into noise and particles (`threshold.split_scores`), and the template
whose particles stand out furthest is taken. So nobody has to know whether a particle looks hollow
at this defocus, or by how much its dense core is smaller than its longest diameter.

Laplacians and differences of Gaussians are there to be compared with other programs' pickers; they
go through the same steps in place of the templates.

The correlation is that of Roseman (2003), Ultramicroscopy 94, 225, with the local variance taken
over a wider neighbourhood than the mask; `docs/picking.md` has the comparison that led here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from icefloe._types import BoolArray, FloatArray, Tensor
from icefloe.errors import MissingMetadataError, SettingsError
from icefloe.fourier import frequency_axes, irfft2, rfft2, to_device, to_numpy
from icefloe.kernels.peaks import find_peaks, weaker_peaks
from icefloe.picking.junk import SCALE, junk_mask
from icefloe.picking.normalise import SearchImage, clean_image, padded_border, search_image
from icefloe.picking.result import Picks, weaker_count
from icefloe.picking.robust import centre_and_spread
from icefloe.picking.settings import BlobSettings
from icefloe.picking.templates import blob_template, ellipse_template, scale_template
from icefloe.picking.threshold import ScoreSplit, part_scores, split_scores

__all__ = ["allowed_area", "contrast_map", "pick_blobs", "standardise"]

# A particle's longest diameter is what people know; its dense core looks smaller.
_APPARENT = (0.7, 0.84, 1.0)
# Neighbouring sizes of one range differ by at most this factor.
_SIZE_STEP = 1.25
# Spacing, in diameters, of the local maxima whose heights tell noise from particles.
_PEAK_SPACING = 0.45
# Sigma, in diameters, of the Gaussian that sums up a particle's contrast.
_CONTRAST_BLUR = 0.25
# Junk that is so many times smaller than the particles is looked for at its own scale, too: the
# contrast, blurred over a particle, hardly shows it.
_LARGE = 1.2
# Step, degrees, of the angles at which an ellipse is looked for.
_ANGLE_STEP = 15.0


@dataclass(frozen=True)
class _Response:
    """Correlation with the sizes of one template family."""

    shape: str
    score: FloatArray  # (ny, nx), standard deviations
    size: FloatArray  # (ny, nx), index of the size that fits best
    sizes: tuple[float, ...]  # A
    angle: FloatArray | None = None  # (ny, nx), degrees, of an ellipse's long axis


def pick_blobs(
    image: FloatArray,
    *,
    pixel_size: float,
    settings: BlobSettings | None = None,
    device: str = "cpu",
) -> Picks:
    """Find particles that look like discs, rings or ellipses.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    pixel_size
        Pixel size, A.
    settings
        The diameter must be set.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.

    Raises
    ------
    MissingMetadataError
        No diameter, or no positive pixel size.
    SettingsError
        A diameter that does not fit the micrograph.
    InputError
        An image without content.
    """
    settings = settings or BlobSettings()
    cleaned, flags = clean_image(image)
    low, high = _diameters(settings, pixel_size, cleaned.shape)
    search = search_image(
        cleaned,
        low / pixel_size,
        settings.samples,
        settings.local_window,
        bright=settings.contrast == "bright",
        device=device,
    )
    pixel = pixel_size / search.scale[0]
    border = padded_border(cleaned)
    if max(border) > 1:
        flags += (f"padded borders left out (top, bottom, left, right): {border} px",)
    allowed = allowed_area(search, border, settings.edge * low / pixel)
    if settings.max_contrast and low >= _LARGE * SCALE:
        allowed &= ~_junk(search, border, low / pixel, SCALE / pixel)
    # Noise must be counted the same way whatever distance the user wants between picks.
    spacing = _PEAK_SPACING * low / pixel

    spectrum = rfft2(search.even)
    responses = [
        _respond(search, spectrum, settings, shape, apparent, (low, high), pixel, allowed, device)
        for shape in _shapes(settings)
        for apparent in _APPARENT
    ]
    best, split = _clearest(responses, allowed, spacing)
    usual, _ = find_peaks(best.score, spacing, split.threshold, allowed)
    strength = contrast_map(search, usual, low / pixel, device)
    if settings.max_contrast:
        junk = np.abs(strength) > settings.max_contrast
        if junk[allowed].any():
            allowed = allowed & ~_near(junk, 0.5 * low / pixel)
            best, split = _clearest(responses, allowed, spacing)
    threshold = split.threshold if settings.threshold is None else settings.threshold
    if settings.threshold is None and not split.clear:
        if settings.method == "template":
            flags += ("particles do not stand out from the noise; only the strongest were kept",)
        else:
            # Responses so smooth have few peaks between particles to tell the noise from.
            threshold = part_scores(find_peaks(best.score, spacing, 0.0, allowed)[1])
            flags += (
                f"noise cannot be told from particles with {settings.method}: the threshold is "
                "where the scores part best",
            )
    positions, scores = find_peaks(
        best.score, settings.min_distance * low / pixel, threshold, allowed
    )
    if settings.max_picks and len(scores) > settings.max_picks:
        flags += (f"{len(scores) - settings.max_picks} picks beyond max_picks left out",)
        positions, scores = positions[: settings.max_picks], scores[: settings.max_picks]
    if not len(scores):
        flags += ("no particles found",)

    def picks(positions: FloatArray, scores: FloatArray) -> Picks:
        index = np.rint(positions).astype(np.intp)
        return Picks(
            y=positions[:, 0] / search.scale[0],
            x=positions[:, 1] / search.scale[1],
            score=scores,
            contrast=strength[index[:, 0], index[:, 1]],
            diameter=np.asarray(best.sizes)[best.size[index[:, 0], index[:, 1]].astype(np.intp)],
            threshold=float(threshold),
            separation=split.separation,
            diameter_range=(low, high),
            shape=best.shape,
            shape_yx=(int(cleaned.shape[0]), int(cleaned.shape[1])),
            flags=flags,
            # RELION's angle turns from +x towards -y of its images, whose y points down.
            split=split,
            psi=None if best.angle is None else -best.angle[index[:, 0], index[:, 1]].astype(float),
        )

    found = picks(positions, scores)
    if settings.max_picks:
        return found
    distance, most = settings.min_distance * low / pixel, weaker_count(len(found))
    weak = weaker_peaks(best.score, distance, threshold, 0.0, allowed)
    return replace(found, weaker=picks(weak[0][:most], weak[1][:most]))


def _shapes(settings: BlobSettings) -> tuple[str, ...]:
    if settings.method != "template":
        return ("disc",)
    return ("disc", "ring") if settings.shape == "auto" else (settings.shape,)


def _diameters(
    settings: BlobSettings, pixel_size: float, shape: tuple[int, ...]
) -> tuple[float, float]:
    if not pixel_size or not pixel_size > 0:
        raise MissingMetadataError(
            f"The pixel size is {pixel_size}", "A per pixel", "Give --pixel-size"
        )
    if settings.diameter is None:
        raise MissingMetadataError(
            "No particle diameter was given", "one in A", "Give --diameter, or set pick.diameter"
        )
    low, high = settings.diameter
    smallest = min(shape) * pixel_size
    if 2 * high > smallest:
        raise SettingsError(
            f"A particle of {high:g} A does not fit a micrograph of {smallest:g} A",
            "a diameter below half the micrograph",
            "Check --diameter and --pixel-size",
        )
    if low < 4 * pixel_size:
        raise SettingsError(
            f"A particle of {low:g} A is only {low / pixel_size:.1f} pixels wide",
            "at least 4 pixels",
            "Check --diameter and --pixel-size",
        )
    return low, high


def allowed_area(
    search: SearchImage, border: tuple[int, int, int, int], margin: float
) -> BoolArray:
    """Return where a pick may lie."""
    ny, nx = search.shape
    sy, sx = search.scale
    top, bottom, left, right = border
    allowed = np.zeros((ny, nx), dtype=np.bool_)
    y0, y1 = top * sy + margin, ny - 1 - bottom * sy - margin
    x0, x1 = left * sx + margin, nx - 1 - right * sx - margin
    allowed[
        max(0, int(np.ceil(y0))) : max(0, int(np.floor(y1)) + 1),
        max(0, int(np.ceil(x0))) : max(0, int(np.floor(x1)) + 1),
    ] = True
    return allowed


def _respond(
    search: SearchImage,
    spectrum: Tensor,
    settings: BlobSettings,
    shape: str,
    apparent: float,
    diameters: tuple[float, float],
    pixel: float,
    allowed: BoolArray,
    device: str,
) -> _Response:
    """Correlate with one shape at all sizes of the range, made smaller by `apparent`."""
    low, high = diameters
    steps = 1 + int(np.ceil(np.log(high / low) / np.log(_SIZE_STEP) - 1e-9))
    sizes = tuple(float(s) for s in apparent * np.geomspace(low, high, steps))
    size = (int(search.even.shape[0]), int(search.even.shape[1]))

    def response(template: FloatArray) -> FloatArray:
        found = irfft2(spectrum * to_device(template, device), size)
        return np.asarray(to_numpy(search.crop(found)))

    if shape == "ellipse":
        return _respond_ellipse(response, settings, sizes, pixel, size, allowed)
    maps = []
    for diameter in sizes:
        if settings.method == "template":
            template = blob_template(diameter / pixel, shape, size)
        else:
            template = scale_template(diameter / pixel, settings.method, size)
        maps.append(standardise(response(template), allowed))
    if len(maps) == 1:
        return _Response(shape, maps[0], np.zeros(maps[0].shape, np.int8), sizes)
    stack = np.stack(maps)
    return _Response(shape, stack.max(axis=0), stack.argmax(axis=0).astype(np.int8), sizes)


def _respond_ellipse(
    response: Callable[[FloatArray], FloatArray],
    settings: BlobSettings,
    sizes: tuple[float, ...],
    pixel: float,
    size: tuple[int, int],
    allowed: BoolArray,
) -> _Response:
    """Correlate with ellipses of all sizes at all angles."""
    angles = np.arange(0, 180, _ANGLE_STEP)
    maps, places = [], []
    for diameter in sizes:
        highest: FloatArray | None = None
        at = np.zeros(0, dtype=np.float32)
        for degrees in angles:
            template = ellipse_template(diameter / pixel, settings.aspect or 1.0, degrees, size)
            found = response(template)
            if highest is None:
                highest, at = found, np.full(found.shape, degrees, np.float32)
                continue
            at = np.where(found > highest, np.float32(degrees), at)
            highest = np.maximum(found, highest)
        maps.append(standardise(np.asarray(highest), allowed))
        places.append(at)
    stack = np.stack(maps)
    which = stack.argmax(axis=0)
    angle = np.take_along_axis(np.stack(places), which[None], axis=0)[0]
    best, which = stack.max(axis=0), which.astype(np.int8)
    return _Response("ellipse", best, which, sizes, angle)


def _clearest(
    responses: Sequence[_Response], allowed: BoolArray, spacing: float
) -> tuple[_Response, ScoreSplit]:
    """Return the response whose particles stand out furthest, and the split of its scores."""
    splits = [
        split_scores(find_peaks(response.score, spacing, 0.0, allowed)[1]) for response in responses
    ]
    best = max(range(len(splits)), key=lambda i: splits[i].separation)
    return responses[best], splits[best]


def standardise(response: FloatArray, allowed: BoolArray) -> FloatArray:
    """Return the map in robust standard deviations of its allowed part."""
    inside = response[allowed] if allowed.any() else response
    centre, spread = centre_and_spread(inside)
    return np.asarray((response - centre) / max(spread, 1e-12), dtype=np.float32)


def contrast_map(
    search: SearchImage, positions: FloatArray, width: float, device: str
) -> FloatArray:
    """Return how dark each place is, relative to the usual pick; (ny, nx)."""
    size = (int(search.plain.shape[0]), int(search.plain.shape[1]))
    ky, kx = frequency_axes(size)
    blur = np.exp(-2 * (np.pi * _CONTRAST_BLUR * width) ** 2 * (ky**2 + kx**2))
    transfer = to_device(blur.astype(np.float32), device)
    level = np.asarray(to_numpy(search.crop(irfft2(rfft2(search.plain) * transfer, size))))
    _, spread = centre_and_spread(level)
    usual = 0.0
    if len(positions):
        index = np.rint(positions).astype(np.intp)
        usual = float(np.median(level[index[:, 0], index[:, 1]]))
    # Faint particles: noise alone must not look like contamination.
    return np.asarray(level / max(usual, 1.5 * spread, 1e-12))


def _junk(
    search: SearchImage, border: tuple[int, int, int, int], diameter: float, scale: float
) -> BoolArray:
    """Return what of the reduced micrograph is junk, looked for within its padded borders.

    Parameters
    ----------
    border
        At (top, bottom, left, right), pixels of the micrograph.
    diameter, scale
        Of the particles, and at which junk is looked for; pixels of the reduced micrograph.
    """
    (ny, nx), (sy, sx) = search.shape, search.scale
    top, bottom = (int(np.ceil(sy * n)) for n in border[:2])
    left, right = (int(np.ceil(sx * n)) for n in border[2:])
    inside = np.s_[top : ny - bottom, left : nx - right]
    part = np.ascontiguousarray(to_numpy(search.reduced)[inside])
    mask = junk_mask(part, diameter, scale, bright=True)
    y, x = (
        ((np.arange(n) + 0.5) * m / n).astype(np.intp)
        for n, m in zip(part.shape, mask.shape, strict=True)
    )
    found = np.zeros(search.shape, dtype=np.bool_)
    found[inside] = mask[np.ix_(y, x)]
    return found


def _near(seeds: BoolArray, distance: float) -> BoolArray:
    """Return what is at most `distance` pixels from a seed."""
    if not seeds.any():
        return seeds
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~seeds) <= distance)
