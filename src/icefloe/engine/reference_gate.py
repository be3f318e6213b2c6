"""When a session's reference is made, and from which exposures.

The first good exposures, in the order of their names, are taken: so many as the settings ask for,
or all there are when the input has ended. All exposures before the last of them must have been
looked at, so it does not matter in which order, on how many workers or in how many runs they were
done. Exposures that were done up to here before the reference was there are picked afterwards, in
the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icefloe.curation.journal import read_journal, standing_decisions
from icefloe.engine.picking import recorded_ctf
from icefloe.engine.plan import plan_exposure
from icefloe.engine.reference import Reference, learned_reference, make_reference
from icefloe.engine.reference_files import StoredReference, reference_hash, write_reference
from icefloe.errors import IcefloeError, InputError
from icefloe.project import ExposureRecord, load_record
from icefloe.project.sidecar import identify

if TYPE_CHECKING:
    from icefloe._types import FloatArray
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage

__all__ = ["ReferenceGate", "references_of"]

_PICKING = ("pick", "extract")
# Worse than so many times the median fit resolution is not a good exposure.
_POOR = 1.5
# More than this part of a micrograph under the junk mask: another one is taken.
_JUNK = 0.3
# Diameter, A, with which junk is looked for before one is known.
_TYPICAL = 150.0


@dataclass
class ReferenceGate:
    """Says what may run before the reference is there, and makes it when it can be made.

    Attributes
    ----------
    session
        The session.
    stages
        All stages in order.
    """

    session: Session
    stages: Sequence[Stage]
    _looked: dict[str, ExposureRecord | None] = field(default_factory=dict)
    _tried_again: bool = False

    @property
    def waiting(self) -> bool:
        """Whether picking waits for a reference."""
        stages = [getattr(stage, "awaits_reference", None) for stage in self.stages]
        return any(awaits is not None and awaits(self.session) for awaits in stages)

    def share(self, todo: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the exposures to do before looking at `make` again, and the others."""
        if not self.waiting:
            return list(todo), []
        count = max(1, self.session.settings.pick.reference_exposures - len(self._good()[0]))
        return list(todo[:count]), list(todo[count:])

    def make(self, *, ended: bool) -> StoredReference | None:
        """Make the reference if it is due; None if it is not.

        Parameters
        ----------
        ended
            Whether there is nothing more to wait for.
        """
        if not self.waiting:
            return self._try_again() if ended else None
        good, more = self._good()
        wanted = self.session.settings.pick.reference_exposures
        if len(good) < wanted and not ended:
            return None
        # Micrographs whose spectra show nothing may still show particles.
        names = good[:wanted] or more[:wanted]
        if not names:
            return None
        return self._make(names, len(good) >= wanted)

    def _try_again(self) -> StoredReference | None:
        """Make a reference that failed for want of exposures again if there are more now."""
        stored = self.session.reference()
        if stored is None or self._tried_again or stored.complete:
            return None
        if stored.origin != "data" or stored.reference.method == "template":
            return None
        self._tried_again = True
        good, more = self._good()
        wanted = self.session.settings.pick.reference_exposures
        names = good[:wanted] or more[:wanted]
        if not set(names) - set(stored.inputs):
            return None
        return self._make(names, len(good) >= wanted)

    def _make(self, names: Sequence[str], complete: bool) -> StoredReference | None:
        session = self.session
        records = [r for name in names if (r := self._looked.get(name)) is not None]
        made = Reference("none", None, flags=("no micrograph can be read to pick",))
        used: list[str] = []
        ctfs = {r.name: recorded_ctf(r) for r in records}
        few = session.settings.pick.reference_micrographs
        # Where a few hold too few particles, all of them may hold enough.
        for count in (few, len(records)) if few < len(records) else (len(records),):
            used, images, pixel_size = references_of(session, records, count)
            if images:
                made = make_reference(
                    images,
                    pixel_size=pixel_size,
                    settings=session.settings.pick,
                    ctfs=[ctfs[name] for name in used],
                )
            if made.method == "template":
                break
        network = None
        if session.settings.pick.method == "learn" and made.bank is not None:
            from icefloe.network.learn import ENOUGH

            if made.numbers["n_particles"] < ENOUGH and len(used) < len(records):
                used, images, pixel_size = references_of(session, records, len(records))
            made, network = learned_reference(
                made,
                images,
                pixel_size=pixel_size,
                settings=session.settings.pick,
                ctfs=[ctfs[name] for name in used],
                device=session.device,
            )
        write_reference(
            session.project,
            made,
            origin="data",
            settings_hash=reference_hash(session),
            # A reference that failed is tried again when there are other exposures than these.
            inputs=used if made.method == "template" else list(names),
            complete=complete,
            network=network,
        )
        session.reference_changed()
        return session.reference()

    def _good(self) -> tuple[list[str], list[str]]:
        """Return good exposures in order, up to the first one not looked at, and all others."""
        registry = self.session.project.read_registry()
        known: list[ExposureRecord] = []
        for name, listed in registry.items():
            if name not in self._looked:
                if not self._decided(name, listed):
                    break
                record = load_record(self.session.project, name, listed, without=_PICKING)
                usable = _image_file(record) is not None
                self._looked[name] = record if usable else None
            found = self._looked[name]
            if found is not None:
                known.append(found)
        decisions = standing_decisions(read_journal(self.session.project)[0])
        rejected = {name for name, d in decisions.items() if d.decision == "reject"}
        known = [r for r in known if r.name not in rejected]
        fits = {
            r.name: float(r.ctf["fit_resolution"])
            for r in known
            if r.ctf is not None and r.ctf.get("fit_resolution") is not None
        }
        # The first exposures' median, so that later ones do not change who is good.
        wanted = self.session.settings.pick.reference_exposures
        limit = _POOR * float(np.median(list(fits.values())[:wanted])) if fits else np.inf
        good = [r.name for r in known if fits.get(r.name, np.inf) <= limit]
        return good, [r.name for r in known if r.name not in set(good)]

    def _decided(self, name: str, listed: str) -> bool:
        """Return whether all before picking was done, or failed, with today's settings."""
        identity = None
        with suppress(InputError):
            identity = identify(self.session.project.locate(listed), listed)
        view = self.session.view(name, listed)
        steps = plan_exposure(view, self.stages, name, identity)
        return all(s.state != "todo" for s in steps if s.stage.name not in _PICKING)


def references_of(
    session: Session, records: Sequence[ExposureRecord], wanted: int
) -> tuple[list[str], list[FloatArray], float]:
    """Return names, micrographs and pixel size, A, of those that a reference is made from.

    They are spread evenly over the exposures given; one that is mostly junk, or has another pixel
    size than the first, makes way for the next.
    """
    from icefloe.engine.source import read_micrograph
    from icefloe.picking import whole_mask

    alike = [r for r in records if abs(_pixel_size(r) / _pixel_size(records[0]) - 1) < 0.01]
    places = np.linspace(0, len(alike) - 1, min(wanted, len(alike))).round().astype(int)
    first = [alike[i] for i in dict.fromkeys(places.tolist())]
    order = first + [r for r in alike if r not in first]
    given = session.settings.pick.diameter
    diameter = _TYPICAL if given is None else given[1]
    bright = session.settings.pick.contrast == "bright"
    images: dict[str, FloatArray] = {}
    spare: dict[str, FloatArray] = {}
    for record in order:
        if len(images) == len(first):
            break
        path = _image_file(record)
        try:
            if path is None:
                continue
            image = read_micrograph(path)
            pixel_size = _pixel_size(record)
            mask = whole_mask(image, diameter / pixel_size, pixel_size=pixel_size, bright=bright)
            junk = float(mask.mean())
        except IcefloeError:
            continue
        if junk <= _JUNK:
            images[record.name] = image
        elif len(spare) < wanted:
            spare[record.name] = image
    chosen = images or spare
    names = [r.name for r in alike if r.name in chosen]
    return names, [chosen[n] for n in names], _pixel_size(records[0]) if records else 0.0


def _image_file(record: ExposureRecord) -> Path | None:
    return record.file("motion" if record.kind == "movie" else "import", "micrograph")


def _pixel_size(record: ExposureRecord) -> float:
    stage = "motion" if record.kind == "movie" else "import"
    return float(record.numbers[stage]["pixel_size"])
