"""The neural picker: what it sees, what it answers, what it refuses."""

from __future__ import annotations

import json
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest

from icefloe.errors import (
    DeviceError,
    InputError,
    MissingMetadataError,
    SettingsError,
    UnsupportedFormatError,
)
from icefloe.fourier import resize, set_threads
from icefloe.network.calibration import Calibration, isotonic, platt, reliability
from icefloe.network.checks import check_positives
from icefloe.network.field import network_field
from icefloe.scoring import match_picks, score_picks
from network_images import dots

torch = pytest.importorskip("torch")

from icefloe.network import (  # noqa: E402
    NetworkSettings,
    PickerModel,
    TrainSettings,
    load_model,
    pick_network,
    save_model,
    train_network,
)
from icefloe.network import maps as network_maps  # noqa: E402
from icefloe.network.architecture import PickerNet, receptive_radius  # noqa: E402
from icefloe.network.checks import marked_edge  # noqa: E402
from icefloe.network.maps import mean_maps  # noqa: E402
from icefloe.network.objective import centre_odds, objective_value  # noqa: E402
from icefloe.network.partial import find_unmarked  # noqa: E402
from icefloe.network.samples import Sample, Variation, crops, heat_map  # noqa: E402
from icefloe.network.synthetic.scenes import random_scene  # noqa: E402
from icefloe.network.synthetic.shapes import SHAPES, random_shape  # noqa: E402
from icefloe.network.validation import Part, strip  # noqa: E402

# A set of seeds that the recipe does not use.
UNSEEN = 77


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small batches gain nothing from more, and lose much on a busy machine."""
    set_threads(1)
    yield
    set_threads(0)


def small_net(seed=0):
    torch.manual_seed(seed)
    net = PickerNet((8, 8, 8))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net.eval()


# What the network sees


def test_the_field_does_not_depend_on_the_pixel_size():
    image, places = dots(noise=0.3)
    coarse = np.asarray(resize(image, (512, 512)))
    fine = network_field(image, pixel_size=1.0, diameter=48)
    other = network_field(coarse, pixel_size=1.5, diameter=48)
    assert fine.pixels.shape == other.pixels.shape == (2, 256, 256)
    np.testing.assert_allclose(fine.pixels, other.pixels, atol=0.02)
    np.testing.assert_allclose(fine.outwards(fine.inwards(places)), places)
    assert fine.scale == pytest.approx((1 / 3, 1 / 3))


def test_coarse_pixels_are_enlarged_and_borders_cut():
    image, _ = dots()
    small = np.asarray(resize(image, (192, 192)))
    field = network_field(small, pixel_size=4.0, diameter=48)
    assert field.pixels.shape == (2, 256, 256)
    assert "enlarged" in field.flags[0]
    padded = np.concatenate([np.repeat(image[:1], 40, axis=0), image])
    field = network_field(padded, pixel_size=1.0, diameter=48)
    assert field.origin == (40, 0)
    assert field.outwards(np.zeros((1, 2))).tolist() == [[40.0, 0.0]]


def test_the_part_of_a_field_away_from_the_micrographs_border():
    image, places = dots()
    padded = np.concatenate([np.repeat(image[:1], 60, axis=0), image])
    field = network_field(padded, pixel_size=1.0, diameter=48)
    assert field.from_border(np.array([[0.0, 50.0], [100.0, 5.0]])) == pytest.approx([20, 5])
    inner = field.within(24)  # 72 pixels, of which 60 are cut off at the top
    assert inner.origin == pytest.approx((72, 72))
    assert inner.from_border(np.zeros((1, 2))) == pytest.approx([24])
    np.testing.assert_array_equal(inner.pixels[:, 0, 0], field.pixels[:, 4, 24])
    np.testing.assert_allclose(inner.outwards(inner.inwards(places)), places)


def test_a_margin_that_was_kept_on_purpose_is_seen():
    rng = np.random.default_rng(0)
    everywhere = rng.uniform(0, 999, (200, 2))
    inside = rng.uniform(100, 899, (200, 2))
    shapes = [(1000, 1000)] * 2
    assert marked_edge(shapes, [everywhere, np.zeros((0, 2))], 100) < 0.1
    found = marked_edge(shapes, [inside, inside], 100)
    nearest = np.minimum(inside, 999 - inside).min() / 100
    assert found == pytest.approx(nearest - 0.15)
    assert marked_edge(shapes, [inside[:8], inside[:2]], 100) == 0  # may be chance


def test_brighter_particles_look_the_same_with_the_option():
    image, _ = dots()
    dark = network_field(image, pixel_size=1, diameter=48)
    bright = network_field(-image, pixel_size=1, diameter=48, bright=True)
    np.testing.assert_allclose(dark.pixels, bright.pixels, atol=1e-4)


@pytest.mark.parametrize(
    ("pixel_size", "diameter", "error"),
    [
        (0.0, 48.0, MissingMetadataError),
        (1.0, float("nan"), MissingMetadataError),
        (1.0, 3.0, SettingsError),
        (1.0, 700.0, SettingsError),
    ],
)
def test_sizes_that_cannot_be(pixel_size, diameter, error):
    with pytest.raises(error):
        network_field(dots()[0], pixel_size=pixel_size, diameter=diameter)


def test_an_image_of_nan_is_refused_and_a_few_are_mended():
    image, _ = dots()
    with pytest.raises(InputError, match="NaN"):
        pick_network(np.full_like(image, np.nan), pixel_size=1, diameter=48)
    image[:5, :5] = np.nan
    assert "25 pixels" in network_field(image, pixel_size=1, diameter=48).flags[0]


# The network itself


def test_nothing_beyond_the_receptive_radius_matters():
    net, reach = small_net(), receptive_radius()
    image = torch.zeros(1, 2, 256, 256)
    changed = image.clone()
    changed[0, :, 128, 128] = 100.0
    with torch.inference_mode():
        difference = (net(changed) - net(image)).abs().amax(dim=(0, 1)).numpy()
    rows, columns = np.nonzero(difference > 0)
    assert max(np.abs(rows - 128).max(), np.abs(columns - 128).max()) <= reach
    # It does see a particle and its neighbours.
    assert np.abs(rows - 128).max() > 40


def test_tiles_leave_no_seam():
    net = small_net()
    pixels = np.random.default_rng(0).normal(size=(2, 300, 410)).astype(np.float32)
    with torch.inference_mode():
        whole = network_maps.class_maps(net, pixels, "cpu", tile=1024)
        tiled = network_maps.class_maps(net, pixels, "cpu", tile=256)
    np.testing.assert_allclose(tiled[0], whole[0], atol=1e-5)
    np.testing.assert_allclose(tiled[1], whole[1], atol=1e-5)


def test_answers_of_all_turns_do_not_depend_on_the_turn():
    pixels = np.random.default_rng(0).normal(size=(2, 96, 96)).astype(np.float32)
    net = small_net()
    with torch.inference_mode():
        upright, _ = mean_maps(net, pixels, "cpu", 4)
        turned, _ = mean_maps(net, np.ascontiguousarray(np.rot90(pixels, 1, (1, 2))), "cpu", 4)
        once, _ = mean_maps(net, pixels, "cpu", 1)
    np.testing.assert_allclose(np.rot90(turned, -1), upright, atol=1e-5)
    assert np.abs(upright - once).max() > 1e-3


def test_large_micrographs_are_seen_in_fewer_turns(monkeypatch):
    general = load_model()
    model = PickerModel(general.card.model_copy(update={"views": 4}), general.tensors)
    seen = []

    def counted(net, pixels, device, views, tile):
        seen.append(views)
        return pixels[0], pixels[1]

    monkeypatch.setattr(network_maps, "mean_maps", counted)
    for side in (600, 800, 1500):
        network_maps.answer_maps(model, np.zeros((2, side, side), np.float32))
    network_maps.answer_maps(general, np.zeros((2, 600, 600), np.float32))
    assert seen == [4, 2, 1, 1]


def test_a_full_card_means_smaller_tiles_then_the_cpu(monkeypatch):
    model = load_model()
    pixels = np.zeros((2, 64, 64), dtype=np.float32)
    tried = []
    true_maps = network_maps.class_maps

    def scarce(net, pixels, device, tile):
        tried.append((device, tile))
        if device != "cpu":
            raise torch.cuda.OutOfMemoryError("full")
        return true_maps(net, pixels, device, tile)

    monkeypatch.setattr(network_maps, "class_maps", scarce)
    monkeypatch.setattr(PickerModel, "net", lambda self, device: small_net())
    _, _, flags = network_maps.answer_maps(model, pixels, "cuda:0")
    assert tried == [("cuda:0", 1024), ("cuda:0", 512), ("cuda:0", 256), ("cpu", 1024)]
    assert flags == ("too little memory on cuda:0: worked on the CPU",)


# Picking with the shipped model


def test_the_general_model_finds_balls_where_they_are():
    image, places = dots(noise=1.5)
    picks = pick_network(image, pixel_size=1.0, diameter=48)
    found = np.stack([picks.y, picks.x], axis=1)
    score = score_picks(found, picks.score, places, 0.3 * 48)
    assert score.recall >= 0.95
    assert score.precision >= 0.95
    distance = np.sqrt(((found[:, None] - places[None]) ** 2).sum(-1)).min(axis=1)
    assert np.median(distance) < 0.06 * 48
    assert picks.threshold == 0.4
    assert (np.diff(picks.score) <= 0).all()
    again = pick_network(image, pixel_size=1.0, diameter=48)
    np.testing.assert_array_equal(again.score, picks.score)


def test_picks_have_a_power_relative_to_the_usual():
    image, places = dots(noise=1.5)
    # Brighter or darker by 3: their contrast to the local mean is so many times as large.
    y, x = np.rint(places[0]).astype(int)
    near = slice(max(0, y - 20), y + 21), slice(max(0, x - 20), x + 21)
    strong = image.copy()
    strong[near] = strong[near].mean() + 3 * (strong[near] - strong[near].mean())
    picks = pick_network(strong, pixel_size=1.0, diameter=48)
    assert np.median(picks.power) == pytest.approx(1, abs=0.05)
    distance = np.hypot(picks.y - places[0, 0], picks.x - places[0, 1])
    if distance.min() > 0.3 * 48:  # so strong that it is no particle any more: among the others
        picks = picks.weaker
        distance = np.hypot(picks.y - places[0, 0], picks.x - places[0, 1])
    assert distance.min() < 0.3 * 48
    assert 4 < picks.power[distance.argmin()] < 14  # 9, and what lies around


def test_pure_noise_has_no_particles():
    image = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    picks = pick_network(image, pixel_size=1.0, diameter=64)
    # Some 250 would fit.
    assert len(picks) <= 6


def test_settings_of_picking():
    image, _ = dots()
    few = pick_network(
        image, pixel_size=1, diameter=48, settings=NetworkSettings(max_picks=5, threshold=0.1)
    )
    assert len(few) == 5
    assert "left out" in few.flags[-1]
    inner = pick_network(image, pixel_size=1, diameter=48, settings=NetworkSettings(edge=3.0))
    assert inner.y.min() > 3 * 48 - 2
    assert inner.y.max() < 768 - 3 * 48 + 2


@pytest.mark.slow
def test_a_model_keeps_off_the_border_as_its_teacher_did():
    image, _ = dots()
    general = load_model()
    shy = PickerModel(general.card.model_copy(update={"edge": 1.5}), general.tensors)

    def nearest(model, **choices):
        picks = pick_network(
            image, pixel_size=1, diameter=48, model=model, settings=NetworkSettings(**choices)
        )
        yx = np.stack([picks.y, picks.x], axis=1)
        return np.minimum(yx, np.asarray(image.shape) - 1 - yx).min() / 48

    assert nearest(general) < 1.4
    assert nearest(shy) >= 1.5
    assert nearest(shy, edge=0.1) == nearest(general)


def test_scores_are_probabilities_on_unseen_simulated_micrographs():
    scores, right = [], []
    # Many small ones, since picks of one micrograph are right or wrong together.
    for i in range(60):
        scene = random_scene((UNSEEN, i), size=160)
        truth = np.stack([scene.y, scene.x], axis=1)
        picks = pick_network(
            scene.image, pixel_size=10, diameter=160, settings=NetworkSettings(threshold=0.02)
        )
        yx = np.stack([picks.y, picks.x], axis=1)
        scores.append(picks.score)
        right.append(match_picks(yx, picks.score, truth, 0.3 * scene.width) >= 0)
    s, r = np.concatenate(scores), np.concatenate(right)
    said, true, number = reliability(s, r, 5)
    assert number.min() > 20
    np.testing.assert_allclose(said, true, atol=0.12)
    assert abs(s.mean() - r.mean()) < 0.06


# Calibration


def test_isotonic_recovers_a_curve_and_keeps_the_order():
    rng = np.random.default_rng(0)
    heights = rng.random(20000)
    right = rng.random(20000) < heights**2
    curve = isotonic(heights, right)
    x = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(curve(x), x**2, atol=0.05)
    assert (np.diff(curve(np.linspace(0, 1, 500))) > 0).all()


def test_platt_moves_with_many_picks_and_stays_with_few():
    rng = np.random.default_rng(0)
    heights = rng.uniform(0.05, 0.95, 4000)
    odds = np.log(heights / (1 - heights))
    right = rng.random(4000) < 1 / (1 + np.exp(-(0.6 * odds - 1.0)))
    many = platt(Calibration(), heights, right)
    assert many.slope == pytest.approx(0.6, abs=0.07)
    assert many.offset == pytest.approx(-1.0, abs=0.12)
    few = platt(Calibration(), heights[:4], np.zeros(4, bool))
    assert few.slope == pytest.approx(1.0, abs=0.3)
    assert -0.6 < few.offset < 0


# Objectives


def test_objectives_agree_where_nothing_is_missing_and_differ_where_something_is():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 64, 64)
    t = torch.from_numpy(
        np.stack([heat_map((64, 64), np.array([[20.0, 20], [40, 44]]), 2.0)] * 2) / 255
    ).float()
    plain = objective_value("pn", z, t, 0.0, generator)
    unbiased = objective_value("nnpu", z, t, 0.0, generator)
    assert float(unbiased) == pytest.approx(float(plain), rel=1e-5)
    # A sure, unmarked place costs with pn, and nothing with truncated.
    z = torch.full((1, 64, 64), -4.0)
    z[0, 50, 10] = 6.0
    z.requires_grad_()
    one = t[:1]
    for name, pulled in (("pn", True), ("truncated", False)):
        (slope,) = torch.autograd.grad(objective_value(name, z, one, 0.3, generator), z)
        assert bool(slope[0, 50, 10] > 0) == pulled
    # With a share missing, all-empty is worse than marking some unmarked places.
    few, more = torch.full((1, 64, 64), -8.0), torch.full((1, 64, 64), -8.0)
    more[0, 48:52, 8:12] = 3.0
    wanted = [float(objective_value("ge-binomial", q, one, 0.4, generator)) for q in (few, more)]
    assert wanted[1] < wanted[0]


def test_nnpu_steps_back_where_it_learnt_by_heart():
    t = torch.zeros(1, 16, 16)
    t[0, 4, 4] = 1.0
    z = torch.full((1, 16, 16), -30.0)
    z[0, 4, 4] = 30.0
    z.requires_grad_()
    value = objective_value("nnpu", z, t, 0.5, torch.Generator())
    (slope,) = torch.autograd.grad(value, z)
    assert float(slope[0, 4, 4]) > 0  # the marked place is made less sure


def test_centre_odds_are_those_of_softmax():
    logits = torch.randn(1, 3, 4, 4)
    chance = torch.softmax(logits, dim=1)[:, 1]
    torch.testing.assert_close(centre_odds(logits).sigmoid(), chance)


# Samples


def test_crops_turn_image_and_answer_together():
    heat = heat_map((96, 128), np.array([[30.0, 80.0], [70.0, 40.0]]), 2.0)
    pixels = np.stack([heat, heat]).astype(np.float32) / 255
    sample = Sample(pixels, heat, np.zeros_like(heat))
    images, answers, _ = crops([sample], np.random.default_rng(0), 6, 64, Variation(scale=0.1))
    assert images.shape == (6, 2, 64, 64)
    np.testing.assert_allclose(images[:, 0].numpy(), answers.numpy(), atol=1e-6)
    assert float(answers.max()) > 0.9


@pytest.mark.parametrize("kind", list(SHAPES))
def test_every_shape_is_one_diameter_long(kind):
    points = random_shape(np.random.default_rng(3), kind)
    assert np.abs(points.mean(axis=0)).max() < 1e-4
    assert 2 * np.linalg.norm(points, axis=1).max() == pytest.approx(1.0, abs=0.35)
    assert len(points) > 100


def test_a_scene_has_its_particles_where_it_says():
    # The mean of what lies at the centres is darker than what lies elsewhere.
    contrast = []
    for i in range(6):
        scene = random_scene((UNSEEN, i), kind="ball")
        index = np.rint(np.stack([scene.y, scene.x], axis=1)).astype(int)
        index = index[((index >= 0) & (index < 320)).all(axis=1)]
        image = (scene.image - np.median(scene.image)) / scene.image[~scene.junk].std()
        contrast.append(np.median(image[index[:, 0], index[:, 1]]))
    assert np.median(contrast) < -0.3
    np.testing.assert_array_equal(random_scene((UNSEEN, 0)).image, random_scene((UNSEEN, 0)).image)


# Picks that cannot be right


def good_picks(n=60, side=1000, seed=0):
    return np.random.default_rng(seed).uniform(20, side - 20, (n, 2))


@pytest.mark.parametrize(
    ("picks", "text"),
    [
        (good_picks(19), "too few"),
        (good_picks() * 2, "outside"),
        (good_picks() / 2, "first"),
        (np.tile(good_picks(4), (20, 1)), "places"),
        (np.full((60, 2), 500.0) + np.random.default_rng(0).normal(0, 2, (60, 2)), "places"),
        (np.where(np.arange(120).reshape(60, 2) == 7, np.nan, good_picks()), "NaN"),
    ],
)
def test_picks_that_cannot_be_right(picks, text):
    with pytest.raises(InputError, match=text):
        check_positives([(1000, 1000)], [picks], 60.0)


def test_few_bad_picks_are_left_out_and_said():
    picks = np.concatenate([good_picks(), [[-5.0, 100.0]], good_picks()[:3] + 1.0])
    kept, flags = check_positives([(1000, 1000)], [picks], 30.0)
    assert len(kept[0]) <= 60
    assert len(flags) == 2
    with pytest.raises(InputError, match="2 micrographs"):
        check_positives([(1000, 1000)] * 2, [picks], 30.0)


# Training


@pytest.fixture(scope="module")
def taught():
    """The general model, trained to take large balls and to leave small ones."""
    images, marks = [], []
    for seed in range(2):
        image, places = dots(n=40, seed=seed, noise=1.5)
        others, _ = dots(n=40, seed=seed + 10, noise=0.0, diameter=26.0)
        images.append(image + 1.3 * others)
        marks.append((places[:, 0], places[:, 1]))
    settings = TrainSettings(steps=40, batch=4, crop=96, check_every=20, validation=0.3)
    given = {"pixel_size": 1.0, "diameter": 48.0, "settings": settings}
    return images, marks, given, train_network(images, marks, **given)


def test_training_learns_what_is_marked(taught):
    done = taught[3]
    assert done.history[done.best].average_precision >= done.history[0].average_precision
    assert done.history[-1].loss < 0.3
    image, places = dots(n=40, seed=5, noise=1.5)
    others, _ = dots(n=40, seed=15, noise=0.0, diameter=26.0)
    scores = []
    for model in (None, done.model):
        picks = pick_network(
            image + 1.3 * others, pixel_size=1.0, diameter=48.0, model=model,
            settings=NetworkSettings(threshold=0.01),
        )  # fmt: skip
        found = np.stack([picks.y, picks.x], axis=1)
        scores.append(score_picks(found, picks.score, places, 0.3 * 48).average_precision)
    assert scores[1] >= scores[0]
    assert scores[1] > 0.9
    assert done.model.card.particles == 80
    assert done.model.card.diameter == 48.0
    assert done.model.card.start == "general"


def test_training_again_gives_the_same(taught):
    images, marks, given, _ = taught
    short = given | {"settings": given["settings"].model_copy(update={"steps": 6})}
    first, again = (train_network(images, marks, **short) for _ in range(2))
    for name, values in first.model.tensors.items():
        np.testing.assert_allclose(again.model.tensors[name], values, atol=1e-4)
    np.testing.assert_allclose(again.scores, first.scores, atol=1e-3)


def test_a_trained_model_says_when_the_diameter_is_another(taught):
    image, _ = dots()
    picks = pick_network(image, pixel_size=1, diameter=80, model=taught[3].model)
    assert "48 A, not 80 A" in picks.flags[0]


# Weights files


def test_a_weights_file_keeps_everything(taught, tmp_path):
    model = taught[3].model
    save_model(tmp_path / "a.safetensors", model)
    back = load_model(tmp_path / "a.safetensors")
    assert back.card == model.card
    for name, values in model.tensors.items():
        np.testing.assert_array_equal(back.tensors[name], values)
    save_model(tmp_path / "b.safetensors", back)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


class Trap:
    """An object whose unpickling writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickles_are_refused_unopened(tmp_path):
    trap = tmp_path / "sprung"
    for name, write in (
        ("plain.safetensors", lambda p: p.write_bytes(pickle.dumps(Trap(trap)))),
        ("zipped.safetensors", lambda p: torch.save({"a": Trap(trap)}, p)),
        ("old.pt", lambda p: p.write_bytes(pickle.dumps(Trap(trap), protocol=0))),
    ):
        write(tmp_path / name)
        with pytest.raises(UnsupportedFormatError):
            load_model(tmp_path / name)
    assert not trap.exists()


def test_other_files_are_refused_with_the_reason(tmp_path):
    from safetensors.numpy import save_file

    general = load_model()
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="no weights file"):
        load_model(path)
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(UnsupportedFormatError, match="not one of Icefloe's"):
        load_model(path)
    card = json.loads(general.card.model_dump_json())
    tensors = {k: np.array(v) for k, v in general.tensors.items()}

    def write(card, tensors):
        save_file(tensors, path, metadata={"icefloe": json.dumps(card)})

    write(card | {"architecture": "icefloe-unet-0"}, tensors)
    with pytest.raises(UnsupportedFormatError, match="icefloe-unet-0"):
        load_model(path)
    write(card | {"particles": "many"}, tensors)
    with pytest.raises(UnsupportedFormatError, match="particles"):
        load_model(path)
    write(card, tensors | {"stem.bias": np.zeros(3, np.float32)})
    with pytest.raises(UnsupportedFormatError, match=r"stem\.bias"):
        load_model(path)
    write(card, tensors | {"stem.bias": np.full_like(tensors["stem.bias"], np.nan)})
    with pytest.raises(UnsupportedFormatError, match="finite"):
        load_model(path)
    write(card, tensors)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UnsupportedFormatError, match="damaged"):
        load_model(path)
    path.write_text("hello, this is no model at all")
    with pytest.raises(UnsupportedFormatError, match="not a weights file"):
        load_model(path)


def test_the_shipped_model_is_small_and_says_where_it_comes_from():
    from icefloe.network.weights import GENERAL

    assert GENERAL.stat().st_size < 3e6
    card = load_model().card
    assert "simulated" in card.data
    assert card.diameter is None
    assert card.scores["simulated_average_precision"] > 0.6


def test_without_torch_there_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    image, _ = dots(n=2)
    for call in (
        lambda: pick_network(image, pixel_size=1, diameter=48),
        lambda: train_network([image], [([], [])], pixel_size=1, diameter=48),
        load_model,
    ):
        with pytest.raises(DeviceError, match=r"pip install 'icefloe\[torch\]'"):
            call()


# Marks of a part of the particles


def _parts(share: float, n: int = 3) -> list[Part]:
    """Micrographs of dots, each with so large a share of its centres marked."""
    parts = []
    for seed in range(n):
        image, places = dots(seed=seed)
        field = network_field(image, pixel_size=1.0, diameter=48.0)
        marked = places[: round(share * len(places))]
        checked = strip(field.pixels.shape[1:], seed, 0.3)
        parts.append(Part(field, field.inwards(marked), checked))
    return parts


def test_marks_of_a_part_of_the_particles_are_noticed():
    start = load_model()
    found = find_unmarked(_parts(0.25), start)
    assert found.missing == pytest.approx(0.75, abs=0.05)
    assert "beside the 30 marked" in found.flags[0]
    assert "--missing 0.1 if all are marked" in found.flags[0]
    complete = find_unmarked(_parts(1.0), start)
    assert (complete.missing, complete.flags) == (0.1, ())


def test_a_network_that_does_not_know_the_particle_says_nothing_of_marks():
    """Marks where the general model sees nothing, beside what it takes for particles."""
    parts = [
        replace(part, yx=np.random.default_rng(i).uniform(0, 1, (10, 2)) * (200, 60))
        for i, part in enumerate(_parts(1.0))
    ]
    found = find_unmarked(parts, load_model())
    assert (found.missing, found.flags) == (0.1, ())


def test_a_few_marks_give_a_network_that_picks_or_keeps_the_first():
    """30 marks of 120 particles: said, and the result finds the particles that were not marked."""
    images, marks = [], []
    for seed in range(3):
        image, places = dots(seed=seed, noise=1.2)
        images.append(image)
        marks.append((places[:10, 0], places[:10, 1]))
    settings = TrainSettings(steps=4, check_every=2, batch=2, crop=64)
    done = train_network(images, marks, pixel_size=1.0, diameter=48.0, settings=settings)
    assert any("taken for a part of the particles (7" in flag for flag in done.flags)
    assert (done.best == 0) == any("which was kept" in flag for flag in done.flags)
    image, places = dots(seed=9, noise=1.2)
    picks = pick_network(image, pixel_size=1.0, diameter=48.0, model=done.model)
    hit = match_picks(np.stack([picks.y, picks.x], 1), picks.score, places, 14) >= 0
    assert hit.sum() > 0.9 * len(places)
    # Scores stay probabilities of a particle, not of a mark.
    assert done.model.card.calibration == load_model().card.calibration
