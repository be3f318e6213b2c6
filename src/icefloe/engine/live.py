"""A run beside the microscope: exposures are done as their movies come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from icefloe.engine.disk_space import DiskSpace
from icefloe.engine.executor import RunSummary
from icefloe.engine.gain_check import GainChecks
from icefloe.engine.live_loop import Live
from icefloe.engine.live_options import LiveObserver, LiveOptions
from icefloe.engine.run_log import RunLog
from icefloe.engine.runner import Runner
from icefloe.engine.session import Session
from icefloe.engine.stage import Stage
from icefloe.project import project_lock

if TYPE_CHECKING:
    from icefloe.engine.pool import WorkerPool

__all__ = ["run_live"]


def run_live(
    session: Session,
    options: LiveOptions,
    *,
    observer: LiveObserver,
    stages: Sequence[Stage] | None = None,
    retry_failed: bool = False,
    stop: Callable[[], bool] = bool,
    space: DiskSpace | None = None,
    clock: Callable[[], float] = time.time,
    timer: Callable[[], float] = time.monotonic,
    pool: WorkerPool | None = None,
) -> RunSummary:
    """Watch for movies, and do all that is to be done, until it is stopped or quiet.

    Parameters
    ----------
    session
        The session.
    options
        What to watch and when to end.
    observer
        Is told about progress.
    stages
        In order; all of them by default.
    retry_failed
        Try stages again that failed with the same input and settings.
    stop
        Is asked between stages whether to end. A `KeyboardInterrupt` ends the run within a stage,
        which is then rolled back. If it has an attribute ``signal``, the journal of runs names it.
    space
        Watches the disk; as the settings say by default.
    clock
        Returns s since 1970.
    timer
        Returns s since some moment; unlike a clock it is never set. It says how long it was quiet.
    pool
        Workers, entered; without them this process does the exposures.

    Raises
    ------
    ProjectLockedError, OutputError, InputError
        As `run_session`; a full disk is waited for.
    """
    if stages is None:
        from icefloe.engine.stages import STANDARD_STAGES

        stages = STANDARD_STAGES
    begin = time.perf_counter()
    summary = RunSummary()
    log = RunLog(session, stages, summary, stop)
    checks = GainChecks(session)
    runner = Runner(session, stages, observer, retry_failed, checks, lambda: log.id, stop)
    space = space or DiskSpace.of(session)
    live = Live(session, options, observer, runner, summary, space, clock, timer)
    if pool is not None:
        from icefloe.engine.live_pool import PooledLive
        from icefloe.engine.pool_run import PoolCrew

        crew = PoolCrew(session, stages, pool, lambda: log.id, retry_failed)
        live = PooledLive(
            session, options, observer, runner, summary, space, clock, timer, crew=crew
        )
    try:
        with project_lock(session.project), log, live:
            live.loop()
    except KeyboardInterrupt:
        if not stop():
            raise
    summary.seconds = time.perf_counter() - begin
    return summary
