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
from icefloe._types import AnyArray, FloatArray
from icefloe.errors import FitError, InputError
from icefloe.network._torch import threads_for_torch
from icefloe.network.denoise_field import LIMIT, ground_level, noise_spread, reduced
from icefloe.network.denoise_model import DenoiserModel, load_denoiser, need_torch
from icefloe.network.denoise_settings import DenoiserCard, DenoiserTrainSettings

__all__ = ["DenoiserStep", "DenoiserTraining", "HalfPair", "fit", "half_pair", "train_denoiser"]

# Most pairs that a validation looks at.
_CHECKED = 32
# Halves that agree better than this beyond the specimen are no halves but copies.
_COPIES = 0.98


@dataclass(frozen=True)
class HalfPair:
    """Two halves at the network's sampling, in units of a half's noise.

    Attributes
    ----------
    first, second
        (ny, nx) of any float type.
    """

    first: AnyArray
    second: AnyArray


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


def half_pair(odd: FloatArray, even: FloatArray, pixel_size: float) -> HalfPair:
    """Return a pair as the network sees it.

    Parameters
    ----------
    odd, even
        (ny, nx) half-dose micrographs, any real type.
    pixel_size
        A.

    Raises
    ------
    InputError
        Halves of different size, or the same image twice; and as `denoise_field`.
    """
    if np.shape(odd) != np.shape(even):
        raise InputError(
            f"The halves have the sizes {np.shape(odd)} and {np.shape(even)}", "one size"
        )
    (first, full), (second, _) = reduced(odd, pixel_size), reduced(even, pixel_size)
    size = pixel_size * full[0] / first.shape[0]
    first = first - ground_level(first, size)
    second = second - ground_level(second, size)
    scale = np.float32(0.5 * (noise_spread(first) + noise_spread(second)))
    # What the finest detail has in common is next to nothing in real halves.
    one, two = ((a[1:] - a[:-1]).ravel() for a in (first, second))
    if np.corrcoef(one, two)[0, 1] > _COPIES:
        raise InputError(
            "The two halves are the same image",
            "sums of odd and of even frames, which icefloe motion --even-odd writes",
        )
    cut = [np.clip(a / scale, -LIMIT, LIMIT).astype(np.float32) for a in (first, second)]
    return HalfPair(cut[0], cut[1])


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
    import torch

    from icefloe.network.denoise_net import DenoiserNet

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
    net: Any = DenoiserNet(known.card.widths)
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in known.tensors.items()})
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
    tensors = {k: v.cpu().numpy().copy() for k, v in net.state_dict().items()}
    return DenoiserTraining(DenoiserModel(card, tensors), tuple(history), best, flags)


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
    import torch

    from icefloe.network.train import fast_bfloat16

    place = "cpu" if device == "torch-cpu" else device
    with threads_for_torch():
        net.to(place).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.15
        )
        history = [DenoiserStep(0, float("nan"), check_loss(net, check, place, loss_of))]
        state, best, losses = _copied(net), 0, []
        for step in range(1, settings.steps + 1):
            rng = np.random.default_rng((settings.seed, step))
            seen, target = _batch(train, rng, settings.batch, settings.crop, swap)
            seen = seen.to(place).contiguous(memory_format=torch.channels_last)
            with torch.autocast(seen.device.type, torch.bfloat16, enabled=fast_bfloat16(place)):
                found = net(seen)
            loss = loss_of(found.float(), target.to(place))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
            if not np.isfinite(losses[-1]):
                raise FitError(
                    f"Training ran away in batch {step}", hint="Use a smaller learning rate"
                )
            if step % settings.check_every and step != settings.steps:
                continue
            history.append(
                DenoiserStep(step, float(np.mean(losses)), check_loss(net, check, place))
            )
            losses = []
            if progress:
                progress(history[-1])
            if history[-1].check_loss < history[best].check_loss:
                best, state = len(history) - 1, _copied(net)
        net.load_state_dict(state)
        net.eval()
    return history, best


def _copied(net: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in net.state_dict().items()}


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


def _batch(
    pairs: Sequence[HalfPair], rng: np.random.Generator, count: int, size: int, swap: bool
) -> tuple[Any, Any]:
    """Return crops (n, 1, size, size) of one half and of the other, turned and mirrored."""
    import torch

    areas = np.array([p.first.size for p in pairs], dtype=np.float64)
    out = np.zeros((2, count, 1, size, size), dtype=np.float32)
    for i, index in enumerate(rng.choice(len(pairs), count, p=areas / areas.sum())):
        halves = [pairs[index].first, pairs[index].second]
        if swap and rng.random() < 0.5:
            halves.reverse()
        ny, nx = halves[0].shape
        y, x = (int(rng.integers(0, max(1, n - size + 1))) for n in (ny, nx))
        # Bright particles are as common as dark ones: the network must favour neither.
        sign = np.float32(rng.choice([-1.0, 1.0]))
        turns, flip = int(rng.integers(4)), bool(rng.random() < 0.5)
        both = np.zeros((2, size, size), dtype=np.float32)
        for k, half in enumerate(halves):
            part = half[y : y + size, x : x + size]
            both[k, : part.shape[0], : part.shape[1]] = part
        both = np.rot90(both, turns, (1, 2))
        out[:, i, 0] = sign * (both[:, :, ::-1] if flip else both)
    return torch.from_numpy(out[0]), torch.from_numpy(out[1])
