"""Workers killed in the moments between taking a task and answering it."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

import icefloe
from icefloe.engine import Session, register, run_session
from icefloe.engine.handover import Desk, Tray
from icefloe.engine.pool import WorkerPool
from icefloe.engine.pool_config import local_config, read_config
from icefloe.engine.setup import open_or_create
from icefloe.project import load_record
from pool_stages import STAGES

HERE = Path(__file__).parent
STAGES_PATH = "pool_stages:STAGES"
# As a user writes it.
CONFIG = """
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            address="127.0.0.1",
            max_workers_per_node=2,
            cores_per_worker=0.001,
            heartbeat_period=2,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
    ],
    run_dir={run_dir!r},
    strategy_period=0.5,
    initialize_logging=False,
    usage_tracking=0,
)
"""
MOMENTS = ("asks", "takes", "is half through its answer", "answers")


@pytest.fixture(autouse=True, scope="module")
def _workers_see_this_package() -> Iterator[None]:
    source = Path(icefloe.__file__).parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{source}{os.pathsep}{HERE}")
        yield


@pytest.fixture(scope="module", params=["workers", "configuration"])
def pool(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerPool]:
    directory = tmp_path_factory.mktemp("parsl")
    if request.param == "workers":
        config = local_config(2, directory)
    else:
        file = directory / "config.py"
        file.write_text(CONFIG.format(run_dir=str(directory / "parsl")))
        config = read_config(file)
    with WorkerPool(config, device="cpu", stages=STAGES_PATH) as workers:
        yield workers
    deadline = time.monotonic() + 30
    while managers(directory):  # they end with their pool
        assert time.monotonic() < deadline
        time.sleep(0.1)


def managers(directory: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if "-m" in command and any(str(directory) in word for word in command):
                found.append(process)
    return found


def make(root: Path, names: str) -> Session:
    raw = root / "raw"
    raw.mkdir(parents=True)
    for name in names:
        (raw / f"{name}.mrc").write_text("good")
    project, settings = open_or_create(root / "session", {}, may_create=True)
    register(project, sorted(raw.glob("*.mrc")))
    return Session(project, settings)


def outcome(session: Session) -> dict[str, str]:
    """Return all that the stages wrote, and that each exposure is done."""
    files = sorted(session.project.micrographs.glob("*.txt"))
    sources = session.project.read_registry()
    states = {n: load_record(session.project, n, s).state for n, s in sources.items()}
    return {**{path.name: path.read_text() for path in files}, **states}


def run_in_time(session: Session, pool: WorkerPool) -> None:
    """Run a session; fail if it waits for a task that nobody has."""
    done: list[Any] = []
    run = threading.Thread(
        target=lambda: done.append(run_session(session, stages=STAGES, pool=pool)), daemon=True
    )
    run.start()
    run.join(60)
    assert [summary.failures for summary in done] == [{}]


def die(moment: str, mark: str) -> None:
    """Let this worker kill itself at a moment of its next task; called in a worker."""
    from icefloe.engine import handover

    get, put, send = handover.Tray.get, handover.Tray.put, handover._Line.send
    first = [True]  # its answer to this call

    def end() -> None:
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def dies_with_task(self: Any, *arguments: Any, **options: Any) -> Any:
        get(self, *arguments, **options)
        end()

    def dies_after_answer(self: Any, thing: Any) -> None:
        put(self, thing)
        if not first:
            end()
        first.clear()

    def dies_within(self: Any, what: str, number: int, content: Any = None) -> None:
        if moment == "asks" and what == "wants":
            send(self, what, number, content)
            end()
        elif moment == "is half through its answer" and what == "gives" and not first:
            message = pickle.dumps((what, number, content))
            size = len(message).to_bytes(4, "big")
            os.write(self._line.fileno(), size + message[: len(message) // 2])
            end()
        else:
            send(self, what, number, content)
            if what == "gives":
                first.clear()

    if moment == "takes":
        handover.Tray.get = dies_with_task  # type: ignore[method-assign]
    elif moment == "answers":
        handover.Tray.put = dies_after_answer  # type: ignore[method-assign]
    else:
        handover._Line.send = dies_within  # type: ignore[method-assign]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_task_is_never_lost(moment: str, pool: WorkerPool, tmp_path: Path) -> None:
    alone = make(tmp_path / "alone", "abcd")
    run_session(alone, stages=STAGES)
    mark = tmp_path / "killed"
    pool.submit(die, moment, str(mark)).result(60)
    session = make(tmp_path / "workers", "abcd")
    run_in_time(session, pool)
    assert mark.exists()
    assert outcome(session) == outcome(alone)


def test_a_launch_command_of_ones_own_stays(tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    file.write_text(CONFIG.format(run_dir="parsl"))
    (executor,) = read_config(file).executors
    assert executor.launch_cmd.startswith("icefloe cluster manager {debug} ")
    file.write_text(file.read_text().replace("heartbeat_period=2", "launch_cmd='my own {debug}'"))
    (executor,) = read_config(file).executors
    assert executor.launch_cmd == "my own {debug}"
    contained = "run image /opt/bin/process_worker_pool.py {debug} -a x"
    file.write_text(file.read_text().replace("my own {debug}", contained))
    (executor,) = read_config(file).executors
    assert executor.launch_cmd == "run image /opt/bin/icefloe cluster manager {debug} -a x"


def _take_some(tray: Tray, given: Tray, count: int) -> None:
    os.environ["PARSL_WORKER_RANK"] = "3"
    for _ in range(count):
        given.put(tray.get(timeout=10))
    tray.get()  # and is killed with it


def test_what_is_where() -> None:
    desk = Desk()
    tasks, answers, news = Tray(desk), Tray(desk), desk.Queue()
    table = desk.dict()
    with pytest.raises(queue.Empty):
        answers.get(timeout=0.01)
    for number in range(5):
        tasks.put({"task_id": number, "buffer": b"0" * 10**number})
    process = get_context("spawn").Process(target=_take_some, args=(tasks, answers, 3))
    process.start()
    assert [answers.get(timeout=30)["task_id"] for _ in range(3)] == [0, 1, 2]
    deadline = time.monotonic() + 30
    while tasks.qsize() > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert table.pop(3)["task_id"] == 3
    with pytest.raises(KeyError):
        table.pop(3)
    assert tasks.get(block=False)["task_id"] == 4
    news.put("told")
    assert (news.get(), news.qsize()) == ("told", 0)
