"""Weights files: one safetensors file, its card in the metadata, nothing in it that can run."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from icefloe.errors import InputError, UnsupportedFormatError
from icefloe.network._torch import require_torch
from icefloe.network.model import ARCHITECTURE, ModelCard, PickerModel

__all__ = ["GENERAL", "load_model", "save_model"]

GENERAL = Path(__file__).parent / "weights" / "general.safetensors"
_KEY = "icefloe"
# No picker of ours is nearly as large; other people's files may be gigabytes.
_LARGEST = 64 << 20
_HINT = "Give a file that icefloe train wrote, or leave --model out for the general model"


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


@functools.cache
def _general() -> PickerModel:
    return _load(GENERAL)


def _load(path: Path) -> PickerModel:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise InputError(f"There is no weights file {path}", hint=_HINT)
    if path.stat().st_size > _LARGEST:
        raise UnsupportedFormatError(f"{path} is too large for a picker", hint=_HINT)
    data = path.read_bytes()
    if data[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x1f\x8b"):
        raise UnsupportedFormatError(
            f"{path} is a pickle or an archive, which could run anything when opened",
            "a safetensors file",
            _HINT,
        )
    card = _card(data, path)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UnsupportedFormatError(f"{path} is damaged ({error})", hint=_HINT) from None
    _check(tensors, card, path)
    return PickerModel(card, tensors)


def _card(data: bytes, path: Path) -> ModelCard:
    """Return the card in the header: 8 bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    try:
        if len(data) < 8 or not 2 <= length <= len(data) - 8:
            raise ValueError("no header")
        header = json.loads(data[8 : 8 + length])
        metadata = header.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError):
        raise UnsupportedFormatError(
            f"{path} is not a weights file", "a safetensors file", _HINT
        ) from None
    if _KEY not in metadata:
        raise UnsupportedFormatError(
            f"{path} is a safetensors file, but not one of Icefloe's pickers", hint=_HINT
        )
    try:
        values = json.loads(metadata[_KEY])
        architecture = values.get("architecture")
    except (ValueError, TypeError, AttributeError):
        raise UnsupportedFormatError(f"The card in {path} cannot be read", hint=_HINT) from None
    if architecture != ARCHITECTURE:
        raise UnsupportedFormatError(
            f"{path} holds the network '{architecture}' of Icefloe {values.get('icefloe')}",
            f"'{ARCHITECTURE}'",
            "Train it again with this version",
        )
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UnsupportedFormatError(
            f"The card in {path} is wrong at '{'.'.join(map(str, first['loc']))}': {first['msg']}",
            hint=_HINT,
        ) from None


def _check(tensors: dict[str, np.ndarray], card: ModelCard, path: Path) -> None:
    from icefloe.network.architecture import PickerNet

    if max(card.widths) > 1024 or min(card.widths) < 1:
        raise UnsupportedFormatError(f"{path} has layers of {card.widths} channels", hint=_HINT)
    wanted = {k: tuple(v.shape) for k, v in PickerNet(card.widths).state_dict().items()}
    found = {k: tuple(v.shape) for k, v in tensors.items()}
    wrong = sorted(set(wanted.items()) ^ set(found.items()))
    if wrong:
        raise UnsupportedFormatError(
            f"{path} lacks or has other weights '{wrong[0][0]}' than its card says", hint=_HINT
        )
    if not all(v.dtype == np.float32 and np.isfinite(v).all() for v in tensors.values()):
        raise UnsupportedFormatError(f"{path} has weights that are not finite numbers", hint=_HINT)


def save_model(path: str | Path, model: PickerModel) -> None:
    """Write a network as one safetensors file, the same bytes for the same network.

    Raises
    ------
    OutputError
    """
    require_torch()
    from safetensors.numpy import save

    from icefloe.formats.atomic import write_bytes

    metadata = {_KEY: model.card.model_dump_json()}
    tensors = {name: np.ascontiguousarray(model.tensors[name]) for name in sorted(model.tensors)}
    write_bytes(path, save(tensors, metadata=metadata))
