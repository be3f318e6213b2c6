"""Denoisers, their weights files, and the one that Icefloe ships."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icefloe._types import AnyArray
from icefloe.network._torch import require_torch
from icefloe.network.card_file import CardFile
from icefloe.network.denoise_settings import DENOISER, DenoiserCard

__all__ = ["GENERAL_DENOISER", "DenoiserModel", "load_denoiser", "need_torch", "save_denoiser"]

GENERAL_DENOISER = Path(__file__).parent / "weights" / "denoiser.safetensors"
_FILE = CardFile(
    "denoiser",
    "icefloe-denoiser",
    DenoiserCard,
    DENOISER,
    "Give a file that icefloe denoise --train wrote, or leave --model out for the general denoiser",
)


@dataclass(frozen=True)
class DenoiserModel:
    """A trained denoiser.

    Attributes
    ----------
    card
        Where it comes from.
    tensors
        Weights by name, float32.
    """

    card: DenoiserCard
    tensors: Mapping[str, AnyArray]
    _nets: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def net(self, device: str) -> Any:
        """Return the torch module on a device (``cpu`` or ``cuda:N``), made once."""
        if device not in self._nets:
            import torch

            from icefloe.network.denoise_net import DenoiserNet

            net: Any = DenoiserNet(self.card.widths)
            net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in self.tensors.items()})
            net.eval()
            self._nets[device] = net.to(device).to(memory_format=torch.channels_last)
        return self._nets[device]


def need_torch() -> None:
    """Raise if the denoiser cannot run.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    """
    require_torch("The denoiser", "work on the micrographs as they are")


def load_denoiser(path: str | Path | None = None) -> DenoiserModel:
    """Return the denoiser of a weights file, by default the general one that Icefloe ships.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    UnsupportedFormatError
        Not a file of ours, or one of another version.
    InputError
        There is no such file.
    """
    need_torch()
    return _general() if path is None else _load(Path(path))


@functools.cache
def _general() -> DenoiserModel:
    return _load(GENERAL_DENOISER)


def _load(path: Path) -> DenoiserModel:
    from icefloe.network.denoise_net import DenoiserNet

    card, tensors = _FILE.read(path)
    net: Any = DenoiserNet(card.widths)
    _FILE.check(path, tensors, {k: tuple(v.shape) for k, v in net.state_dict().items()})
    return DenoiserModel(card, tensors)


def save_denoiser(path: str | Path, model: DenoiserModel) -> None:
    """Write a denoiser as one safetensors file, the same bytes for the same network.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    need_torch()
    _FILE.write(path, model.card, model.tensors)
