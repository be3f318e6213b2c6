"""Correlation of a micrograph with templates at all in-plane angles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import fft
from scipy.ndimage import map_coordinates

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.fourier import get_threads
from icefloe.optics import CtfParameters, ctf_2d
from icefloe.picking.bank import TemplateBank

__all__ = ["MatchMaps", "match_templates"]

# How much of a template's energy must lie inside the micrograph.
_INSIDE = 0.5


@dataclass(frozen=True)
class MatchMaps:
    """What fits best at each place.

    Attributes
    ----------
    score
        (ny, nx) correlation coefficient, about -1 to 1.
    angle
        (ny, nx) float32, degrees by which the template is turned, from +x towards +y.
    template
        (ny, nx) int16, number of the template.
    """

    score: FloatArray
    angle: FloatArray
    template: AnyArray


def match_templates(
    image: FloatArray,
    inside: BoolArray,
    bank: TemplateBank,
    *,
    angle_step: float = 5.0,
    ctf: CtfParameters | None = None,
) -> MatchMaps:
    """Correlate an evenly lit image with every template at every angle.

    The correlation coefficient of Roseman (2003), Ultramicroscopy 94, 225. The local variance is
    not taken inside the mask, where a particle's own contrast would be divided away, but was made 1
    over a wider neighbourhood (`normalise.search_image`). Near the border only the part of the
    template that lies in the micrograph is compared.

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
    """
    sizes = (fft.next_fast_len(image.shape[0], real=True), fft.next_fast_len(image.shape[1], True))
    shown = np.where(inside, image, np.float32(0)).astype(np.float32)
    workers = max(1, get_threads())
    spectrum = fft.rfft2(shown, sizes, workers=workers)
    half = bank.images.shape[1] // 2
    mask = _disc(half, half - 0.5)
    modulation = None if ctf is None else -ctf_2d(ctf, _box(half), bank.pixel_size)
    images = [_modulate(t, modulation) for t in bank.images]
    turns = max(1, round(360 / angle_step)) if bank.turns else 1
    jobs = [(k, j) for k in range(len(images)) for j in range(turns)]
    share = -(-len(jobs) // workers)

    def search(chosen: list[tuple[int, int]]) -> tuple[FloatArray, AnyArray]:
        best = np.full(image.shape, -np.inf, dtype=np.float32)
        index = np.zeros(image.shape, dtype=np.int32)
        for k, j in chosen:
            template = _standard(_turned(images[k], 360.0 * j / turns), mask)
            product = spectrum * np.conj(fft.rfft2(_placed(template, sizes)))
            _keep_best(best, index, fft.irfft2(product, sizes), np.int32(k * turns + j))
        return best, index

    parts = [jobs[i : i + share] for i in range(0, len(jobs), share)]
    if len(parts) == 1:
        found = [search(parts[0])]
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            found = list(pool.map(search, parts))
    best, index = found[0]
    for other, number in found[1:]:
        # Of equal scores the first job's counts, whatever the number of threads.
        better = other > best
        best, index = np.where(better, other, best), np.where(better, number, index)
    # Energy of the templates inside: for all turns alike, that of their radial average.
    weight = np.mean([_standard(t, mask) ** 2 for t in images], axis=0)
    seen = fft.irfft2(
        fft.rfft2(inside.astype(np.float32), sizes)
        * np.conj(fft.rfft2(_placed(weight.astype(np.float32), sizes))),
        sizes,
    )[: image.shape[0], : image.shape[1]]
    scale = np.sqrt(mask.sum() * np.clip(seen, _INSIDE, 1))
    return MatchMaps(
        np.asarray(best / scale, dtype=np.float32),
        np.asarray((index % turns) * (360.0 / turns), dtype=np.float32),
        np.asarray(index // turns, dtype=np.int16),
    )


def _box(half: int) -> tuple[int, int]:
    # Room for what the CTF spreads.
    n = fft.next_fast_len(4 * half + 2, real=True)
    return n, n


def _modulate(template: FloatArray, modulation: FloatArray | None) -> FloatArray:
    """Return the template as the lens shows it, particles positive."""
    if modulation is None:
        return template
    n = len(template)
    box = (modulation.shape[0], modulation.shape[0])
    out = fft.irfft2(fft.rfft2(template, box) * modulation, box)
    return np.asarray(out[:n, :n], dtype=np.float32)


def _turned(template: FloatArray, angle: float) -> FloatArray:
    """Return the template turned by `angle` degrees from +x towards +y."""
    if angle == 0:
        return template
    half = len(template) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    places = [c * y - s * x + half, s * y + c * x + half]
    return np.asarray(map_coordinates(template, places, order=1, mode="nearest"))


def _disc(half: int, radius: float) -> FloatArray:
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return np.asarray(np.clip(radius + 0.5 - np.hypot(y, x), 0, 1), dtype=np.float32)


def _standard(template: FloatArray, mask: FloatArray) -> FloatArray:
    """Return the masked template with mean 0 and energy 1."""
    flat = mask * (template - np.sum(mask * template) / np.sum(mask))
    return np.asarray(flat / max(float(np.sqrt(np.sum(flat**2))), 1e-12), dtype=np.float32)


def _placed(template: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return an image of a given size with the template's middle on pixel [0, 0]."""
    half = len(template) // 2
    whole = np.zeros(size, dtype=np.float32)
    rows = np.arange(-half, half + 1) % size[0]
    columns = np.arange(-half, half + 1) % size[1]
    whole[np.ix_(rows, columns)] = template
    return whole


@njit(cache=True, nogil=True)
def _keep_best(best, index, response, number):  # type: ignore[no-untyped-def]
    for y in range(best.shape[0]):
        for x in range(best.shape[1]):
            if response[y, x] > best[y, x]:
                best[y, x] = response[y, x]
                index[y, x] = number
