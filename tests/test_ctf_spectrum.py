"""Power spectra: sampling, layout, agreement of the ways to make them."""

from __future__ import annotations

import numpy as np
import pytest

from ctf_micrographs import thon_micrograph
from icefloe.ctf import estimate_ctf, power_spectrum, tiled_power_spectrum
from icefloe.ctf.sampling import lag_window
from icefloe.ctf.spectrum import amplitude_to_spectrum
from icefloe.errors import FitError, InputError, SettingsError
from icefloe.fourier import get_threads, rotational_average, set_threads
from icefloe.optics import CtfParameters


def test_a_wave_appears_at_its_frequency_and_azimuth() -> None:
    y, x = np.mgrid[:600, :700]
    noise = np.random.default_rng(0).standard_normal((600, 700))
    image = np.cos(2 * np.pi * (0.15 * x + 0.05 * y)) + 0.1 * noise
    spectrum = power_spectrum(image, 1.0, 512)
    assert spectrum.pixel_size == pytest.approx(1.4)
    row, column = np.unravel_index(np.argmax(spectrum.power), spectrum.power.shape)
    ky, kx = spectrum.frequencies()
    assert kx[0, column] == pytest.approx(0.15, abs=1 / (512 * 1.4))
    assert ky[row, 0] == pytest.approx(0.05, abs=1 / (512 * 1.4))


def test_centred_plane_is_the_point_symmetric_one() -> None:
    image = np.random.default_rng(1).standard_normal((300, 260))
    centred = power_spectrum(image, 1.5, 256).centred()
    inner = centred[8:-7, 8:-7]  # the kernel is cut off at Nyquist
    np.testing.assert_allclose(inner, inner[::-1, ::-1], rtol=1e-4)
    back = amplitude_to_spectrum(centred, 1.5)
    np.testing.assert_allclose(back.power, power_spectrum(image, 1.5, 256).power, rtol=1e-5)


def test_white_noise_has_a_flat_spectrum_of_the_same_expectation_everywhere() -> None:
    image = np.random.default_rng(2).standard_normal((1000, 1200))
    spectrum = power_spectrum(image, 1.0, 256)
    _, ring = rotational_average(np.sqrt(spectrum.power), (256, 256))
    # The mean of a Rayleigh distribution, for the power of 1.2 million pixels.
    expected = np.sqrt(np.pi / 4 * image.size)
    np.testing.assert_allclose(ring[10:125], expected, rtol=0.08)
    assert np.mean(ring[10:125]) == pytest.approx(expected, rel=0.005)


def test_full_frame_and_tiles_see_the_same_rings() -> None:
    p = CtfParameters(15000, 15000, 0, 300, 2.7, 0.07)
    image = thon_micrograph(p, seed=3)
    curves = []
    for make in (power_spectrum, tiled_power_spectrum):
        spectrum = make(image, 1.0, 512)
        k, ring = rotational_average(np.log(spectrum.power), (512, 512))
        curves.append(np.interp(np.linspace(0.06, 0.2, 100), k / spectrum.pixel_size, ring))
    assert np.corrcoef(curves)[0, 1] > 0.95


def test_smoothing_keeps_ripples_the_box_can_hold_and_no_others() -> None:
    lag = np.array([0.0, 200.0, 400.0])
    np.testing.assert_allclose(lag_window(lag, 512, 1.4), [1, 1, 0])


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    image = np.random.default_rng(4).standard_normal((700, 650)).astype(np.float32)
    before = get_threads()
    try:
        set_threads(1)
        one = power_spectrum(image, 1.0, 256)
        set_threads(2)
        two = power_spectrum(image, 1.0, 256)
    finally:
        set_threads(before)
    np.testing.assert_array_equal(one.power, two.power)


def test_accelerator_path_agrees_with_the_cpu() -> None:
    pytest.importorskip("torch")
    image = thon_micrograph(CtfParameters(12000, 11500, 20, 300, 2.7, 0.07), shape=(700, 640))
    cpu = power_spectrum(image, 1.0, 512)
    torch = power_spectrum(image, 1.0, 512, device="torch-cpu")
    np.testing.assert_allclose(torch.power, cpu.power, rtol=1e-3)
    a = estimate_ctf(image, pixel_size=1.0).parameters
    b = estimate_ctf(image, pixel_size=1.0, device="torch-cpu").parameters
    assert b.defocus_u == pytest.approx(a.defocus_u, abs=0.5)
    assert b.defocus_angle == pytest.approx(a.defocus_angle, abs=0.5)


def test_images_that_cannot_be_used_are_refused() -> None:
    image = np.random.default_rng(5).standard_normal((200, 200))
    with pytest.raises(InputError, match="two dimensions"):
        power_spectrum(np.zeros((2, 100, 100)), 1.0, 256)
    with pytest.raises(SettingsError, match="pixel size"):
        power_spectrum(image, 0.0, 256)
    with pytest.raises(FitError, match="All pixels"):
        power_spectrum(np.full((200, 200), 7), 1.0, 256)
    image[3, 4] = np.nan
    with pytest.raises(InputError, match="not finite"):
        power_spectrum(image, 1.0, 256)


@pytest.mark.parametrize("shape", [(256, 128), (255, 255), (16, 16), (2, 256, 256)])
def test_amplitude_spectra_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="square of even side"):
        amplitude_to_spectrum(np.ones(shape), 1.0)


def test_small_negative_amplitudes_of_resampling_are_tolerated() -> None:
    amplitude = np.full((128, 128), 0.5)
    amplitude[3, 5] = -1e-3
    assert amplitude_to_spectrum(amplitude, 1.0).power.min() > 0
    with pytest.raises(FitError, match="nowhere positive"):
        amplitude_to_spectrum(-amplitude.clip(0), 1.0)
