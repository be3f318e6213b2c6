"""Takes one exposure through its stages, and records what came of each.

A stage's files are written first and its sidecar last; whatever kills the run, every file is whole
and what was finished counts.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from icefloe import __version__
from icefloe.engine.heap import give_back
from icefloe.engine.plan import Step, plan_exposure, spared
from icefloe.engine.session import Session
from icefloe.engine.stage import Outcome, Stage, StopRunError, Work
from icefloe.errors import DeviceError, IcefloeError, InputError, OutputError, ProjectError
from icefloe.formats.atomic import output_directory
from icefloe.project import Failure, Sidecar, write_sidecar
from icefloe.project.checksum import describe_written
from icefloe.project.sidecar import FileIdentity, identify, plain_json

if TYPE_CHECKING:
    from icefloe.engine.executor import Observer
    from icefloe.engine.gain_check import GainChecks
    from icefloe.engine.plan import Recorded

__all__ = ["Runner", "failure_of", "plan", "record_lost", "remove_files", "start_reading"]

# Every further exposure would meet these too, so the run ends with them.
_ENDING = (DeviceError, OutputError, ProjectError)


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
    observer: Observer | None = None
    retry_failed: bool = False
    check: GainChecks | None = None
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
            if self.check is not None:
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
        give_back()
        return first

    def _due(self, step: Step, unusable: set[str], done: set[str]) -> bool:
        if step.state != "todo" or step.stage.name in done:
            return False
        return not unusable.intersection(set(step.upstream) - set(spared(step.stage)))

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
        return None if sidecar.error is None else failure_of(sidecar)

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
        remove_files(*(project.locate(p) for p in sorted(orphans)), path)
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


def plan(
    session: Session,
    stages: Sequence[Stage],
    name: str,
    listed: str,
    retry_failed: bool,
    kind: str | None = None,
    recorded: Recorded | None = None,
) -> list[Step]:
    """Return what of an exposure is done, by the settings that hold for it."""
    identity = _identity(session, listed)
    view = session.view(name, listed)
    return plan_exposure(
        view, stages, name, identity, kind=kind, retry_failed=retry_failed, recorded=recorded
    )


def _identity(session: Session, listed: str) -> FileIdentity | None:
    with suppress(InputError):
        return identify(session.project.locate(listed), listed)
    return None


def record_lost(
    session: Session,
    stages: Sequence[Stage],
    name: str,
    listed: str,
    *,
    kind: str,
    message: str,
    retry_failed: bool = False,
    run_id: str = "",
) -> Failure | None:
    """Record that the stage which was under way took its worker with it, and return that.

    None is returned if nothing is left to be done: the worker died after its last stage.
    """
    steps = plan(session, stages, name, listed, retry_failed)
    step = next((s for s in steps if s.state == "todo"), None)
    if step is None:
        return None
    sidecar = Sidecar(
        stage=step.stage.name,
        status="failed",
        exposure=name,
        settings_hash=step.settings_hash,
        fingerprint=step.fingerprint,
        upstream=step.upstream,
        input=None if step.upstream else _identity(session, listed),
        version=__version__,
        error={"type": kind, "message": message},
        run=run_id,
    )
    path = session.project.sidecar(name, step.stage.name)
    output_directory(path.parent)
    write_sidecar(path, sidecar)
    return failure_of(sidecar)


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


def failure_of(sidecar: Sidecar) -> Failure:
    """Return what a failed stage's sidecar records."""
    error = sidecar.error or {}
    return Failure(sidecar.stage, error.get("type", ""), error.get("message", ""))


def remove_files(*paths: Path) -> None:
    """Remove files that may be there."""
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{error.filename} cannot be removed ({error.strerror})",
            "a session directory that you may write to",
        ) from error
