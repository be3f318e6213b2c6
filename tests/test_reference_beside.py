"""A reference that is made beside a run, which goes on; all exposures are picked in the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

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
from icefloe.engine.reference_making import Made
from icefloe.engine.setup import open_or_create
from icefloe.project import ExposureRecord, Failure, Project, load_record
from live_script import Script
from pool_stages import REFERRING, movie

HERE = Path(__file__).parent
CHOICES = {"pick": {"method": "auto", "reference_exposures": 2}}


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    source = Path(icefloe.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{source}{os.pathsep}{HERE}")
    config = local_config(2, tmp_path / "parsl")
    with WorkerPool(config, device="cpu", stages="pool_stages:REFERRING") as workers:
        yield workers


@pytest.fixture
def made_when(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], list[bool]]:
    """Return what makes the reference come when a condition is met, and lists whether it was."""
    module = "icefloe.engine.reference_gate"
    monkeypatch.setattr(f"{module}.image_file", lambda record: Path(record.name))

    def when(condition: Callable[[], bool]) -> list[bool]:
        met: list[bool] = []

        def made(
            session: Session, records: Sequence[ExposureRecord], tell: Callable[[str], None]
        ) -> Made:
            tell("making templates")
            met.append(condition())
            return Made(Reference("blob", 100.0), tuple(r.name for r in records))

        monkeypatch.setattr(f"{module}.made_from", made)
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
    summary = run_session(session, stages=REFERRING, observer=Display(session, 6), pool=pool)
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
    monkeypatch.setattr(PooledLive, "background", background)
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
        stages=REFERRING,
        pool=pool,
        stop=script.stop,
        timer=script.timer,
    )
    assert script.over()
    assert met == [True]
    assert summary.failures == {}
    assert picked(project) == list("abcd")
    assert set(done) == set("abcd")
