"""What a batch teaches: marks inside, and the first network's opinion at the rim."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

# ruff: noqa: E402
from icefloe.network import TrainSettings, load_model
from icefloe.network.lessons import Lessons
from icefloe.network.samples import Sample
from icefloe.network.settings import SAMPLES
from icefloe.network.train import TrainStep, _better

SIDE = 64
# Crops are the whole sample, turned or mirrored, which takes no place from the rim to the inside.
SETTINGS = TrainSettings(crop=SIDE, batch=2, scale=0.0, objective="pn")


def sample(y: int, x: int) -> Sample:
    """One mark in a field of noise."""
    heat = np.zeros((SIDE, SIDE), np.uint8)
    heat[y, x] = 255
    pixels = np.random.default_rng(0).normal(0, 1, (2, SIDE, SIDE)).astype(np.float32)
    return Sample(pixels, heat, np.zeros((SIDE, SIDE), np.uint8))


def loss(what: Sample, first: object, net: object = None) -> float:
    lessons = Lessons([what], SETTINGS, first, torch.Generator().manual_seed(0), "cpu")
    with torch.inference_mode():
        return float(lessons.loss(net or load_model().net("cpu"), 1))


@pytest.mark.parametrize("place", [(3, 30), (30, SIDE - 4), (SAMPLES // 2 - 1, 5)])
def test_marks_in_the_rim_say_nothing_where_it_is_held(place):
    first = load_model().net("cpu")
    without, inside = sample(0, 0), sample(30, 30)
    assert loss(sample(*place), first) == loss(without, first)
    assert loss(inside, first) != loss(without, first)
    # Where the trained network is to pick none near borders, all is learned from.
    assert loss(sample(*place), None) != loss(without, None)


def test_another_opinion_at_the_rim_costs():
    model = load_model()
    first = model.net("cpu")
    other = type(model)(
        model.card, {k: v if v.ndim > 1 else v + 0.5 for k, v in model.tensors.items()}
    ).net("cpu")
    lessons = Lessons([sample(30, 30)], SETTINGS, first, torch.Generator(), "cpu")
    alone = Lessons([sample(30, 30)], SETTINGS, other, torch.Generator(), "cpu")
    with torch.inference_mode():
        # The same network, marks and junk: only whom the rim is held to differs.
        assert float(lessons.loss(other, 1)) > float(alone.loss(other, 1))


@pytest.mark.parametrize(
    ("old", "new", "taken"),
    [
        (TrainStep(0, 0, 0, 0.95), TrainStep(50, 0, 0, 0.94), True),
        (TrainStep(0, 0, 0, 0.95), TrainStep(50, 0, 0, 0.92), False),
        (TrainStep(50, 0, 0, 0.94), TrainStep(100, 0, 0, 0.939), False),
        (TrainStep(50, 0, 0, 0.94), TrainStep(100, 0, 0, 0.941), True),
    ],
)
def test_only_what_chance_does_not_explain_speaks_for_the_first_network(old, new, taken):
    assert _better(new, old) is taken
