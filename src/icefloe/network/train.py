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
from icefloe.network.partial import MISSING, PARTIAL, find_unmarked
from icefloe.network.settings import EDGE, SAMPLES, TrainSettings
from icefloe.network.weights import load_model

if TYPE_CHECKING:
    from icefloe.network.validation import Part

__all__ = ["TrainStep", "Training", "train_network"]

# A crop is varied by up to this much; see `samples.Variation`.
_NOISE, _CONTRAST, _BLUR = 0.3, 0.15, 0.8
# Weight of staying with the first network's opinion on junk, of which picks say nothing.
_JUNK = 0.1
# Batches whose networks are averaged.
_AVERAGED = 100
# Average precision that turns of the image must add to be worth their time.
_WORTH = 0.005
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
    with threads_for_torch():
        if settings.missing is None:
            found = find_unmarked(parts, start, place)
            settings = settings.model_copy(update={"missing": found.missing})
            flags += found.flags
        return _run(parts, start, settings, place, card, progress, flags)


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
    from icefloe.network.loop import Cycle, approach, placed, train_cycle, weights_of
    from icefloe.network.maps import VIEWS
    from icefloe.network.validation import look

    torch.manual_seed(settings.seed)
    chance = torch.Generator().manual_seed(settings.seed)
    net = placed(PickerNet(start.card.widths), start.tensors, place)
    samples = [sample for part in parts for sample in _samples(part, start, place)]

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
        lambda step: _loss(net, samples, settings, step, chance, place),
        check,
        lambda new, old: new.average_precision > old.average_precision,
        progress,
    )
    checked = sum(int(part.in_strip(part.yx).sum()) for part in parts)
    views, strips = start.card.views, look(net, parts, place, start.card.views)
    if best == 0:
        flags += (
            f"training did not improve on {start.card.name}, which was kept: these weights pick as "
            f"it does. {checked} marks in the validation strips judge; more marks, or all of some "
            "micrographs, may help",
        )
    else:
        approach(net, placed(PickerNet(start.card.widths), start.tensors, place), settings.first)
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


def _samples(part: Part, start: PickerModel, place: str) -> list[Any]:
    """Return what lies on both sides of the strip, with the first network's view of junk."""
    from icefloe.network.maps import answer_maps
    from icefloe.network.samples import HEAT_SIGMA, Sample, heat_map

    _, junk, _ = answer_maps(start, part.field.pixels, place)
    ny, nx = part.shape
    heat = heat_map((ny, nx), part.yx, HEAT_SIGMA * SAMPLES)
    spots = np.rint(255 * junk).astype(np.uint8)
    rows, columns = part.checked.any(axis=1), part.checked.any(axis=0)
    everything = slice(None)
    if rows.all():
        first, last = np.flatnonzero(columns)[[0, -1]]
        cuts = [(everything, slice(0, first)), (everything, slice(last + 1, nx))]
    else:
        first, last = np.flatnonzero(rows)[[0, -1]]
        cuts = [(slice(0, first), everything), (slice(last + 1, ny), everything)]
    return [
        Sample(part.field.pixels[:, cut[0], cut[1]], heat[cut], spots[cut])
        for cut in cuts
        if min(heat[cut].shape) >= SAMPLES
    ]


def _loss(
    net: Any, samples: list[Any], settings: TrainSettings, step: int, chance: Any, place: str
) -> Any:
    """Return the objective of one batch."""
    import torch
    from torch.nn import functional

    from icefloe.network.loop import logits_of
    from icefloe.network.objective import centre_odds, objective_value
    from icefloe.network.samples import Variation, crops

    images, heat, junk = crops(
        samples,
        np.random.default_rng((settings.seed, step)),
        settings.batch,
        settings.crop,
        Variation(settings.scale, _NOISE, _CONTRAST, _BLUR),
    )
    logits = logits_of(net, images, place)
    heat, junk = heat.to(place), junk.to(place)
    missing = MISSING if settings.missing is None else settings.missing
    loss = objective_value(settings.objective, centre_odds(logits), heat, missing, chance)
    odds = logits[:, 2] - torch.logsumexp(logits[:, :2], dim=1)
    return loss + _JUNK * functional.binary_cross_entropy_with_logits(odds, junk * (1 - heat))
