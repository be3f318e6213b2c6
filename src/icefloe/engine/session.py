"""A project with today's settings: the facts that all its exposures share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icefloe.engine.facts import resolve_facts
from icefloe.engine.picking_files import PickingFiles
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
    # By file and how it is turned; shared with the views.
    _gains: dict[tuple[object, ...], FloatArray] = field(default_factory=dict)
    _defects: dict[tuple[object, ...], BoolArray] = field(default_factory=dict)
    _views: dict[DataSettings, Session] = field(default_factory=dict)
    _base: Session | None = None
    _picking: PickingFiles | None = None

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
    def picking(self) -> PickingFiles:
        """What picking picks with: one for all exposures."""
        base = self._base or self
        if base._picking is None:
            base._picking = PickingFiles(base)
        return base._picking

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
        return pick.own_templates

    def reference(self) -> StoredReference | None:
        """Return the reference that the session made; None if it is still to be made."""
        return self.picking.reference()

    def reference_changed(self) -> None:
        """Read the reference anew when it is next asked for; call it after writing one."""
        self.picking.reference_changed()

    def templates(self) -> TemplateBank:
        """Return the templates of method template; see `PickingFiles.templates`."""
        return self.picking.templates()

    def model_card(self) -> ModelCard:
        """Return the card of the network that picks; see `PickingFiles.model_card`."""
        return self.picking.model_card()

    def model_identity(self) -> str:
        """Return the hash of the network's weights file."""
        return self.picking.model_identity()

    def model(self) -> PickerModel:
        """Return the network that picks; see `PickingFiles.model`."""
        return self.picking.model()

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
        if self.settings.pick.method == "learn":
            from icefloe.network import load_model

            load_model()  # what training begins with; without torch, say so at once

    def facts(self) -> dict[str, Any]:
        """Return the settings of the section [data]."""
        return self.settings.data.model_dump(mode="json")
