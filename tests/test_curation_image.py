"""Numbers of the image: known slopes, areas and lattices are found; noise has none of them."""

from __future__ import annotations

import numpy as np
import pytest

from icefloe.curation import image_numbers
from icefloe.errors import InputError
from icefloe.simulate import SimulationSettings, simulate_micrograph

SIDE, PIXEL = 640, 1.25


def noise(seed: int = 0, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)


def radius_map() -> np.ndarray:
    y, x = (np.arange(SIDE) - SIDE / 2)[:, None], np.arange(SIDE) - SIDE / 2
    return np.hypot(y, x)


class TestNoise:
    def test_has_nothing(self) -> None:
        found = image_numbers(noise(), pixel_size=PIXEL)
        assert found.mean == pytest.approx(100, abs=0.1)
        assert found.gradient == pytest.approx(0, abs=0.01)
        assert found.dark_fraction == 0
        assert found.lattice is not None
        assert found.lattice < 7
        # Two halves of a normal distribution: 2 sqrt(2 / pi) / sqrt(1 - 2 / pi) = 2.65.
        assert found.area_contrast == pytest.approx(2.65, abs=0.6)

    def test_of_equal_pixels_says_so_without_failing(self) -> None:
        found = image_numbers(np.full((64, 64), 7.0, np.float32), pixel_size=1.0)
        assert (found.mean, found.dark_depth, found.area_contrast) == (7.0, 0.0, 0.0)
        assert found.lattice is None
        assert found.texture is None

    def test_all_numbers_are_finite_or_none(self) -> None:
        for shape in ((8, 8), (9, 300), (130, 71)):
            for pixel_size in (0.5, 3.0):
                numbers = image_numbers(noise(shape=shape), pixel_size=pixel_size).numbers()
                assert all(v is None or np.isfinite(v) for v in numbers.values())

    def test_scale_and_offset_change_only_what_is_in_grey_values(self) -> None:
        image = noise()
        one = image_numbers(image, pixel_size=PIXEL).numbers()
        two = image_numbers(3 * image - 300, pixel_size=PIXEL).numbers()
        assert two["gradient"] is None  # its mean is no count of electrons
        for key in set(one) - {"mean", "gradient"}:
            assert two[key] == pytest.approx(one[key], rel=2e-2, abs=1e-3), key

    def test_an_image_that_is_none_is_refused(self) -> None:
        with pytest.raises(InputError):
            image_numbers(np.zeros((4, 100)), pixel_size=1.0)
        with pytest.raises(InputError):
            image_numbers(np.zeros((3, 100, 100)), pixel_size=1.0)


class TestTruth:
    def test_a_slope(self) -> None:
        ramp = np.linspace(-0.5, 0.5, SIDE)
        image = noise() + 100 * (0.12 * ramp[:, None] + 0.05 * ramp)
        found = image_numbers(image, pixel_size=PIXEL)
        assert found.gradient == pytest.approx(0.13, abs=0.005)  # hypot(0.12, 0.05)

    def test_a_dark_disc_has_its_area(self) -> None:
        radius = 130.0
        image = noise() - 60 * (radius_map() < radius)
        found = image_numbers(image, pixel_size=PIXEL)
        # The edge is smoothed, and what is dark by much less than 60 counts, too.
        area = np.pi * radius**2 / SIDE**2
        assert area < found.dark_fraction < np.pi * (radius + 90 / PIXEL) ** 2 / SIDE**2
        assert found.gradient == pytest.approx(0, abs=0.02)

    @pytest.mark.parametrize("fraction", [0.2, 0.4])
    def test_two_areas_have_their_share(self, fraction: float) -> None:
        image = noise()
        image[:, : round(fraction * SIDE)] -= 20
        found = image_numbers(image, pixel_size=PIXEL)
        assert found.area_fraction == pytest.approx(fraction, abs=0.05)
        assert found.area_contrast > 5

    @pytest.mark.parametrize("spacing", [3.90, 3.67, 2.67])
    @pytest.mark.parametrize("azimuth", [0.3, 1.9])
    def test_a_lattice_has_its_spacing(self, spacing: float, azimuth: float) -> None:
        y, x = np.arange(SIDE)[:, None] * PIXEL, np.arange(SIDE) * PIXEL
        wave = np.cos(2 * np.pi * (y * np.sin(azimuth) + x * np.cos(azimuth)) / spacing)
        found = image_numbers(noise() + 2 * wave, pixel_size=PIXEL)
        assert found.lattice is not None
        assert found.lattice > 20
        # One pixel of the spectrum of tiles of 512 pixels.
        assert 1 / found.lattice_spacing == pytest.approx(1 / spacing, abs=1 / (512 * PIXEL))

    def test_a_lattice_beyond_reach_is_not_looked_for(self) -> None:
        assert image_numbers(noise(), pixel_size=2.2).lattice is None

    def test_a_spectrum_that_is_given_is_used(self) -> None:
        n = 256
        amplitude = np.abs(np.random.default_rng(1).normal(10, 1, (n, n)))
        amplitude = (amplitude + amplitude[::-1, ::-1]) / 2
        row, column = n // 2 + 40, n // 2 + 60
        amplitude[row, column] += 50
        found = image_numbers(
            noise(), pixel_size=PIXEL, spectrum=amplitude, spectrum_pixel_size=1.0
        )
        assert found.lattice_spacing == pytest.approx(n / np.hypot(40, 60))


@pytest.fixture(scope="module")
def simulated() -> dict[str, dict[str, float | None]]:
    """Numbers of a good micrograph and of one with each fault."""
    faults = {
        "good": {},
        "aggregates": {"aggregates": 3},
        "crystals": {"crystals": 2},
        "carbon": {"carbon_edge": True},
    }
    found = {}
    for name, fault in faults.items():
        settings = SimulationSettings.make(shape=(512, 512), pixel_size=1.5, **fault)
        image = simulate_micrograph(settings, name).image
        found[name] = image_numbers(image, pixel_size=1.5).numbers()
    return found


class TestContamination:
    """Each fault moves the number that is meant for it."""

    @pytest.mark.parametrize(
        ("fault", "number", "factor"),
        [
            ("aggregates", "dark_depth", 1.7),
            ("aggregates", "texture", 1.5),
            ("crystals", "roughness", 4),
            ("carbon", "area_contrast", 1.45),
            ("carbon", "roughness", 1.4),
        ],
    )
    def test_it_shows(self, simulated, fault: str, number: str, factor: float) -> None:
        assert simulated[fault][number] > factor * simulated["good"][number]
