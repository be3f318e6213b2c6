"""Runs what is stale, one exposure at a time, each through all its stages.

The next exposure is read and decoded in a thread while this one is computed, one ahead and no
more, so that memory holds two movies at most. A stage's files are written first and its sidecar
last; whatever kills the run, every file is whole and what was finished counts.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from icefloe import __version__
from icefloe.engine.disk_space import DiskSpace
from icefloe.engine.fact_check import FactCheck
from icefloe.engine.gain_check import GainChecks
from icefloe.engine.plan import Step, plan_exposure
from icefloe.engine.reference_gate import ReferenceGate
from icefloe.engine.run_log import RunLog
from icefloe.engine.session import Session
from icefloe.engine.stage import Outcome, Stage, StopRunError, Work
from icefloe.errors import DeviceError, IcefloeError, InputError, OutputError, ProjectError
from icefloe.formats.atomic import output_directory
from icefloe.project import Failure, Project, Sidecar, project_lock, write_sidecar
from icefloe.project.checksum import describe_written
from icefloe.project.sidecar import FileIdentity, identify, plain_json

__all__ = [
    "Observer",
    "RunSummary",
    "Runner",
    "plan",
    "remove_partial_files",
    "run_session",
    "start_reading",
]

# Every further exposure would meet these too, so the run ends with them.
_ENDING = (DeviceError, OutputError, ProjectError)


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


def run_session(
    session: Session,
    *,
    stages: Sequence[Stage] | None = None,
    observer: Observer | None = None,
    retry_failed: bool = False,
    more_to_come: bool = False,
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
    with project_lock(session.project), log:
        remove_partial_files(session.project)
        sources = session.project.read_registry()
        todo: list[str] = []
        facts = FactCheck(session)
        for name, listed in sources.items():
            facts.record(name, listed)
            steps = plan(session, stages, name, listed, retry_failed)
            if any(step.state == "todo" for step in steps):
                todo.append(name)
            for step in steps:
                if step.state == "failed" and step.sidecar is not None:
                    summary.known_failures.setdefault(name, _failure(step.sidecar))
        summary.total = len(sources)
        if observer is not None:
            observer.planned(len(sources), len(todo))
        # What a group or the metadata name is checked as what the settings name, before anything.
        views = {id(view): view for view in (session.view(name, sources[name]) for name in todo)}
        for view in views.values():
            view.check_files()
        check = GainChecks(session)
        runner = Runner(session, stages, observer, retry_failed, check, lambda: log.id)
        space = DiskSpace.of(session)
        gate = ReferenceGate(session, stages)
        ran: set[str] = set()
        while True:
            made = gate.make(ended=not todo and not more_to_come)
            if made is not None:
                if made.reference.flags and observer is not None:
                    observer.warned("; ".join(made.reference.flags))
                # Those that waited for it, too.
                more = _to_do(session, stages, sources, set(summary.failures))
                todo = [name for name in sources if name in {*todo, *more}]
            if not todo:
                break
            share, todo = gate.share(todo)
            for name, work in _read_ahead(runner, [(n, sources[n]) for n in share]):
                space.check()
                start = time.perf_counter()
                failure = runner.run(work, sources[name])
                ran.add(name)
                summary.ran = len(ran)  # at once: the journal has it even if the run is stopped
                if failure is not None:
                    summary.failures[name] = failure
                if observer is not None:
                    observer.finished(name, failure, time.perf_counter() - start)
                facts.compare(work)
                for message in (*check.news(), *facts.news()):
                    if observer is not None:
                        observer.warned(message)
    summary.seconds = time.perf_counter() - begin
    return summary


@dataclass
class Runner:
    """Takes exposures through their stages.

    Attributes
    ----------
    session, stages, observer, retry_failed
        As for `run_session`.
    check
        Looks at the movies that are read.
    run_id
        Returns what the sidecars name the run by.
    stop
        Is asked before each stage whether an exposure is to be left as it is.
    recorded
        Is told of each sidecar that was written: the exposure and the stage.
    """

    session: Session
    stages: Sequence[Stage]
    observer: Observer | None
    retry_failed: bool
    check: GainChecks
    run_id: Callable[[], str] = str
    stop: Callable[[], bool] = bool
    recorded: Callable[[str, str], None] | None = None

    def prepare(self, name: str, listed: str) -> Work:
        """Read what an exposure will need; called in the reading thread."""
        # Before it is read: a file that is still being copied is then read again when it is whole.
        identity = _identity(self.session, listed)
        source = self.session.project.locate(listed)
        work = Work(self.session.view(name, listed), name, source, identity=identity)
        # Errors stay in `work` and are raised again where the value is needed.
        with suppress(Exception):
            steps = plan(self.session, self.stages, name, listed, self.retry_failed)
            if steps[0].state == "todo":
                # It leaves its numbers in `work`, since what follows depends on the kind.
                steps[0].stage.prefetch(work)
                kind = str(work.numbers[steps[0].stage.name]["kind"])
                steps = plan(self.session, self.stages, name, listed, self.retry_failed, kind)
            work.numbers.update({s.stage.name: s.numbers for s in steps if s.state == "done"})
            for step in steps[1:]:
                if step.state == "todo":
                    step.stage.prefetch(work)
            self.check.add(work)
        return work

    def run(self, work: Work, listed: str) -> Failure | None:
        """Take an exposure through its stages and return the first failure."""
        session = work.session
        first: Failure | None = None
        unusable: set[str] = set()
        done: set[str] = set()
        while not self.stop():
            steps = plan_exposure(
                session, self.stages, work.name, work.identity, retry_failed=self.retry_failed
            )
            step = next((s for s in steps if self._due(s, unusable, done)), None)
            if step is None:
                break
            for other in steps:
                if other.state == "done":
                    work.numbers[other.stage.name] = other.numbers
            failure = self._run_step(work, step)
            done.add(step.stage.name)
            if failure is not None:
                unusable.add(step.stage.name)
                first = first or failure
        return first

    def _due(self, step: Step, unusable: set[str], done: set[str]) -> bool:
        if step.state != "todo" or step.stage.name in done:
            return False
        return not unusable.intersection(step.upstream)

    def _run_step(self, work: Work, step: Step) -> Failure | None:
        stage = step.stage
        if self.observer is not None:
            self.observer.started(work.name, stage.name)
        sidecar = Sidecar(
            stage=stage.name,
            status="failed",
            exposure=work.name,
            settings_hash=step.settings_hash,
            fingerprint=step.fingerprint,
            upstream=step.upstream,
            input=None if step.upstream else work.identity,
            version=__version__,
            run=self.run_id(),
        )
        begin = time.perf_counter()
        try:
            outcome = stage.run(work)
        except StopRunError as stop:
            raise (stop.__cause__ or stop) from None
        except _ENDING:
            raise
        except Exception as error:
            described = _describe(error)
            outcome = Outcome({})
            sidecar = replace(sidecar, error=described)
        else:
            sidecar = replace(sidecar, status="done")
        sidecar = self._record(work, sidecar, outcome, step.sidecar, begin)
        return None if sidecar.error is None else _failure(sidecar)

    def _record(
        self, work: Work, sidecar: Sidecar, outcome: Outcome, old: Sidecar | None, begin: float
    ) -> Sidecar:
        project = self.session.project
        path = project.sidecar(work.name, sidecar.stage)
        output_directory(path.parent)
        files = {output.role: output.path for output in outcome.outputs}
        # From here until the new sidecar is there the stage does not count as done: its files
        # may be a mixture of old and new ones.
        orphans = set(old.files.values() if old is not None else ()) - set(files.values())
        _remove(*(project.locate(p) for p in sorted(orphans)), path)
        try:
            for output in outcome.outputs:
                output.write(project.locate(output.path))
            written = {o.role: describe_written(project.locate(o.path)) for o in outcome.outputs}
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"Results of {work.name} cannot be written ({error})") from error
        sidecar = replace(
            sidecar,
            numbers=plain_json(outcome.numbers),
            files=files,
            written=written,
            flags=outcome.flags,
            seconds=round(time.perf_counter() - begin, 3),
        )
        write_sidecar(path, sidecar)
        work.numbers[sidecar.stage] = sidecar.numbers
        if self.recorded is not None:
            self.recorded(work.name, sidecar.stage)
        return sidecar


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


def plan(
    session: Session,
    stages: Sequence[Stage],
    name: str,
    listed: str,
    retry_failed: bool,
    kind: str | None = None,
) -> list[Step]:
    """Return what of an exposure is done, by the settings that hold for it."""
    identity = _identity(session, listed)
    session = session.view(name, listed)
    return plan_exposure(session, stages, name, identity, kind=kind, retry_failed=retry_failed)


def _identity(session: Session, listed: str) -> FileIdentity | None:
    with suppress(InputError):
        return identify(session.project.locate(listed), listed)
    return None


def _read_ahead(runner: Runner, items: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Work]]:
    """Yield each exposure with what was read for it, while the next one is being read."""
    pending = start_reading(runner, *items[0]) if items else None
    for index, (name, _) in enumerate(items):
        assert pending is not None
        work = pending.result()
        pending = start_reading(runner, *items[index + 1]) if index + 1 < len(items) else None
        yield name, work


def start_reading(runner: Runner, name: str, listed: str) -> Future[Work]:
    """Read and decode an exposure in a thread."""
    # Not a ThreadPoolExecutor: the interpreter waits for its threads at exit, and someone who
    # presses Ctrl-C does not want to wait until a movie is decoded.
    future: Future[Work] = Future()

    def read() -> None:
        try:
            future.set_result(runner.prepare(name, listed))
        except BaseException as error:  # must reach the thread that waits
            future.set_exception(error)

    threading.Thread(target=read, name=f"read-{name}", daemon=True).start()
    return future


def _describe(error: Exception) -> dict[str, str]:
    described = {"type": type(error).__name__, "message": str(error) or type(error).__name__}
    if isinstance(error, MemoryError):
        described["message"] = (
            f"Not enough memory ({error}). Close other programs, or use fewer threads."
        )
    elif not isinstance(error, IcefloeError):
        described["message"] = f"{type(error).__name__}: {error}"
        described["traceback"] = "".join(traceback.format_exception(error))
    return described


def _failure(sidecar: Sidecar) -> Failure:
    error = sidecar.error or {}
    return Failure(sidecar.stage, error.get("type", ""), error.get("message", ""))


def _remove(*paths: Path) -> None:
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{error.filename} cannot be removed ({error.strerror})",
            "a session directory that you may write to",
        ) from error


def remove_partial_files(project: Project) -> None:
    """Remove what a killed run left under temporary names; nobody else writes here now."""
    directories = (project.root, project.micrographs, project.picks, project.particles)
    picking = (project.reference, project.masks_found)
    for directory in (*directories, *picking, *project.exposures.glob("*/")):
        _remove(*(p for p in directory.glob(".partial-*") if not p.is_dir()))
