"""A project with today's settings: the facts that all its exposures share."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icefloe.engine.facts import resolve_facts
from icefloe.engine.plan import fingerprint_of
from icefloe.engine.settings import DataSettings, SessionSettings
from icefloe.errors import InputError
from icefloe.project import Project, read_settings
from icefloe.project.acquisition import load_acquisition
from icefloe.project.sidecar import identify

if TYPE_CHECKING:
    from icefloe._types import BoolArray, FloatArray
    from icefloe.engine.reference_files import StoredReference
    from icefloe.engine.stage import Stage
    from icefloe.network import ModelCard, PickerModel
    from icefloe.picking import TemplateBank

__all__ = ["Session"]

# Seconds for which a reference that was found is not looked for again.
_TRUSTED = 1.0
# Views that are kept: a microscope may record another dose with each movie.
_VIEWS = 64


@dataclass
class Session:
    """A project, its settings and the device to work on.

    Attributes
    ----------
    project
        Where things lie.
    settings
        Every setting.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``, as `icefloe.fourier.resolve_device` returns it.
    """

    project: Project
    settings: SessionSettings
    device: str = "cpu"
    _hashes: dict[str, str] = field(default_factory=dict)
    _reference: tuple[object, StoredReference | None] | None = None
    _known: tuple[float, StoredReference] | None = None
    _templates: tuple[object, TemplateBank] | None = None
    # Stamp of the weights file, its card and its hash; hash and network.
    _card: tuple[object, ModelCard, str] | None = None
    _model: tuple[str, PickerModel] | None = None
    # By file and how it is turned; shared with the views.
    _gains: dict[tuple[object, ...], FloatArray] = field(default_factory=dict)
    _defects: dict[tuple[object, ...], BoolArray] = field(default_factory=dict)
    _views: dict[DataSettings, Session] = field(default_factory=dict)
    _base: Session | None = None

    @classmethod
    def open(cls, directory: str | Path, device: str = "cpu") -> Session:
        """Return the session at `directory` with the settings in its file."""
        project = Project.open(directory)
        return cls(project, read_settings(project.settings_file, SessionSettings), device)

    def view(self, name: str, listed: str) -> Session:
        """Return the session as it holds for one exposure.

        Its section [data] is that of the exposure's group, and has what the exposure's recorded
        metadata say where nothing is set; everything else is shared.

        Parameters
        ----------
        name
            The exposure.
        listed
            Its source as recorded.
        """
        own = self.settings.data
        acquisition = load_acquisition(self.project, name)
        if self.settings.group or acquisition is not None:
            source = self.project.locate(listed)
            own = resolve_facts(own, self.settings.group, source, acquisition)
        if own == self.settings.data:
            return self
        if own not in self._views:
            settings = self.settings.model_copy(update={"data": own})
            view = Session(self.project, settings, self.device)
            view._gains, view._defects = self._gains, self._defects
            view._base = self
            if len(self._views) >= _VIEWS:
                del self._views[next(iter(self._views))]
            self._views[own] = view
        return self._views[own]

    @property
    def shared_gain(self) -> str | None:
        """The gain of [data], also where a group has its own."""
        return (self._base or self).settings.data.gain

    def with_groups(self) -> list[Session]:
        """Return the session, and the view of each group of movies."""
        found = [self]
        for group in self.settings.group:
            own = self.settings.data.model_copy(update=group.overrides())
            settings = self.settings.model_copy(update={"data": own})
            found.append(Session(self.project, settings, self.device, _base=self))
        return found

    def choices_hash(self, stage: Stage) -> str:
        """Return the hash of what a stage's result depends on beside its input."""
        key = stage.name
        if getattr(stage, "awaits_reference", None) is not None:
            # A reference may come while we run.
            found = self.reference() if self.uses_reference() else None
            key = f"{key} {found.identity if found is not None else None}"
        if key not in self._hashes:
            self._hashes[key] = fingerprint_of(stage.choices(self))
        return self._hashes[key]

    def shared_files(self) -> set[Path]:
        """Return the files that are no exposures though a pattern may catch them."""
        listed = [self.settings.data.gain, self.settings.data.defects, self.settings.pick.templates]
        for group in self.settings.group:
            listed += [group.gain, group.defects]
        return {self.project.locate(f).resolve() for f in listed if f}

    def stages_off(self) -> tuple[str, ...]:
        """Return the stages that the settings leave out."""
        return ("pick", "extract") if self.why_no_picking() else ()

    def why_no_picking(self) -> str:
        """Return why picking and extraction are left out; empty if they are not."""
        if self.settings.pick.method == "none":
            return "no picking, since pick.method is none"
        if not self.uses_reference():
            return ""
        found = self.reference()
        if found is None:
            wanted = self.settings.pick.reference_exposures
            return f"picking waits for {wanted} good exposures, from which it makes its reference"
        if found.reference.method == "none":
            return "; ".join(found.reference.flags)
        return ""

    def uses_reference(self) -> bool:
        """Return whether picking depends on a reference from the session's own micrographs.

        A network needs nothing of it but the diameter, if nobody gave one and the model was not
        trained for one.
        """
        pick = self.settings.pick
        if pick.method == "network" and pick.diameter is None:
            return self.model_card().diameter is None
        return pick.method == "auto"

    def reference(self) -> StoredReference | None:
        """Return the reference that method auto picks with; None if it is still to be made.

        It is read again when its files change: another process may have made it. One made with
        other settings does not count; templates that a person gave always do.
        """
        from icefloe.engine.reference_files import read_reference, reference_hash

        if self._base is not None:
            return self._base.reference()  # one for all exposures
        if self._known is not None and time.monotonic() - self._known[0] < _TRUSTED:
            return self._known[1]
        directory = self.project.reference
        files = [directory / name for name in ("reference.json", "templates.mrcs")]
        stamp = [self.identity(self.project.listed(path)) for path in files]
        if self._reference is None or self._reference[0] != stamp:
            self._reference = (stamp, read_reference(self.project))
        found = self._reference[1]
        if found is None:
            return None
        if "reference" not in self._hashes:
            self._hashes["reference"] = reference_hash(self)
        if found.origin == "data" and found.settings_hash != self._hashes["reference"]:
            return None
        # Only what is there is trusted: one that is missing may be made at any time.
        self._known = (time.monotonic(), found)
        return found

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

        if self._base is not None:
            return self._base.templates()
        pick = self.settings.pick
        key = (pick.templates, pick.template_pixel_size, self.identity(pick.templates))
        if self._templates is None or self._templates[0] != key:
            path = self.project.locate(str(pick.templates))
            diameter = pick.match_settings().diameter
            bank = given_templates(path, pixel_size=pick.template_pixel_size, diameter=diameter)
            self._templates = (key, bank)
        return self._templates[1]

    def model_card(self) -> ModelCard:
        """Return the card of the network of method network; read when the file changes.

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
        """Return the network of method network; loaded once, and again when the file changes.

        Raises
        ------
        DeviceError
            torch is not installed.
        InputError, UnsupportedFormatError
            As `model_card`, or the weights are damaged.
        """
        from icefloe.network import load_model

        if self._base is not None:
            return self._base.model()
        digest = self._weights()[2]
        if self._model is None or self._model[0] != digest:
            listed = self.settings.pick.model
            path = None if listed is None else self.project.locate(listed)
            self._model = (digest, load_model(path))
        return self._model[1]

    def _weights(self) -> tuple[object, ModelCard, str]:
        from icefloe.network.weights import GENERAL, read_model_card

        if self._base is not None:
            return self._base._weights()
        listed = self.settings.pick.model
        path = GENERAL if listed is None else self.project.locate(listed)
        stamp = self.identity(str(path))
        if self._card is None or self._card[0] != stamp:
            card = read_model_card(path)
            self._card = (stamp, card, hashlib.sha256(path.read_bytes()).hexdigest())
        return self._card

    def identity(self, listed: str | None) -> list[int] | None:
        """Return size and time of a file that the settings name; None without one.

        A file that is gone has size -1: what was made with it is stale, and the next run says
        that it is missing.
        """
        if listed is None:
            return None
        try:
            found = identify(self.project.locate(listed), listed)
        except InputError:
            return [-1, 0]
        return [found.size, found.mtime_ns]

    def gain(self, *, for_eer: bool = False) -> FloatArray | None:
        """Return the multiplicative gain, oriented like the movies; read once.

        Parameters
        ----------
        for_eer
            For EER movies, whose MRC gain divides.
        """
        data = self.settings.data
        if data.gain is None:
            return None
        key = (data.gain, data.gain_rotate, data.gain_flip, for_eer)
        if key not in self._gains:
            from icefloe.formats.gain import orient_gain, read_gain

            gain = read_gain(self.project.locate(data.gain), for_eer=for_eer)
            self._gains[key] = orient_gain(gain, data.gain_rotate, data.gain_flip)
        return self._gains[key]

    def defects(self, shape: tuple[int, int]) -> BoolArray | None:
        """Return the mask of bad pixels for movies of this shape; read once for each."""
        listed = self.settings.data.defects
        if listed is None:
            return None
        key = (listed, shape)
        if key not in self._defects:
            from icefloe.formats.defects import read_defects

            self._defects[key] = read_defects(self.project.locate(listed), shape)
        return self._defects[key]

    def check_files(self) -> None:
        """Raise the error that every exposure would meet: a gain that cannot be used.

        Raises
        ------
        InputError
            A file that the settings name is missing or unusable.
        """
        data = self.settings.data
        listed_files = [data.gain, data.defects, data.dose_file]
        for group in self.settings.group:
            listed_files += [group.gain, group.defects]
        for listed in listed_files:
            if listed is not None:
                identify(self.project.locate(listed), listed)
        self.gain()
        if self.settings.pick.method == "template":
            self.templates()
        if self.settings.pick.method == "network":
            self.model()

    def facts(self) -> dict[str, Any]:
        """Return the settings of the section [data]."""
        return self.settings.data.model_dump(mode="json")
