"""Simulated micrographs at the network's sampling, with their truth.

The physics is that of `icefloe.simulate` in short: particles, ice, debris, crystals and carbon are
a weak phase object that the CTF of `icefloe.optics` modulates, and shot noise comes on top. What is
left out (motion, detector, atoms) does not show at a sixteenth of a particle a pixel. A micrograph
of 20 x 20 particle diameters takes some 50 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from scipy import fft
from scipy.ndimage import gaussian_filter

from icefloe._types import BoolArray, FloatArray
from icefloe.network.settings import SAMPLES
from icefloe.network.synthetic.filters import random_filter
from icefloe.network.synthetic.shapes import SHAPES, random_rotations, random_shape
from icefloe.optics import CtfParameters, ctf_2d

__all__ = ["Family", "Scene", "random_scene"]

Generator = np.random.Generator
# Pixels around the scene that are simulated and cut off, so that particles reach over the border.
_MARGIN = 32
_HOLLOW = ("hollow", "barrel", "ring")
_LONG = ("ellipsoid", "rod", "dumbbell", "letter", "lobes", "tetramer", "chain", "membrane")
# How much larger the diameter that a user gives is than the true one, and how far a usual particle
# stands out, smallest and largest.
Family = Literal["any", "crowded", "smoothed"]
_SIZES = {"any": (0.8, 1.5), "crowded": (0.85, 1.25), "smoothed": (0.9, 1.3)}
_CLARITIES = {"any": (4.0, 45.0), "crowded": (8.0, 45.0), "smoothed": (6.0, 20.0)}


@dataclass(frozen=True)
class Scene:
    """A simulated micrograph.

    Attributes
    ----------
    image
        (n, n) float32, particles dark; `SAMPLES` pixels are the diameter that a user would give.
    y, x
        Centres of the particles, pixels; some a little outside.
    width
        Their true longest diameter, pixels.
    junk
        (n, n) bool, carbon, crystals and aggregates.
    clarity
        How far a usual particle stands out, in standard deviations of a matched filter.
    shape
        Key of `SHAPES`.
    defocus
        A.
    clean
        (n, n) float32, the image without shot noise and without what other programs do to it.
    """

    image: FloatArray
    y: FloatArray
    x: FloatArray
    width: float
    junk: BoolArray
    clarity: float
    shape: str
    defocus: float
    clean: FloatArray


def random_scene(
    seed: tuple[int, ...],
    size: int = 320,
    kind: str | None = None,
    *,
    family: Family = "any",
    pixel_size: float | None = None,
) -> Scene:
    """Return a micrograph of random content; the same for the same seed.

    Parameters
    ----------
    seed
        Any numbers.
    size
        Pixels a side.
    kind
        Shape of the particles, any by default.
    family
        ``crowded``: full of particles that stand out and touch, without heaps and carbon.
        ``smoothed``: many particles, not round, in a micrograph that some program has low-passed.
    pixel_size
        A, if it shall be the same for particles of all sizes; by default as `image` says.
    """
    rng = np.random.default_rng(seed)
    n = size + 2 * _MARGIN
    diameter = float(np.exp(rng.uniform(np.log(70), np.log(320))))
    # People give the longest diameter, or somewhat more, or what they see.
    crowded, smoothed = family == "crowded", family == "smoothed"
    least, most = _SIZES[family]
    width = SAMPLES / float(np.exp(rng.uniform(np.log(least), np.log(most))))
    if pixel_size is not None:
        width = diameter / pixel_size
    pixel = diameter / width
    lens = _random_lens(rng)
    # In a crowd, hollow ones are easily taken for the gaps between their neighbours.
    kinds = _HOLLOW if crowded and rng.random() < 0.5 else tuple(SHAPES)
    kinds = _LONG if smoothed else kinds
    kind = kind or str(rng.choice(kinds))
    cloud = random_shape(rng, kind)
    transfer = ctf_2d(lens, (n, n), pixel) * _envelope(rng, n)
    if pixel_size is not None:
        # Large particles have no more points than small ones; apart they would look like sand.
        k2 = fft.fftfreq(n)[:, None] ** 2 + fft.rfftfreq(n)[None, :] ** 2
        transfer = transfer * np.exp(-2 * (np.pi * 0.03 * width) ** 2 * k2)

    film: FloatArray
    if smoothed:
        carbon, film = _carbon(rng, n)
        centres = _places(rng, n, width, carbon, (0.5, 0.8), (0.12, 0.4), (0.0, 0.3))
    elif crowded:
        carbon, film = np.zeros((n, n), dtype=np.bool_), np.zeros((n, n))
        centres = _places(rng, n, width, carbon, (0.8, 1.05), (0.3, 0.7), (0.0, 0.5))
    else:
        carbon, film = _carbon(rng, n)
        centres = _places(rng, n, width, carbon, (0.55, 1.1), (0.08, 0.75), (0.0, 1.0, 1.5))
    spread = float(rng.uniform(0.1, 0.5)) if rng.random() < 0.3 else None
    particles = _project(rng, cloud, centres, n, width, spread)
    faintest, clearest = _CLARITIES[family]
    clarity = float(np.exp(rng.uniform(np.log(faintest), np.log(clearest))))
    strength = clarity / _usual_energy(rng, cloud, transfer, n, width)

    phase = strength * particles
    phase += strength * _debris(rng, cloud, n, width)
    phase += strength * _strangers(rng, n, width)
    clumps = np.zeros((n, n), dtype=np.bool_)
    if family == "any":
        aggregates, clumps = _aggregates(rng, cloud, n, width)
        phase += strength * aggregates
    peak = strength * max(float(np.percentile(particles, 99.5)), 1e-3)
    crystals, spots = _crystals(rng, n, width)
    phase += max(peak, 1.0) * crystals
    phase += max(peak, 1.0) * film
    phase += rng.standard_normal((n, n)) * rng.choice([0.0, rng.uniform(0, 1.0)])
    image = fft.irfft2(fft.rfft2(phase) * transfer, (n, n))
    clean = image.copy()
    image += rng.standard_normal((n, n))
    ground = _uneven(rng, n)
    image = image + ground
    image = random_filter(rng, np.asarray(image), always=smoothed)

    inner = slice(_MARGIN, n - _MARGIN)
    places = centres - _MARGIN
    near = np.all((places > -0.5 * width) & (places < size + 0.5 * width), axis=1)
    return Scene(
        image=np.ascontiguousarray(image[inner, inner], dtype=np.float32),
        y=places[near, 0],
        x=places[near, 1],
        width=width,
        junk=np.ascontiguousarray((carbon | spots | clumps)[inner, inner]),
        clarity=clarity,
        shape=kind,
        defocus=lens.defocus,
        clean=np.ascontiguousarray((clean + ground)[inner, inner], dtype=np.float32),
    )


def _random_lens(rng: Generator) -> CtfParameters:
    defocus = float(rng.uniform(4500, 36000))
    stretch = float(abs(rng.normal(0, 0.02))) * defocus
    plate = float(rng.uniform(30, 120)) if rng.random() < 0.05 else 0.0
    return CtfParameters(
        defocus + stretch,
        defocus - stretch,
        float(rng.uniform(-90, 90)),
        voltage=float(rng.choice([200.0, 300.0])),
        cs=float(rng.choice([0.01, 2.0, 2.7])),
        amplitude_contrast=float(rng.uniform(0.05, 0.15)),
        phase_shift=plate,
    )


def _envelope(rng: Generator, n: int) -> FloatArray:
    """Return what motion and the detector leave of high frequencies."""
    k2 = fft.fftfreq(n)[:, None] ** 2 + fft.rfftfreq(n)[None, :] ** 2
    return np.asarray(np.exp(-k2 * rng.uniform(0, 6)))


def _carbon(rng: Generator, n: int) -> tuple[BoolArray, FloatArray]:
    """Return where a carbon film lies, and its phase; mostly there is none."""
    y, x = np.mgrid[:n, :n]
    if rng.random() > 0.12:
        return np.zeros((n, n), dtype=np.bool_), np.zeros((n, n))
    radius = n * rng.uniform(0.5, 2.5)
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.5) * n
    cy = n / 2 + np.sin(angle) * (depth - radius)
    cx = n / 2 + np.cos(angle) * (depth - radius)
    outside = np.hypot(y - cy, x - cx) - radius
    film = outside > 0
    rough = gaussian_filter(rng.standard_normal((n, n)), rng.uniform(0.3, 1.0), truncate=3)
    phase = film * (rng.uniform(0.3, 3) + rng.uniform(0.5, 3) * rough / rough.std())
    if rng.random() < 0.5:  # a thicker rim
        phase += rng.uniform(0.5, 4) * np.exp(-0.5 * (outside / rng.uniform(1, 6)) ** 2)
    return np.asarray(outside > -2), np.asarray(phase)


def _places(
    rng: Generator,
    n: int,
    width: float,
    forbidden: BoolArray,
    distance: tuple[float, float],
    density: tuple[float, float],
    drifts: tuple[float, ...],
) -> FloatArray:
    """Return (m, 2) centres that keep a distance, in `width`; even or in drifts."""
    apart = width * rng.uniform(*distance)
    full = n * n / apart**2
    wanted = full * float(np.exp(rng.uniform(np.log(density[0]), np.log(density[1]))))
    drift = rng.choice(drifts) * _hills(rng, n, rng.uniform(1, 4) * width)
    chance = np.exp(drift - drift.max())
    cell = apart / np.sqrt(2)
    side = int(np.ceil(n / cell)) + 4
    grid = np.full((side, side, 2), -1e9)
    found: list[FloatArray] = []
    tries = rng.uniform(0, n - 1, (int(6 * wanted) + 50, 2))
    luck = rng.random(len(tries))
    for place, value in zip(tries, luck, strict=True):
        i, j = int(place[0]), int(place[1])
        if value > chance[i, j] or forbidden[i, j]:
            continue
        r, c = int(place[0] / cell) + 2, int(place[1] / cell) + 2
        around = grid[r - 2 : r + 3, c - 2 : c + 3]
        if ((around - place) ** 2).sum(-1).min() < apart**2:
            continue
        grid[r, c] = place
        found.append(place)
        if len(found) >= wanted:
            break
    return np.array(found).reshape(-1, 2)


def _project(
    rng: Generator,
    cloud: FloatArray,
    centres: FloatArray,
    n: int,
    width: float,
    spread: float | None = None,
    uneven: float = 0.12,
) -> FloatArray:
    """Return the projections of the particle at (m, 2) places, each turned at random."""
    if not len(centres):
        return np.zeros((n, n))
    turns = random_rotations(rng, len(centres), spread)[:, :2]
    weights = np.exp(rng.normal(0, uneven, len(centres))) / len(cloud)
    flat = np.zeros((n, n))
    _deposit(flat, cloud.astype(np.float64), turns * width, centres, weights)
    return np.asarray(gaussian_filter(flat, 0.6, mode="wrap"))


@njit(cache=True, nogil=True)
def _deposit(out, cloud, turns, centres, weights):  # type: ignore[no-untyped-def]
    """Share each turned point between the four pixels around it."""
    n = out.shape[0]
    for m in range(centres.shape[0]):
        for p in range(cloud.shape[0]):
            y, x = centres[m, 0], centres[m, 1]
            for j in range(3):
                y += turns[m, 0, j] * cloud[p, j]
                x += turns[m, 1, j] * cloud[p, j]
            i, k = int(np.floor(y)), int(np.floor(x))
            v, u = y - i, x - k
            w = weights[m]
            out[i % n, k % n] += (1 - v) * (1 - u) * w
            out[(i + 1) % n, k % n] += v * (1 - u) * w
            out[i % n, (k + 1) % n] += (1 - v) * u * w
            out[(i + 1) % n, (k + 1) % n] += v * u * w


def _usual_energy(
    rng: Generator, cloud: FloatArray, transfer: FloatArray, n: int, width: float
) -> float:
    """Return the root of the energy of a usual particle behind the lens."""
    energies = []
    for _ in range(4):
        one = _project(rng, cloud, np.array([[n / 2, n / 2]]), n, width, None, 0.0)
        energies.append(float(np.sqrt(np.sum(fft.irfft2(fft.rfft2(one) * transfer, (n, n)) ** 2))))
    return max(float(np.median(energies)), 1e-9)


def _debris(rng: Generator, cloud: FloatArray, n: int, width: float) -> FloatArray:
    """Return loose subunits and pieces: a tenth to a third of a particle."""
    if rng.random() < 0.4:
        return np.zeros((n, n))
    # A piece of the particle itself: what lies near one of its points.
    middle = cloud[rng.integers(len(cloud))]
    piece = cloud[np.linalg.norm(cloud - middle, axis=1) < rng.uniform(0.12, 0.25)]
    piece = piece - piece.mean(axis=0)
    count = rng.poisson(n * n / width**2 * np.exp(rng.uniform(np.log(0.05), np.log(0.6))))
    places = rng.uniform(0, n, (count, 2))
    return _project(rng, piece, places, n, width, None, 0.4) * (len(piece) / len(cloud))


def _strangers(rng: Generator, n: int, width: float) -> FloatArray:
    """Return other particles, half as large or twice as large, and filaments."""
    out = np.zeros((n, n))
    if rng.random() < 0.2:
        other = random_shape(rng)
        small = rng.random() < 0.6
        size = width * (rng.uniform(0.25, 0.4) if small else rng.uniform(1.8, 2.6))
        places = rng.uniform(0, n, (int(rng.integers(1, 60 if small else 6)), 2))
        out += _project(rng, other, places, n, size) * (size / width) ** 2.5
    if rng.random() < 0.15:
        for _ in range(int(rng.integers(1, 5))):
            length = int(rng.integers(100, 800))
            bend = np.cumsum(rng.normal(0, rng.uniform(0.005, 0.06), length)) + rng.uniform(0, 6.3)
            line = np.cumsum(np.stack([np.sin(bend), np.cos(bend)], axis=1) * 0.5, axis=0)
            start = rng.uniform(0, n, 2)
            thick = rng.normal(0, rng.uniform(0.3, 0.12 * width), (4 * length, 2))
            points = np.repeat(line, 4, axis=0) + start + thick
            index = (np.rint(points).astype(np.intp) % n) @ np.array([n, 1])
            drawn = np.bincount(index, minlength=n * n).reshape(n, n) / (4 * width)
            out += rng.uniform(0.02, 0.12) * gaussian_filter(drawn, 0.7, mode="wrap")
    return out


def _aggregates(
    rng: Generator, cloud: FloatArray, n: int, width: float
) -> tuple[FloatArray, BoolArray]:
    """Return heaps of particles, and where they are."""
    out, mask = np.zeros((n, n)), np.zeros((n, n), dtype=np.bool_)
    if rng.random() > 0.25:
        return out, mask
    for _ in range(int(rng.integers(1, 4))):
        count = int(rng.integers(6, 40))
        reach = width * 0.28 * np.sqrt(count) * rng.uniform(0.8, 1.3)
        places = rng.uniform(0, n, 2) + rng.normal(0, reach, (count, 2))
        out += _project(rng, cloud, places, n, width)
        heap = np.zeros((n, n))
        index = np.rint(places).astype(np.intp) % n
        np.add.at(heap, (index[:, 0], index[:, 1]), 1.0)
        crowd = gaussian_filter(heap, 0.4 * width, mode="wrap", truncate=2.5)
        crowd *= 2 * np.pi * (0.4 * width) ** 2
        mask |= crowd > 2.0
    return out, mask


def _crystals(rng: Generator, n: int, width: float) -> tuple[FloatArray, BoolArray]:
    """Return ice crystals and drops, in units of a particle's phase, and where they are."""
    out, mask = np.zeros((n, n)), np.zeros((n, n), dtype=np.bool_)
    if rng.random() > 0.45:
        return out, mask
    for _ in range(int(rng.integers(1, 8))):
        radius = 0.5 * width * float(np.exp(rng.uniform(np.log(0.35), np.log(4.5))))
        cy, cx = rng.uniform(0, n, 2)
        half = int(np.ceil(1.6 * radius)) + 4
        y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
        angle = np.arctan2(y, x)
        edge = radius * (1 + rng.uniform(0, 0.25) * np.cos(rng.integers(2, 7) * angle + cx))
        stretch = rng.uniform(0.7, 1)
        r = np.hypot(y, x * stretch)
        inside = r < edge
        thick = np.sqrt(np.clip(1 - (r / edge) ** 2, 0, None)) if rng.random() < 0.6 else inside
        # Small ones must be dark to be told from particles.
        least = 3.0 if radius < width else 1.0
        body = thick * rng.uniform(least, 12)
        if rng.random() < 0.4:  # lattice and facets
            body = body * (1 + rng.uniform(0, 1) * rng.standard_normal(body.shape))
        rows = (np.arange(-half, half + 1) + int(cy)) % n
        columns = (np.arange(-half, half + 1) + int(cx)) % n
        out[np.ix_(rows, columns)] += body
        mask[np.ix_(rows, columns)] |= r < edge + 1
    return out, mask


def _uneven(rng: Generator, n: int) -> FloatArray:
    """Return thicker and thinner ice: a slope and hills."""
    y, x = np.mgrid[:n, :n] / n - 0.5
    slope = rng.normal(0, 2, 2)
    hills = rng.uniform(0, 1) * _hills(rng, n, rng.uniform(20, 60))
    return np.asarray(slope[0] * y + slope[1] * x + hills)


def _hills(rng: Generator, n: int, sigma: float) -> FloatArray:
    """Return a smooth random surface with variance 1."""
    k2 = fft.fftfreq(n)[:, None] ** 2 + fft.rfftfreq(n)[None, :] ** 2
    rough = rng.standard_normal((n, n), dtype=np.float32)
    smooth = _blurred(rough, np.exp(-2 * (np.pi * sigma) ** 2 * k2).astype(np.float32))
    return np.asarray(smooth / max(float(smooth.std()), 1e-12))


def _blurred(image: FloatArray, transfer: FloatArray) -> FloatArray:
    return np.asarray(fft.irfft2(fft.rfft2(image) * transfer, image.shape))
