"""Training on a user's own picks, from the general network on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe import __version__
from icefloe._types import BoolArray, FloatArray
from icefloe.network._torch import require_torch, threads_for_torch
from icefloe.network.calibration import platt
from icefloe.network.checks import check_positives, marked_edge
from icefloe.network.field import network_field
from icefloe.network.model import ModelCard, PickerModel
from icefloe.network.partial import PARTIAL, find_unmarked
from icefloe.network.settings import EDGE, SAMPLES, TrainSettings
from icefloe.network.weights import load_model

if TYPE_CHECKING:
    from icefloe.network.validation import Part

__all__ = ["TrainStep", "Training", "train_network"]

# Batches whose networks are averaged.
_AVERAGED = 100
# Average precision that turns of the image must add to be worth their time.
_WORTH = 0.005
# What the first network may seem better by, in average precision, and the trained one is taken: a
# hundred validation marks tell no less, and where all is well with the marks, training helps.
_CHANCE = 0.02
# Fewest validation marks that may decide when to stop and what scores are worth.
_FEWEST_CHECKED = 15


@dataclass(frozen=True)
class TrainStep:
    """One validation.

    Attributes
    ----------
    step
        Batches so far.
    loss
        Mean of the objective since the last one.
    check_loss
        Cross-entropy on the validation part.
    average_precision
        Of picks on the validation part.
    """

    step: int
    loss: float
    check_loss: float
    average_precision: float


@dataclass(frozen=True)
class Training:
    """A trained network, and how it came about.

    Attributes
    ----------
    model
        That of the best validation.
    history
        All validations, that before training first.
    best
        Index of the best in `history`.
    scores, right
        (n,) probabilities of the validation picks, and whether each was right.
    flags
        What went wrong or was done instead.
    """

    model: PickerModel
    history: tuple[TrainStep, ...]
    best: int
    scores: FloatArray
    right: BoolArray
    flags: tuple[str, ...] = ()


def train_network(
    images: Sequence[FloatArray],
    positives: Sequence[tuple[FloatArray, FloatArray]],
    *,
    pixel_size: float,
    diameter: float,
    start: PickerModel | None = None,
    settings: TrainSettings | None = None,
    device: str = "cpu",
    name: str = "trained",
    margin: float | None = None,
    threads: int | None = None,
    progress: Callable[[TrainStep], None] | None = None,
) -> Training:
    """Train a network on picks.

    Parameters
    ----------
    images
        Micrographs (ny, nx), any real type.
    positives
        For each its picks, (y, x) of (n,) pixels.
    pixel_size, diameter
        A, of all micrographs.
    start
        Network to go on from; the general one by default.
    settings
        Choices, all with defaults.
    device
        ``cpu`` or ``cuda:N``.
    name
        What the network shall be called.
    margin
        Nothing is learned so near to the border, in diameters, and the model picks there as any
        other; None: where no picks are, were they left out on purpose, and the model picks none.
    threads
        With which torch trains: sums in another order give another network. None: as many as all
        else uses.
    progress
        Called after each validation.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    InputError
        Picks that cannot be right: see `checks.check_positives`; images without content.
    FitError
        Training ran away.
    """
    require_torch()
    from icefloe.network.validation import Part, strip

    settings = settings or TrainSettings()
    start = start or load_model()
    marks = [np.stack([np.asarray(y), np.asarray(x)], axis=1).astype(float) for y, x in positives]
    shapes = [(int(i.shape[0]), int(i.shape[1])) for i in images]
    marks, flags = check_positives(shapes, marks, diameter / pixel_size)
    edge = marked_edge(shapes, marks, diameter / pixel_size) if margin is None else 0.0
    if edge > EDGE:
        flags += (
            f"no pick is within {edge:.2f} diameters of a border: nothing is learned from there, "
            "and the model picks nothing there unless --edge says so",
        )
    parts = []
    for index, (image, yx) in enumerate(zip(images, marks, strict=True)):
        field = network_field(
            image, pixel_size=pixel_size, diameter=diameter, bright=settings.contrast == "bright"
        )
        if max(edge, margin or 0.0) > EDGE:
            field = field.within(max(edge, margin or 0.0) * SAMPLES)
        checked = strip(field.pixels.shape[1:], index + settings.seed, settings.validation)
        parts.append(Part(field, field.inwards(yx), checked))
        flags += tuple(f"micrograph {index + 1}: {flag}" for flag in field.flags)
    place = "cpu" if device == "torch-cpu" else device
    card = {"name": name, "diameter": diameter, "edge": round(edge, 3) if edge > EDGE else 0.0}
    with threads_for_torch(threads):
        if settings.missing is None:
            found = find_unmarked(parts, start, place)
            settings = settings.model_copy(update={"missing": found.missing})
            flags += found.flags
        return _run(parts, start, settings, place, card, progress, flags)


def _better(new: TrainStep, old: TrainStep) -> bool:
    """Return whether a validation is better than the best one before."""
    chance = _CHANCE if old.step == 0 else 0.0
    return new.average_precision > old.average_precision - chance


def _run(
    parts: list[Part],
    start: PickerModel,
    settings: TrainSettings,
    place: str,
    card: dict[str, Any],
    progress: Callable[[TrainStep], None] | None,
    flags: tuple[str, ...],
) -> Training:
    import torch

    from icefloe.network.architecture import PickerNet
    from icefloe.network.lessons import Lessons, samples_of
    from icefloe.network.loop import Cycle, approach, placed, train_cycle, weights_of
    from icefloe.network.maps import VIEWS
    from icefloe.network.validation import look

    torch.manual_seed(settings.seed)
    chance = torch.Generator().manual_seed(settings.seed)
    net = placed(PickerNet(start.card.widths), start.tensors, place)
    first = placed(PickerNet(start.card.widths), start.tensors, place)
    lessons = Lessons(
        [sample for part in parts for sample in samples_of(part, start, place)],
        settings,
        None if card["edge"] else first,
        chance,
        place,
    )

    def check(now: Any, step: int, loss: float) -> TrainStep:
        strips = look(now, parts, place)
        return TrainStep(step, loss, strips.loss, strips.score().average_precision)

    history, best = train_cycle(
        net,
        Cycle(
            settings.steps,
            settings.learning_rate,
            settings.check_every,
            settings.weight_decay,
            settings.patience,
            _AVERAGED,
        ),
        lambda step: lessons.loss(net, step),
        check,
        _better,
        progress,
    )
    checked = sum(int(part.in_strip(part.yx).sum()) for part in parts)
    views, strips = start.card.views, look(net, parts, place, start.card.views)
    before, now = history[0].average_precision, history[best].average_precision
    if best == 0:
        flags += (
            f"the trained network is worse than {start.card.name}, which was kept: these weights "
            f"pick as it does. {checked} marks in the validation strips judge; more marks, or all "
            "of some micrographs, may help",
        )
    else:
        if now <= before:
            flags += (
                f"the {checked} marks in the validation strips cannot tell the trained network "
                f"from {start.card.name} (average precision {now:.3f} and {before:.3f}); the "
                "trained one is taken",
            )
        approach(net, first, settings.first)
        seen = {v: look(net, parts, place, v) for v in (1, VIEWS)}
        once, often = (seen[v].score().average_precision for v in (1, VIEWS))
        views = VIEWS if often > once + _WORTH else 1
        strips = seen[views]
    heights, right = strips.judged()
    calibration = start.card.calibration
    if (settings.missing or 0) >= PARTIAL:
        # Scores would become the probability that a particle was marked.
        flags += ("marks of a part of the particles: scores are calibrated on simulated truth",)
    elif checked >= _FEWEST_CHECKED:
        calibration = platt(calibration, heights, right)
    else:
        flags += (f"only {checked} validation picks: scores are calibrated on simulated truth",)
    score = strips.score()
    done = ModelCard(
        **card,
        icefloe=__version__,
        data="picks of a user",
        widths=start.card.widths,
        micrographs=len(parts),
        particles=sum(len(p.yx) for p in parts),
        objective=settings.objective,
        views=views,
        start=start.card.name,
        scores={
            "validation_average_precision": round(score.average_precision, 4),
            "validation_best_f1": round(score.best_f1, 4),
            "validation_particles": float(checked),
        },
        calibration=calibration,
    )
    model = PickerModel(done, weights_of(net))
    return Training(model, tuple(history), best, calibration(heights), right, flags)
