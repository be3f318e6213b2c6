"""One cycle of training: batches, validations, the best state of the network, an early stop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from icefloe._types import AnyArray
from icefloe.errors import FitError

__all__ = [
    "Cycle",
    "approach",
    "fast_bfloat16",
    "logits_of",
    "on_device",
    "placed",
    "train_cycle",
    "weights_of",
]

# Share of the batches after which there is no early stop: the rate is low then, and what is to
# come costs little.
_LATE = 0.8


class Validation(Protocol):
    """What a validation gives; it names its batch."""

    @property
    def step(self) -> int:
        """Batches so far."""


Step = TypeVar("Step", bound=Validation)


@dataclass(frozen=True)
class Cycle:
    """How long and how fast to train.

    Attributes
    ----------
    steps
        Batches, at most.
    learning_rate
        Highest of the one cycle, in which it rises and falls (Smith & Topin 2017,
        arXiv:1708.07120).
    check_every
        Batches between two validations.
    weight_decay
        Decay of the weights.
    patience
        Validations without a better one after which it stops; None: never.
    average
        The network that is validated and kept is the running mean of those of about so many
        batches (Polyak & Juditsky 1992, SIAM J. Control Optim. 30, 838); 1: the last one itself.
    """

    steps: int
    learning_rate: float
    check_every: int
    weight_decay: float = 0.01
    patience: int | None = None
    average: int = 1


def train_cycle(
    net: Any,
    cycle: Cycle,
    loss_of: Callable[[int], Any],
    check: Callable[[Any, int, float], Step],
    better: Callable[[Step, Step], bool],
    progress: Callable[[Step], None] | None = None,
) -> tuple[list[Step], int]:
    """Train a network in place, and leave it as it was at the best validation.

    Parameters
    ----------
    net
        torch module.
    cycle
        How long and how fast.
    loss_of
        From the number of a batch, 1 the first, to the scalar to make small.
    check
        From the network, the batches so far and the mean loss since the last call to a validation.
    better
        Whether its first validation is better than its second.
    progress
        Called after each validation.

    Returns
    -------
    history, best
        All validations, that before training first; and the index of the best.

    Raises
    ------
    FitError
        Training ran away.
    """
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=cycle.learning_rate, weight_decay=cycle.weight_decay
    )
    # A cycle of one batch has no rate but that of its end.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, cycle.learning_rate, total_steps=max(2, cycle.steps), pct_start=0.15
    )
    mean = copy.deepcopy(net) if cycle.average > 1 else net
    history = [check(mean, 0, float("nan"))]
    best, state, losses = 0, _copied(mean), list[float]()
    for step in range(1, cycle.steps + 1):
        loss = loss_of(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if mean is not net:
            # In the beginning there are few to average.
            approach(mean, net, 1 / min(cycle.average, 1 + step / 10))
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise FitError(f"Training ran away in batch {step}", hint="Use a smaller learning rate")
        if step % cycle.check_every and step != cycle.steps:
            continue
        history.append(check(mean, step, float(np.mean(losses))))
        losses = []
        if progress:
            progress(history[-1])
        now = len(history) - 1
        if better(history[now], history[best]):
            best, state = now, _copied(mean)
        elif (
            cycle.patience is not None
            and now - best >= cycle.patience
            and step < _LATE * cycle.steps
        ):
            break
    net.load_state_dict(state)
    net.eval()
    return history, best


def approach(mean: Any, net: Any, part: float) -> None:
    """Move a network's weights by this part of the way to another's."""
    with torch.no_grad():
        for old, new in zip(mean.parameters(), net.parameters(), strict=True):
            old.lerp_(new, part)


def _copied(net: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in net.state_dict().items()}


def placed(net: Any, tensors: Mapping[str, AnyArray], place: str) -> Any:
    """Return a module with these weights, on a device."""
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in tensors.items()})
    return on_device(net, place)


def on_device(net: Any, place: str) -> Any:
    """Move a module, in place, and return it."""
    return net.to(place).to(memory_format=torch.channels_last)


def weights_of(net: Any) -> dict[str, AnyArray]:
    """Return the weights of a module by name, copied."""
    return {k: v.detach().cpu().numpy().copy() for k, v in net.state_dict().items()}


def logits_of(net: Any, images: Any, place: str) -> Any:
    """Return a module's answer in 32 bits, computed in 16 where the device is faster so."""
    images = images.to(place).contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=fast_bfloat16(place)):
        answer = net(images)
    return answer.float()


def fast_bfloat16(place: str) -> bool:
    """Return whether the device multiplies 16-bit floats in hardware."""
    if place != "cpu":
        return True
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known is not None and known())
