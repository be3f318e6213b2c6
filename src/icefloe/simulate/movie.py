"""Movies and micrographs with a known truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.fourier import frequency_axes, irfft2
from icefloe.simulate.detector import make_camera
from icefloe.simulate.lens import centre_ctf
from icefloe.simulate.loops import frame_spectrum, poisson_counts, sample_spline
from icefloe.simulate.motion import SimulatedField, make_field
from icefloe.simulate.scene import Scene, make_scene
from icefloe.simulate.seeds import key
from icefloe.simulate.settings import SimulationSettings
from icefloe.simulate.truth import MovieTruth
from icefloe.simulate.water import Water

__all__ = [
    "SimulatedMicrograph",
    "SimulatedMovie",
    "noise_free_frames",
    "simulate_micrograph",
    "simulate_movie",
]

_STEP = 16  # pixels between the points where the motion's inverse is worked out


@dataclass(frozen=True, eq=False)
class SimulatedMovie:
    """A movie and the truth about it.

    Attributes
    ----------
    frames
        (n, ny, nx) raw counts, uint8, or uint16 where a hot pixel passes 255.
    gain
        (ny, nx) float32, multiplicative, in the movie's orientation.
    defects
        (ny, nx) bool, True where a pixel is dead or hot.
    truth
        Motion, optics, particles and the noise-free image.
    """

    name: str
    frames: AnyArray
    gain: FloatArray
    defects: BoolArray
    truth: MovieTruth


@dataclass(frozen=True, eq=False)
class SimulatedMicrograph:
    """An aligned micrograph, (ny, nx) float32 counts of the total dose, and the truth."""

    name: str
    image: FloatArray
    truth: MovieTruth


def simulate_movie(
    settings: SimulationSettings | None = None, name: str = "movie", *, camera: str = "camera"
) -> SimulatedMovie:
    """Simulate a movie.

    Parameters
    ----------
    settings
        What it is like; the defaults without.
    name
        Seeds everything but the camera: another name is another place on the grid.
    camera
        Seeds gain and defects, so that the movies of a session share them.

    Returns
    -------
    SimulatedMovie
        Equal for equal settings and names, whatever the number of threads.
    """
    settings = settings or SimulationSettings()
    field = make_field(settings, name)
    scene = make_scene(settings, name, _margin(field))
    clean = _crop(irfft2(scene.signal, scene.shape), scene, settings)
    detector = make_camera(settings, camera)
    frames = np.empty((settings.n_frames, *settings.movie_shape), dtype=np.uint8)
    for index, contrast in enumerate(_contrasts(settings, name, scene, field)):
        counts = detector.count(contrast, name, settings.seed, index)
        if frames.dtype == np.uint8 and counts.max() > 255:
            frames = frames.astype(np.uint16)
        frames[index] = counts
    truth = _truth(settings, name, scene, clean, field, detector.gain, detector.defects)
    return SimulatedMovie(name, frames, detector.gain, detector.defects, truth)


def simulate_micrograph(
    settings: SimulationSettings | None = None, name: str = "micrograph"
) -> SimulatedMicrograph:
    """Simulate what perfect motion correction without dose weighting would return.

    No motion, no gain and no defects; the total dose is ``n_frames * dose_per_frame``. Damage
    and the water's motion are averaged in closed form, so this costs as much as one frame.
    """
    settings = settings or SimulationSettings()
    scene = make_scene(settings, name, 0)
    clean = _crop(irfft2(scene.signal, scene.shape), scene, settings)
    dose = settings.total_dose
    faded = np.exp(-settings.pre_exposure * scene.decay) * _mean_exponential(scene.decay * dose)
    water = Water(settings, name, scene, dose)
    contrast = irfft2(scene.signal * faded + scene.static, scene.shape) + water.image()
    expected = np.maximum(_crop(contrast, scene, settings) + 1, 0.02)
    expected *= np.float32(dose * settings.movie_pixel_size**2)
    counts = np.empty(settings.movie_shape, dtype=np.uint32)
    poisson_counts(expected, key(name, settings.seed, "counts"), counts)
    truth = _truth(settings, name, scene, clean, None, None, None)
    return SimulatedMicrograph(name, counts.astype(np.float32), truth)


def noise_free_frames(
    settings: SimulationSettings, name: str = "movie", *, water: bool = False
) -> FloatArray:
    """Return the relative contrast of every frame as it falls on the camera, (n, ny, nx).

    Parameters
    ----------
    settings, name
        As for `simulate_movie`, whose frames count these.
    water
        Keep the water's noise, which a counted frame has.
    """
    if not water:
        settings = settings.model_copy(update={"ice_strength": 0.0})
    field = make_field(settings, name)
    scene = make_scene(settings, name, _margin(field))
    return np.stack([c.copy() for c in _contrasts(settings, name, scene, field)])


def _contrasts(
    settings: SimulationSettings, name: str, scene: Scene, field: SimulatedField
) -> Iterator[FloatArray]:
    """Yield the relative contrast of each frame; the array is used again for the next."""
    ky, kx = frequency_axes(scene.shape)
    # The coefficients of the cubic B-spline through an image are found by a division.
    prefilter = 9 / ((2 + np.cos(2 * np.pi * ky)) * (2 + np.cos(2 * np.pi * kx)))
    prefilter = prefilter.astype(np.float32)
    signal, static = scene.signal * prefilter, scene.static * prefilter
    water = Water(settings, name, scene, settings.dose_per_frame, prefilter)
    speed = _speed(field)
    spectrum = np.empty_like(signal)
    out = np.empty(settings.movie_shape, dtype=np.float32)
    for frame in range(settings.n_frames):
        by = (ky[:, 0] * speed[frame, 0]).astype(np.float32)
        bx = (kx[0] * speed[frame, 1]).astype(np.float32)
        dose = settings.pre_exposure + (frame + 0.5) * settings.dose_per_frame
        noise, amplitude = water.next_frame()
        frame_spectrum(signal, scene.decay, dose, static, noise, amplitude, by, bx, spectrum)
        image = irfft2(spectrum, scene.shape)
        if water.strips:
            image += water.strips_image(np.sinc(by[:, None] + bx))
        sample_spline(image, _offsets(field, frame), _STEP, scene.margin, out)
        yield out


def _speed(field: SimulatedField) -> FloatArray:
    """Return how far the whole frame moves while a frame is exposed, (F, 2) pixels."""
    shifts = field.global_shifts
    return np.gradient(shifts, axis=0) if len(shifts) > 1 else np.zeros_like(shifts)


def _offsets(field: SimulatedField, frame: int) -> FloatArray:
    """Return where a frame's pixels come from, relative to themselves, every _STEP pixels."""
    y, x = (np.arange(-(-n // _STEP) + 1) * _STEP for n in field.shape)
    return field.inverse(frame, y[:, None], x[None, :])


def _margin(field: SimulatedField) -> int:
    ny, nx = field.shape
    y, x = np.linspace(0, ny - 1, 9)[:, None], np.linspace(0, nx - 1, 9)
    frames = np.arange(field.n_frames)[:, None, None]
    return int(np.ceil(np.abs(field.displacement(frames, y, x)).max())) + 8


def _crop(image: FloatArray, scene: Scene, settings: SimulationSettings) -> FloatArray:
    ny, nx = settings.movie_shape
    m = scene.margin
    return np.ascontiguousarray(image[m : m + ny, m : m + nx], dtype=np.float32)


def _mean_exponential(x: FloatArray) -> FloatArray:
    """Return the mean of exp(-t) for t from 0 to x."""
    safe = np.maximum(x, np.float32(1e-6))
    return np.asarray(-np.expm1(-safe) / safe)


def _truth(
    settings: SimulationSettings,
    name: str,
    scene: Scene,
    clean: FloatArray,
    field: SimulatedField | None,
    gain: FloatArray | None,
    defects: BoolArray | None,
) -> MovieTruth:
    return MovieTruth(
        name=name,
        settings=settings,
        field=field,
        ctf=centre_ctf(settings),
        y=scene.y,
        x=scene.x,
        defocus=scene.defocus,
        angles=scene.angles,
        diameter=scene.particle_diameter,
        gain=gain,
        defects=defects,
        clean=clean,
        junk=scene.junk,
    )
