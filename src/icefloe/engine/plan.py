"""What of an exposure is done, and what must run because something it depends on changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from icefloe.project.sidecar import FileIdentity, Sidecar, plain_json, read_sidecar

if TYPE_CHECKING:
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage

__all__ = ["State", "Step", "TakesFiles", "fingerprint_of", "plan_exposure", "spared"]

# "failed": failed before with the same input and settings. "blocked": what it needs failed.
# "todo": never run, or stale.
State = Literal["done", "failed", "blocked", "todo"]
# By stage the sidecar, and whether all its files are there.
Recorded = Mapping[str, tuple[Sidecar | None, bool]]


class TakesFiles(Protocol):
    """A stage that uses files which people may put into the session for single exposures."""

    def given(self, session: Session, name: str) -> Mapping[str, Any]:
        """Return the identities of those that are there, by what they are; empty without any."""


@dataclass(frozen=True)
class Step:
    """One stage of one exposure.

    Attributes
    ----------
    stage
        The stage.
    state
        What is to be done about it.
    settings_hash, fingerprint, upstream
        What its sidecar must hold to be up to date.
    sidecar
        The sidecar there is, up to date or not.
    """

    stage: Stage
    state: State
    settings_hash: str
    fingerprint: str
    upstream: Mapping[str, str]
    sidecar: Sidecar | None

    @property
    def numbers(self) -> Mapping[str, Any]:
        """The recorded figures, empty unless the stage is done."""
        return self.sidecar.numbers if self.state == "done" and self.sidecar is not None else {}


def fingerprint_of(content: object) -> str:
    """Return a hash of JSON-able content that does not depend on the order of its keys."""
    text = json.dumps(plain_json(content), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def plan_exposure(
    session: Session,
    stages: Sequence[Stage],
    name: str,
    identity: FileIdentity | None,
    *,
    kind: str | None = None,
    retry_failed: bool = False,
    recorded: Recorded | None = None,
) -> list[Step]:
    """Return the steps of one exposure in order.

    Parameters
    ----------
    session
        The session with today's settings.
    stages
        Every stage in order; the first one looks into the file.
    name
        The exposure.
    identity
        Today's identity of its file; None if the file is gone, when the recorded one counts.
    kind
        What the exposure is, if that was just found out; else as the first stage recorded. While
        it is unknown only the first step is returned.
    retry_failed
        Plan failed stages again.
    recorded
        The exposure's sidecars by stage, each with whether all its files are there, if that is
        known already, as from `icefloe.project.index`; else they are read.
    """
    first = _step(session, stages[0], name, (), {}, identity, recorded)
    steps = [_retry(first) if retry_failed else first]
    if kind is None and steps[0].sidecar is not None and steps[0].state == "done":
        kind = str(steps[0].numbers.get("kind", "unknown"))
    if kind is None:
        return steps
    known = {steps[0].stage.name: steps[0]}
    for stage in stages[1:]:
        needs = stage.upstream(session, kind)
        if needs is None:
            continue
        step = _step(session, stage, name, needs, known, None, recorded)
        if retry_failed:
            step = _retry(step)
        if any(known[n].state in ("failed", "blocked") for n in needs if n not in spared(stage)):
            step = replace(step, state="blocked")
        steps.append(step)
        known[stage.name] = step
    return steps


def spared(stage: Stage) -> tuple[str, ...]:
    """Return the stages whose result a stage uses if there is one, and does without if not."""
    return tuple(getattr(stage, "spares", ()))


def _retry(step: Step) -> Step:
    return replace(step, state="todo") if step.state == "failed" else step


def _step(
    session: Session,
    stage: Stage,
    name: str,
    needs: tuple[str, ...],
    known: Mapping[str, Step],
    identity: FileIdentity | None,
    recorded: Recorded | None,
) -> Step:
    complete: bool | None = None
    if recorded is None:
        sidecar = read_sidecar(session.project.sidecar(name, stage.name))
    else:
        sidecar, complete = recorded.get(stage.name, (None, False))
    if not needs and identity is None and sidecar is not None:
        identity = sidecar.input
    upstream = {n: known[n].fingerprint for n in needs}
    settings_hash = session.choices_hash(stage)
    content: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "settings": settings_hash,
        "upstream": upstream,
        # The path is left out: a session that is moved stays valid.
        "input": [identity.size, identity.mtime_ns] if identity is not None else None,
    }
    # What people put beside an exposure, such as a mask, counts from when it is there.
    # hasattr, since isinstance with a protocol costs as much as all the rest here.
    given = cast("TakesFiles", stage).given(session, name) if hasattr(stage, "given") else None
    if given:
        content["given"] = given
    fingerprint = fingerprint_of(content)
    state: State = "todo"
    if sidecar is not None and sidecar.fingerprint == fingerprint:
        if sidecar.status == "failed":
            state = "failed"
        else:
            if complete is None:
                complete = all(session.project.locate(p).exists() for p in sidecar.files.values())
            state = "done" if complete else "todo"
    return Step(stage, state, settings_hash, fingerprint, upstream, sidecar)
