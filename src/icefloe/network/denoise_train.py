"""Training a denoiser on halves of the dose: noise2noise (Lehtinen et al. 2018, arXiv:1803.04189).

The noise of the two halves is independent. The half that the network does not see is therefore a
target without bias: what minimises the mean squared difference to it is the mean of all specimens
that could have given the half that it does see, and noise cannot be foretold. No truth is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icefloe import __version__
from icefloe._types import FloatArray
from icefloe.errors import InputError
from icefloe.network._torch import threads_for_torch
from icefloe.network.denoise_model import DenoiserModel, load_denoiser, need_torch
from icefloe.network.denoise_pairs import HalfPair, half_pair, pair_crops
from icefloe.network.denoise_settings import DenoiserCard, DenoiserTrainSettings

__all__ = ["DenoiserStep", "DenoiserTraining", "fit", "train_denoiser"]

# Most pairs that a validation looks at.
_CHECKED = 32


@dataclass(frozen=True)
class DenoiserStep:
    """One validation.

    Attributes
    ----------
    step
        Batches so far.
    loss, check_loss
        Mean squared difference to the other half since the last one, and on the validation part,
        of what is finer than 100 A and in units of a half's noise.
    """

    step: int
    loss: float
    check_loss: float


@dataclass(frozen=True)
class DenoiserTraining:
    """A trained denoiser, and how it came about.

    Attributes
    ----------
    model
        That of the best validation.
    history
        All validations, that before training first.
    best
        Index of the best in `history`.
    flags
        What went wrong or was done instead.
    """

    model: DenoiserModel
    history: tuple[DenoiserStep, ...]
    best: int
    flags: tuple[str, ...] = ()


def train_denoiser(
    pairs: Sequence[tuple[FloatArray, FloatArray]],
    *,
    pixel_size: float,
    start: DenoiserModel | None = None,
    settings: DenoiserTrainSettings | None = None,
    device: str = "cpu",
    name: str = "trained",
    progress: Callable[[DenoiserStep], None] | None = None,
) -> DenoiserTraining:
    """Train a denoiser on halves of micrographs.

    Parameters
    ----------
    pairs
        (odd, even) half-dose micrographs (ny, nx), any real type.
    pixel_size
        A, of all.
    start
        Denoiser to go on from; the general one by default.
    settings
        Choices, all with defaults.
    device
        ``cpu`` or ``cuda:N``.
    name
        What the denoiser shall be called.
    progress
        Called after each validation.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    InputError
        No pairs, or some that cannot be halves of one micrograph.
    FitError
        Training ran away.
    """
    need_torch()
    from icefloe.network.denoise_net import DenoiserNet
    from icefloe.network.loop import placed, weights_of

    settings = settings or DenoiserTrainSettings()
    if not pairs:
        raise InputError("There are no pairs of halves to train on", "at least one pair")
    known = start or load_denoiser()
    ready = [half_pair(odd, even, pixel_size) for odd, even in pairs]
    side = min(min(p.first.shape) for p in ready)
    if settings.validation * side < 16 or (1 - settings.validation) * side < 64:
        raise InputError(
            f"A half of only {side} pixels at the denoiser's sampling is too small to train on",
            "whole micrographs",
        )
    net = placed(DenoiserNet(known.card.widths), known.tensors, "cpu")
    cut = [round((1 - settings.validation) * p.first.shape[0]) for p in ready]
    train = [HalfPair(p.first[:n], p.second[:n]) for p, n in zip(ready, cut, strict=True)]
    check = [HalfPair(p.first[n:], p.second[n:]) for p, n in zip(ready, cut, strict=True)]
    history, best = fit(net, train, check, settings, device, progress)
    flags: tuple[str, ...] = ()
    if best == 0:
        flags += ("training did not improve on the first denoiser; that one was kept",)
    card = DenoiserCard(
        icefloe=__version__,
        name=name,
        data="half-dose micrographs of a user",
        widths=known.card.widths,
        pairs=len(ready),
        start=known.card.name,
        scores={"other_half": history[best].check_loss, "before": history[0].check_loss},
    )
    model = DenoiserModel(card, weights_of(net))
    return DenoiserTraining(model, tuple(history), best, flags)


def squared(answer: Any, target: Any) -> Any:
    """Return the mean squared difference without what is coarser than all bands that are weighed.

    Thicker and thinner ice has more variance than particles, and is not what is to be learnt.
    """
    return (fine(answer - target) ** 2).mean()


def fine(image: Any) -> Any:
    """Return (n, 1, y, x) images without their coarsest band."""
    from icefloe.network.denoise_net import SIGMAS, blurred

    return image - blurred(image, SIGMAS[-1])


def fit(
    net: Any,
    train: Sequence[HalfPair],
    check: Sequence[HalfPair],
    settings: DenoiserTrainSettings,
    device: str = "cpu",
    progress: Callable[[DenoiserStep], None] | None = None,
    loss_of: Callable[[Any, Any], Any] = squared,
    swap: bool = True,
) -> tuple[list[DenoiserStep], int]:
    """Train a network in place for one cycle, and leave it as it was at the best validation.

    Parameters
    ----------
    net
        (n, 1, y, x) to the same.
    train, check
        Pairs to learn from and to validate with.
    settings, device, progress
        As of `train_denoiser`.
    loss_of
        Of the answer and the target.
    swap
        Whether either of a pair may be the target; without it `second` is.

    Returns
    -------
    history, best
        All validations, that before training first; and the index of the best.
    """
    from icefloe.network.loop import Cycle, logits_of, on_device, train_cycle

    place = "cpu" if device == "torch-cpu" else device

    def loss(step: int) -> Any:
        rng = np.random.default_rng((settings.seed, step))
        seen, target = pair_crops(train, rng, settings.batch, settings.crop, swap)
        return loss_of(logits_of(net, seen, place), target.to(place))

    with threads_for_torch():
        return train_cycle(
            on_device(net, place),
            Cycle(settings.steps, settings.learning_rate, settings.check_every),
            loss,
            lambda now, step, mean: DenoiserStep(
                step, mean, check_loss(now, check, place, loss_of)
            ),
            lambda new, old: new.check_loss < old.check_loss,
            progress,
        )


def check_loss(
    net: Any, pairs: Sequence[HalfPair], place: str, loss_of: Callable[[Any, Any], Any] = squared
) -> float:
    """Return the mean loss of the answers to whole images."""
    import torch

    from icefloe.network.denoise import tiled

    found = []
    for pair in pairs[:_CHECKED]:
        with torch.inference_mode():
            answer = torch.from_numpy(tiled(net, np.asarray(pair.first, dtype=np.float32), place))
            target = torch.from_numpy(np.asarray(pair.second, dtype=np.float32))
            found.append(float(loss_of(answer[None, None], target[None, None])))
    return float(np.mean(found))
