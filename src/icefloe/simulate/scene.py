"""The specimen as the microscope images it, before it moves and before electrons are counted.

A scene lives on a canvas larger than a frame, so that motion brings in new specimen rather than
the opposite edge. It is kept as transforms: what a frame shows is a sum of them with weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from icefloe._types import BoolArray, ComplexArray, FloatArray
from icefloe.fourier import fast_size, frequency_axes, rfft2
from icefloe.optics import critical_dose
from icefloe.simulate.contamination import carbon_film, ice_crystals
from icefloe.simulate.lens import Lens, plane_height
from icefloe.simulate.loops import pack_discs, stamp_atoms
from icefloe.simulate.seeds import generator
from icefloe.simulate.settings import SimulationSettings
from icefloe.simulate.specimen import (
    Particle,
    euler_matrices,
    load_particle,
    phase_of_debris,
    phase_of_particle,
    phase_of_water,
    phase_per_factor,
    scattering_factor,
)

__all__ = ["Scene", "make_scene"]

# Particles within so many A of height share one CTF: 0.3 rad at 3 A and 300 kV.
_SLAB = 80.0
# The carbon film: thickness, A, and atoms per A^3, of structure factor 1.
_CARBON, _CARBON_DENSITY = 200.0, 0.1
# Mean square displacement of water along one axis, A^2 per e/A^2: 1 A of RMS motion per e/A^2
# in space (McMullan, Vinothkumar & Henderson 2015, Ultramicroscopy 158, 26).
_DIFFUSION = 1 / 3


@dataclass(frozen=True, eq=False)
class Scene:
    """A specimen's image on a canvas.

    Attributes
    ----------
    shape
        Canvas size (cy, cx); a frame's [0, 0] is at [margin, margin].
    signal
        (cy, cx // 2 + 1) complex64: particles and loose protein, as relative contrast, undamaged.
    decay
        The same grid: 1 / (2 N_e), damage per dose.
    static
        The same grid: what neither moves within itself nor is damaged.
    water_rate
        The same grid: how fast the water forgets its arrangement, per e/A^2.
    water
        Amplitudes of the water, each the same grid, one per strip.
    windows
        (cy, cx) weights of the strips, empty for one strip.
    y, x, defocus, angles
        Particles with their centre in the frame: pixels, A, degrees.
    particle_diameter
        A.
    junk
        (ny, nx) of the frame: contamination.
    """

    shape: tuple[int, int]
    margin: int
    signal: ComplexArray
    decay: FloatArray
    static: ComplexArray
    water_rate: FloatArray
    water: tuple[FloatArray, ...]
    windows: tuple[FloatArray, ...]
    y: FloatArray
    x: FloatArray
    defocus: FloatArray
    angles: FloatArray
    particle_diameter: float
    junk: BoolArray


def make_scene(settings: SimulationSettings, name: str, margin: int) -> Scene:
    """Return the specimen of the movie `name`, with room for `margin` pixels of motion."""
    ny, nx = settings.movie_shape
    shape = (fast_size(ny + 2 * margin), fast_size(nx + 2 * margin))
    lens = Lens(settings, name, shape, margin)
    junk, static = _contamination(lens)
    particle = load_particle(settings.particle, settings.particle_diameter)
    table, decoys = _place(settings, name, particle, shape, margin, junk)
    signal = _particles_image(settings, particle, np.concatenate([table, decoys]), lens)
    if settings.debris:
        power = phase_of_debris(
            lens.k, settings.voltage, settings.debris, settings.particle_bfactor
        )
        signal += rfft2(lens.layer(power, settings.thickness, "debris"))
    water = phase_of_water(lens.k, settings.voltage, settings.thickness)
    water *= settings.ice_strength**2
    frame = (slice(margin, margin + ny), slice(margin, margin + nx))
    y, x = table[:, 0] - margin, table[:, 1] - margin
    seen = (y > -0.5) & (y < ny - 0.5) & (x > -0.5) & (x < nx - 0.5)
    with np.errstate(divide="ignore"):
        decay = (0.5 / critical_dose(lens.k, settings.voltage)).astype(np.float32)
    return Scene(
        shape=shape,
        margin=margin,
        signal=signal,
        decay=decay,
        static=static,
        water_rate=(2 * math.pi**2 * _DIFFUSION * lens.k2).astype(np.float32),
        water=tuple(lens.amplitudes(water, settings.thickness)),
        windows=lens.windows,
        y=y[seen],
        x=x[seen],
        defocus=settings.defocus + table[seen, 2],
        angles=table[seen, 3:6],
        particle_diameter=particle.diameter,
        junk=junk[frame].copy(),
    )


def _contamination(lens: Lens) -> tuple[BoolArray, ComplexArray]:
    """Return where the canvas is dirty and the transform of everything that stays."""
    settings, px = lens.settings, lens.settings.movie_pixel_size
    rng = generator(lens.name, settings.seed, "junk")
    junk = np.zeros(lens.shape, dtype=bool)
    static = np.zeros(lens.k.shape, dtype=np.complex64)
    if settings.background:
        # Slow: a random field with features beyond 300 A.
        power = np.exp(-((lens.k * 300) ** 2))
        power *= settings.background**2 / _variance(power, lens.shape, px)
        static += lens.noise("background") * lens.amplitude(power)
    if settings.crystals:
        loss = ice_crystals(lens.shape, px, settings.crystals, rng)
        junk |= loss > 0.05
        static -= rfft2(loss) * lens.envelope
    if settings.carbon_edge:
        cover, under = carbon_film(lens.shape, px, rng)
        junk |= under
        phase = phase_per_factor(settings.voltage) * scattering_factor("C", lens.k)
        grain = lens.layer(_CARBON_DENSITY * _CARBON * phase**2, _CARBON, "carbon")
        static += rfft2(cover * grain) - 0.2 * rfft2(cover) * lens.envelope
    return junk, static


def _variance(power: FloatArray, shape: tuple[int, int], pixel_size: float) -> float:
    """Return the variance of an image with this power spectrum per area on the half plane."""
    total = 2 * float(power.sum(dtype=np.float64)) - float(power[:, 0].sum())
    return total / (shape[0] * shape[1] * pixel_size**2)


def _place(
    settings: SimulationSettings,
    name: str,
    particle: Particle,
    shape: tuple[int, int],
    margin: int,
    junk: BoolArray,
) -> tuple[FloatArray, FloatArray]:
    """Return particles and decoys, each (n, 7): y, x on the canvas, height, 3 angles, weight."""
    rng = generator(name, settings.seed, "particles")
    px = settings.movie_pixel_size
    ny, nx = settings.movie_shape
    diameter = particle.diameter
    spacing = (settings.min_spacing or 1.02 * diameter) / px
    low = np.zeros(2)
    size = np.array(shape, dtype=np.float64)
    limit = int(settings.packing * shape[0] * shape[1] * px**2 / (math.pi * diameter**2 / 4))
    if settings.n_particles != "max":
        low, size, limit = np.full(2, float(margin)), np.array([ny, nx]) - 1.0, settings.n_particles
    if settings.empty:
        limit = 0
    wanted = limit + round(settings.faint_fraction * limit)
    points = low + rng.uniform(0, 1, (300 * wanted + 1, 2)) * size
    clear = ~junk[tuple(np.minimum(points, np.array(shape) - 1).astype(int).T)]
    points = points[clear]
    taken = np.zeros(len(points), dtype=bool)
    if wanted and len(points):
        pack_discs(points, spacing, wanted, taken)
    points = points[taken]
    table = _poses(settings, rng, points, diameter, margin)
    order = rng.permutation(len(table))
    table = table[order]
    good, decoys = table[:limit], table[limit:]
    decoys[:, 6] = rng.uniform(0.2, 0.5, len(decoys))
    clumps = [decoys]
    for _ in range(settings.aggregates):
        where = margin + rng.uniform(0.15, 0.85, 2) * (ny, nx)
        n = int(rng.integers(12, 30))
        spread = where + rng.standard_normal((n, 2)) * (0.55 * diameter / px)
        clump = _poses(settings, rng, spread, diameter, margin)
        clump[:, 6] = rng.uniform(0.5, 1.0, n)
        away = np.hypot(good[:, 0] - where[0], good[:, 1] - where[1])
        good = good[away > 1.8 * diameter / px]
        y, x = np.ogrid[: shape[0], : shape[1]]
        junk |= np.hypot(y - where[0], x - where[1]) < 1.5 * diameter / px
        clumps.append(clump)
    return good[np.lexsort(good[:, 1::-1].T)], np.concatenate(clumps)


def _poses(
    settings: SimulationSettings,
    rng: np.random.Generator,
    points: FloatArray,
    diameter: float,
    margin: int,
) -> FloatArray:
    n = len(points)
    slack = max(0.0, 0.5 * (settings.thickness - diameter))
    height = rng.uniform(-slack, slack, n)
    height += plane_height(settings, points[:, 0] - margin, points[:, 1] - margin)
    angles = np.stack(
        [
            rng.uniform(-180, 180, n),
            np.rad2deg(np.arccos(rng.uniform(-1, 1, n))),
            rng.uniform(-180, 180, n),
        ],
        axis=-1,
    )
    return np.column_stack([points, height, angles, np.ones(n)])


def _particles_image(
    settings: SimulationSettings,
    particle: Particle,
    table: FloatArray,
    lens: Lens,
) -> ComplexArray:
    """Return the transform of all particles' contrast, each height with its own CTF."""
    px = settings.movie_pixel_size
    total = np.zeros(lens.k.shape, dtype=np.complex64)
    if not len(table):
        return total
    box = 2 * math.ceil(0.5 * particle.diameter / px + 4)
    atoms = (particle.atoms / np.float32(px)).astype(np.float32)
    slab = np.floor(table[:, 2] / _SLAB).astype(int)
    for number in np.unique(slab):
        rows = table[slab == number]
        canvas = np.zeros(lens.shape, dtype=np.float32)
        for start in range(0, len(rows), 64):
            _stamp(canvas, rows[start : start + 64], atoms, particle.weights, box)
        height = float(rows[:, 2].mean())
        total += rfft2(canvas) * lens.ctf(height)
    # The footprint of an atom was a cubic B-spline, whose transform is sinc^4.
    ky, kx = frequency_axes(lens.shape)
    footprint = np.sinc(ky) ** 4 * np.sinc(kx) ** 4
    phase = phase_of_particle(lens.k, settings.voltage, settings.particle_bfactor)
    total *= (2 * phase * lens.envelope / footprint / px**2).astype(np.float32)
    return total


def _stamp(
    canvas: FloatArray, rows: FloatArray, atoms: FloatArray, weights: FloatArray, box: int
) -> None:
    whole = np.floor(rows[:, :2])
    stamps = np.zeros((len(rows), box, box), dtype=np.float32)
    stamp_atoms(atoms, weights, euler_matrices(rows[:, 3:6]), rows[:, :2] - whole, stamps)
    for (y, x), strength, stamp in zip(
        whole.astype(int) - box // 2, rows[:, 6], stamps, strict=True
    ):
        # The canvas is periodic: what hangs over an edge is specimen on the other side.
        ys = np.arange(y, y + box) % canvas.shape[0]
        xs = np.arange(x, x + box) % canvas.shape[1]
        canvas[np.ix_(ys, xs)] += np.float32(strength) * stamp
