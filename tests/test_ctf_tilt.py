"""Strong tilts, which wash out the rings of the whole micrograph."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icefloe.ctf import estimate_ctf, refine_locally
from icefloe.ctf.corrected import corrected_spectrum
from icefloe.ctf.samples import Optics
from icefloe.ctf.surface import DefocusSurface
from icefloe.ctf.tiles import cut_tiles
from icefloe.ctf.tilt import search_plane
from icefloe.optics import CtfParameters
from icefloe.simulate import SimulationSettings, simulate_micrograph
from tilted_micrographs import tilted_micrograph


def test_the_search_needs_no_start() -> None:
    tilt, axis = math.tan(math.radians(50)), math.radians(120 + 90)
    gradient = (tilt * math.sin(axis), tilt * math.cos(axis))
    image = tilted_micrograph(gradient, defocus=21000)
    tiles = cut_tiles(image, 2.0, length=600, low_resolution=30, high_resolution=5)
    found = search_plane(tiles, Optics(300, 2.7, 0.1), (5000, 50000), 65)
    surface = DefocusSurface(found, tiles.shape, 2.0)
    assert surface.at(511.5, 511.5) == pytest.approx(21000, abs=400)
    assert surface.tilt == pytest.approx(50, abs=5)
    assert abs((surface.axis - 120 + 180) % 360 - 180) < 10


def test_a_strong_tilt_is_recovered_where_the_whole_fit_fails() -> None:
    settings = SimulationSettings.make(
        shape=(1280, 1280),
        pixel_size=1.8,
        tilt=58,
        tilt_axis=-140,
        thickness=200,
        dose_per_frame=2,
        n_frames=25,
    )
    movie = simulate_micrograph(settings, "steep")
    result = estimate_ctf(movie.image, pixel_size=1.8)
    again, local = refine_locally(result, movie.image, pixel_size=1.8)
    assert result.failed
    assert not again.failed
    assert again.fit_resolution < 6
    assert again.parameters.defocus == pytest.approx(15000, abs=60)
    assert local.tilt_error < 1
    assert local.tilt_angle == pytest.approx(58, abs=3 * local.tilt_error)
    assert abs((local.tilt_axis + 140 + 180) % 360 - 180) < 5
    truth = movie.truth
    error = local.surface.at(truth.y, truth.x) - truth.defocus
    assert np.sqrt(np.mean(error**2)) < 100
    # One defocus for all is off by hundreds of A.
    assert np.std(truth.defocus) > 800


def test_correcting_a_level_micrograph_changes_nothing_but_noise() -> None:
    p = CtfParameters(15150, 14850, 30)
    image = tilted_micrograph((0.0, 0.0), size=768)
    surface = DefocusSurface((15000.0, 0.0, 0.0), image.shape, 2.0)
    level = corrected_spectrum(image, surface, p, 256)
    # As if the image were 600 A out: its rings are then moved away.
    wrong = DefocusSurface((15600.0, 0.0, 0.0), image.shape, 2.0)
    moved = corrected_spectrum(image, wrong, p, 256)
    ky, kx = level.frequencies()
    ring = (np.hypot(ky, kx) > 0.1) & (np.hypot(ky, kx) < 0.2)
    from icefloe.optics import ctf_2d

    rings = np.square(ctf_2d(p, (256, 256), level.pixel_size)[ring])
    assert np.corrcoef(level.power[ring], rings)[0, 1] > 0.3
    assert np.corrcoef(moved.power[ring], rings)[0, 1] < 0.1


def test_tiles_cover_the_micrograph_and_know_their_centres() -> None:
    image = np.random.default_rng(0).standard_normal((700, 900)).astype(np.float32)
    tiles = cut_tiles(image, 1.0, length=200, low_resolution=20, high_resolution=4)
    half = tiles.length / 2
    assert tiles.length == pytest.approx(200, rel=0.06)
    assert tiles.y.min() == pytest.approx(half, abs=2)
    assert tiles.y.max() == pytest.approx(700 - half, abs=3)
    assert tiles.x.max() == pytest.approx(900 - half, abs=3)
    assert np.all(np.diff(np.unique(tiles.x)) <= half + 2)
    # White noise: relative power about 0, of unit variance for a pixel.
    mean = np.average(tiles.values.mean(axis=0), weights=tiles.weight)
    assert abs(mean) < 0.02
