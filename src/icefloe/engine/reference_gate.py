"""When a session's reference is made, and from which exposures.

The first good exposures, in the order of their names, are taken: so many as the settings ask for,
or all there are when the input has ended. All exposures before the last of them must have been
looked at, so it does not matter in which order, on how many workers or in how many runs they were
done. Exposures that were done up to here before the reference was there are picked afterwards, in
the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from icefloe.curation.journal import read_journal, standing_decisions
from icefloe.engine.plan import plan_exposure
from icefloe.engine.reference_files import StoredReference
from icefloe.engine.reference_making import PICKING, Due, image_file, write_made
from icefloe.engine.reference_process import ReferenceProcess
from icefloe.errors import InputError
from icefloe.project import ExposureRecord, load_record
from icefloe.project.sidecar import identify

if TYPE_CHECKING:
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage

__all__ = ["ReferenceGate"]

# Worse than so many times the median fit resolution is not a good exposure.
_POOR = 1.5


def _silent(what: str) -> None:
    """Tell nobody."""


@dataclass
class ReferenceGate:
    """Says what may run before the reference is there, and makes it when it can be made.

    Attributes
    ----------
    session
        The session.
    stages
        All stages in order.
    process_threads
        Threads of a process that makes it beside the run, which asks `make` for it again and again,
        and calls `close` in the end: for runs whose exposures are done by workers. None: the run
        waits.
    tell
        Is told what is being done; beside the run, from another thread.
    """

    session: Session
    stages: Sequence[Stage]
    process_threads: int | None = None
    tell: Callable[[str], None] = _silent
    _looked: dict[str, ExposureRecord | None] = field(default_factory=dict)
    _tried_again: bool = False
    _making: ReferenceProcess | None = None

    @property
    def busy(self) -> bool:
        """Whether a reference is being made beside the run."""
        return self._making is not None

    @property
    def waiting(self) -> bool:
        """Whether picking waits for a reference."""
        stages = [getattr(stage, "awaits_reference", None) for stage in self.stages]
        return any(awaits is not None and awaits(self.session) for awaits in stages)

    def share(self, todo: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the exposures to do before looking at `make` again, and the others."""
        if self.busy or not self.waiting:
            return list(todo), []
        count = max(1, self.session.settings.pick.reference_exposures - len(self._good()[0]))
        return list(todo[:count]), list(todo[count:])

    def make(self, *, ended: bool) -> StoredReference | None:
        """Make the reference if it is due; None if it is not, or is being made.

        Parameters
        ----------
        ended
            Whether there is nothing more to wait for.
        """
        if self._making is not None:
            return self._take(self._making)
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
        due = Due(tuple(names), complete)
        if self.process_threads is not None:
            self._making = ReferenceProcess(self.session, due, self.process_threads, self.tell)
            return None
        return self._here(due)

    def _here(self, due: Due) -> StoredReference | None:
        """Make a reference while the run waits."""
        write_made(self.session, due, self.tell)
        self.session.reference_changed()
        return self.session.reference()

    def _take(self, making: ReferenceProcess) -> StoredReference | None:
        """Return the reference that was made beside the run; None if it still is."""
        if not making.done():
            return None
        self._making = None
        if not making.succeeded():
            self.tell("the process that made it died; it is made anew while all else waits")
            return self._here(making.due)
        self.session.reference_changed()
        return self.session.reference()

    def close(self) -> None:
        """End what is being made."""
        if self._making is not None:
            self._making.end()
            self._making = None

    def _good(self) -> tuple[list[str], list[str]]:
        """Return good exposures in order, up to the first one not looked at, and all others."""
        registry = self.session.project.read_registry()
        known: list[ExposureRecord] = []
        for name, listed in registry.items():
            if name not in self._looked:
                if not self._decided(name, listed):
                    break
                record = load_record(self.session.project, name, listed, without=PICKING)
                usable = image_file(record) is not None
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
        return all(s.state != "todo" for s in steps if s.stage.name not in PICKING)
