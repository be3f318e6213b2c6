"""What picking picks with: the reference, given templates or a network, read when they change."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from icefloe.engine.reference_files import StoredReference
    from icefloe.engine.session import Session
    from icefloe.network import ModelCard, PickerModel
    from icefloe.picking import TemplateBank

__all__ = ["PickingFiles"]

# Seconds for which a reference that was found is not looked for again.
_TRUSTED = 1.0


class PickingFiles:
    """The files that a session's settings of picking name, each read once while it stays.

    Parameters
    ----------
    session
        The session itself, not the view of one exposure: these are the same for all.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reference: tuple[object, StoredReference | None] | None = None
        self._reference_hash: str | None = None
        self._known: tuple[float, StoredReference] | None = None
        self._templates: tuple[object, TemplateBank] | None = None
        # Stamp of the weights file, its card and its hash; hash and network.
        self._card: tuple[object, ModelCard, str] | None = None
        self._model: tuple[str, PickerModel] | None = None

    def reference(self) -> StoredReference | None:
        """Return the reference that the session made; None if it is still to be made.

        It is read again when its files change: another process may have made it. One made with
        other settings does not count; templates that a person gave always do.
        """
        from icefloe.engine.reference_files import REFERENCE_FILES, read_reference

        if self._known is not None and time.monotonic() - self._known[0] < _TRUSTED:
            return self._known[1]
        directory = self._session.project.reference
        files = [directory / name for name in REFERENCE_FILES]
        stamp = [self._session.identity(self._session.project.listed(path)) for path in files]
        if self._reference is None or self._reference[0] != stamp:
            self._reference = (stamp, read_reference(self._session.project))
        found = self._reference[1]
        if found is None:
            return None
        if found.origin == "data" and found.settings_hash != self._hash():
            return None
        # Only what is there is trusted: one that is missing may be made at any time.
        self._known = (time.monotonic(), found)
        return found

    def _hash(self) -> str:
        from icefloe.engine.reference_files import reference_hash

        if self._reference_hash is None:
            self._reference_hash = reference_hash(self._session)
        return self._reference_hash

    def reference_changed(self) -> None:
        """Read the reference anew when it is next asked for; call it after writing one."""
        self._reference = self._known = None

    def templates(self) -> TemplateBank:
        """Return the templates of method template; read once.

        Raises
        ------
        InputError, MissingMetadataError, StarColumnError
            The file cannot be read, holds no templates, or its pixel size is not known.
        """
        from icefloe.engine.given_templates import given_templates

        pick = self._session.settings.pick
        key = (pick.templates, pick.template_pixel_size, self._session.identity(pick.templates))
        if self._templates is None or self._templates[0] != key:
            path = self._session.project.locate(str(pick.templates))
            diameter = pick.match_settings().diameter
            bank = given_templates(path, pixel_size=pick.template_pixel_size, diameter=diameter)
            self._templates = (key, bank)
        return self._templates[1]

    def model_card(self) -> ModelCard:
        """Return the card of the network that picks; read when the file changes.

        It is that of method network, or the one that learned from the reference.

        Raises
        ------
        InputError, UnsupportedFormatError
            There is no such file, or it is no picker's of this version.
        """
        return self._weights()[1]

    def model_identity(self) -> str:
        """Return the hash of the network's weights file."""
        return self._weights()[2]

    def model(self) -> PickerModel:
        """Return the network that picks; loaded once, and again when the file changes.

        Raises
        ------
        DeviceError
            torch is not installed.
        InputError, UnsupportedFormatError
            As `model_card`, or the weights are damaged.
        """
        from icefloe.network import load_model

        digest = self._weights()[2]
        if self._model is None or self._model[0] != digest:
            self._model = (digest, load_model(self._file()))
        return self._model[1]

    def _file(self) -> Path | None:
        """Return the weights file; None for the general model."""
        pick = self._session.settings.pick
        if pick.method == "learn":
            stored = self.reference()
            return None if stored is None else stored.weights
        return None if pick.model is None else self._session.project.locate(pick.model)

    def _weights(self) -> tuple[object, ModelCard, str]:
        from icefloe.network.weights import GENERAL, read_model_card

        path = self._file() or GENERAL
        stamp = self._session.identity(str(path))
        if self._card is None or self._card[0] != stamp:
            card = read_model_card(path)
            self._card = (stamp, card, hashlib.sha256(path.read_bytes()).hexdigest())
        return self._card
