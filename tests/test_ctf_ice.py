"""Relative measures of ice thickness."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icefloe.ctf import transmission_thickness, water_ring
from icefloe.ctf.spectrum import Spectrum, power_spectrum
from icefloe.errors import SettingsError
from icefloe.simulate import SimulationSettings
from icefloe.simulate.thick import simulate_thick_ice


def test_transmission_follows_beers_law() -> None:
    assert transmission_thickness(math.exp(-0.1) * 30, 30, 3000) == pytest.approx(300)
    assert transmission_thickness(30, 30, 3000) == 0
    with pytest.raises(SettingsError, match="mean free path"):
        transmission_thickness(20, 30, 0)


def test_the_ring_of_water_grows_with_the_thickness() -> None:
    found = []
    for thickness in (150, 300, 600):
        settings = SimulationSettings.make(
            shape=(1024, 1024), thickness=thickness, dose_per_frame=2, n_frames=10
        )
        image = simulate_thick_ice(settings, "ring")
        found.append(water_ring(power_spectrum(image, 1.0, 512), 20))
    assert 0 < found[0] < found[1] < found[2]
    assert found[1] / found[0] == pytest.approx(2, rel=0.3)


def test_the_ring_is_measured_above_its_surroundings() -> None:
    k = np.hypot(np.fft.fftfreq(256, 1.4)[:, None], np.fft.rfftfreq(256, 1.4)[None, :])
    slope = np.exp(-2 * k)
    peak = 1 + 0.5 * ((k > 1 / 4.1) & (k < 1 / 3.3))
    assert water_ring(Spectrum((slope * peak).astype(np.float32), 1.4), 10) == pytest.approx(
        0.05, rel=0.01
    )
    assert water_ring(Spectrum(slope.astype(np.float32), 1.4), 10) == pytest.approx(0, abs=1e-4)


def test_beyond_nyquist_there_is_no_ring() -> None:
    assert math.isnan(water_ring(Spectrum(np.ones((64, 33), np.float32), 1.6), 10))
    with pytest.raises(SettingsError, match="dose"):
        water_ring(Spectrum(np.ones((64, 33), np.float32), 1.4), 0)
