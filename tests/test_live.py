"""A run that follows a directory: with stages that take no time, and real files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icefloe.cli.live_display import LiveDisplay
from icefloe.cli.stop_request import requests_to_stop
from icefloe.engine import Outcome, Session, Work, register, run_session
from icefloe.engine.alarms import AlarmEvent
from icefloe.engine.disk_space import DiskSpace
from icefloe.engine.live import run_live
from icefloe.engine.live_options import LiveOptions
from icefloe.engine.setup import open_or_create
from icefloe.errors import DiskFullError, InputError, ProjectLockedError
from icefloe.formats.movie import open_movie
from icefloe.formats.mrc import write_mrc
from icefloe.project import load_records
from icefloe.project.live_log import read_entries
from icefloe.project.live_state import LiveState, read_state
from icefloe.project.lock import is_locked
from icefloe.project.runs import read_runs
from icefloe.report.summary import live_facts
from live_script import Script
from session_tools import icefloe


@dataclass
class Fake:
    """A stage that notes what it did."""

    name: str
    needs: tuple[str, ...]
    log: list[tuple[str, str]]
    act: Callable[[Work], None] = lambda work: None
    version: int = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return self.needs

    def choices(self, session: Session) -> Mapping[str, Any]:
        return {"pixel_size": session.facts()["pixel_size"]}

    def prefetch(self, work: Work) -> None:
        if self.name == "import":
            work.numbers["import"] = {"kind": "micrograph"}

    def run(self, work: Work) -> Outcome:
        self.log.append((work.name, self.name))
        self.act(work)
        if self.name == "import":
            with open_movie(work.source):
                return Outcome({"kind": "micrograph"})
        return Outcome({"n_picks": 7} if self.name == "pick" else {"fit_resolution": 4.0})


@dataclass
class Seen(LiveDisplay):
    """A display that remembers."""

    done: list[str] = field(default_factory=list)
    events: list[AlarmEvent] = field(default_factory=list)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.done, self.events = [], []
        self.state = LiveState()

    def finished(self, name, failure, seconds) -> None:
        super().finished(name, failure, seconds)
        self.done.append(name)

    def alarmed(self, event) -> None:
        super().alarmed(event)
        self.events.append(event)

    def watching(self, state) -> None:
        super().watching(state)
        self.state = state

    def did(self, *names: str) -> Callable[[], bool]:
        """Return the condition that so many exposures were done, with these names, in any order."""
        return lambda: sorted(self.done) == sorted(names)

    def raised(self) -> bool:
        """Return whether an alarm is on."""
        return bool(self.events) and self.events[-1].raised


class Bench:
    def __init__(self, root: Path, **changes: dict[str, Any]) -> None:
        self.raw = root / "raw"
        self.raw.mkdir()
        self.root = root / "s"
        changes = {"pick": {"method": "blob", "diameter": [100.0]}, **changes}
        self.session = Session(*open_or_create(self.root, changes, may_create=True))
        self.log: list[tuple[str, str]] = []
        self.stages = [
            Fake("import", (), self.log),
            Fake("ctf", ("import",), self.log),
            Fake("pick", ("import",), self.log),
        ]
        self.seen = Seen(self.session)

    def movie(self, name: str, *, half: bool = False, frames: int = 1) -> Path:
        path = self.raw / f"{name}.mrc"
        write_mrc(path, np.zeros((frames, 8, 8), np.float32), 1.0)
        if half:
            os.truncate(path, 1100)
        return path

    def run(
        self,
        *,
        stop: Callable[[], bool] = bool,
        space: DiskSpace | None = None,
        clock: Callable[[], float] = time.time,
        script: Script | None = None,
        **options,
    ):
        if script is not None:  # which says when it is quiet
            options = {"quiet_minutes": 1.0, **options}
            stop = script.stop
        chosen = {"poll_seconds": 0.02, "quiet_minutes": 0.005, **options}
        return run_live(
            self.session,
            LiveOptions((str(self.raw / "*.mrc"),), **chosen),
            observer=self.seen,
            stages=self.stages,
            stop=stop,
            space=space,
            clock=clock,
            timer=time.monotonic if script is None else script.timer,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


def test_movies_are_done_as_they_come_until_it_is_quiet(bench, script, capsys):
    bench.movie("old")
    whole = bench.movie("x").read_bytes()
    path = bench.raw / "x.mrc"
    path.unlink()
    did = bench.seen.did
    script.when(did("old"), lambda: bench.movie("m1"))
    script.when(did("old", "m1"), lambda: path.write_bytes(whole[:1100]))
    script.when(lambda: str(path) in bench.seen.state.incomplete, lambda: bench.movie("m2"))
    script.when(did("old", "m1", "m2"), lambda: path.write_bytes(whole))
    script.quiet_when(did("old", "m1", "m2", "x"), 59)
    # It is not over yet, nor is the one that does not become whole given up.
    script.quiet_when(lambda: script.poller.polls > 5, 2)
    bench.movie("never", half=True)
    begin = time.monotonic()
    summary = bench.run(script=script)
    seconds = time.monotonic() - begin
    assert script.over()
    assert sorted(bench.seen.done[:-1]) == ["m1", "m2", "old", "x"]
    assert bench.seen.done[-1] == "never"
    assert summary.total == 5
    assert list(summary.failures) == ["never"]
    # What never became whole is recorded with its reason, and only at the end.
    assert "bytes" in summary.failures["never"].message
    entries = {e.name: e for e in read_entries(bench.session.project)}
    assert [entries[n].fresh for n in ("old", "m1", "m2", "x", "never")] == [0, 1, 1, 1, 0]
    for name in ("m1", "m2", "x"):
        assert 0 <= entries[name].latency < seconds + 1
        assert entries[name].complete <= entries[name].taken <= entries[name].picked
    state = read_state(bench.session.project)
    assert state is not None
    assert not state.running
    assert state.patterns == (str(bench.raw / "*.mrc"),)
    said = capsys.readouterr().err
    assert said.count("not whole yet") >= 2
    assert "after its file was whole" in said
    assert icefloe("status", bench.root) == 0
    told = capsys.readouterr().out
    assert re.search(
        r"Live run \(ended\): picks \d+ s after the file \(9 of 10 within \d+ s\)", told
    )
    assert "not whole: " in told
    assert [f.label for f in live_facts(bench.session.project)] == [
        "Picks after the movie was whole",
        "Throughput of the live run",
    ]


def test_the_same_again_finds_nothing_to_do_and_takes_what_is_new(bench):
    bench.movie("a")
    bench.run()
    bench.log.clear()
    bench.movie("b")
    summary = bench.run()
    assert {name for name, _ in bench.log} == {"b"}
    assert (summary.total, summary.ran) == (2, 1)


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_fresh_movies_go_before_the_backlog(bench, script, order):
    for index in range(6):
        path = bench.movie(f"old{index}")
        os.utime(path, (1000 + index, 1000 + index))
    register(bench.session.project, sorted(bench.raw.iterdir()))

    def pick(work: Work) -> None:
        if len(bench.seen.done) == 1:
            bench.movie("fresh")
            deadline = time.monotonic() + 60
            while not script.seen("fresh"):
                assert time.monotonic() < deadline
                time.sleep(0.005)

    bench.stages[-1].act = pick
    bench.run(order=order)
    old = [name for name in bench.seen.done if name != "fresh"]
    expected = [f"old{i}" for i in range(6)]
    assert old == (expected[::-1] if order == "newest" else expected)
    # It came while the second was done; the third was being read already.
    assert bench.seen.done.index("fresh") == 3


def test_a_stop_leaves_the_rest_for_the_next_run(bench):
    for index in range(4):
        bench.movie(f"m{index}")
    stopped: list[bool] = []

    def act(work: Work) -> None:
        if len(bench.log) == 5:  # the ctf of the second
            stopped.append(True)

    bench.stages[1].act = act
    summary = bench.run(stop=lambda: bool(stopped), order="oldest", quiet_minutes=None)
    assert summary.ran == 1
    assert bench.log[-1] == ("m1", "ctf")
    (run,) = read_runs(bench.session.project)[0].values()
    assert run.outcome == "stopped"
    done = list(bench.log)
    bench.run()
    assert len(set(bench.log)) == len(bench.log) == 12
    assert bench.log[: len(done)] == done
    assert all(r.state == "done" for r in load_records(bench.session.project, without=["extract"]))


def test_a_stage_that_takes_too_long_is_rolled_back(bench):
    bench.movie("m")

    def slow(work: Work) -> None:
        if len(bench.log) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

    bench.stages[1].act = slow
    begin = time.monotonic()
    with requests_to_stop(grace=0.2) as stop:
        bench.run(stop=stop, quiet_minutes=None)
    assert time.monotonic() - begin < 10
    assert stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    bench.run()
    outcomes = [run.outcome for run in read_runs(bench.session.project)[0].values()]
    assert outcomes == ["stopped by SIGTERM", "finished"]
    assert [stage for _, stage in bench.log] == ["import", "ctf", "ctf", "pick"]


def test_ctrl_c_twice_does_not_wait(bench):
    bench.movie("m")

    def slow(work: Work) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)

    bench.stages[1].act = slow
    begin = time.monotonic()
    with requests_to_stop(grace=60) as stop:
        bench.run(stop=stop, quiet_minutes=None)
    assert time.monotonic() - begin < 10


def test_it_waits_while_the_disk_is_nearly_full(bench, script):
    bench.movie("m")
    free = [10e9]
    space = DiskSpace(bench.root, 1.0, free=lambda _: int(free[0]))
    script.when(bench.seen.did("m"), lambda: free.__setitem__(0, 0.5e9))
    script.when(bench.seen.raised, lambda: bench.movie("late"))
    script.quiet_when(script.seen, 120)  # a full disk does not end it
    script.when(lambda: script.poller.polls > 5, lambda: free.__setitem__(0, 10e9))
    script.quiet_when(bench.seen.did("m", "late"), 61)
    bench.run(script=script, space=space)
    assert script.over()
    assert bench.seen.done == ["m", "late"]
    assert [(e.rule, e.raised) for e in bench.seen.events] == [("disk", True), ("disk", False)]
    assert "0.50 GB are free" in bench.seen.events[0].message
    log = (bench.root / "alarms.log").read_text()
    assert log.count("ALARM") == 1


def test_a_disk_that_is_full_all_the_same_is_waited_for(bench, monkeypatch):
    monkeypatch.setattr("icefloe.engine.disk_pause._RETRY_FULL", 0.2)
    bench.movie("m")
    full = [True]

    def act(work: Work) -> None:
        if full:
            full.clear()
            raise DiskFullError("The disk is full")

    bench.stages[1].act = act
    summary = bench.run(quiet_minutes=0.02)
    assert summary.failures == {}
    assert bench.seen.done == ["m"]
    assert [e.raised for e in bench.seen.events if e.rule == "disk"] == [True, False]


def test_a_batch_run_ends_before_the_disk_is_full(tmp_path):
    bench = Bench(tmp_path, output={"min_free_gb": 1e9})
    register(bench.session.project, [bench.movie("m")])
    with pytest.raises(DiskFullError, match="nearly full"):
        run_session(bench.session, stages=bench.stages)
    assert bench.log == []


def test_another_movie_of_the_same_name_is_done_again(bench, script):
    bench.movie("a")
    bench.movie("b")

    def replace() -> None:
        (bench.raw / "a.mrc").unlink()
        bench.movie("a", frames=2)

    done = bench.seen.did("a", "b")
    script.when(lambda: done() and bench.seen.state.waiting == 0, replace)
    # The second one is a movie without a dose, which waits a minute for metadata that never come.
    script.quiet_when(lambda: bench.seen.state.waiting == 1, 61)
    script.quiet_when(bench.seen.did("a", "a", "b"), 301)
    bench.run(script=script, quiet_minutes=5.0)
    assert script.over()
    assert sorted(bench.seen.done) == ["a", "a", "b"]
    assert [stage for name, stage in bench.log if name == "a"] == ["import", "ctf", "pick"] * 2
    (record, _) = load_records(bench.session.project, without=["extract"])
    assert record.state == "done"


def test_a_second_live_run_is_refused_and_does_no_harm(bench):
    bench.movie("m")

    def second(work: Work) -> None:
        with pytest.raises(ProjectLockedError, match=f"process {os.getpid()}"):
            bench.run()

    bench.stages[1].act = second
    bench.run()
    assert bench.seen.done == ["m"]
    assert [stage for _, stage in bench.log] == ["import", "ctf", "pick"]


@pytest.mark.parametrize("jump", [3600.0, -3600.0], ids=["forward", "back"])
def test_a_clock_that_is_set_neither_ends_the_run_nor_keeps_it_going(tmp_path, script, jump):
    bench = Bench(tmp_path, alarms={"no_movie_minutes": 5.0})
    bench.movie("early")
    clock, polls = [0.0], [0]

    def set_clock() -> None:
        clock[0], polls[0] = jump, script.poller.polls

    script.when(bench.seen.did("early"), set_clock)
    script.when(lambda: script.poller.polls > polls[0] + 2, lambda: bench.movie("late"))
    script.quiet_when(bench.seen.did("early", "late"), 61)
    bench.run(script=script, clock=lambda: time.time() + clock[0])
    assert script.over()
    assert bench.seen.done == ["early", "late"]
    assert bench.seen.events == []
    assert all(r.state == "done" for r in load_records(bench.session.project, without=["extract"]))


def test_another_process_sees_that_it_runs(bench):
    seen = []
    bench.movie("m")
    bench.stages[1].act = lambda work: seen.append(is_locked(bench.session.project))
    assert not is_locked(bench.session.project)
    bench.run()
    assert seen == [True]
    assert not is_locked(bench.session.project)


def test_alarms_go_with_the_exposures(tmp_path, script):
    alarms = {"window": 2, "fit_resolution": 3.0, "no_movie_minutes": 3.0}
    bench = Bench(tmp_path, alarms=alarms)
    for index in range(3):
        bench.movie(f"m{index}")
    script.quiet_when(bench.seen.did("m0", "m1", "m2"), 200)
    script.quiet_when(lambda: "no_movie" in bench.seen.state.alarms, 200)
    bench.run(script=script, quiet_minutes=5.0)
    assert script.over()
    assert sorted(e.rule for e in bench.seen.events) == ["fit_resolution", "no_movie"]
    state = read_state(bench.session.project)
    assert state is not None
    assert set(state.alarms) == {"fit_resolution", "no_movie"}


def test_a_gain_that_is_missing_ends_it_at_once(tmp_path):
    bench = Bench(tmp_path, data={"gain": "/no/such/gain.mrc"})
    with pytest.raises(InputError, match=r"gain\.mrc"):
        bench.run(quiet_minutes=None)


def test_an_exposure_waits_for_metadata_it_needs(bench, script):
    from test_acquisition import epu

    bench.movie("a_Fractions", frames=3)
    script.quiet_when(lambda: bench.seen.state.waiting == 1, 59)
    script.when(
        lambda: bench.seen.done == [] and script.poller.polls > 5,
        lambda: (bench.raw / "a.xml").write_text(epu()),
    )
    script.quiet_when(bench.seen.did("a_Fractions"), 301)
    bench.run(script=script, quiet_minutes=5.0)
    assert script.over()
    view = bench.session.view("a_Fractions", str(bench.raw / "a_Fractions.mrc"))
    assert view.settings.data.total_dose == 42
    assert bench.seen.done == ["a_Fractions"]


def test_a_tmpfs_that_fills_up(tmp_path, script):
    """Real free space: a small memory disk, if one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "icefloe", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        bench = Bench(disk, output={"min_free_gb": 0.012})
        bench.movie("m")
        filler = disk / "filler"
        script.when(bench.seen.did("m"), lambda: filler.write_bytes(bytes(16_000_000)))
        script.when(bench.seen.raised, lambda: bench.movie("late"))
        script.when(script.seen, filler.unlink)
        script.quiet_when(bench.seen.did("m", "late"), 61)
        bench.run(script=script)
        assert script.over()
        assert bench.seen.done == ["m", "late"]
        assert [(e.rule, e.raised) for e in bench.seen.events] == [("disk", True), ("disk", False)]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
