"""Runs what is stale, one exposure at a time, each through all its stages.

The next exposure is read and decoded in a thread while this one is computed, one ahead and no
more, so that memory holds two movies at most. A stage's files are written first and its sidecar
last; whatever kills the run, every file is whole and what was finished counts.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from icefloe.engine.disk_space import DiskSpace
from icefloe.engine.fact_check import FactCheck
from icefloe.engine.gain_check import GainChecks
from icefloe.engine.planning import plan_session
from icefloe.engine.reference_gate import ReferenceGate
from icefloe.engine.run_log import RunLog
from icefloe.engine.runner import Runner, failure_of, plan, remove_files, start_reading
from icefloe.engine.session import Session
from icefloe.engine.stage import Stage, Work
from icefloe.project import Failure, Project, project_lock

if TYPE_CHECKING:
    from icefloe.engine.pool import WorkerPool

__all__ = [
    "Crew",
    "Ended",
    "InProcess",
    "Observer",
    "RunSummary",
    "remove_partial_files",
    "run_session",
]

# Time between two looks whether the reference is there, s.
_TICK = 0.2


class Observer(Protocol):
    """Is told how a run goes."""

    def planned(self, total: int, todo: int) -> None:
        """`todo` of `total` exposures have something to be done."""

    def started(self, name: str, stage: str) -> None:
        """A stage of an exposure begins."""

    def finished(self, name: str, failure: Failure | None, seconds: float) -> None:
        """An exposure went through its stages; `failure` is the first one, if any.

        Told twice of an exposure whose picking had to wait for the session's reference.
        """

    def warned(self, message: str) -> None:
        """Something about the whole session is probably wrong; the run goes on."""

    def making_reference(self, what: str) -> None:
        """The reference for picking is being made; maybe from another thread, beside the run."""


@dataclass
class RunSummary:
    """What a run did.

    Attributes
    ----------
    total
        Exposures in the session.
    ran
        Exposures of which something was done in this run.
    failures
        Failures in this run, by exposure.
    known_failures
        Exposures that failed in an earlier run and were not tried again.
    seconds
        Duration of the run.
    """

    total: int = 0
    ran: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    known_failures: dict[str, Failure] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Ended:
    """An exposure that went through its stages.

    Attributes
    ----------
    name
        It.
    failure
        Its first failure.
    seconds
        Time it took.
    recorded
        When each of its stages was recorded, s since 1970; by workers only.
    """

    name: str
    failure: Failure | None
    seconds: float
    recorded: Mapping[str, float] = field(default_factory=dict)


class Crew(Protocol):
    """Who does the exposures of a run."""

    def run(self, items: Sequence[tuple[str, str]]) -> Iterator[Ended]:
        """Do exposures, each a name and its recorded source; yield them as they end."""

    def news(self) -> list[str]:
        """Return warnings about the whole session that were not told yet."""


@dataclass
class InProcess:
    """This process: one exposure after the other, the next one being read meanwhile."""

    runner: Runner

    def run(self, items: Sequence[tuple[str, str]]) -> Iterator[Ended]:
        """Do exposures in order."""
        sources = dict(items)
        for name, work in _read_ahead(self.runner, items):
            start = time.perf_counter()
            failure = self.runner.run(work, sources[name])
            yield Ended(name, failure, time.perf_counter() - start)

    def news(self) -> list[str]:
        """Return what the check of the gain found."""
        return [] if self.runner.check is None else self.runner.check.news()


def run_session(
    session: Session,
    *,
    stages: Sequence[Stage] | None = None,
    observer: Observer | None = None,
    retry_failed: bool = False,
    more_to_come: bool = False,
    pool: WorkerPool | None = None,
) -> RunSummary:
    """Do all that is to be done for the exposures of a session.

    Parameters
    ----------
    session
        The session; its exposures were added with `register`.
    stages
        In order; all of them by default.
    observer
        Is told about progress.
    retry_failed
        Try stages again that failed with the same input and settings.
    more_to_come
        Further exposures will be added: a reference for picking waits for as many as it wants.
    pool
        Workers, entered; without them the exposures are done in this process, one at a time.

    Raises
    ------
    ProjectLockedError
        Another run works on this session.
    OutputError
        A result cannot be written: the disk is full or read-only. What is done is kept.
    InputError
        The gain, or another file that all exposures need, cannot be used.
    """
    if stages is None:
        from icefloe.engine.stages import STANDARD_STAGES

        stages = STANDARD_STAGES
    begin = time.perf_counter()
    summary = RunSummary()
    log = RunLog(session, stages, summary)
    gate = ReferenceGate(session, stages, None if pool is None else pool.threads)
    if observer is not None:
        gate.tell = observer.making_reference
    with project_lock(session.project), log, closing(gate):
        remove_partial_files(session.project)
        sources = session.project.read_registry()
        todo: list[str] = []
        facts = FactCheck(session)
        for name, steps in plan_session(session, stages, sources, retry_failed, facts):
            if any(step.state == "todo" for step in steps):
                todo.append(name)
            for step in steps:
                if step.state == "failed" and step.sidecar is not None:
                    summary.known_failures.setdefault(name, failure_of(step.sidecar))
        summary.total = len(sources)
        if observer is not None:
            observer.planned(len(sources), len(todo))
        # What a group or the metadata name is checked as what the settings name, before anything.
        checked: Session | None = None
        for name in todo:
            view = session.view(name, sources[name])
            if view is not checked:
                view.check_files()
            checked = view
        crew: Crew
        if pool is None:
            checks = GainChecks(session)
            runner = Runner(session, stages, observer, retry_failed, checks, lambda: log.id)
            crew = InProcess(runner)
        else:
            from icefloe.engine.pool_run import PoolCrew

            crew = PoolCrew(session, stages, pool, lambda: log.id, retry_failed)
        space = DiskSpace.of(session)

        def made(*, ended: bool) -> bool:
            stored = gate.make(ended=ended)
            if stored is not None and stored.reference.flags and observer is not None:
                observer.warned("; ".join(stored.reference.flags))
            return stored is not None

        ran: set[str] = set()
        came = False
        while True:
            if made(ended=not todo and not more_to_come) or came:
                # Those that waited for it, too.
                more = _to_do(session, stages, sources, set(summary.failures))
                todo = [name for name in sources if name in {*todo, *more}]
                came = False
            if not todo and gate.busy:
                time.sleep(_TICK)
                continue
            if not todo:
                break
            share, todo = gate.share(todo)
            space.check()
            for end in crew.run([(name, sources[name]) for name in share]):
                ran.add(end.name)
                summary.ran = len(ran)  # at once: the journal has it even if the run is stopped
                if end.failure is not None:
                    summary.failures[end.name] = end.failure
                if observer is not None:
                    observer.finished(end.name, end.failure, end.seconds)
                facts.compare(end.name, sources[end.name])
                for message in (*crew.news(), *facts.news()):
                    if observer is not None:
                        observer.warned(message)
                if gate.busy:  # those that begin from now on are picked at once
                    came = made(ended=False) or came
                space.check()
    summary.seconds = time.perf_counter() - begin
    return summary


def _to_do(
    session: Session,
    stages: Sequence[Stage],
    sources: Mapping[str, str],
    failed: Collection[str],
) -> list[str]:
    """Return the exposures with something to be done, without those that failed in this run."""
    return [
        name
        for name, listed in sources.items()
        if name not in failed
        and any(s.state == "todo" for s in plan(session, stages, name, listed, False))
    ]


def _read_ahead(runner: Runner, items: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Work]]:
    """Yield each exposure with what was read for it, while the next one is being read."""
    pending = start_reading(runner, *items[0]) if items else None
    for index, (name, _) in enumerate(items):
        assert pending is not None
        work = pending.result()
        pending = start_reading(runner, *items[index + 1]) if index + 1 < len(items) else None
        yield name, work


def remove_partial_files(project: Project) -> None:
    """Remove what a killed run left under temporary names; nobody else writes here now."""
    directories = (project.root, project.micrographs, project.picks, project.particles)
    picking = (project.reference, project.masks_found)
    for directory in (*directories, *picking, *project.exposures.glob("*/")):
        remove_files(*(p for p in directory.glob(".partial-*") if not p.is_dir()))
