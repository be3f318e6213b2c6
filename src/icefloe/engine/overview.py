"""How far a session is, measured against today's settings and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from icefloe.engine.plan import plan_exposure
from icefloe.project import read_sidecar
from icefloe.project.sidecar import identify

if TYPE_CHECKING:
    from icefloe.engine.plan import Recorded
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage

__all__ = ["count_states"]


def count_states(
    session: Session,
    stages: Sequence[Stage] | None = None,
    recorded: Mapping[str, Recorded] | None = None,
) -> dict[str, dict[str, int]]:
    """Return by stage how many exposures are ``done``, ``failed``, ``stale`` and ``waiting``.

    ``stale`` has a result that the next run makes anew, because a setting, its input or what it
    was made from changed; ``waiting`` has none yet. What cannot run because an earlier stage
    failed is counted under neither.

    Parameters
    ----------
    session
        The session.
    stages
        In order; all of them by default.
    recorded
        What is recorded about each exposure, if it is known already (`Index.stages`).
    """
    from icefloe.errors import InputError

    if stages is None:
        from icefloe.engine.stages import STANDARD_STAGES

        stages = STANDARD_STAGES
    counts: dict[str, dict[str, int]] = {}
    for name, listed in session.project.read_registry().items():
        try:
            identity = identify(session.project.locate(listed), listed)
        except InputError:
            identity = None
        given = None if recorded is None else recorded.get(name, {})
        if given is None:
            imported = read_sidecar(session.project.sidecar(name, "import"))
        else:
            imported = given.get("import", (None, False))[0]
        kind = None if imported is None else imported.numbers.get("kind")
        view = session.view(name, listed)
        for step in plan_exposure(view, stages, name, identity, kind=kind, recorded=given):
            row = counts.setdefault(
                step.stage.name, {"done": 0, "failed": 0, "stale": 0, "waiting": 0}
            )
            if step.state in ("done", "failed"):
                row[step.state] += 1
            elif step.state == "todo":
                row["waiting" if step.sidecar is None else "stale"] += 1
    return counts
