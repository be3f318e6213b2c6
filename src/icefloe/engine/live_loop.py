"""What a live run does again and again: take what came, do it, record it.

One thread looks for files, one reads the next movie, and the run's own thread computes. What is
stale in the session is its backlog, done when no fresh movie waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from icefloe.engine.disk_pause import DiskPause
from icefloe.engine.disk_space import DiskSpace
from icefloe.engine.executor import RunSummary, remove_partial_files
from icefloe.engine.exposures import register
from icefloe.engine.fact_check import FactCheck
from icefloe.engine.live_news import LiveNews
from icefloe.engine.live_options import LiveObserver, LiveOptions
from icefloe.engine.plan import Step
from icefloe.engine.planning import plan_session
from icefloe.engine.poller import Poller
from icefloe.engine.reference_gate import ReferenceGate
from icefloe.engine.runner import Runner, failure_of, plan, start_reading
from icefloe.engine.session import Session
from icefloe.engine.source import open_source
from icefloe.engine.stage import Work
from icefloe.engine.watch import Arrival, Watcher
from icefloe.engine.work_queue import WorkQueue
from icefloe.errors import DiskFullError, InputError, OutputError
from icefloe.project import Failure, load_record
from icefloe.project.filesystem import time_of
from icefloe.project.layout import natural_key
from icefloe.project.live_log import LiveEntry, append_entry

__all__ = ["Live"]

# Metadata may be written after their movie: one that cannot be done without them waits, s.
_FOR_METADATA = 60.0
_TICK = 0.2


@dataclass
class Live:
    """A live run in this process; see `run_live`."""

    session: Session
    options: LiveOptions
    observer: LiveObserver
    runner: Runner
    summary: RunSummary
    space: DiskSpace
    clock: Callable[[], float]
    # Unlike a clock, never set.
    timer: Callable[[], float] = time.monotonic
    _arrivals: dict[str, Arrival] = field(default_factory=dict)
    _came: dict[str, float] = field(default_factory=dict)
    _ran: set[str] = field(default_factory=set)
    _recorded: dict[str, float] = field(default_factory=dict)
    # Done up to picking, for which there was no reference yet.
    _unpicked: set[str] = field(default_factory=set)
    # When the reference came; 0 if it was there or is still to come.
    _reference_came: float = 0.0
    _held: list[str] = field(default_factory=list)
    _given_up: set[Path] = field(default_factory=set)
    # Names and times of those that are read or given to workers.
    _under_way: dict[str, int] = field(default_factory=dict)
    _ahead: tuple[str, Future[Work]] | None = None

    @property
    def reference_threads(self) -> int | None:
        """Threads of a process that makes the reference beside the run; None: the run waits."""
        return None

    def __enter__(self) -> Live:
        project = self.session.project
        remove_partial_files(project)
        self.session.check_files()
        self.facts = FactCheck(self.session)
        self.runner.recorded = lambda _, stage: self._recorded.update({stage: self.clock()})
        self.news = LiveNews(self.session, self.options.patterns, self.observer)
        self.must_wait = DiskPause(self.space, self.news)
        self.queue = WorkQueue(self.options.order)
        self.gate = ReferenceGate(
            self.session, self.runner.stages, self.reference_threads, self.observer.making_reference
        )
        self.sources = project.read_registry()
        taken = self._plan_backlog()
        self.summary.total = len(self.sources)
        self.observer.planned(len(self.sources), len(self.queue))
        self.watcher = Watcher(
            self.options.patterns, taken=taken, clock=self.clock, timer=self.timer
        )
        self.poller = Poller(self.watcher, self.options.poll_seconds)
        self.poller.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.poller.end()
        self.gate.close()
        with suppress(OutputError):
            self._report(running=False)
        self.news.close()

    def _plan_backlog(self) -> dict[str, tuple[int, int]]:
        """Queue what is to be done; return the files that were read in earlier runs.

        These need not be opened again.
        """
        project = self.session.project
        planned = plan_session(
            self.session, self.runner.stages, self.sources, self.runner.retry_failed, self.facts
        )
        found = {}
        for name, steps in planned:
            path = project.locate(self.sources[name])
            if any(step.state == "todo" for step in steps):
                self.queue.add(name, time_of(path), fresh=False)
            else:
                self._nothing_to_do(name, steps)
            read = steps[0].sidecar
            if read is not None and read.status == "done" and read.input is not None:
                found[str(path)] = (read.input.size, read.input.mtime_ns)
        return found

    def _nothing_to_do(self, name: str, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.state == "failed" and step.sidecar is not None:
                self.summary.known_failures.setdefault(name, failure_of(step.sidecar))
        self._arrivals.pop(name, None)
        self._came.pop(name, None)
        self._unpicked.add(name)

    def loop(self) -> None:
        """Do what waits, again and again."""
        while not self.runner.stop():
            self._quiet_alarm()
            if self.must_wait():
                time.sleep(_TICK)
                continue
            self._take_arrivals()
            if self._ahead is None:
                self._ahead = self._read_next()
            if self._ahead is None:
                if self._is_over():
                    return
                self._report()
                time.sleep(_TICK)
                continue
            name, future = self._ahead
            work = self._result(future)
            if work is None:
                return
            self._ahead = self._read_next()
            self._report()
            self._do(name, work)

    def _take_arrivals(self) -> None:
        shared = self.session.shared_files()
        found = [a for a in self.poller.take() if a.path.resolve() not in shared]
        if not found:
            return
        names = register(self.session.project, [a.path for a in found])
        for name, arrival in zip(names, found, strict=True):
            self.sources[name] = self.session.project.listed(arrival.path)
            self._arrivals[name] = arrival
            self._came[name] = self.timer()
            if self._under_way.get(name) == arrival.mtime_ns:
                continue  # it is on its way already
            self.queue.add(name, arrival.mtime_ns, fresh=arrival.fresh)
        self.summary.total = len(self.sources)

    def _read_next(self) -> tuple[str, Future[Work]] | None:
        """Begin to read the next exposure of which something is to be done."""
        name = self._next_name()
        if name is None:
            return None
        listed = self.sources[name]
        self._under_way = {name: time_of(self.session.project.locate(listed))}
        return name, start_reading(self.runner, name, listed)

    def _next_name(self) -> str | None:
        """Return the next exposure of which something is to be done."""
        held, self._held = self._held, []
        for again in held:
            arrival = self._arrivals[again]
            self.queue.add(again, arrival.mtime_ns, fresh=arrival.fresh)
        # A reference is made from the exposures whose names come first, so these go first then.
        first = self.gate.waiting and not self.gate.busy
        pop = self.queue.pop_first_named if first else self.queue.pop
        while (name := pop()) is not None:
            listed = self.sources[name]
            known = self.facts.record(name, listed, fresh=name in self._arrivals)
            if not known and self._needs_metadata(name, listed):
                self._held.append(name)
                continue
            steps = plan(self.session, self.runner.stages, name, listed, self.runner.retry_failed)
            if any(step.state == "todo" for step in steps):
                self.session.view(name, listed).check_files()
                return name
            self._nothing_to_do(name, steps)
        return None

    def _needs_metadata(self, name: str, listed: str) -> bool:
        """Say whether an exposure should wait for the file beside it, which may still come."""
        arrival = self._arrivals.get(name)
        if arrival is None or self.timer() - self._came[name] > _FOR_METADATA:
            return False
        data = self.session.view(name, listed).settings.data
        if any(d is not None for d in (data.dose_per_frame, data.total_dose, data.dose_file)):
            return False
        with suppress(InputError):
            return open_source(self.session.project.locate(listed), data).kind == "movie"
        return False

    def _result(self, future: Future[Work]) -> Work | None:
        """Wait for a movie that is being read; None if the run is stopped meanwhile."""
        while not future.done():
            if self.runner.stop():
                return None
            time.sleep(0.02)
        return future.result()

    def _do(self, name: str, work: Work) -> None:
        taken, start = self.clock(), time.perf_counter()
        self._recorded.clear()
        try:
            failure = self.runner.run(work, self.sources[name])
        except DiskFullError as error:
            self._full(name, error)
            return
        self._ended(name, failure, time.perf_counter() - start, taken)

    def _full(self, name: str, error: DiskFullError) -> None:
        # What was being written is rolled back; it is done again when there is space.
        self.must_wait.full(str(error))
        self.queue.add(name, 0, fresh=name in self._arrivals)

    def _ended(self, name: str, failure: Failure | None, seconds: float, taken: float) -> None:
        """Say and record what became of an exposure."""
        listed = self.sources[name]
        if self.runner.stop() and self._unfinished(name, listed):
            return  # it is gone on with in the next run
        self._ran.add(name)
        self.summary.ran = len(self._ran)
        self.summary.failures.pop(name, None)
        if failure is not None:
            self.summary.failures[name] = failure
        if self.gate.waiting and failure is None:
            self._unpicked.add(name)  # its latency is known when it is picked
        elif failure is None and taken <= self._reference_came and self._unfinished(name, listed):
            # It was begun before the reference was there.
            self.queue.add(name, 0, fresh=name in self._arrivals and self._arrivals[name].fresh)
        else:
            self._log(name, taken, failed=failure is not None)
        self.observer.finished(name, failure, seconds)
        self.facts.compare(name, listed)
        for message in (*self._gain_news(), *self.facts.news()):
            self.observer.warned(message)
        record = load_record(self.session.project, name, listed)
        self.news.exposure(record, failed=failure is not None)
        self._make_reference(ended=False)

    def _make_reference(self, *, ended: bool) -> bool:
        """Make the reference for picking when it is due; what waited for it waits in the queue."""
        if not self.gate.waiting and not self.gate.busy:
            return False
        made = self.gate.make(ended=ended)
        if made is None:
            return False
        if made.reference.flags:
            self.observer.warned("; ".join(made.reference.flags))
        self._reference_came = self.clock()
        for name in sorted(self._unpicked, key=natural_key):
            arrival = self._arrivals.get(name)
            self.queue.add(name, 0, fresh=arrival is not None and arrival.fresh)
        self._unpicked.clear()
        return True

    def _gain_news(self) -> list[str]:
        return [] if self.runner.check is None else self.runner.check.news()

    def _in_hand(self) -> int:
        """Return how many were taken from the queue and are not being computed yet."""
        return int(self._ahead is not None)

    def _unfinished(self, name: str, listed: str) -> bool:
        steps = plan(self.session, self.runner.stages, name, listed, False)
        return any(step.state == "todo" for step in steps)

    def _log(self, name: str, taken: float, *, failed: bool) -> None:
        arrival = self._arrivals.pop(name, None)
        self._came.pop(name, None)
        last = "ctf" if "pick" in self.session.stages_off() else "pick"
        entry = LiveEntry(
            name=name,
            complete=round(taken if arrival is None else arrival.complete, 3),
            taken=round(taken, 3),
            picked=None if failed or last not in self._recorded else round(self._recorded[last], 3),
            done=round(self.clock(), 3),
            fresh=arrival is not None and arrival.fresh,
            failed=failed,
        )
        with suppress(DiskFullError):
            append_entry(self.session.project, entry)
        self.observer.logged(entry)

    def _quiet_alarm(self) -> None:
        self.news.quiet(self.watcher.quiet_seconds)

    def _is_over(self) -> bool:
        """Return whether it was quiet long enough and nothing is left; hand over what is broken."""
        quiet = self.options.quiet_minutes
        if quiet is None or self._held or self.poller.waiting or self.watcher.unsettled:
            return False
        if self.poller.polls < 2 or self.watcher.quiet_seconds < 60 * quiet:
            return False
        # Files that never became whole are recorded now, and fail with their reason.
        if self._make_reference(ended=True) or self.gate.busy:
            return False
        broken = [one for one in self.watcher.incomplete if one.path not in self._given_up]
        if not broken:
            return True
        self._given_up.update(one.path for one in broken)
        names = register(self.session.project, [one.path for one in broken])
        for name, one in zip(names, broken, strict=True):
            self.sources[name] = self.session.project.listed(one.path)
            self.queue.add(name, one.mtime_ns, fresh=False)
        self.summary.total = len(self.sources)
        return False

    def _report(self, *, running: bool = True) -> None:
        self.news.report(
            waiting=len(self.queue) + len(self._held) + self._in_hand(),
            incomplete={str(one.path): one.reason for one in self.watcher.incomplete},
            running=running,
        )
