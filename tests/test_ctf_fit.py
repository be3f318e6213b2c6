"""The fit against known optics, and its judgement of images without Thon rings."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ctf_micrographs import thon_micrograph
from icefloe.ctf import CtfResult, CtfSettings, estimate_ctf, estimate_ctf_from_spectrum
from icefloe.ctf.curves import equiphase_frequency
from icefloe.ctf.spectrum import power_spectrum
from icefloe.errors import SettingsError
from icefloe.optics import CtfParameters, phase_aberration

KEYS = {
    "defocus_u", "defocus_v", "defocus_angle", "phase_shift", "astigmatism", "figure_of_merit",
    "fit_resolution", "fit_resolution_03", "ice_ring", "iciness", "voltage", "cs",
    "amplitude_contrast", "pixel_size", "spectrum_pixel_size", "defocus_error", "curves",
    "fit_resolution_ctffind", "aliasing_resolution", "snr", "defocus_u_error", "defocus_v_error",
    "astigmatism_error", "defocus_angle_error", "phase_shift_error", "advice", "fitted_to",
}  # fmt: skip
CURVES = {"frequency", "experimental", "equiphase", "model", "correlation", "noise"}


def fit(p: CtfParameters, settings: CtfSettings | None = None, **image: object) -> CtfResult:
    micrograph = thon_micrograph(p, **image)  # type: ignore[arg-type]
    return estimate_ctf(
        micrograph,
        pixel_size=float(image.get("pixel_size", 1.0)),  # type: ignore[arg-type]
        voltage=p.voltage,
        cs=p.cs,
        amplitude_contrast=p.amplitude_contrast,
        settings=settings,
    )


def astigmatism_error(a: CtfParameters, b: CtfParameters) -> float:
    """Length of the difference of the astigmatisms as vectors at twice their angle, A."""
    x, y = (q.astigmatism * np.exp(2j * math.radians(q.defocus_angle)) for q in (a, b))
    return float(abs(x - y))


@pytest.fixture(scope="session")
def typical() -> tuple[CtfParameters, CtfResult]:
    p = CtfParameters(15400, 14800, 35, 300, 2.7, 0.07)
    return p, fit(p, seed=1, bfactor=150.0)


@pytest.mark.parametrize(
    ("defocus", "astigmatism", "voltage", "cs"),
    [
        (6000, 100, 300, 2.7),
        (12000, 300, 200, 1.4),
        (12000, 300, 100, 2.0),
        (20000, 500, 300, 0.0),
        (38000, 200, 300, 2.7),
    ],
)
def test_known_optics_are_found(
    defocus: float, astigmatism: float, voltage: float, cs: float
) -> None:
    half = astigmatism / 2
    p = CtfParameters(defocus + half, defocus - half, -25, voltage, cs, 0.07)
    found = fit(p, seed=int(defocus))
    assert found.parameters.defocus == pytest.approx(defocus, abs=50)
    assert astigmatism_error(found.parameters, p) < 150
    assert found.fit_resolution < 5
    assert found.flags == ()


def test_error_of_the_defocus_is_as_large_as_stated() -> None:
    p = CtfParameters(18100, 17900, 10, 300, 0.0, 0.07)
    small = CtfSettings(box=256)
    results = [
        fit(p, small, shape=(600, 600), pixel_size=1.5, signal=1.2, seed=100 + i) for i in range(12)
    ]
    errors = np.array([r.parameters.defocus - 18000 for r in results])
    stated = np.array([r.defocus_error for r in results])
    # With 12 draws the ratio of the two lies in this range in 99.9 % of the cases.
    assert 0.45 < np.sqrt(np.mean(errors**2) / np.mean(stated**2)) < 1.65


@pytest.mark.parametrize("astigmatism", [1500, 3000])
def test_strong_astigmatism_is_found_without_a_start(astigmatism: float) -> None:
    p = CtfParameters(15000 + astigmatism / 2, 15000 - astigmatism / 2, 70, 300, 2.7, 0.07)
    found = fit(p, seed=5).parameters
    assert found.defocus == pytest.approx(15000, abs=50)
    assert found.astigmatism == pytest.approx(astigmatism, abs=120)
    assert abs((found.defocus_angle - 70 + 90) % 180 - 90) < 3


def test_phase_shift_is_found_when_asked_for() -> None:
    p = CtfParameters(9100, 8900, 0, 300, 2.7, 0.07, 80)
    search = CtfSettings(phase_shift=True)
    found = fit(p, search, seed=6, signal=1.5)
    assert found.parameters.phase_shift == pytest.approx(80, abs=8)
    assert found.parameters.defocus == pytest.approx(9000, abs=120)
    # Without it the same rings are explained by a defocus that is wrong by about
    # phase / (pi lambda k^2): the option has an effect.
    assert abs(fit(p, seed=6, signal=1.5).parameters.defocus - 9000) > 500


def test_a_prior_restrains_the_astigmatism() -> None:
    p = CtfParameters(15600, 14400, 0, 300, 2.7, 0.07)
    free = fit(p, seed=7).parameters.astigmatism
    held = fit(p, CtfSettings(astigmatism_prior=20), seed=7).parameters.astigmatism
    assert held < 0.9 * free


def test_range_and_limits_of_the_search_have_their_effect() -> None:
    p = CtfParameters(30000, 30000, 0, 300, 2.7, 0.07)
    image = thon_micrograph(p, seed=8)
    limited = CtfSettings(defocus_max=20000)
    result = estimate_ctf(image, pixel_size=1.0, amplitude_contrast=0.07, settings=limited)
    assert result.failed or result.parameters.defocus < 20500
    strong = CtfParameters(16500, 13500, 20, 300, 2.7, 0.07)
    weak = fit(strong, CtfSettings(max_astigmatism=400), seed=8)
    assert weak.flags  # says that something is wrong with it


def test_spectrum_of_an_image_gives_the_image_s_result(
    typical: tuple[CtfParameters, CtfResult],
) -> None:
    p, result = typical
    spectrum = power_spectrum(thon_micrograph(p, seed=1, bfactor=150.0), 1.0, 512)
    again = estimate_ctf_from_spectrum(
        spectrum.centred(), pixel_size=spectrum.pixel_size, amplitude_contrast=0.07
    )
    assert again.parameters.defocus_u == pytest.approx(result.parameters.defocus_u, abs=0.1)
    assert again.spectrum_pixel_size == result.spectrum_pixel_size


def test_numbers_are_plain_json_with_the_agreed_keys(
    typical: tuple[CtfParameters, CtfResult],
) -> None:
    numbers = typical[1].numbers()
    assert set(numbers) == KEYS
    assert set(numbers["curves"]) == CURVES
    assert {len(v) for v in numbers["curves"].values()} == {257}
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_curves_follow_the_rings_to_the_stated_resolution(
    typical: tuple[CtfParameters, CtfResult],
) -> None:
    _, result = typical
    c = result.curves
    inside = (c.frequency > 1 / 15) & (c.frequency < 1 / 6)
    assert np.corrcoef(c.equiphase[inside], c.model[inside])[0, 1] > 0.85
    beyond = c.frequency > 1.15 / result.fit_resolution
    assert np.median(c.correlation[beyond]) < 0.5 < np.median(c.correlation[inside])
    assert 2.8 <= result.fit_resolution_03 <= 6


def test_diagnostic_joins_measured_and_fitted_rings(
    typical: tuple[CtfParameters, CtfResult],
) -> None:
    _, result = typical
    image = result.diagnostic
    assert image.shape == (512, 512)
    assert image.dtype == np.float32
    middle = 256
    y, x = np.mgrid[:512, :512] - middle
    radius = np.hypot(y, x)
    band = (radius > 40) & (radius < 110)
    fitted = band & (y > 12) & (x < -12)
    # A point reflection carries the fitted quadrant onto measured rings.
    measured = image[(-y + middle) % 512, (-x + middle) % 512]
    assert np.corrcoef(image[fitted], measured[fitted])[0, 1] > 0.15


def test_phase_is_equal_along_equiphase_lines() -> None:
    p = CtfParameters(16000, 13000, 30, 300, 2.7, 0.1)
    rng = np.random.default_rng(0)
    k, azimuth = rng.uniform(0.02, 0.3, 500), rng.uniform(-np.pi, np.pi, 500)
    where = equiphase_frequency(k**2, azimuth, p)
    own = CtfParameters(p.defocus, p.defocus, 0, 300, 2.7, 0.1)
    u, v = p.defocus_u, p.defocus_v
    local = u * np.cos(azimuth - np.radians(30)) ** 2 + v * np.sin(azimuth - np.radians(30)) ** 2
    np.testing.assert_allclose(
        phase_aberration(own, where**2, p.defocus), phase_aberration(own, k**2, local), atol=1e-6
    )


def test_ice_ring_numbers_rise_with_the_ring() -> None:
    p = CtfParameters(15000, 15000, 0, 300, 2.7, 0.07)
    image = thon_micrograph(p, seed=10)
    k = np.hypot(np.fft.fftfreq(1024)[:, None], np.fft.rfftfreq(1024)[None, :])
    ring = np.fft.rfft2(image) * (1 + 0.6 * np.exp(-(((k - 1 / 3.75) / 0.008) ** 2)))
    icy = np.fft.irfft2(ring, s=image.shape)
    clean, iced = (estimate_ctf(i, pixel_size=1.0) for i in (image, icy))
    assert iced.ice_ring > 2 * clean.ice_ring
    assert iced.iciness > 1.2 * clean.iciness


def test_numbers_beyond_nyquist_do_not_exist() -> None:
    result = fit(CtfParameters(15000, 15000, 0), pixel_size=2.0, shape=(700, 700), seed=11)
    assert result.numbers()["ice_ring"] is None
    assert result.numbers()["iciness"] is None


def test_same_image_gives_the_same_bytes(typical: tuple[CtfParameters, CtfResult]) -> None:
    p, result = typical
    again = fit(p, seed=1, bfactor=150.0)
    assert again.numbers() == result.numbers()
    assert again.diagnostic.tobytes() == result.diagnostic.tobytes()


def test_same_bytes_for_any_number_of_threads() -> None:
    program = (
        "import hashlib, json, sys; from ctf_micrographs import thon_micrograph; "
        "from icefloe.ctf import estimate_ctf; from icefloe.fourier import set_threads; "
        "from icefloe.optics import CtfParameters; set_threads(int(sys.argv[1])); "
        "p = CtfParameters(15400, 14800, 35); "
        "r = estimate_ctf(thon_micrograph(p, shape=(900, 800)), pixel_size=1.0); "
        "data = json.dumps(r.numbers()).encode() + r.diagnostic.tobytes(); "
        "print(hashlib.sha256(data).hexdigest())"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", program, threads],
            env={
                **os.environ,
                "OPENBLAS_NUM_THREADS": threads,
                "PYTHONPATH": str(Path(__file__).parent),
            },
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
        for threads in ("1", "2")
    ]
    assert len(digests[0]) > 60
    assert digests[0] == digests[1]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingsError, match="defocus_min"):
        CtfSettings(defocus_min=30000, defocus_max=20000)
    with pytest.raises(SettingsError, match="box"):
        CtfSettings(box=301)
    image = thon_micrograph(CtfParameters(15000, 15000, 0), shape=(256, 256))
    with pytest.raises(SettingsError, match="aberration"):
        estimate_ctf(image, pixel_size=1.0, cs=-1)
    with pytest.raises(SettingsError, match="amplitude contrast"):
        estimate_ctf(image, pixel_size=1.0, amplitude_contrast=7)
    with pytest.raises(SettingsError, match="rings"):
        estimate_ctf(image, pixel_size=4.0, settings=CtfSettings(box=128, low_resolution=9))
