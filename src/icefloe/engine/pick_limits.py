"""Chooses the picks of a whole session anew by other limits, without picking again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from icefloe.engine.pick_candidates import CANDIDATES, Candidates, choose, read_candidates
from icefloe.engine.plan import Step, plan_exposure
from icefloe.engine.runner import remove_files
from icefloe.engine.session import Session
from icefloe.engine.setup import change_settings, changed_settings
from icefloe.errors import InputError
from icefloe.formats.star import write_star
from icefloe.interop.relion_picks import picks_star
from icefloe.project import read_sidecar, write_sidecar
from icefloe.project.checksum import describe_written
from icefloe.project.lock import project_lock
from icefloe.project.sidecar import FileIdentity, identify, plain_json

if TYPE_CHECKING:
    from icefloe.engine.pick_settings import PickLimits
    from icefloe.engine.stage import Stage
    from icefloe.project import Sidecar

__all__ = ["Chosen", "choose_again"]


@dataclass(frozen=True)
class Chosen:
    """What other limits did to a session.

    Attributes
    ----------
    exposures
        Those whose picks were chosen anew.
    before, picks
        Their picks before, and now.
    rest
        Exposures that were picked and that only the next run can pick again: picked by a version
        that did not keep what is below the threshold, or with other settings.
    particles
        Of the exposures, those whose particles are cut out, and not of these picks any more.
    """

    exposures: int = 0
    before: int = 0
    picks: int = 0
    rest: int = 0
    particles: int = 0


def choose_again(session: Session, limits: PickLimits, *, save: bool) -> Chosen:
    """Choose the picks of all exposures by `limits`, or only say what that would do.

    What is written is what picking with these limits writes. Settings come first and each
    exposure's sidecar last, so that whatever ends it, the next run picks what is left.

    Raises
    ------
    ProjectLockedError
        A run is at work.
    SettingsError
        The limits contradict each other; nothing is written then.
    OutputError
    """
    from icefloe.engine.stages import STANDARD_STAGES

    project = session.project
    changes = {"pick": {f"limits.{key}": value for key, value in limits.model_dump().items()}}
    changed = changed_settings(project, session.settings, changes)
    found = Chosen()
    with project_lock(project) if save else nullcontext():
        if save:
            change_settings(project, session.settings, changes)
        after = Session(project, changed, session.device)
        for name, listed in project.read_registry().items():
            steps = [_steps(s, STANDARD_STAGES, name, listed) for s in (session, after)]
            old, new = (s.get("pick") for s in steps)
            if old is None or new is None or old.sidecar is None:
                continue
            if new.state == "done":  # these limits already
                continue
            candidates = _candidates(session, old)
            if candidates is None or new.state != "todo":
                found = replace(found, rest=found.rest + (old.sidecar.status == "done"))
                continue
            made = _chosen(old.sidecar, new, candidates, limits)
            if save:
                _write(session, made)
            extract = steps[0].get("extract")
            cut = extract is not None and extract.state == "done"
            found = Chosen(
                found.exposures + 1,
                found.before + int(old.sidecar.numbers["n_picks"]),
                found.picks + int(made.numbers["n_picks"]),
                found.rest,
                found.particles + cut,
            )
    return found


def _steps(session: Session, stages: Sequence[Stage], name: str, listed: str) -> dict[str, Step]:
    identity: FileIdentity | None = None
    with suppress(InputError):  # of a movie that was moved away what was recorded counts
        identity = identify(session.project.locate(listed), listed)
    imported = read_sidecar(session.project.sidecar(name, "import"))
    kind = None if imported is None else imported.numbers.get("kind")
    steps = plan_exposure(session.view(name, listed), stages, name, identity, kind=kind)
    return {step.stage.name: step for step in steps}


def _candidates(session: Session, step: Step) -> Candidates | None:
    """Return what picking found, where its result is that of today's settings."""
    if step.state != "done" or step.sidecar is None or CANDIDATES not in step.sidecar.files:
        return None
    return read_candidates(session.project.locate(step.sidecar.files[CANDIDATES]))


def _chosen(old: Sidecar, step: Step, candidates: Candidates, limits: PickLimits) -> Sidecar:
    numbers, flags = choose(candidates, limits, old.numbers, old.flags)
    return replace(
        old,
        settings_hash=step.settings_hash,
        fingerprint=step.fingerprint,
        upstream=step.upstream,
        numbers=plain_json(numbers),
        flags=flags,
    )


def _write(session: Session, made: Sidecar) -> None:
    project = session.project
    sidecar, star = project.sidecar(made.exposure, "pick"), project.locate(made.files["picks"])
    # Until the new sidecar is there the stage does not count as done.
    remove_files(sidecar)
    write_star(star, picks_star(made.numbers))
    written = {**made.written, "picks": describe_written(star)}
    write_sidecar(sidecar, replace(made, written=written))
