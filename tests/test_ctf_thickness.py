"""Thickness from the node of Thon rings, in ice that is simulated slab by slab."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from icefloe._types import FloatArray
from icefloe.ctf import NO_NODE, CtfSettings, estimate_ctf, estimate_thickness, further_numbers
from icefloe.ctf.spectrum import power_spectrum
from icefloe.errors import SettingsError
from icefloe.fourier import rotational_average
from icefloe.optics import CtfParameters, wavelength
from icefloe.simulate import SimulationSettings
from icefloe.simulate.thick import simulate_thick_ice

P = CtfParameters(12150, 11850, 30, 300, 2.7, 0.1)


def ice(thickness: float, size: int = 1280, dose: float = 40.0) -> FloatArray:
    settings = SimulationSettings.make(
        shape=(size, size),
        pixel_size=1.3,
        thickness=thickness,
        defocus=12000,
        dose_per_frame=dose / 20,
        n_frames=20,
    )
    return simulate_thick_ice(settings, f"ice {thickness}")


def test_slabs_give_the_node_of_the_closed_formula() -> None:
    # Nothing but ice: a dose that leaves no noise of counting.
    image = ice(1500, 1024, dose=4000) / 4000 / 1.3**2
    frequency, power = rotational_average(np.abs(np.fft.rfft2(image)) ** 2, (1024, 1024))
    k = frequency / 1.3
    node = 1 / math.sqrt(wavelength(300) * 1500)
    assert 1 / node == pytest.approx(5.43, abs=0.02)

    def modulation(low: float, high: float) -> float:
        band = (k > low * node) & (k < high * node)
        lam = wavelength(300)
        chi = np.pi * lam * k**2 * (12000 - 0.5 * lam**2 * 2.7e7 * k**2) + math.asin(0.1)
        flat = np.log(power[band])
        flat = flat - np.polyval(np.polyfit(k[band], flat, 2), k[band])
        return float(np.corrcoef(flat, -np.cos(2 * chi[band]))[0, 1])

    assert modulation(0.5, 0.85) > 0.6
    assert modulation(1.15, 1.35) < -0.4


@pytest.mark.parametrize("thickness", [1000.0, 2000.0, 3000.0])
def test_a_node_in_range_gives_the_thickness(thickness: float) -> None:
    image = ice(thickness)
    start = estimate_ctf(image, pixel_size=1.3).parameters
    fit = estimate_thickness(power_spectrum(image, 1.3, 512), start)
    assert fit.flags == ()
    assert fit.thickness == pytest.approx(thickness, abs=50)
    assert abs(fit.thickness - thickness) < 3.5 * fit.error < 200
    assert fit.defocus == pytest.approx(12000, abs=40)
    assert fit.node == pytest.approx(math.sqrt(wavelength(300) * fit.thickness))


def test_thin_ice_has_no_node_but_an_upper_bound() -> None:
    fit = estimate_thickness(power_spectrum(ice(200), 1.3, 512), P)
    assert fit.flags == (NO_NODE,)
    assert math.isnan(fit.thickness)
    assert 200 <= fit.upper < 800
    numbers = json.loads(json.dumps(fit.numbers()))
    assert numbers["thickness"] is None


def test_noise_decides_nothing() -> None:
    image = np.random.default_rng(0).standard_normal((1024, 1024))
    fit = estimate_thickness(power_spectrum(image, 1.3, 512), P)
    assert NO_NODE in fit.flags
    assert math.isnan(fit.thickness)


def test_thickness_is_recorded_where_it_is_asked_for() -> None:
    image = ice(1500, 1024)
    result = estimate_ctf(image, pixel_size=1.3)
    for asked in (False, True):
        settings = CtfSettings(local="off", thickness=asked)
        _, further = further_numbers(result, image, pixel_size=1.3, settings=settings)
        assert ("thickness" in further) is asked
    assert further["thickness"]["thickness"] == pytest.approx(1500, abs=100)


def test_an_empty_range_is_refused() -> None:
    spectrum = power_spectrum(np.random.default_rng(0).standard_normal((512, 512)), 1.3, 256)
    with pytest.raises(SettingsError, match="range of thickness"):
        estimate_thickness(spectrum, P, thickness_range=(900, 300))
