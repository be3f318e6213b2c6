"""Denoisers and their weights files: safetensors with a card, nothing in them that can run."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from icefloe._types import AnyArray
from icefloe.errors import InputError, UnsupportedFormatError
from icefloe.network._torch import require_torch
from icefloe.network.denoise_settings import DENOISER, DenoiserCard

__all__ = ["GENERAL_DENOISER", "DenoiserModel", "load_denoiser", "need_torch", "save_denoiser"]

GENERAL_DENOISER = Path(__file__).parent / "weights" / "denoiser.safetensors"
_KEY = "icefloe-denoiser"
# No denoiser of ours is nearly as large; other people's files may be gigabytes.
_LARGEST = 64 << 20
_HINT = (
    "Give a file that icefloe denoise --train wrote, or leave --model out for the general denoiser"
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
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise InputError(f"There is no weights file {path}", hint=_HINT)
    if path.stat().st_size > _LARGEST:
        raise UnsupportedFormatError(f"{path} is too large for a denoiser", hint=_HINT)
    data = path.read_bytes()
    try:
        # 8 bytes of length, then JSON; safetensors' own reader does not give the metadata of bytes.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        text = header["__metadata__"][_KEY]
        tensors = load(data)
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError):
        raise UnsupportedFormatError(
            f"{path} is not a denoiser's weights file", "safetensors with Icefloe's card", _HINT
        ) from None
    card = _card(text, path)
    _check(tensors, card, path)
    return DenoiserModel(card, tensors)


def _card(text: str, path: Path) -> DenoiserCard:
    try:
        card = DenoiserCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise UnsupportedFormatError(
            f"The card in {path} is wrong at '{'.'.join(map(str, first['loc']))}': {first['msg']}",
            hint=_HINT,
        ) from None
    if card.architecture != DENOISER:
        raise UnsupportedFormatError(
            f"{path} holds the network '{card.architecture}' of Icefloe {card.icefloe}",
            f"'{DENOISER}'",
            "Train it again with this version",
        )
    return card


def _check(tensors: Mapping[str, AnyArray], card: DenoiserCard, path: Path) -> None:
    from icefloe.network.denoise_net import DenoiserNet

    if max(card.widths) > 1024 or min(card.widths) < 1:
        raise UnsupportedFormatError(f"{path} has layers of {card.widths} channels", hint=_HINT)
    net: Any = DenoiserNet(card.widths)
    wanted = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in tensors.items()}
    wrong = sorted(set(wanted.items()) ^ set(found.items()))
    if wrong:
        raise UnsupportedFormatError(
            f"{path} lacks or has other weights '{wrong[0][0]}' than its card says", hint=_HINT
        )
    if not all(v.dtype == np.float32 and np.isfinite(v).all() for v in tensors.values()):
        raise UnsupportedFormatError(f"{path} has weights that are not finite numbers", hint=_HINT)


def save_denoiser(path: str | Path, model: DenoiserModel) -> None:
    """Write a denoiser as one safetensors file, the same bytes for the same network.

    Raises
    ------
    OutputError
    """
    need_torch()
    from safetensors.numpy import save

    from icefloe.formats.atomic import write_bytes

    tensors = {name: np.ascontiguousarray(model.tensors[name]) for name in sorted(model.tensors)}
    write_bytes(path, save(tensors, metadata={_KEY: model.card.model_dump_json()}))
