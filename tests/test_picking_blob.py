"""Blob picking against simulated truth, and on real micrographs against marked particles."""

import csv
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.fourier import get_threads, set_threads
from icefloe.picking import BlobSettings, pick_blobs
from icefloe.picking.normalise import padded_border
from icefloe.scoring import match_picks, pool_picks, score_picks
from icefloe.simulate import SimulationSettings, simulate_micrograph

PIXEL, DIAMETER = 1.5, 120.0
SETTINGS = BlobSettings(diameter=DIAMETER)
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def micrograph(**changes):
    values = {"shape": (800, 880), "pixel_size": PIXEL, "n_frames": 30, **changes}
    return simulate_micrograph(SimulationSettings.make(**values), "blobs")


@pytest.fixture(scope="session")
def cages():
    """Hollow particles, as the simulator's built-in cage is."""
    return micrograph()


@pytest.fixture(scope="session")
def balls():
    """Noise with filled particles of known places, and the places."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:600, :700]
    image = rng.normal(100, 1, y.shape)
    grid = np.stack(np.meshgrid(np.arange(80, 540, 100), np.arange(80, 660, 100)), -1)
    places = grid.reshape(-1, 2) + rng.uniform(-12, 12, (grid.shape[0] * grid.shape[1], 2))
    for cy, cx in places:
        image -= 0.35 * np.sqrt(np.maximum(1 - ((y - cy) ** 2 + (x - cx) ** 2) / 40.0**2, 0))
    return image.astype(np.float32), places


def score(picks, truth, shape, margin=0.35 * DIAMETER / PIXEL):
    ny, nx = shape
    inside = (truth > margin).all(axis=1)
    inside &= (truth[:, 0] < ny - 1 - margin) & (truth[:, 1] < nx - 1 - margin)
    found = np.stack([picks.y, picks.x], axis=1)
    return score_picks(found, picks.score, truth[inside], 0.3 * DIAMETER / PIXEL)


def test_simulated_hollow_particles_are_found_and_called_rings(cages):
    picks = pick_blobs(cages.image, pixel_size=PIXEL, settings=SETTINGS)
    result = score(picks, cages.truth.yx, cages.image.shape)
    assert picks.shape == "ring"
    assert result.recall > 0.95
    assert result.precision > 0.9
    assert picks.flags == ()


def test_positions_are_right_to_a_fraction_of_the_search_pixel(cages):
    picks = pick_blobs(cages.image, pixel_size=PIXEL, settings=SETTINGS)
    found = np.stack([picks.y, picks.x], axis=1)
    match = match_picks(found, picks.score, cages.truth.yx, 24)
    error = (found - cages.truth.yx[match])[match >= 0]
    # The search pixel is 5 micrograph pixels wide.
    assert np.median(np.hypot(*error.T)) < 1.0
    assert np.abs(error.mean(axis=0)).max() < 0.4


def test_filled_particles_are_found_and_called_discs(balls):
    image, places = balls
    picks = pick_blobs(image, pixel_size=PIXEL, settings=SETTINGS)
    result = score(picks, places, image.shape)
    assert picks.shape == "disc"
    assert result.f1 > 0.97


def test_bright_particles_need_to_be_called_bright(balls):
    image, places = balls
    wrong = pick_blobs(200 - image, pixel_size=PIXEL, settings=SETTINGS)
    right = pick_blobs(
        200 - image, pixel_size=PIXEL, settings=BlobSettings(diameter=DIAMETER, contrast="bright")
    )
    assert score(right, places, image.shape).f1 > 0.97
    assert score(wrong, places, image.shape).f1 < 0.1


def test_scale_and_offset_of_the_grey_levels_do_not_matter(cages):
    a = pick_blobs(cages.image, pixel_size=PIXEL, settings=SETTINGS)
    b = pick_blobs(cages.image * 37 - 5000, pixel_size=PIXEL, settings=SETTINGS)
    assert len(a) == len(b)
    np.testing.assert_allclose(a.y, b.y, atol=0.1)


def test_a_gradient_of_brightness_changes_nothing_much(cages):
    ramp = np.linspace(0, 8 * cages.image.std(), cages.image.shape[1], dtype=np.float32)
    picks = pick_blobs(cages.image + ramp, pixel_size=PIXEL, settings=SETTINGS)
    assert score(picks, cages.truth.yx, cages.image.shape).f1 > 0.93


def test_an_empty_micrograph_gives_almost_nothing():
    picks = pick_blobs(micrograph(empty=True).image, pixel_size=PIXEL, settings=SETTINGS)
    assert len(picks) <= 3


def test_pure_noise_is_said_to_hold_no_particles():
    noise = np.random.default_rng(4).normal(size=(1000, 1000)).astype(np.float32)
    picks = pick_blobs(noise, pixel_size=PIXEL, settings=SETTINGS)
    assert len(picks) == 0
    assert any("stand out" in flag for flag in picks.flags)
    assert picks.numbers()["median_score"] is None


def test_contamination_clears_its_surroundings(balls):
    image, places = balls
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    cy, cx = places[10]
    dirty = image - 12 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 15.0**2)).astype(np.float32)

    def near(limit):
        settings = BlobSettings(diameter=DIAMETER, max_contrast=limit)
        picks = pick_blobs(dirty, pixel_size=PIXEL, settings=settings)
        return int(np.sum(np.hypot(picks.y - cy, picks.x - cx) < 40)), len(picks)

    inside, total = near(3.0)
    assert inside == 0
    assert total >= len(places) - 3
    assert near(0.0)[0] > 0


def test_every_setting_has_an_effect(cages):
    def run(**changes):
        settings = BlobSettings(**{"diameter": DIAMETER, **changes})
        return pick_blobs(cages.image, pixel_size=PIXEL, settings=settings)

    usual = run()
    assert len(run(threshold=usual.threshold - 3)) > len(usual)
    assert run(threshold=9.0).score.min() >= 9.0
    capped = run(max_picks=7)
    assert len(capped) == 7
    assert any("max_picks" in flag for flag in capped.flags)
    np.testing.assert_array_equal(capped.score, usual.score[:7])
    assert len(run(min_distance=1.5)) < len(usual)
    far = run(edge=1.5)
    assert min(far.y.min(), far.x.min()) > 1.4 * DIAMETER / PIXEL
    assert run(shape="disc").shape == "disc"
    assert run(local_window=3.0).score[0] != usual.score[0]
    assert run(samples=24).score[0] != usual.score[0]
    ranged = run(diameter=(80, 160))
    assert len(np.unique(ranged.diameter)) > 1
    assert score(ranged, cages.truth.yx, cages.image.shape).recall > 0.8


def test_picks_do_not_depend_on_threads_and_hardly_on_the_device(cages):
    before = get_threads()
    try:
        set_threads(1)
        one = pick_blobs(cages.image, pixel_size=PIXEL, settings=SETTINGS).numbers()
    finally:
        set_threads(before)
    assert one == pick_blobs(cages.image, pixel_size=PIXEL, settings=SETTINGS).numbers()
    pytest.importorskip("torch")
    other = pick_blobs(cages.image, pixel_size=PIXEL, settings=SETTINGS, device="torch-cpu")
    assert len(other) == one["n_picks"]
    order, reference = np.argsort(other.y), np.argsort(one["y"])
    np.testing.assert_allclose(other.y[order], np.array(one["y"])[reference], atol=0.05)


def test_numbers_have_the_keys_that_sidecars_hold(cages):
    numbers = pick_blobs(cages.image, pixel_size=PIXEL, settings=SETTINGS).numbers()
    assert set(numbers) == {
        "diameter_min", "diameter_max", "threshold", "n_picks", "y", "x", "score", "diameter",
        "median_score", "split",
    }  # fmt: skip
    assert len(numbers["y"]) == len(numbers["score"]) == numbers["n_picks"]
    assert numbers["median_score"] == pytest.approx(np.median(numbers["score"]), abs=1e-3)


def test_nan_pixels_are_replaced_and_reported(cages):
    image = cages.image.copy()
    image[100:110, 200:210] = np.nan
    picks = pick_blobs(image, pixel_size=PIXEL, settings=SETTINGS)
    assert any("100 pixels" in flag for flag in picks.flags)
    assert score(picks, cages.truth.yx, image.shape).f1 > 0.9


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((300, 300)), "equal"),
        (np.full((300, 300), np.nan), "NaN"),
        (np.zeros((4, 300, 300)), "shape"),
    ],
)
def test_images_without_content_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        pick_blobs(image, pixel_size=PIXEL, settings=SETTINGS)


def test_missing_facts_and_impossible_diameters_are_refused(cages):
    with pytest.raises(MissingMetadataError, match="diameter"):
        pick_blobs(cages.image, pixel_size=PIXEL)
    for pixel_size in (0.0, -1.0, float("nan")):
        with pytest.raises(MissingMetadataError, match="pixel size"):
            pick_blobs(cages.image, pixel_size=pixel_size, settings=SETTINGS)
    with pytest.raises(SettingsError, match="does not fit"):
        pick_blobs(cages.image, pixel_size=PIXEL, settings=BlobSettings(diameter=5000))
    with pytest.raises(SettingsError, match="pixels wide"):
        pick_blobs(cages.image, pixel_size=PIXEL, settings=BlobSettings(diameter=3))
    for bad in ((130, 110), (-5, 10), (0, 0)):
        with pytest.raises(ValidationError):
            BlobSettings(diameter=bad)


def test_borders_of_repeated_rows_are_recognised_and_left_out(balls):
    image, _ = balls
    padded = np.pad(image, ((30, 0), (0, 45)), mode="edge")
    assert padded_border(padded) == (30, 0, 0, 45)
    assert padded_border(image) == (0, 0, 0, 0)
    picks = pick_blobs(padded, pixel_size=PIXEL, settings=SETTINGS)
    assert any("padded" in flag for flag in picks.flags)
    assert picks.y.min() > 30
    assert picks.x.max() < image.shape[1]


def real_set(folder, suffix, pixel_size, diameter, names):
    Image = pytest.importorskip("PIL.Image")
    paths = [p for p in sorted((DATA / folder).glob(f"*{suffix}")) if p.stem in names]
    if len(paths) != len(names):
        pytest.skip(f"the real micrographs of {folder} are not there")
    sets = []
    for path in paths:
        with path.with_suffix("").with_name(path.stem + ".particles.csv").open() as handle:
            truth = [(float(r["y"]), float(r["x"])) for r in csv.DictReader(handle)]
        image = np.asarray(Image.open(path), dtype=np.float32)
        picks = pick_blobs(image, pixel_size=pixel_size, settings=BlobSettings(diameter=diameter))
        sets.append((np.stack([picks.y, picks.x], axis=1), picks.score, np.array(truth)))
    return pool_picks(sets, 0.3 * diameter / pixel_size)


def test_real_apoferritin_is_picked():
    names = ("May08_03.15.02", "May08_04.36.57", "May08_06.30.43")
    result = real_set("apoferritin-10146", ".png", 1.5, 120.0, names)
    # RELION's LoG picker reaches 0.62.
    assert result.f1 > 0.90
    assert result.precision > 0.95


def test_real_betagalactosidase_is_picked():
    names = ("Falcon_2012_06_12-14_57_34_0", "Falcon_2012_06_12-15_33_42_0")
    result = real_set("betagal-10017", ".jpg", 1.77, 190.0, names)
    assert result.f1 > 0.77
