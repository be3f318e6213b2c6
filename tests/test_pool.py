"""Workers that die, hang and fail: what is lost, and what the others do meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import icefloe
from icefloe.cli.live_display import LiveDisplay
from icefloe.engine import Session, register, run_session
from icefloe.engine.file_lock import FileLock
from icefloe.engine.live import run_live
from icefloe.engine.live_options import LiveOptions
from icefloe.engine.pool import WorkerPool
from icefloe.engine.pool_config import local_config, read_config, worker_count
from icefloe.engine.setup import open_or_create
from icefloe.engine.tries import Pending, Verdict
from icefloe.engine.worker import ExposureTask
from icefloe.errors import DeviceError, DiskFullError, InputError, SettingsError
from icefloe.project import Failure, Project, load_record
from icefloe.project.live_log import read_entries
from live_script import Script
from pool_stages import STAGES, movie

HERE = Path(__file__).parent
STAGES_PATH = "pool_stages:STAGES"


@pytest.fixture(autouse=True)
def _workers_see_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(icefloe.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{source}{os.pathsep}{HERE}")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    workers = WorkerPool(
        local_config(2, tmp_path / "parsl"), device="cpu", limit=4, tries=2, stages=STAGES_PATH
    )
    with workers:
        yield workers


def make(root: Path, **words: str) -> Session:
    raw = root / "raw"
    raw.mkdir(exist_ok=True)
    for name, word in words.items():
        (raw / f"{name}.mrc").write_text(word)
    project, settings = open_or_create(root / "session", {}, may_create=True)
    register(project, sorted(raw.glob("*.mrc")))
    return Session(project, settings)


def states(session: Session) -> dict[str, str]:
    sources = session.project.read_registry()
    return {n: load_record(session.project, n, s).state for n, s in sources.items()}


def texts(project: Project) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted(project.micrographs.glob("*.txt"))}


def test_workers_lose_only_what_cannot_be_done(pool: WorkerPool, tmp_path: Path) -> None:
    good = {f"g{i}": "slow" for i in range(4)}
    session = make(tmp_path, **good, bad="fails", p="poison", h="hangs", o="once")
    summary = run_session(session, stages=STAGES, pool=pool)
    assert sorted(summary.failures) == ["bad", "h", "p"]
    assert summary.ran == 8
    assert summary.failures["bad"].message == "Nothing fits."
    assert summary.failures["p"].stage == "ctf"
    # Two while others worked, two while none did.
    assert "Each of 4 workers that began with it died" in summary.failures["p"].message
    assert "took longer than 4 s" in summary.failures["h"].message
    assert "_misbehave" in summary.failures["h"].message  # where it hung
    found = states(session)
    assert {n for n, state in found.items() if state == "done"} == {*good, "o"}
    pids = {load_record(session.project, n, "").numbers["ctf"]["pid"] for n in good}
    assert os.getpid() not in pids

    # In this process the same comes out.
    (tmp_path / "alone").mkdir()
    alone = make(tmp_path / "alone", **good)
    run_session(alone, stages=STAGES)
    theirs = texts(session.project)
    assert all(theirs[name] == text for name, text in texts(alone.project).items())

    # What failed is not tried again unless asked, and nothing else is repeated.
    again = run_session(session, stages=STAGES, pool=pool)
    assert (again.ran, sorted(again.known_failures)) == (0, ["bad", "h", "p"])
    (tmp_path / "raw" / "p.mrc").write_text("cured")
    assert run_session(session, stages=STAGES, pool=pool).ran == 1
    assert states(session)["p"] == "done"


def test_workers_that_die_while_they_wait_take_nothing_along(
    pool: WorkerPool, tmp_path: Path
) -> None:
    workers = {future.result(60) for future in [pool.submit(_busy) for _ in range(6)]}
    time.sleep(0.5)
    for worker in workers:  # one of those that wait holds the lock of their queue
        os.kill(worker, signal.SIGKILL)
    session = make(tmp_path, a="good", b="good")
    done = []
    run = threading.Thread(
        target=lambda: done.append(run_session(session, stages=STAGES, pool=pool)), daemon=True
    )
    run.start()
    run.join(60)
    assert [summary.failures for summary in done] == [{}]
    assert set(states(session).values()) == {"done"}


def test_a_manager_that_dies_is_replaced(tmp_path: Path) -> None:
    config = local_config(2, tmp_path / "parsl")
    config.executors[0].heartbeat_threshold = 4  # a lost one is known for lost sooner
    with WorkerPool(config, device="cpu", stages=STAGES_PATH) as pool:
        worker = psutil.Process(pool.submit(_busy).result(60))
        manager = worker.parent()
        assert manager is not None
        session = make(tmp_path, a="slow", b="slow", c="slow")
        done = []
        run = threading.Thread(
            target=lambda: done.append(run_session(session, stages=STAGES, pool=pool)), daemon=True
        )
        run.start()
        time.sleep(0.3)
        manager.kill()
        run.join(60)
    assert [summary.failures for summary in done] == [{}]
    assert set(states(session).values()) == {"done"}
    assert not manager.is_running() or manager.status() == psutil.STATUS_ZOMBIE


def test_an_exposure_whose_workers_died_is_tried_again_alone(
    pool: WorkerPool, tmp_path: Path
) -> None:
    words = {f"g{i}": "slow" for i in range(4)}
    session = make(tmp_path, a="unlucky", **words)
    summary = run_session(session, stages=STAGES, pool=pool)
    assert not summary.failures
    assert set(states(session).values()) == {"done"}
    assert (tmp_path / "raw" / "a.log").read_text() == "dies dies lives"


def test_deaths_count_by_stage(tmp_path: Path) -> None:
    directory = tmp_path / "exposures" / "a"
    directory.mkdir(parents=True)
    entry = Pending(ExposureTask(str(tmp_path), "a", "a.mrc"))
    assert entry.worker_died(2) is Verdict.AGAIN
    for stage in ("motion", "ctf"):  # it gets further each time
        (directory / f"{stage}.json").touch()
        assert entry.worker_died(2) is Verdict.AGAIN
    assert entry.worker_died(2) is Verdict.ALONE
    assert [entry.worker_died(2) for _ in range(2)] == [Verdict.AGAIN, Verdict.LOST]
    assert entry.given_to == 6

    # Not for ever, whatever it does.
    other, deaths = Pending(entry.task), 0
    while other.worker_died(2) is not Verdict.LOST:
        (directory / f"{deaths}.json").touch()
        deaths += 1
    assert 10 < deaths < 15

    # A hang is no chance.
    (directory / ".hang.txt").write_text("here")
    hung = Pending(entry.task)
    assert [hung.worker_died(2) for _ in range(2)] == [Verdict.AGAIN, Verdict.LOST]


def test_who_gives_out_the_tasks_dies(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for index in range(6):
        (raw / f"m{index}.txt").write_text(f"movie {index}")
    command = [sys.executable, str(HERE / "slow_session.py"), "0.2", "run", str(raw / "*.txt")]
    command += ["--diameter", "100", "--workers", "2", "--project", str(tmp_path / "s")]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        begun = tmp_path / "s" / "exposures"
        deadline = time.monotonic() + 60
        while not list(begun.glob("*/ctf.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        old = _workers(tmp_path / "s")
        assert len(old) >= 3  # and their manager
        _kill_interchange(run.pid)
        killed = time.monotonic()
        while not set(_workers(tmp_path / "s")) - set(old):
            assert time.monotonic() < killed + 20
            time.sleep(0.05)
        assert not any(process.is_running() for process in old)  # none is beside the new ones
        before = len(list(begun.glob("*/*.json")))
        while len(list(begun.glob("*/*.json"))) == before:
            assert time.monotonic() < killed + 20
            time.sleep(0.05)
        said = run.communicate(timeout=60)[1]
    finally:
        run.kill()
    assert run.returncode == 0, said
    project = Project(tmp_path / "s")
    sources = project.read_registry()
    assert {load_record(project, n, s).state for n, s in sources.items()} == {"done"}


def test_a_pool_that_cannot_be_started_again_says_so(pool: WorkerPool, tmp_path: Path) -> None:
    session = make(tmp_path, a="slow", b="slow", c="slow", d="slow")
    assert pool.submit(_busy).result(60)
    _kill_interchange(os.getpid())
    begin = time.monotonic()
    with pytest.raises(DeviceError, match=r"was killed.*goes on from there"):
        run_session(session, stages=STAGES, pool=pool)
    assert time.monotonic() < begin + 20


def _kill_interchange(run: int) -> None:
    found = [c for c in psutil.Process(run).children() if "interchange" in " ".join(c.cmdline())]
    assert len(found) == 1
    found[0].kill()


def _workers(project: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if "engine.manager" in command and f"--logdir={project}/" in command:
                found += [process, *process.children()]
    return found


def test_a_lock_is_free_when_its_holder_dies() -> None:
    context = multiprocessing.get_context("spawn")
    lock = FileLock()
    with lock, lock:  # as often as one likes
        assert not _held_elsewhere(context, lock)
    assert _held_elsewhere(context, lock)


def _held_elsewhere(context: Any, lock: FileLock) -> bool:
    """Return whether another process can take a lock."""
    process = context.Process(target=_take, args=(lock,))
    process.start()
    process.join()
    return bool(process.exitcode == 0)


def _take(lock: FileLock) -> None:
    sys.exit(0 if lock.acquire(timeout=0.2) else 1)


def _busy() -> int:
    time.sleep(0.3)
    return os.getpid()


def test_full_disk_ends_the_run(pool: WorkerPool, tmp_path: Path) -> None:
    session = make(tmp_path, a="full", b="slow")
    with pytest.raises(DiskFullError, match="disk is full"):
        run_session(session, stages=STAGES, pool=pool)
    assert states(session)["a"] != "done"


def test_workers_follow_a_directory(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icefloe.engine.disk_pause._RETRY_FULL", 0.5)
    raw = tmp_path / "raw"
    raw.mkdir()
    choices = {"pick": {"method": "blob", "diameter": [100.0]}}
    project, settings = open_or_create(tmp_path / "session", choices, may_create=True)
    session = Session(project, settings)

    words = {"a": "slow", "b": "poison", "c": "slow", "d": "slow", "e": "full once"}
    done: list[str] = []

    class Display(LiveDisplay):
        def finished(self, name: str, failure: Failure | None, seconds: float) -> None:
            super().finished(name, failure, seconds)
            done.append(name)

    script = Script(monkeypatch)
    for name, word in words.items():  # the first one when it has looked
        script.when(
            lambda: bool(script.poller and script.poller.polls) and not script.seen(),
            partial(movie, raw, name, word),
        )
    script.quiet_when(lambda: sorted(done) == sorted(words), 61)
    options = LiveOptions((str(raw / "*.mrc"),), poll_seconds=0.05, quiet_minutes=1.0)
    summary = run_live(
        session,
        options,
        observer=Display(session),
        stages=STAGES,
        pool=pool,
        stop=script.stop,
        timer=script.timer,
    )
    assert script.over()
    assert (summary.total, summary.ran, sorted(summary.failures)) == (5, 5, ["b"])
    assert states(session) == {**dict.fromkeys("acde", "done"), "b": "failed"}
    assert "ALARM paused: The disk is full" in (project.root / "alarms.log").read_text()
    entries = {entry.name: entry for entry in read_entries(project)}
    for name in "acd":
        entry = entries[name]
        assert entry.fresh
        assert entry.picked is not None
        assert entry.complete <= entry.taken <= entry.picked <= entry.done + 1


def test_stopped_workers_end_within_seconds(pool: WorkerPool, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    movie(raw, "a", "hangs")
    choices = {"pick": {"method": "blob", "diameter": [100.0]}}
    project, settings = open_or_create(tmp_path / "session", choices, may_create=True)
    options = LiveOptions((str(raw / "*.mrc"),), poll_seconds=0.05)
    begun = project.exposures / "a" / ".hang.txt"
    stopped: list[float] = []

    def stop() -> bool:
        if not stopped and begun.exists():
            stopped.append(time.monotonic())
        return bool(stopped)

    run_live(
        Session(project, settings),
        options,
        observer=LiveDisplay(Session(project, settings)),
        stages=STAGES,
        pool=pool,
        stop=stop,
    )
    # It would have hung for 4 s in each of two workers.
    assert time.monotonic() < stopped[0] + 4


def test_killed_run_leaves_no_worker_behind(tmp_path: Path) -> None:
    make(tmp_path, **{f"s{i}": "slow" for i in range(12)})
    code = (
        "from pathlib import Path\n"
        "from icefloe.engine import Session, run_session\n"
        "from icefloe.engine.pool import WorkerPool\n"
        "from icefloe.engine.pool_config import local_config\n"
        "from pool_stages import STAGES, movie\n"
        f"root = Path({str(tmp_path)!r})\n"
        "if __name__ == '__main__':\n"
        "    with WorkerPool(local_config(2, root / 'parsl'), device='cpu',\n"
        f"                    stages={STAGES_PATH!r}) as pool:\n"
        "        run_session(Session.open(root / 'session'), stages=STAGES, pool=pool)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "session" / "micrographs").glob("*.txt")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    helpers = psutil.Process(child.pid).children(recursive=True)
    for process in psutil.process_iter():  # the manager of workers is on its own
        with suppress(psutil.Error):
            if str(tmp_path / "parsl") in " ".join(process.cmdline()):
                helpers += [process, *process.children(recursive=True)]
    assert len(helpers) >= 4  # who gives out, the manager, two workers
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not psutil.wait_procs(helpers, timeout=30)[1]
    session = Session.open(tmp_path / "session")
    summary = run_session(session, stages=STAGES)
    assert not summary.failures
    assert set(states(session).values()) == {"done"}


def test_configurations(tmp_path: Path) -> None:
    assert worker_count(local_config(3, tmp_path)) == 3
    assert worker_count(local_config(1, tmp_path, accelerators=["0", "1"])) == 2
    with pytest.raises(SettingsError, match="--workers is 0"):
        local_config(0, tmp_path)
    file = tmp_path / "c.py"
    file.write_text("x = 1\n")
    with pytest.raises(InputError, match="defines no 'config'"):
        read_config(file)
    file.write_text("x = \n")
    with pytest.raises(InputError, match="cannot be run"):
        read_config(file)


@pytest.mark.parametrize("name", ["slurm", "pbs"])
def test_templates_are_configurations(name: str, tmp_path: Path) -> None:
    template = Path(icefloe.__file__).parent / "engine" / "parsl_templates" / f"{name}.py.txt"
    file = tmp_path / f"{name}.py"
    file.write_text(template.read_text())
    config: Any = read_config(file)
    assert worker_count(config) == 16
    assert config.executors[0].available_accelerators == ["0", "1", "2", "3"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    """As Ctrl-C in a terminal, `timeout` and job systems send it."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for index in range(6):
        (raw / f"m{index}.txt").write_text(f"movie {index}")
    command = [sys.executable, str(HERE / "slow_session.py"), "0.5", "run", str(raw / "*.txt")]
    command += ["--diameter", "100", "--workers", "2", "--project", str(tmp_path / "s")]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "s" / "exposures").glob("*/ctf.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(run.pid, number)
        said = run.communicate(timeout=20)[1]
    finally:
        run.kill()
    assert run.returncode == 128 + number
    assert "the same command goes on from there" in said
