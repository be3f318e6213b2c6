"""Weights files: one safetensors file, its card in the metadata, nothing in it that can run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from icefloe._types import AnyArray
from icefloe.errors import InputError, UnsupportedFormatError

__all__ = ["CardFile"]

Card = TypeVar("Card", bound=BaseModel)

# No network of ours is nearly as large; other people's files may be gigabytes.
_LARGEST = 64 << 20
# Layers of more channels are no network of ours, and would take the memory of the machine.
_WIDEST = 1024
# How zip archives, pickles and gzip begin.
_RUNNABLE = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x1f\x8b")


@dataclass(frozen=True)
class CardFile(Generic[Card]):
    """A kind of weights file.

    Attributes
    ----------
    what
        What it holds, such as ``picker``.
    key
        Of the card in the file's metadata.
    card
        The card's model; it has ``architecture``, ``icefloe`` and ``widths``.
    architecture
        The one that this version knows.
    hint
        Where a right file comes from.
    """

    what: str
    key: str
    card: type[Card]
    architecture: str
    hint: str

    def read_card(self, path: Path) -> Card:
        """Return a file's card; nothing beyond the standard library is needed.

        Raises
        ------
        InputError
            There is no such file.
        UnsupportedFormatError
            Not a file of this kind, or one of another version.
        """
        return self._card_of(self._bytes(path), path)

    def read(self, path: Path) -> tuple[Card, dict[str, AnyArray]]:
        """Return a file's card, and its weights by name; `check` compares the two.

        Raises
        ------
        InputError, UnsupportedFormatError
            As `read_card`, or the weights are damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self._bytes(path)
        card = self._card_of(data, path)
        try:
            return card, load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise self._refused(f"{path} is damaged ({error})") from None

    def check(
        self, path: Path, tensors: Mapping[str, AnyArray], wanted: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Compare weights with the shapes that the network of the card has.

        Raises
        ------
        UnsupportedFormatError
            Others, or not finite float32.
        """
        found = {k: tuple(v.shape) for k, v in tensors.items()}
        wrong = sorted(set(wanted.items()) ^ set(found.items()))
        if wrong:
            raise self._refused(f"{path} lacks or has other weights '{wrong[0][0]}' than its card "
                                "says")  # fmt: skip
        if not all(v.dtype == np.float32 and np.isfinite(v).all() for v in tensors.values()):
            raise self._refused(f"{path} has weights that are not finite numbers")

    def write(self, path: str | Path, card: Card, tensors: Mapping[str, AnyArray]) -> None:
        """Write a network, the same bytes for the same network.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        from safetensors.numpy import save

        from icefloe.formats.atomic import write_bytes

        ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
        write_bytes(path, save(ordered, metadata={self.key: card.model_dump_json()}))

    def _bytes(self, path: Path) -> bytes:
        if not path.is_file():
            raise InputError(f"There is no weights file {path}", hint=self.hint)
        try:
            if path.stat().st_size > _LARGEST:
                raise self._refused(f"{path} is too large for a {self.what}")
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})", hint=self.hint) from None
        if data[:2] in _RUNNABLE or data[:4] == b"PK\x03\x04":
            raise self._refused(
                f"{path} is a pickle or an archive, which could run anything when opened",
                "a safetensors file",
            )
        return data

    def _card_of(self, data: bytes, path: Path) -> Card:
        """Return the card in the header: 8 bytes of length, then JSON."""
        length = int.from_bytes(data[:8], "little")
        try:
            if len(data) < 8 or not 2 <= length <= len(data) - 8:
                raise ValueError("no header")
            metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
            text = metadata.get(self.key)
        except (ValueError, AttributeError, RecursionError):
            raise self._refused(f"{path} is not a weights file", "a safetensors file") from None
        if text is None:
            raise self._refused(f"{path} is a safetensors file, but not one of Icefloe's "
                                f"{self.what}s")  # fmt: skip
        try:
            values: Any = json.loads(text)
            architecture = values.get("architecture")
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise self._refused(f"The card in {path} cannot be read") from None
        if architecture != self.architecture:
            raise UnsupportedFormatError(
                f"{path} holds the network '{architecture}' of Icefloe {values.get('icefloe')}",
                f"'{self.architecture}'",
                "Train it again with this version",
            )
        try:
            card = self.card.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise self._refused(
                f"The card in {path} is wrong at '{where}': {first['msg']}"
            ) from None
        widths: tuple[int, ...] = getattr(card, "widths", ())
        if widths and not 1 <= min(widths) <= max(widths) <= _WIDEST:
            raise self._refused(f"{path} has layers of {widths} channels")
        return card

    def _refused(self, found: str, expected: str = "") -> UnsupportedFormatError:
        return UnsupportedFormatError(found, expected, self.hint)
