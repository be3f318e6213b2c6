"""`icefloe run --watch` makes the session that `icefloe run` makes (see `benchmarks/live.py`)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from session_tools import CHOICES, FACTS, icefloe

pytest_plugins = ["session_fixtures"]


def _benchmark(name: str) -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_for_live", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_live_session_is_the_same_as_one_run_at_once(
    movies: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill = _benchmark("kill")
    project = tmp_path / "s"
    watch = ["--watch", "--until-quiet", "0.01", "--poll", "0.1", "--order", "oldest"]
    gain = ["--gain", movies / "gain.mrc"]
    pattern = f"{movies}/movie_*.tiff"
    assert icefloe("run", pattern, "--project", project, *FACTS, *gain, *CHOICES, *watch) == 0
    said = capsys.readouterr().err
    assert "not whole yet" in said
    assert "1 failed" in said
    compared, different = kill.compare(finished, project)
    assert compared > 20
    assert different == []
    # Without patterns it watches what it watched before; there is nothing to do.
    assert icefloe("run", "--project", project, *watch) == 0
    assert "0 exposures done" in capsys.readouterr().err


def test_a_first_watch_needs_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icefloe("init", tmp_path / "s") == 0
    assert icefloe("run", "--project", tmp_path / "s", "--watch") == 2
    assert "needs patterns" in capsys.readouterr().err


def test_killed_workers_and_a_killed_run_lose_nothing(tmp_path: Path) -> None:
    live = _benchmark("live")
    report = live.run(
        tmp_path,
        movies=4,
        every=0.3,
        size=384,
        frames=4,
        poll=0.2,
        quiet=0.03,
        workers=2,
        kill_workers=1,
        kill_coordinator=1,
        stop=False,
        export=False,
    )
    assert sorted(fault for fault, _ in report.faults) == [
        "kill -9 of a worker",
        "kill -9 of the run",
    ]
    assert report.lost == []
    assert report.wrong == []
    assert report.repeated == []
    assert report.different == []
    assert report.compared > 40
    assert len(report.latencies) == 4
