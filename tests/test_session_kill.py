"""A run that is killed and started again ends as an undisturbed one (`benchmarks/kill.py`)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def kill() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "kill.py"
    spec = importlib.util.spec_from_file_location("kill_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill_benchmark"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_killed_and_started_again_it_ends_the_same(kill: ModuleType, tmp_path: Path) -> None:
    report = kill.run(tmp_path, kills=2, movies=2, size=512, frames=5, seed=4)
    assert report.kills == 2
    assert report.compared > 20
    assert report.different == []
    assert report.repeated == []
    assert report.lost == []
    assert report.wrong == []


def test_the_comparison_sees_a_changed_byte_and_a_missing_file(
    kill: ModuleType, tmp_path: Path
) -> None:
    for name, seconds in (("a", 1), ("b", 2)):
        (tmp_path / name / "micrographs").mkdir(parents=True)
        (tmp_path / name / "micrographs" / "m.mrc").write_bytes(b"1234")
        (tmp_path / name / "exposures" / "m").mkdir(parents=True)
        sidecar = tmp_path / name / "exposures" / "m" / "ctf.json"
        sidecar.write_text(f'{{"seconds": {seconds}, "numbers": 1}}')
    assert kill.compare(tmp_path / "a", tmp_path / "b") == (2, [])
    (tmp_path / "b" / "micrographs" / "m.mrc").write_bytes(b"1235")
    (tmp_path / "a" / "micrographs" / "n.mrc").touch()
    assert kill.compare(tmp_path / "a", tmp_path / "b") == (
        3,
        ["micrographs/m.mrc", "micrographs/n.mrc"],
    )
