"""Picking with templates: correlation, projections, what the data give, junk, the commands."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter

from icefloe.cli.pick import command
from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.formats import read_image, read_mrc, read_star, write_mrc
from icefloe.fourier import get_threads, set_threads
from icefloe.optics import CtfParameters
from icefloe.picking import (
    MatchSettings,
    bootstrap_bank,
    even_directions,
    pick_templates,
    project_volume,
    template_bank,
    whole_mask,
)
from icefloe.picking.bank import radial_average
from icefloe.picking.match import match_templates
from icefloe.scoring import pool_picks, score_picks
from icefloe.simulate import SimulationSettings, simulate_micrograph

PIXEL = 3.0
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def rod(angle, n=41):
    """Return a rod of 20 by 8 pixels with one heavier end, turned from +x towards +y."""
    half = n // 2
    y, x = np.mgrid[-half : n - half, -half : n - half]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    u, v = c * x + s * y, -s * x + c * y
    body = ((np.abs(u) < 10) & (np.abs(v) < 4)) + 0.7 * ((u - 8) ** 2 + v**2 < 25)
    return gaussian_filter(body.astype(np.float64), 1.2)


@pytest.fixture(scope="module")
def rods():
    """Noise with rods at known places and angles."""
    rng = np.random.default_rng(3)
    image = rng.normal(0, 1, (420, 460))
    grid = np.stack(np.meshgrid(np.arange(45, 390, 55), np.arange(45, 430, 55)), -1).reshape(-1, 2)
    places = grid + rng.integers(-8, 9, grid.shape)
    angles = rng.choice(np.arange(0, 360, 15), len(places))
    for (y, x), angle in zip(places, angles, strict=True):
        image[y - 20 : y + 21, x - 20 : x + 21] -= 1.5 * rod(angle)
    return image.astype(np.float32), places.astype(float), angles


def test_rods_are_found_at_their_places(rods):
    image, places, _ = rods
    bank = template_bank(rod(0), pixel_size=PIXEL, diameter=78)
    picks = pick_templates(image, bank, pixel_size=PIXEL)
    found = np.stack([picks.y, picks.x], 1)
    result = score_picks(found, picks.score, places, 4.0)
    assert result.recall > 0.97
    assert result.precision > 0.97
    assert np.all(np.abs(picks.score) <= 1)
    nearest = np.linalg.norm(found[:, None] - places[None], axis=2).min(axis=1)
    assert np.median(nearest) < 0.7


def test_the_angle_is_that_of_the_particle(rods):
    image, places, angles = rods
    bank = template_bank(rod(0), pixel_size=PIXEL, diameter=78)
    even = -(image - image.mean()) / image.std()
    maps = match_templates(even, np.ones(image.shape, bool), bank, angle_step=15)
    y, x = places.astype(int).T
    difference = (maps.angle[y, x] - angles + 180) % 360 - 180
    assert np.mean(np.abs(difference) <= 15) > 0.9


def test_one_template_without_turns_gives_the_correlation_coefficient():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (60, 70)).astype(np.float32)
    bank = template_bank(rod(0, 15), pixel_size=PIXEL, diameter=30)
    maps = match_templates(image, np.ones(image.shape, bool), bank, angle_step=360)
    half = bank.images.shape[1] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    mask = np.clip(half - np.hypot(y, x), 0, 1)
    t = bank.images[0] - np.sum(mask * bank.images[0]) / mask.sum()
    t = mask * t / np.sqrt(np.sum((mask * t) ** 2))
    window = image[30 - half : 31 + half, 33 - half : 34 + half]
    assert maps.score[30, 33] == pytest.approx(np.sum(t * window) / np.sqrt(mask.sum()), abs=1e-5)


def test_the_better_of_two_templates_is_named(rods):
    image, places, _ = rods
    even = -(image - image.mean()) / image.std()
    noise = np.random.default_rng(1).normal(size=(41, 41))
    bank = template_bank(
        np.stack([noise, rod(0)]), pixel_size=PIXEL, diameter=78, contrast="bright"
    )
    maps = match_templates(even, np.ones(image.shape, bool), bank, angle_step=15)
    y, x = places.astype(int).T
    assert np.mean(maps.template[y, x] == 1) > 0.95


@pytest.mark.parametrize("angle_step", [30.0, 10.0])  # one by one, and through components
def test_the_result_does_not_depend_on_threads(rods, angle_step):
    image, _, _ = rods
    bank = template_bank(rod(0), pixel_size=PIXEL, diameter=78)
    before = get_threads()
    results = []
    for threads in (1, 3):
        set_threads(threads)
        results.append(
            match_templates(image, np.ones(image.shape, bool), bank, angle_step=angle_step)
        )
    set_threads(before)
    for a, b in zip(*(list(vars(r).values())[:3] for r in results), strict=True):
        assert a.tobytes() == b.tobytes()


def test_inverted_and_rescaled_templates_give_the_same_picks(rods):
    image, places, _ = rods
    usual = pick_templates(
        image, template_bank(rod(0), pixel_size=PIXEL, diameter=78), pixel_size=PIXEL
    )
    y, x = np.mgrid[:82, :82] / 2
    fine = rod(0)[np.clip(np.rint(y), 0, 40).astype(int), np.clip(np.rint(x), 0, 40).astype(int)]
    bank = template_bank(-fine, pixel_size=PIXEL / 2, diameter=78)
    assert any("inverted" in flag for flag in bank.flags)
    other = pick_templates(image, bank, pixel_size=PIXEL)
    for picks in (usual, other):
        found = np.stack([picks.y, picks.x], 1)
        assert score_picks(found, picks.score, places, 4.0).f1 > 0.97


def test_the_ctf_helps_templates_that_do_not_have_it():
    values = {"shape": (600, 600), "pixel_size": PIXEL, "n_frames": 10, "defocus": 25000}
    scene = simulate_micrograph(SimulationSettings.make(**values), "blobs")
    y, x = np.mgrid[-32:33, -32:33] * PIXEL
    r = np.hypot(y, x)
    shell = np.sqrt(np.maximum(60**2 - r**2, 0)) - np.sqrt(np.maximum(42**2 - r**2, 0))
    bank = template_bank(shell, pixel_size=PIXEL, diameter=120)
    ctf = CtfParameters(25000, 25000)
    plain = pick_templates(scene.image, bank, pixel_size=PIXEL, settings=MatchSettings(junk=False))
    seen = pick_templates(
        scene.image, bank, pixel_size=PIXEL, settings=MatchSettings(junk=False), ctf=ctf
    )
    assert np.median(seen.score) > np.median(plain.score)


def test_projections_of_a_ball_are_its_thickness():
    z, y, x = np.mgrid[-16:16, -16:16, -16:16]
    ball = (z**2 + y**2 + x**2 <= 100).astype(np.float32)
    images = project_volume(ball, even_directions(5))
    assert images.shape == (10, 32, 32)
    thickness = 2 * np.sqrt(np.maximum(100 - np.hypot(*np.mgrid[-16:16, -16:16]) ** 2, 0))
    for image in images:
        assert np.corrcoef(image.ravel(), thickness.ravel())[0, 1] > 0.99


def test_a_projection_along_an_axis_is_the_sum():
    volume = np.random.default_rng(0).random((9, 9, 9)).astype(np.float32)
    image, mirrored = project_volume(volume, [(0.0, 0.0)])
    np.testing.assert_allclose(image, volume.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(mirrored, image[:, ::-1], rtol=1e-5)


def test_directions_are_even():
    polar, azimuth = np.radians(even_directions(200)).T
    v = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)])
    angles = np.degrees(np.arccos(np.clip(np.abs(v.T @ v) - 2 * np.eye(200), -1, 1)))
    assert angles.min(axis=1).max() < 2.5 * np.degrees(np.sqrt(2 * np.pi / 200))
    assert v[2].min() > 0


def test_a_radial_average_keeps_what_is_round():
    y, x = np.mgrid[-12:13, -12:13]
    image = np.exp(-(y**2 + x**2) / 30)
    inner = np.hypot(y, x) < 11
    assert np.abs(radial_average(image) - image)[inner].max() < 0.02


@pytest.mark.parametrize("diameter", [90.0, 180.0])
def test_size_and_template_come_from_the_data(diameter):
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:700, :700]
    image = rng.normal(0, 1, y.shape)
    radius = 0.5 * diameter / PIXEL
    step = int(4 * radius)
    grid = np.stack(np.meshgrid(np.arange(70, 640, step), np.arange(70, 640, step)), -1)
    places = grid.reshape(-1, 2) + rng.uniform(-radius / 3, radius / 3, (grid[..., 0].size, 2))
    for cy, cx in places:
        image -= 1.2 * np.sqrt(np.maximum(1 - ((y - cy) ** 2 + (x - cx) ** 2) / radius**2, 0))
    found = bootstrap_bank([image], pixel_size=PIXEL)
    assert found.bank.diameter == pytest.approx(diameter, rel=0.2)
    picks = pick_templates(image, found.bank, pixel_size=PIXEL)
    result = score_picks(np.stack([picks.y, picks.x], 1), picks.score, places, 0.3 * 2 * radius)
    assert result.f1 > 0.95


def test_noise_gives_no_template():
    image = np.random.default_rng(0).normal(size=(400, 400))
    with pytest.raises(InputError, match="particles"):
        bootstrap_bank([image], pixel_size=PIXEL)


def test_carbon_and_a_crystal_are_masked_and_ice_is_not():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:600, :600]
    image = rng.normal(0, 1, y.shape)
    image[x > 480] -= 2.0
    image -= 15 * np.exp(-((y - 150) ** 2 + (x - 150) ** 2) / 800)
    mask = whole_mask(image.astype(np.float32), 40.0)
    at = mask.shape[0] / 600
    assert mask[int(300 * at), int(540 * at) :].mean() > 0.9
    assert mask[int(150 * at), int(150 * at)]
    ice = mask[int(300 * at) :, : int(420 * at)]
    assert ice.mean() < 0.02
    assert not whole_mask(rng.normal(size=(600, 600)).astype(np.float32), 40.0).any()


def test_nothing_is_picked_on_a_given_mask(rods):
    image, _, _ = rods
    mask = np.zeros((42, 46), bool)
    mask[:, :23] = True
    bank = template_bank(rod(0), pixel_size=PIXEL, diameter=78)
    picks = pick_templates(image, bank, pixel_size=PIXEL, mask=mask)
    assert len(picks) > 10
    assert picks.x.min() >= 225


def test_what_cannot_be_a_template_is_refused():
    with pytest.raises(InputError, match="square"):
        template_bank(np.ones((10, 12)), pixel_size=1)
    with pytest.raises(InputError, match="empty"):
        template_bank(np.ones((2, 12, 12)), pixel_size=1)
    with pytest.raises(MissingMetadataError):
        template_bank(rod(0), pixel_size=0)
    with pytest.raises(InputError, match="cube"):
        project_volume(np.ones((4, 4, 5)), [(0, 0)])
    with pytest.raises(SettingsError, match="5000"):
        pick_templates(
            np.random.default_rng(0).normal(size=(64, 64)),
            template_bank(rod(0), pixel_size=PIXEL),
            pixel_size=PIXEL,
            settings=MatchSettings(diameter=5000),
        )


def test_commands_write_coordinates_and_masks(rods, tmp_path):
    image, places, _ = rods
    write_mrc(tmp_path / "one.mrc", image, PIXEL)
    write_mrc(tmp_path / "averages.mrcs", rod(0)[None].astype(np.float32), PIXEL)
    call = ["template", str(tmp_path / "one.mrc"), "--templates", str(tmp_path / "averages.mrcs")]
    call += ["--diameter", "78", "--device", "cpu", "--out", str(tmp_path / "out")]
    masks = ["--masks", str(tmp_path / "masks")]
    done = CliRunner().invoke(command, [*call, *masks], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = read_star(tmp_path / "out" / "one_picks.star")[""]
    found = np.stack([table["rlnCoordinateY"], table["rlnCoordinateX"]], 1).astype(float)
    score = np.asarray(table["rlnAutopickFigureOfMerit"], float)
    assert score_picks(found, score, places, 4.0).f1 > 0.95
    assert "icefloe" in read_star(tmp_path / "out" / "picks.star")
    # A mask that a user painted is what counts.
    mask, _ = read_mrc(tmp_path / "masks" / "one_mask.mrc")
    assert not mask.any()
    write_mrc(tmp_path / "masks" / "one_mask.mrc", np.ones_like(mask), PIXEL)
    done = CliRunner().invoke(command, [*call, *masks], catch_exceptions=False)
    assert "0 picks" in done.output


def test_auto_needs_nothing_but_micrographs(rods, tmp_path):
    image, places, _ = rods
    write_mrc(tmp_path / "one.mrc", image, PIXEL)
    call = ["auto", str(tmp_path / "one.mrc"), "--device", "cpu", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(command, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "stands out" in done.output
    averages, size = read_mrc(tmp_path / "out" / "template.mrcs")
    assert averages.shape[0] == 1
    assert size > 0
    table = read_star(tmp_path / "out" / "one_picks.star")[""]
    found = np.stack([table["rlnCoordinateY"], table["rlnCoordinateX"]], 1).astype(float)
    assert score_picks(found, np.arange(len(found), 0, -1.0), places, 8.0).f1 > 0.85


@pytest.mark.skipif(
    not (DATA / "apoferritin-10146").is_dir(), reason="no real micrographs in shared/data"
)
def test_auto_on_real_apoferritin():
    pairs = []
    paths = sorted((DATA / "apoferritin-10146").glob("*.png"))[1::4]
    images = [read_image(path).data.astype(np.float32) for path in paths]
    bank = bootstrap_bank(images[:1], pixel_size=1.5).bank
    assert bank.diameter == pytest.approx(120, abs=15)
    for path, image in zip(paths, images, strict=True):
        with path.with_name(f"{path.stem}.particles.csv").open() as handle:
            truth = np.array([(float(r["y"]), float(r["x"])) for r in csv.DictReader(handle)])
        picks = pick_templates(image, bank, pixel_size=1.5)
        pairs.append((np.stack([picks.y, picks.x], 1), picks.score, truth))
    assert pool_picks(pairs, 24.0).f1 > 0.92
