"""Correlation of a micrograph with templates at all in-plane angles.

The correlation coefficient of Roseman (2003), Ultramicroscopy 94, 225. The local variance is not
taken inside the mask, where a particle's own contrast would be divided away, but was made 1 over a
wider neighbourhood (`normalise.search_image`). Near the border only the part of the template that
lies in the micrograph is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.fourier import fast_size, get_threads, rotational_average
from icefloe.optics import CtfParameters, ctf_2d
from icefloe.picking.angular_basis import angular_basis
from icefloe.picking.bank import TemplateBank
from icefloe.picking.combine import Best, combined, each_in_turn
from icefloe.picking.turned import disc_mask, modulation_box, turned_templates

__all__ = ["MatchMaps", "match_templates"]

# How much of a template's energy must lie inside the micrograph.
_INSIDE = 0.5
# Relative error allowed to a template that is put together from components: it changes a score by
# less than 0.006 (docs/template_matching.md).
_TOLERANCE = 0.015
# Up to so many templates are correlated one by one: components would not be fewer.
_FEW = 16
# The spectrum of the noise is not flattened where it is below this part of its median.
_DARK = 0.02


@dataclass(frozen=True)
class MatchMaps:
    """What fits best at each place.

    Attributes
    ----------
    score
        (ny, nx) correlation coefficient, about -1 to 1; 0 in the margin.
    angle
        (ny, nx) float32, degrees by which the template is turned, from +x towards +y, 0 to 360;
        between two steps by a parabola.
    template
        (ny, nx) int16, number of the template, from 0.
    components
        Number of images that the micrograph was correlated with.
    """

    score: FloatArray
    angle: FloatArray
    template: AnyArray
    components: int = 0


def match_templates(
    image: FloatArray,
    inside: BoolArray,
    bank: TemplateBank,
    *,
    angle_step: float = 5.0,
    ctf: CtfParameters | None = None,
    low_pass: float | None = None,
    whiten: bool = False,
    device: str = "cpu",
    exact: bool = False,
) -> MatchMaps:
    """Correlate an evenly lit image with every template at every angle.

    Parameters
    ----------
    image
        (ny, nx), local mean 0 and local variance 1, particles positive.
    inside
        (ny, nx) bool: what is micrograph and not margin.
    bank
        Templates at the pixel size of `image`; their box is the mask's.
    angle_step
        Degrees; made to divide 360. Round templates are not turned.
    ctf
        The micrograph's CTF, for templates that do not have it: averages of phase-flipped or
        corrected particles, projections of a map.
    low_pass
        A; the templates are halved at this resolution. None leaves them as they are.
    whiten
        Flatten the spectrum of the image, and filter the templates likewise.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.
    exact
        Correlate with all turned templates one after another: the same to within 0.006, and many
        times slower. On the CPU.
    """
    half = bank.images.shape[1] // 2
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    shown = np.where(inside, image, np.float32(0)).astype(np.float32)
    box = modulation_box(half)
    modulation = np.ones((box[0], box[1] // 2 + 1), dtype=np.float32)
    if ctf is not None:
        modulation *= -ctf_2d(ctf, box, bank.pixel_size)
    if low_pass is not None:
        k = np.hypot(np.fft.fftfreq(box[0])[:, None], np.fft.rfftfreq(box[1])) / bank.pixel_size
        modulation *= np.exp(-np.log(2.0) * (k * low_pass) ** 2)
    if whiten:
        shown, filtered = _whitened(shown, inside, box)
        modulation *= filtered
    changed = ctf is not None or low_pass is not None or whiten
    turns = max(1, round(360 / angle_step)) if bank.turns else 1
    stack = turned_templates(bank.images, turns, modulation if changed else None)
    sizes = (fast_size(image.shape[0]), fast_size(image.shape[1]))
    workers = max(1, get_threads())
    spectrum = fft.rfft2(shown, sizes, workers=workers)
    if exact or (len(stack) * turns <= _FEW and device == "cpu"):
        found = each_in_turn(spectrum, sizes, window, stack)
        components = len(stack) * turns
    else:
        basis = angular_basis(stack, _TOLERANCE)
        found = combined(spectrum, sizes, window, basis, device)
        components = len(basis.images)
    # Energy of the templates inside, on the average over all turns.
    weight = np.mean(stack**2, axis=(0, 1))
    placed = np.zeros(sizes, dtype=np.float32)
    index = np.arange(-half, half + 1)
    placed[np.ix_(index % sizes[0], index % sizes[1])] = weight
    cover = fft.rfft2(inside.astype(np.float32), sizes, workers=workers)
    seen = fft.irfft2(cover * np.conj(fft.rfft2(placed, workers=workers)), sizes, workers=workers)
    scale = np.sqrt(disc_mask(half).sum() * np.clip(seen[window], _INSIDE, 1))
    return _maps(image.shape, window, found, scale, turns, components)


def _maps(
    shape: tuple[int, ...],
    window: tuple[slice, slice],
    found: Best,
    scale: FloatArray,
    turns: int,
    components: int,
) -> MatchMaps:
    score = np.zeros(shape, dtype=np.float32)
    angle = np.zeros(shape, dtype=np.float32)
    template = np.zeros(shape, dtype=np.int16)
    score[window] = found.score.reshape(scale.shape) / scale
    template[window] = (found.index // turns).reshape(scale.shape)
    if turns > 1:
        place = found.index % turns + found.between
        angle[window] = (place * np.float32(360.0 / turns) % 360).reshape(scale.shape)
    return MatchMaps(score, angle, template, components)


def _whitened(
    image: FloatArray, inside: BoolArray, box: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """Return the image with a flat spectrum and variance 1, and the filter on a template's box."""
    shape = (image.shape[0], image.shape[1])
    spectrum = fft.rfft2(image, workers=get_threads())
    k, power = rotational_average(np.abs(spectrum) ** 2, shape, min(box) // 2 + 1)
    power = np.maximum(power, _DARK * float(np.median(power)))
    gain = 1 / np.sqrt(power)
    # The mean is 0; what it is divided by must not be.
    gain[0] = gain[1]

    def on(size: tuple[int, int]) -> FloatArray:
        r = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1]))
        return np.asarray(np.interp(r, k, gain / gain.max()), dtype=np.float32)

    flat = fft.irfft2(spectrum * on(shape), shape, workers=get_threads())
    flat = np.where(inside, flat, 0) / max(float(flat[inside].std()), 1e-12)
    return flat.astype(np.float32), on(box)
