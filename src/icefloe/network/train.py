"""Training on a user's own picks, from the general network on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icefloe import __version__
from icefloe._types import BoolArray, FloatArray
from icefloe.errors import FitError
from icefloe.network._torch import require_torch, threads_for_torch
from icefloe.network.calibration import platt
from icefloe.network.checks import check_positives
from icefloe.network.field import network_field
from icefloe.network.model import ModelCard, PickerModel
from icefloe.network.partial import MISSING, PARTIAL, find_unmarked
from icefloe.network.settings import SAMPLES, TrainSettings
from icefloe.network.validation import (
    RIGHT,
    Part,
    check,
    checked_marks,
    strip,
    validation_picks,
    validation_sets,
)
from icefloe.network.weights import load_model
from icefloe.scoring import pool_picks

__all__ = ["TrainStep", "Training", "train_network"]

# A crop is varied by up to this much; see `samples.Variation`.
_NOISE, _CONTRAST, _BLUR = 0.3, 0.15, 0.8
# Weight of staying with the first network's opinion on junk, of which picks say nothing.
_JUNK = 0.1
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
    settings = settings or TrainSettings()
    start = start or load_model()
    marks = [np.stack([np.asarray(y), np.asarray(x)], axis=1).astype(float) for y, x in positives]
    shapes = [(int(i.shape[0]), int(i.shape[1])) for i in images]
    marks, flags = check_positives(shapes, marks, diameter / pixel_size)
    parts = []
    for index, (image, yx) in enumerate(zip(images, marks, strict=True)):
        field = network_field(
            image, pixel_size=pixel_size, diameter=diameter, bright=settings.contrast == "bright"
        )
        checked = strip(field.pixels.shape[1:], index + settings.seed, settings.validation)
        parts.append(Part(field.pixels, field.inwards(yx), checked))
        flags += tuple(f"micrograph {index + 1}: {flag}" for flag in field.flags)
    with threads_for_torch():
        if settings.missing is None:
            found = find_unmarked(parts, start, device)
            settings = settings.model_copy(update={"missing": found.missing})
            flags += found.flags
        return _run(parts, start, settings, device, name, diameter, progress, flags)


def _run(
    parts: list[Part],
    start: PickerModel,
    settings: TrainSettings,
    device: str,
    name: str,
    diameter: float,
    progress: Callable[[TrainStep], None] | None,
    flags: tuple[str, ...],
) -> Training:
    import torch

    from icefloe.network.architecture import PickerNet

    place = "cpu" if device == "torch-cpu" else device
    torch.manual_seed(settings.seed)
    chance = torch.Generator().manual_seed(settings.seed)
    net = PickerNet(start.card.widths)
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in start.tensors.items()})
    net = net.to(place).to(memory_format=torch.channels_last)
    samples = [sample for part in parts for sample in _samples(part, start, place)]
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.15
    )
    history = [TrainStep(0, float("nan"), *check(net, parts, place))]
    states = {0: _copied(net)}
    best, losses = 0, []
    for step in range(1, settings.steps + 1):
        loss = _step(net, samples, settings, step, chance, place)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise FitError(f"Training ran away in batch {step}", hint="Use a smaller learning rate")
        if step % settings.check_every and step != settings.steps:
            continue
        history.append(TrainStep(step, float(np.mean(losses)), *check(net, parts, place)))
        losses = []
        if progress:
            progress(history[-1])
        now = len(history) - 1
        if history[now].average_precision > history[best].average_precision:
            states = {now: _copied(net)}
            best = now
        elif now - best >= settings.patience and step < 0.8 * settings.steps:
            break
    if best == 0:
        flags += (
            f"training did not improve on {start.card.name}, which was kept: these weights pick as "
            f"it does. {checked_marks(parts)} marks in the validation strips judge; more marks, or "
            "all of some micrographs, may help",
        )
    net.load_state_dict(states[best])
    heights, right = validation_picks(net, parts, place)
    calibration = start.card.calibration
    checked = checked_marks(parts)
    if (settings.missing or 0) >= PARTIAL:
        # Scores would become the probability that a particle was marked.
        flags += ("marks of a part of the particles: scores are calibrated on simulated truth",)
    elif checked >= _FEWEST_CHECKED:
        calibration = platt(calibration, heights, right)
    else:
        flags += (f"only {checked} validation picks: scores are calibrated on simulated truth",)
    scores = calibration(heights)
    score = pool_picks(validation_sets(net, parts, place), RIGHT * SAMPLES)
    card = ModelCard(
        icefloe=__version__,
        name=name,
        data="picks of a user",
        widths=start.card.widths,
        diameter=diameter,
        micrographs=len(parts),
        particles=sum(len(p.yx) for p in parts),
        objective=settings.objective,
        start=start.card.name,
        scores={
            "validation_average_precision": round(score.average_precision, 4),
            "validation_best_f1": round(score.best_f1, 4),
            "validation_particles": float(checked),
        },
        calibration=calibration,
    )
    tensors = {k: v.cpu().numpy().copy() for k, v in net.state_dict().items()}
    return Training(PickerModel(card, tensors), tuple(history), best, scores, right, flags)


def _copied(net: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in net.state_dict().items()}


def _samples(part: Part, start: PickerModel, place: str) -> list[Any]:
    """Return what lies on both sides of the strip, with the first network's view of junk."""
    from icefloe.network.maps import answer_maps
    from icefloe.network.samples import HEAT_SIGMA, Sample, heat_map

    _, junk, _ = answer_maps(start, part.pixels, place)
    ny, nx = int(part.checked.shape[0]), int(part.checked.shape[1])
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
        Sample(part.pixels[:, cut[0], cut[1]], heat[cut], spots[cut])
        for cut in cuts
        if min(heat[cut].shape) >= SAMPLES
    ]


def _step(
    net: Any, samples: list[Any], settings: TrainSettings, step: int, chance: Any, place: str
) -> Any:
    import torch
    from torch.nn import functional

    from icefloe.network.objective import centre_odds, objective_value
    from icefloe.network.samples import Variation, crops

    images, heat, junk = crops(
        samples,
        np.random.default_rng((settings.seed, step)),
        settings.batch,
        settings.crop,
        Variation(settings.scale, _NOISE, _CONTRAST, _BLUR),
    )
    images = images.to(place).contiguous(memory_format=torch.channels_last)
    heat, junk = heat.to(place), junk.to(place)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=fast_bfloat16(place)):
        logits = net(images)
    logits = logits.float()
    missing = MISSING if settings.missing is None else settings.missing
    loss = objective_value(settings.objective, centre_odds(logits), heat, missing, chance)
    odds = logits[:, 2] - torch.logsumexp(logits[:, :2], dim=1)
    return loss + _JUNK * functional.binary_cross_entropy_with_logits(odds, junk * (1 - heat))


def fast_bfloat16(place: str) -> bool:
    """Return whether the device multiplies 16-bit floats in hardware."""
    import torch

    if place != "cpu":
        return True
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known is not None and known())
