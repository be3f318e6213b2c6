"""What a worker process does: one exposure, from the paths in its task.

A worker may be a process on this machine or a job on a cluster. It reads and writes the same
session directory; nothing but paths and a few numbers travel. The session with its gain, and what
else all exposures share, is opened once a worker and again when the settings file changes.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from icefloe.engine.guard import end_with_parent
from icefloe.errors import IcefloeError
from icefloe.project.records import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage

__all__ = ["DEFAULT_STAGES", "ExposureResult", "ExposureTask", "load_stages", "run_task"]

DEFAULT_STAGES = "icefloe.engine.stages:STANDARD_STAGES"


@dataclass(frozen=True)
class ExposureTask:
    """One exposure to be taken through its stages.

    Attributes
    ----------
    project
        The session's directory.
    name, listed
        The exposure, and its source as the session records it.
    device
        ``auto`` in a worker means the accelerator that the worker was given.
    threads
        Threads on the CPU.
    retry_failed
        Do again what failed with the same input and settings.
    limit
        Seconds after which the worker ends itself, since it hangs; 0 means never.
    stages
        ``module:name`` of the stages.
    run_id
        What the sidecars name the run by.
    """

    project: str
    name: str
    listed: str
    device: str = "cpu"
    threads: int = 1
    retry_failed: bool = False
    limit: float = 0.0
    stages: str = DEFAULT_STAGES
    run_id: str = ""


@dataclass(frozen=True)
class ExposureResult:
    """What became of a task.

    Attributes
    ----------
    name
        The exposure.
    failure
        Its first failure, None if there is none.
    seconds
        Time it took in the worker.
    host, pid
        Who did it.
    peak_memory
        Largest memory of that worker so far, GB.
    ending
        An error that every further exposure would meet, too: the run ends with it.
    recorded
        When each stage was recorded, s since 1970 by the worker's clock.
    """

    name: str
    failure: Failure | None
    seconds: float
    host: str
    pid: int
    peak_memory: float
    ending: IcefloeError | None = None
    recorded: Mapping[str, float] = field(default_factory=dict)


_SESSIONS: dict[tuple[str, str, int], Session] = {}


def run_task(task: ExposureTask) -> ExposureResult:
    """Do a task; called in a worker."""
    from icefloe.engine.runner import Runner
    from icefloe.fourier import set_threads

    end_with_parent()
    begin = time.perf_counter()
    failure: Failure | None = None
    ending: IcefloeError | None = None
    log: TextIO | None = None
    recorded: dict[str, float] = {}
    try:
        set_threads(task.threads)
        session = _session(task)
        if task.limit > 0:
            log = _hang_log(task)
            # Runs in a thread of its own that needs no lock of the interpreter, so it also ends a
            # worker that hangs in compiled code.
            faulthandler.dump_traceback_later(task.limit, exit=True, file=log or sys.stderr)
        runner = Runner(
            session,
            load_stages(task.stages),
            retry_failed=task.retry_failed,
            run_id=lambda: task.run_id,
            recorded=lambda _, stage: recorded.update({stage: time.time()}),
        )
        failure = runner.run(runner.prepare(task.name, task.listed), task.listed)
    except IcefloeError as error:
        # What only concerns this exposure was recorded as its failure.
        ending = error
    finally:
        if task.limit > 0:
            faulthandler.cancel_dump_traceback_later()
            if log is not None:
                log.close()
                with suppress(OSError):
                    Path(log.name).unlink(missing_ok=True)
    return ExposureResult(
        name=task.name,
        failure=failure,
        seconds=time.perf_counter() - begin,
        host=socket.gethostname(),
        pid=os.getpid(),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        ending=ending,
        recorded=recorded,
    )


def load_stages(path: str) -> Sequence[Stage]:
    """Return the stages that ``module:name`` means."""
    module, _, name = path.partition(":")
    stages: Sequence[Stage] = getattr(import_module(module), name)
    return stages


def _session(task: ExposureTask) -> Session:
    """Return the worker's session: the same object while the settings file does not change."""
    from icefloe.engine.session import Session
    from icefloe.fourier import resolve_device

    file = Path(task.project) / "icefloe.toml"
    with suppress(OSError):
        key = (task.project, task.device, file.stat().st_mtime_ns)
        if key in _SESSIONS:
            return _SESSIONS[key]
        session = Session.open(task.project, resolve_device(task.device))
        _SESSIONS.clear()  # of an older settings file: its gain is memory
        _SESSIONS[key] = session
        return session
    return Session.open(task.project, resolve_device(task.device))


def _hang_log(task: ExposureTask) -> TextIO | None:
    """Return a file for the place where a worker hung, beside the exposure's records."""
    with suppress(OSError):
        directory = Path(task.project) / "exposures" / task.name
        directory.mkdir(parents=True, exist_ok=True)
        return (directory / ".hang.txt").open("w", encoding="utf-8")
    return None
