"""The picker's weights files, and the one that Icefloe ships."""

from __future__ import annotations

import functools
from pathlib import Path

from icefloe.network._torch import require_torch
from icefloe.network.card_file import CardFile
from icefloe.network.model import ARCHITECTURE, ModelCard, PickerModel

__all__ = ["GENERAL", "load_model", "read_model_card", "save_model"]

GENERAL = Path(__file__).parent / "weights" / "general.safetensors"
_FILE = CardFile(
    "picker",
    "icefloe",
    ModelCard,
    ARCHITECTURE,
    "Give a file that icefloe train wrote, or leave --model out for the general model",
)


def load_model(path: str | Path | None = None) -> PickerModel:
    """Return the network of a weights file, by default the general one that Icefloe ships.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    UnsupportedFormatError
        Not a file of ours, or one of another version.
    InputError
        There is no such file.
    """
    require_torch()
    return _general() if path is None else _load(Path(path))


def read_model_card(path: str | Path | None = None) -> ModelCard:
    """Return the card of a weights file alone, for which torch is not needed.

    Raises
    ------
    UnsupportedFormatError, InputError
        As `load_model`.
    """
    return _FILE.read_card(GENERAL if path is None else Path(path))


@functools.cache
def _general() -> PickerModel:
    return _load(GENERAL)


def _load(path: Path) -> PickerModel:
    from icefloe.network.architecture import PickerNet

    card, tensors = _FILE.read(path)
    wanted = {k: tuple(v.shape) for k, v in PickerNet(card.widths).state_dict().items()}
    _FILE.check(path, tensors, wanted)
    return PickerModel(card, tensors)


def save_model(path: str | Path, model: PickerModel) -> None:
    """Write a network as one safetensors file, the same bytes for the same network.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    require_torch()
    _FILE.write(path, model.card, model.tensors)
