"""What of a whole session is to be done, planned from its index where that saves reading."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from icefloe.engine.runner import plan
from icefloe.project.index import index_is_of_use, open_index
from icefloe.project.layout import STAGES

if TYPE_CHECKING:
    from icefloe.engine.fact_check import FactCheck
    from icefloe.engine.plan import Recorded, Step
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage
    from icefloe.project import Project

__all__ = ["plan_session"]


def plan_session(
    session: Session,
    stages: Sequence[Stage],
    sources: Mapping[str, str],
    retry_failed: bool,
    facts: FactCheck,
) -> Iterator[tuple[str, list[Step]]]:
    """Yield the steps of every exposure, in the order of `sources`.

    The sidecars are the truth: the index is compared with them first, so that one that is old,
    damaged or gone only costs time. Hold the session's lock, so that nobody else changes them.

    Parameters
    ----------
    session, stages, retry_failed
        As for `run_session`.
    sources
        Recorded source of each exposure by name.
    facts
        Records what lies beside a movie before it is planned.
    """
    left = dict(sources)
    # A session whose stages have other names, as a program may have them, is not in the index.
    if index_is_of_use(session.project) and {stage.name for stage in stages} <= set(STAGES):
        for name, recorded in _indexed(session.project):
            listed = left.pop(name, None)
            if listed is not None:
                facts.record(name, listed)
                yield name, plan(session, stages, name, listed, retry_failed, recorded=recorded)
    for name, listed in left.items():
        facts.record(name, listed)
        yield name, plan(session, stages, name, listed, retry_failed)


def _indexed(project: Project) -> Iterator[tuple[str, Recorded]]:
    """Yield what the index holds, as far as it can be read; the sidecars have the rest."""
    with open_index(project) as index:
        try:
            yield from index.each()
        except (sqlite3.DatabaseError, ValueError, TypeError):
            return
