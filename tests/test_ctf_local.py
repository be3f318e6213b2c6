"""Defocus over a micrograph: where it varies, by how much, and what particles get."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ctf_micrographs import thon_micrograph
from icefloe.ctf import (
    NO_LOCAL_RINGS,
    CtfSettings,
    DefocusSurface,
    estimate_ctf,
    estimate_local_ctf,
    further_numbers,
    local_defocus,
)
from icefloe.errors import InputError
from icefloe.interop.relion_particles import particle_columns
from icefloe.optics import CtfParameters
from tilted_micrographs import tilted_micrograph

START = CtfParameters(15150, 14850, 30)


def test_surface_is_a_polynomial_of_the_place() -> None:
    surface = DefocusSurface((10000.0, 300.0, -200.0), (101, 201), 2.0)
    assert surface.half == 201.0
    assert surface.at(50, 100) == pytest.approx(10000)
    # 201 A from the centre along x.
    assert surface.at(50, 200.5) == pytest.approx(10000 - 200)
    assert surface.tilt == pytest.approx(math.degrees(math.atan(math.hypot(300, 200) / 201)))
    curved = DefocusSurface((10000.0, 0.0, 0.0, 90.0, 0.0, 30.0), (201, 201), 2.0)
    assert curved.at(100, 100) == pytest.approx(10000 - 30 - 10)
    assert DefocusSurface.from_numbers(json.loads(json.dumps(curved.numbers()))) == curved


@pytest.mark.parametrize(
    ("gradient", "axis"), [((1.0, 0.0), 0.0), ((0.0, 1.0), -90.0), ((-1.0, 0.0), 180.0)]
)
def test_defocus_grows_ninety_degrees_from_the_axis(
    gradient: tuple[float, float], axis: float
) -> None:
    surface = DefocusSurface((1.0, 50 * gradient[0], 50 * gradient[1]), (50, 50), 2.0)
    assert surface.tilt == pytest.approx(45)
    assert surface.axis == pytest.approx(axis)


@pytest.mark.parametrize("gradient", [(0.45, 0.2), (-0.3, 0.6)])
def test_a_plane_is_found_within_its_stated_error(gradient: tuple[float, float]) -> None:
    image = tilted_micrograph(gradient)
    local = estimate_local_ctf(image, START, pixel_size=2.0)
    assert local.significant
    found = np.array(local.surface.gradient)
    assert found == pytest.approx(gradient, abs=0.06)
    slope = math.degrees(math.atan(math.hypot(*gradient)))
    assert local.tilt_angle == pytest.approx(slope, abs=4 * local.tilt_error)
    assert local.tilt_error < 3
    # Far from the centre, where a sign would show.
    y, x = np.array([150.0, 150, 850, 850]), np.array([150.0, 850, 150, 850])
    true = 15000 + 2 * (gradient[0] * (y - 511.5) + gradient[1] * (x - 511.5))
    u, v = local.defocus_at(y, x)
    assert 0.5 * (u + v) == pytest.approx(true, abs=100)
    assert u - v == pytest.approx(local.parameters.astigmatism)


def test_a_level_specimen_keeps_one_defocus() -> None:
    image = thon_micrograph(START, shape=(1024, 1024), pixel_size=2.0)
    local = estimate_local_ctf(image, START, pixel_size=2.0)
    assert not local.failed
    assert not local.significant
    assert math.isinf(local.axis_error)
    u, v = local.defocus_at([0.0, 1000.0], [0.0, 1000.0])
    assert u[0] == u[1]
    assert 0.5 * (u + v)[0] == pytest.approx(15000, abs=60)
    numbers = local.numbers()
    assert numbers["tilt_axis_error"] is None
    assert json.loads(json.dumps(numbers)) == numbers


def test_noise_has_no_plane() -> None:
    image = np.random.default_rng(1).standard_normal((1024, 1024)).astype(np.float32)
    local = estimate_local_ctf(image, START, pixel_size=2.0, trusted=False)
    assert NO_LOCAL_RINGS in local.flags
    assert not local.significant
    assert local.numbers()["surface"] is None


def test_settings_decide_what_is_used() -> None:
    image = thon_micrograph(START, shape=(768, 768), pixel_size=2.0)
    result = estimate_ctf(image, pixel_size=2.0)
    used = {}
    for choice in ("auto", "on", "off"):
        settings = CtfSettings(local=choice)
        again, further = further_numbers(result, image, pixel_size=2.0, settings=settings)
        assert again is result
        used[choice] = further.get("local", {}).get("used")
    assert used == {"auto": False, "on": True, "off": None}


def test_a_micrograph_too_small_for_tiles_says_so() -> None:
    with pytest.raises(InputError, match="128 pixels"):
        estimate_local_ctf(np.zeros((100, 400), np.float32), START, pixel_size=1.0)
    image = thon_micrograph(START, shape=(1024, 1024), pixel_size=2.0)
    result = estimate_ctf(image, pixel_size=2.0)
    _, further = further_numbers(
        result, image[:100], pixel_size=2.0, settings=CtfSettings(local="on")
    )
    assert further["local"]["used"] is False
    assert "128 pixels" in further["local"]["flags"][0]


def test_particles_get_the_defocus_of_their_place() -> None:
    surface = DefocusSurface((15000.0, 0.0, 1000.0), (500, 500), 2.0)
    local = {
        "surface": surface.numbers(),
        "astigmatism": 300.0,
        "defocus_angle": 25.0,
        "used": True,
    }
    extraction = {
        "kept": [0, 1],
        "y": [249.5, 10.0],
        "x": [249.5, 374.5],
        "origin_y": [0.0, 0.0],
        "origin_x": [0.0, 0.0],
    }
    ctf = {"rlnDefocusU": 15100.0, "rlnDefocusV": 14900.0, "rlnDefocusAngle": 20.0}
    names = {"stack_name": "a.mrcs", "micrograph_name": "a.mrc"}
    columns = particle_columns(extraction, **names, ctf=ctf, local=local)
    # A quarter of the width off the centre is half of the way to the edge.
    assert columns["rlnDefocusU"] == pytest.approx([15150, 15650])
    assert columns["rlnDefocusV"] == pytest.approx([14850, 15350])
    assert columns["rlnDefocusAngle"] == pytest.approx([25, 25])
    u, v, angle = local_defocus(local, 249.5, 249.5)
    assert (float(u), float(v), angle) == (15150, 14850, 25)
    unused = particle_columns(extraction, **names, ctf=ctf, local={**local, "used": False})
    assert unused["rlnDefocusU"] == pytest.approx([15100, 15100])
