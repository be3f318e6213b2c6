"""The optics against formulas written out independently, and published values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icefloe.errors import SettingsError
from icefloe.optics import (
    CtfParameters,
    advise_box,
    critical_dose,
    ctf_1d,
    ctf_2d,
    defocus_at_angle,
    dose_filters,
    good_size,
    wavelength,
)


@pytest.mark.parametrize(("kv", "published"), [(100, 0.0370), (200, 0.0251), (300, 0.0197)])
def test_wavelength_is_the_published_one(kv: float, published: float) -> None:
    assert wavelength(kv) == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize("kv", [80, 120, 200, 300])
def test_wavelength_agrees_with_ctffinds_approximation(kv: float) -> None:
    volt = kv * 1e3
    assert wavelength(kv) == pytest.approx(
        12.2643 / math.sqrt(volt + 0.978466e-6 * volt**2), rel=1e-4
    )


@pytest.mark.parametrize("kv", [0.0, -300.0, math.nan])
def test_impossible_voltage_is_refused(kv: float) -> None:
    with pytest.raises(SettingsError, match="voltage"):
        wavelength(kv)


def test_ctf_is_ctffinds_formula() -> None:
    k = np.linspace(0, 0.4, 400)
    lam = 12.2643 / math.sqrt(3e5 + 0.978466e-6 * 9e10)
    w = 0.07
    chi = math.pi * lam * k**2 * (18000 - 0.5 * lam**2 * k**2 * 2.7e7)
    expected = -np.sin(chi + math.radians(40) + math.atan(w / math.sqrt(1 - w * w)))
    p = CtfParameters(18000, 18000, 0, 300, 2.7, w, 40)
    # 1e-4 of the wavelength is 1e-4 of some 170 radians at 2.5 A.
    np.testing.assert_allclose(ctf_1d(p, k), expected, atol=0.02)
    np.testing.assert_allclose(ctf_1d(p, k[:100]), expected[:100], atol=2e-3)


@pytest.mark.parametrize("cs", [0.0, 2.7])
def test_first_zero_is_where_the_phase_is_pi(cs: float) -> None:
    lam, defocus, c = wavelength(300), 12000.0, cs * 1e7
    # lambda k^2 (D - lambda^2 Cs k^2 / 2) = 1, solved for k^2.
    k2 = (
        1 / (lam * defocus)
        if c == 0
        else (defocus - math.sqrt(defocus**2 - 2 * lam * c)) / (lam**2 * c)
    )
    p = CtfParameters(defocus, defocus, 0, 300, cs, 0.0)
    below, zero, above = ctf_1d(p, math.sqrt(k2) * np.array([0.98, 1.0, 1.02]))
    assert abs(zero) < 1e-9
    assert below < 0 < above


def test_protein_is_dark_in_underfocus_and_amplitude_contrast_is_the_value_at_zero() -> None:
    p = CtfParameters(15000, 15000, 0, 300, 2.7, 0.1)
    assert ctf_1d(p, 0.0) == pytest.approx(-0.1)
    assert ctf_1d(p, 0.02) < -0.3


def test_phase_plate_of_ninety_degrees_makes_a_cosine() -> None:
    p = CtfParameters(10000, 10000, 0, 300, 0.0, 0.0, 90)
    k = np.linspace(0, 0.2, 50)
    np.testing.assert_allclose(
        ctf_1d(p, k), -np.cos(np.pi * wavelength(300) * k**2 * 10000), atol=1e-9
    )


def test_plane_equals_curve_along_both_axes() -> None:
    p = CtfParameters(21000, 17000, 0, 200, 2.0, 0.1)
    plane = ctf_2d(p, (96, 128), 1.3)
    along_x = CtfParameters(21000, 21000, 0, 200, 2.0, 0.1)
    along_y = CtfParameters(17000, 17000, 0, 200, 2.0, 0.1)
    np.testing.assert_allclose(
        plane[0], ctf_1d(along_x, np.fft.rfftfreq(128, 1.3)), atol=2e-5, rtol=0
    )
    np.testing.assert_allclose(
        plane[:, 0], ctf_1d(along_y, np.fft.fftfreq(96, 1.3)), atol=2e-5, rtol=0
    )
    full = ctf_2d(p, (96, 128), 1.3, real=False)
    np.testing.assert_allclose(full[:, :65], plane, atol=1e-6)


def test_largest_defocus_lies_along_the_angle_from_x_towards_y() -> None:
    p = CtfParameters(20000, 16000, 30, 300, 0.0, 0.0)
    assert defocus_at_angle(p, math.radians(30)) == pytest.approx(20000)
    assert defocus_at_angle(p, math.radians(120)) == pytest.approx(16000)
    # In the image of the CTF, the first zero is nearest to the origin along that axis.
    n = 512
    plane = np.fft.fftshift(ctf_2d(p, (n, n), 1.0, real=False))
    radius = np.arange(5, 60, 0.1)

    def first_zero(degrees: float) -> float:
        t = math.radians(degrees)
        y = np.rint(n // 2 + radius * math.sin(t)).astype(int)  # rows increase towards +y
        x = np.rint(n // 2 + radius * math.cos(t)).astype(int)
        return float(radius[np.argmax(plane[y, x] > 0)])

    lam = wavelength(300)
    assert first_zero(30) == pytest.approx(n / math.sqrt(lam * 20000), abs=1.0)
    assert first_zero(-60) == pytest.approx(n / math.sqrt(lam * 16000), abs=1.0)


@pytest.mark.parametrize("angle", [-170, -90, 0, 45, 90, 135, 400])
def test_normalised_parameters_give_the_same_ctf(angle: float) -> None:
    p = CtfParameters(15000, 19000, angle, 300, 2.7, 0.1)
    q = p.normalised()
    assert q.defocus_u == 19000
    assert -90 < q.defocus_angle <= 90
    np.testing.assert_allclose(
        ctf_2d(p, (64, 64), 2.0), ctf_2d(q, (64, 64), 2.0), atol=1e-4, rtol=0
    )


def test_critical_dose_is_the_published_curve() -> None:
    # Grant & Grigorieff (2015), figure 3: about 3 e/A^2 at 3 A, and 300 kV over 200 kV 1.25.
    assert critical_dose(1 / 3.0) == pytest.approx(0.24499 * 3**1.6649 + 2.8141)
    assert critical_dose(0.1, 200) == pytest.approx(0.8 * critical_dose(0.1, 300))
    assert 0.45 * critical_dose(0.1, 300) < critical_dose(0.1, 100) < 0.8 * critical_dose(0.1, 300)


def test_dose_filters_follow_the_dose_and_keep_white_noise_white() -> None:
    k = np.array([0.05, 0.2, 0.33])
    doses = np.arange(1, 41) * 1.2
    plain = dose_filters(k, doses, restore_noise=False)
    np.testing.assert_allclose(plain[9], np.exp(-12 / (2 * critical_dose(k))))
    np.testing.assert_allclose(np.sum(dose_filters(k, doses) ** 2, axis=0), 1)


def test_box_holds_the_particle_and_what_defocus_spreads() -> None:
    advice = advise_box(120, 20000, 3.0, 300, pixel_size=1.0)
    spread = wavelength(300) * 20000 / 3.0
    assert advice.minimum == pytest.approx(120 + 2 * spread)
    assert advice.pixels == good_size(advice.minimum)
    assert advice.pixels >= advice.minimum


@pytest.mark.parametrize(("minimum", "size"), [(100, 100), (101, 108), (382.5, 384), (2, 2)])
def test_good_sizes_are_even_without_large_primes(minimum: float, size: int) -> None:
    assert good_size(minimum) == size
