"""A reference that is made beside a run, which goes on; all exposures are picked in the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icefloe
from icefloe.cli.live_display import LiveDisplay
from icefloe.cli.progress import RunDisplay
from icefloe.engine import Session, register, run_session
from icefloe.engine.live import run_live
from icefloe.engine.live_options import LiveOptions
from icefloe.engine.live_pool import PooledLive
from icefloe.engine.pool import WorkerPool
from icefloe.engine.pool_config import local_config
from icefloe.engine.reference import Reference
from icefloe.engine.reference_files import reference_hash, write_reference
from icefloe.engine.reference_gate import ReferenceGate
from icefloe.engine.reference_making import Due, write_made
from icefloe.engine.reference_process import ReferenceProcess
from icefloe.engine.setup import open_or_create
from icefloe.engine.stages import STANDARD_STAGES
from icefloe.formats import write_mrc
from icefloe.project import Failure, Project, load_record
from icefloe.simulate import SimulationSettings, simulate_micrograph
from live_script import Script
from pool_stages import WITH_REFERENCE, movie

HERE = Path(__file__).parent
CHOICES = {"pick": {"method": "auto", "reference_exposures": 2}}


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    source = Path(icefloe.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{source}{os.pathsep}{HERE}")
    config = local_config(2, tmp_path / "parsl")
    with WorkerPool(config, device="cpu", stages="pool_stages:WITH_REFERENCE") as workers:
        yield workers


class Fake:
    """A reference that is made in a thread, when a condition is met."""

    def __init__(
        self,
        condition: Callable[[], bool],
        met: list[bool],
        session: Session,
        due: Due,
        *more: Any,
    ) -> None:
        tell: Callable[[str], None] = more[-1]
        self._work = session, due, tell
        self.due = due
        self._condition, self._met = condition, met
        self._thread = threading.Thread(target=self.make, daemon=True)

    def start(self) -> Fake:
        self._thread.start()
        return self

    def make(self) -> None:
        session, due, tell = self._work
        tell("making templates")
        self._met.append(self._condition())
        write_reference(
            session.project,
            Reference("blob", 100.0),
            origin="data",
            settings_hash=reference_hash(session),
            inputs=due.names,
        )

    def done(self) -> bool:
        return not self._thread.is_alive()

    def succeeded(self) -> bool:
        return True

    def end(self) -> None:
        """It ends by itself."""


@pytest.fixture
def made_when(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], list[bool]]:
    """Return what makes the reference come when a condition is met, and lists whether it was."""
    module = "icefloe.engine.reference_gate"
    monkeypatch.setattr(f"{module}.image_file", lambda record: Path(record.name))

    def when(condition: Callable[[], bool]) -> list[bool]:
        met: list[bool] = []
        fake = partial(Fake, condition, met)
        monkeypatch.setattr(f"{module}.ReferenceProcess", lambda *job: fake(*job).start())
        monkeypatch.setattr(f"{module}.write_made", lambda *job: fake(*job).make())
        return met

    return when


def picked(project: Project) -> list[str]:
    sources = project.read_registry()
    records = [load_record(project, n, s) for n, s in sources.items()]
    assert [r.state for r in records] == ["done"] * len(records)
    return [r.name for r in records if r.status.get("pick") == "done"]


def test_workers_go_on_while_the_reference_is_made(
    pool: WorkerPool,
    tmp_path: Path,
    made_when: Callable[[Callable[[], bool]], list[bool]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in "abcdef":
        movie(raw, name, "good")
    project, settings = open_or_create(tmp_path / "session", CHOICES, may_create=True)
    register(project, sorted(raw.glob("*.mrc")))
    session = Session(project, settings)
    others = threading.Event()

    class Display(RunDisplay):
        def finished(self, name: str, failure: Failure | None, seconds: float) -> None:
            super().finished(name, failure, seconds)
            if name in "cdef":
                others.set()

    # Were the run to wait for the reference, the reference would wait in vain for the others.
    met = made_when(partial(others.wait, 60))
    summary = run_session(session, stages=WITH_REFERENCE, observer=Display(session, 6), pool=pool)
    assert met == [True]
    assert (summary.ran, summary.failures) == (6, {})
    assert picked(project) == list("abcdef")
    assert "Picking: making templates" in capsys.readouterr().err
    # A run in this process makes the same of it.
    assert (project.reference / "reference.json").is_file()


@pytest.mark.parametrize("background", [True, False])
def test_a_live_run_picks_what_was_under_way_when_the_reference_came(
    pool: WorkerPool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made_when: Callable[[Callable[[], bool]], list[bool]],
    background: bool,
) -> None:
    # Where a live run waits for its reference, the other worker ends its exposure meanwhile.
    if not background:
        monkeypatch.setattr(PooledLive, "reference_threads", None)
    raw = tmp_path / "raw"
    raw.mkdir()
    project, settings = open_or_create(tmp_path / "session", CHOICES, may_create=True)
    session = Session(project, settings)
    done: list[str] = []
    looked = project.sidecar("c", "look")

    def both_ended() -> bool:
        for _ in range(600):
            if looked.is_file():
                return True
            threading.Event().wait(0.1)
        return False

    class Display(LiveDisplay):
        def finished(self, name: str, failure: Failure | None, seconds: float) -> None:
            super().finished(name, failure, seconds)
            done.append(name)

    script = Script(monkeypatch)
    for name, word in {"a": "good", "b": "good", "c": "slow", "d": "good"}.items():
        script.when(
            lambda: bool(script.poller and script.poller.polls) and not script.seen(),
            partial(movie, raw, name, word),
        )
    met = made_when(both_ended)
    everything = project.root / "exposures"
    script.quiet_when(lambda: len(list(everything.glob("*/extract.json"))) == 4, 61)
    options = LiveOptions((str(raw / "*.mrc"),), poll_seconds=0.05, quiet_minutes=1.0)
    summary = run_live(
        session,
        options,
        observer=Display(session),
        stages=WITH_REFERENCE,
        pool=pool,
        stop=script.stop,
        timer=script.timer,
    )
    assert script.over()
    assert met == [True]
    assert summary.failures == {}
    assert picked(project) == list("abcd")
    assert set(done) == set("abcd")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session with two micrographs of particles that are looked at, and not picked yet."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for index, name in enumerate("ab"):
        settings = SimulationSettings(
            shape=(512, 512), pixel_size=2.0, contrast=1.0, debris=0.1,
            defocus=14000.0 + 1500 * index, particle_diameter=120.0,
        )  # fmt: skip
        image = np.asarray(simulate_micrograph(settings, name).image, np.float32)
        write_mrc(raw / f"{name}.mrc", image, 2.0)
    changes = {"pick": {**CHOICES["pick"], "reference_classes": False}}
    project, settings = open_or_create(tmp_path / "session", changes, may_create=True)
    register(project, sorted(raw.glob("*.mrc")))
    opened = Session(project, settings)
    run_session(opened, stages=STANDARD_STAGES[:4], more_to_come=True)
    return opened


def made_by(process: ReferenceProcess) -> bool:
    deadline = time.monotonic() + 120
    while not process.done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process.succeeded()


def test_the_process_makes_what_this_one_would(session: Session) -> None:
    said: list[str] = []
    due = Due(("a", "b"), True)
    assert made_by(ReferenceProcess(session, due, 1, said.append))
    kept = {p.name: p.read_bytes() for p in session.project.reference.iterdir()}
    assert "reference.json" in kept
    while not said:  # it is told by a thread
        time.sleep(0.05)
    assert said[0] == "making templates from 2 micrographs"
    write_made(session, due, said.append)
    assert {p.name: p.read_bytes() for p in session.project.reference.iterdir()} == kept


def test_a_process_that_dies_or_is_ended_leaves_the_run_its_reference(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    gate = ReferenceGate(session, STANDARD_STAGES, process_threads=1, tell=said.append)
    assert gate.make(ended=True) is None
    assert gate.busy
    assert gate._making is not None
    process = gate._making
    gate.close()
    assert not gate.busy
    assert process.done()
    assert session.reference() is None
    # Killed by somebody else, as where memory is short: it is made here.
    assert gate.make(ended=True) is None
    assert gate._making is not None
    gate._making.end()
    stored = gate.make(ended=True)
    assert stored is not None
    assert stored.reference.method == "template"
    assert any("died" in what for what in said)
