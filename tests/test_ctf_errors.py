"""Every number's standard error: from a known covariance, and against the real errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icefloe.ctf import CtfSettings, estimate_ctf_from_spectrum
from icefloe.ctf.uncertainty import errors_of, half_difference
from icefloe.optics import CtfParameters, defocus_at_angle, phase_aberration


def test_errors_follow_from_the_covariance() -> None:
    p = CtfParameters(15500, 14500, 0)
    covariance = np.diag([100.0, 25.0, 16.0, math.radians(2) ** 2])
    e = errors_of(p, covariance)
    assert e.defocus == pytest.approx(10)
    assert e.defocus_u == pytest.approx(math.sqrt(125))
    assert e.defocus_v == pytest.approx(math.sqrt(125))
    # U - V is 2 a here, and the angle b / (2 a).
    assert e.astigmatism == pytest.approx(10)
    assert e.angle == pytest.approx(math.degrees(4 / 1000))
    assert e.phase_shift == pytest.approx(2)


def test_errors_turn_with_the_axis() -> None:
    covariance = np.diag([100.0, 25.0, 16.0, 0.0])
    e = errors_of(CtfParameters(15500, 14500, 45), covariance)
    assert e.astigmatism == pytest.approx(8)
    assert e.angle == pytest.approx(math.degrees(5 / 1000))


def test_an_axis_of_no_astigmatism_may_point_anywhere() -> None:
    e = errors_of(CtfParameters(15000, 15000, 0), np.diag([1.0, 1.0, 1.0, 0.0]))
    assert e.angle == pytest.approx(180 / math.sqrt(12))


def test_halves_of_the_data_show_the_error() -> None:
    e = half_difference(CtfParameters(15500, 14500, 80), CtfParameters(15400, 14380, -80))
    assert e.defocus == pytest.approx(55)
    # 20 degrees apart across the wrap of the axis, not 160.
    assert e.angle == pytest.approx(10)
    same = half_difference(*[CtfParameters(15500, 14500, 20)] * 2)
    assert same.defocus == same.astigmatism == same.angle == same.phase_shift == 0


def spectrum(p: CtfParameters, seed: int) -> np.ndarray:
    """Return the amplitudes (256, 256) of 8 averaged periodograms with Thon rings."""
    n, pixel_size = 256, 1.8
    axis = (np.arange(n) - n // 2) / (n * pixel_size)
    ky, kx = axis[:, None], axis[None, :]
    k2 = ky**2 + kx**2
    chi = phase_aberration(p, k2, defocus_at_angle(p, np.arctan2(ky, kx)))
    power = 1 + 0.8 * np.exp(-20 * k2) * np.sin(chi) ** 2 + np.exp(-900 * k2)
    noise = np.random.default_rng(seed).gamma(8, 1 / 8, (n, n))
    # A real image has the same amplitude at -k.
    mirrored = np.roll(noise[::-1, ::-1], 1, axis=(0, 1))
    noise[:, : n // 2] = mirrored[:, : n // 2]
    return np.asarray(np.sqrt(power * noise))


@pytest.mark.parametrize("phase", [0.0, 70.0])
def test_stated_errors_are_the_real_ones(phase: float) -> None:
    p = CtfParameters(12400, 11600, 25, 300, 2.7, 0.07, phase)
    settings = CtfSettings(
        phase_shift=phase > 0, defocus_min=8000, defocus_max=16000, max_astigmatism=1600
    )
    pulls = []
    for seed in range(24):
        r = estimate_ctf_from_spectrum(
            spectrum(p, seed), pixel_size=1.8, amplitude_contrast=0.07, settings=settings
        )
        q, e = r.parameters, r.errors
        row = [
            (q.defocus - p.defocus) / e.defocus,
            (q.astigmatism - p.astigmatism) / e.astigmatism,
            (q.defocus_angle - p.defocus_angle) / e.angle,
        ]
        if phase:
            row.append((q.phase_shift - phase) / e.phase_shift)
        pulls.append(row)
    spread = np.sqrt(np.mean(np.square(pulls), axis=0))
    # Of 24 draws of unit variance the root mean square lies in 0.59 to 1.47 in 99.9 %.
    assert np.all((spread > 0.59) & (spread < 1.47)), spread
