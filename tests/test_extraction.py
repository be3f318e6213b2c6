"""Windows, binning and grey levels of particles."""

import numpy as np
import pytest
from pydantic import ValidationError

from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.extraction import ExtractSettings, extract_particles

PLAIN = {"normalise": False, "invert": False}


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).normal(10, 2, (150, 170)).astype(np.float32)


def extract(image, y, x, pixel_size=1.5, device="cpu", **settings):
    return extract_particles(
        image, y, x, pixel_size=pixel_size, settings=ExtractSettings(**settings), device=device
    )


def test_the_window_runs_from_minus_half_to_half_minus_one(image):
    stack = extract(image, [70.0, 20.9], [80.0, 33.2], box=32, **PLAIN)
    np.testing.assert_array_equal(stack.images[0], image[54:86, 64:96])
    np.testing.assert_array_equal(stack.images[1], image[4:36, 17:49])
    assert stack.images[1][16, 16] == image[20, 33]


def test_the_truncated_part_is_kept_as_relions_origin(image):
    stack = extract(image, [20.9], [33.25], box=32, **PLAIN)
    assert (stack.y[0], stack.x[0]) == (20, 33)
    true = (stack.y - stack.origin_y / 1.5, stack.x - stack.origin_x / 1.5)
    np.testing.assert_allclose(true, [[20.9], [33.25]])
    assert stack.origin_y[0] == pytest.approx(-0.9 * 1.5)


def test_windows_over_the_border_repeat_it_or_are_dropped(image):
    y, x = [3.0, 75.0, 149.0], [5.0, 85.0, 169.9]
    stack = extract(image, y, x, box=32, **PLAIN)
    padded = np.pad(image, 16, mode="edge")
    for i, (cy, cx) in enumerate(zip([3, 75, 149], [5, 85, 169], strict=True)):
        np.testing.assert_array_equal(stack.images[i], padded[cy : cy + 32, cx : cx + 32])
    dropped = extract(image, y, x, box=32, edge="drop", **PLAIN)
    assert dropped.kept.tolist() == [1]
    assert dropped.n_dropped == 2
    assert any("border" in flag for flag in dropped.flags)


def test_coordinates_outside_the_micrograph_are_dropped_and_reported(image):
    stack = extract(image, [-1.0, 75.0, 150.0, 20.0], [20.0, 85.0, 20.0, 1e6], box=32)
    assert stack.kept.tolist() == [1]
    assert stack.numbers()["n_dropped"] == 3
    assert stack.flags == ("3 coordinates outside the micrograph dropped",)


def test_binning_keeps_a_wave_that_both_grids_can_hold():
    y, x = np.mgrid[:128, :128]
    wave = (5 + np.cos(2 * np.pi * (3 * x + 2 * y) / 64)).astype(np.float32)
    stack = extract(wave, [64.0], [64.0], box=64, output_box=24, **PLAIN)
    v, u = np.mgrid[:24, :24] * (64 / 24)
    expected = 5 + np.cos(2 * np.pi * (3 * (u + 32) + 2 * (v + 32)) / 64)
    np.testing.assert_allclose(stack.images[0], expected, atol=1e-4)
    assert stack.pixel_size == pytest.approx(1.5 * 64 / 24)


def test_background_has_no_slope_mean_zero_and_unit_variance():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:200, :200]
    noise = rng.normal(0, 3, (200, 200))
    ball = -20 * np.sqrt(np.maximum(1 - ((y - 100) ** 2 + (x - 100) ** 2) / 15.0**2, 0))
    image = (3e4 + noise + ball + 0.8 * x - 0.3 * y).astype(np.float32)
    stack = extract(image, [100.0], [100.0], box=80, background_diameter=1.5 * 60)
    particle = stack.images[0]
    c = np.arange(80) - 40
    outside = c[:, None] ** 2 + c[None, :] ** 2 > 30**2
    assert particle[outside].mean() == pytest.approx(0, abs=1e-4)
    assert particle[outside].std() == pytest.approx(1, abs=1e-4)
    slopes = [np.polyfit(np.broadcast_to(g, (80, 80))[outside], particle[outside], 1)[0]
              for g in (c[None, :], c[:, None])]  # fmt: skip
    np.testing.assert_allclose(slopes, 0, atol=1e-4)
    # Dark becomes bright, 20 grey levels are 20 / 3 of the noise.
    assert particle[38:43, 38:43].mean() == pytest.approx(20 / 3, rel=0.15)
    dark = extract(image, [100.0], [100.0], box=80, background_diameter=90, invert=False)
    np.testing.assert_array_equal(dark.images, -stack.images)


def test_the_default_background_lies_outside_three_quarters_of_the_box(image):
    given = extract(image, [75.0], [85.0], box=64, background_diameter=0.75 * 64 * 1.5)
    np.testing.assert_array_equal(extract(image, [75.0], [85.0], box=64).images, given.images)


def test_a_window_without_variation_is_left_and_reported():
    image = np.full((100, 100), 7.0, np.float32)
    stack = extract(image, [50.0], [50.0], box=32)
    assert np.isfinite(stack.images).all()
    assert "no variation" in stack.flags[0]


def test_the_accelerators_path_gives_the_same(image):
    pytest.importorskip("torch")
    y, x = [3.0, 75.4, 140.0], [5.0, 85.9, 100.0]
    host = extract(image, y, x, box=64, output_box=40)
    other = extract(image, y, x, box=64, output_box=40, device="torch-cpu")
    np.testing.assert_allclose(other.images, host.images, atol=2e-5)


def test_numbers_have_the_keys_that_sidecars_hold(image):
    numbers = extract(image, [75.0, 400.0], [85.0, 3.0], box=64, bin_to=3.0).numbers()
    assert {k: numbers[k] for k in ("n_particles", "n_dropped", "box", "extract_box")} == {
        "n_particles": 1, "n_dropped": 1, "box": 32, "extract_box": 64
    }  # fmt: skip
    assert numbers["pixel_size"] == pytest.approx(3.0)
    assert numbers["kept"] == [0]


def test_no_coordinates_give_an_empty_stack(image):
    stack = extract(image, [], [], box=64, bin_to=3.0)
    assert stack.images.shape == (0, 32, 32)


def test_nan_pixels_are_replaced_and_reported(image):
    broken = image.copy()
    broken[60:63, 80] = np.nan
    stack = extract(broken, [75.0], [85.0], box=64)
    assert np.isfinite(stack.images).all()
    assert "3 pixels" in stack.flags[0]


def test_bad_input_is_refused(image):
    with pytest.raises(MissingMetadataError, match="pixel size"):
        extract(image, [1.0], [1.0], pixel_size=0.0, box=32)
    with pytest.raises(MissingMetadataError, match="diameter"):
        extract(image, [1.0], [1.0])
    with pytest.raises(SettingsError, match="wider than the box"):
        extract(image, [75.0], [85.0], box=32, background_diameter=60)
    with pytest.raises(SettingsError, match="twice"):
        extract(image, [75.0], [85.0], box=400)
    with pytest.raises(InputError, match="one length"):
        extract(image, [75.0], [85.0, 3.0], box=32)
    with pytest.raises(InputError, match="NaN"):
        extract(image, [np.nan], [85.0], box=32)
    with pytest.raises(InputError, match="shape"):
        extract(image[None], [75.0], [85.0], box=32)
    for wrong in ({"box": 33}, {"bin_to": 3, "output_box": 32}, {"edge": "wrap"}):
        with pytest.raises(ValidationError):
            ExtractSettings(**wrong)
