"""A run plans from the index, and from the sidecars where it is old, damaged or gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from icefloe.engine import plan
from icefloe.project import read_sidecar, write_sidecar
from icefloe.project.index import index_path, open_index
from test_engine import ALL, _Bench


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    made = _Bench(tmp_path)
    made.run()
    made.run()  # now there is an index of what was done
    assert index_path(made.project).is_file()
    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sidecars that planning reads."""
    found: list[str] = []

    def counted(path: Path) -> object:
        found.append(f"{path.parent.name}/{path.stem}")
        return read_sidecar(path)

    monkeypatch.setattr(plan, "read_sidecar", counted)
    return found


def _edited(bench: _Bench, name: str, stage: str) -> None:
    path = bench.project.sidecar(name, stage)
    sidecar = read_sidecar(path)
    assert sidecar is not None
    write_sidecar(path, replace(sidecar, fingerprint="another"))


def _other_settings(bench: _Bench) -> None:
    bench.values["pick"] = 5


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda b: None, []),
        (lambda b: (b.project.micrographs / "m2_ctf.txt").unlink(), ["m2 ctf"]),
        (lambda b: b.project.sidecar("m2", "pick").unlink(), ["m2 pick"]),
        (lambda b: b.project.sidecar("m2", "pick").write_text("{"), ["m2 pick"]),
        (lambda b: _edited(b, "m10", "extract"), ["m10 extract"]),
        (lambda b: (b.raw / "m1.txt").write_text("movie other"), [f"m1 {stage}" for stage in ALL]),
        (_other_settings, [f"{n} {s}" for n in ("m1", "m2", "m10") for s in ("pick", "extract")]),
    ],
    ids=[
        "nothing",
        "a file",
        "a sidecar",
        "half a sidecar",
        "a fingerprint",
        "a movie",
        "settings",
    ],
)
@pytest.mark.parametrize("index", ["up to date", "old", "gone", "damaged"])
def test_what_changed_is_done(
    bench: _Bench, index: str, change: Callable[[_Bench], object], expected: list[str]
) -> None:
    if index == "old":  # it knows of the state before everything was done once more
        bench.values["ctf"] = 3
        bench.run()
    change(bench)
    if index == "up to date":
        with open_index(bench.project):
            pass
    elif index == "gone":
        index_path(bench.project).unlink()
    elif index == "damaged":
        index_path(bench.project).write_bytes(b"SQLite format 3\0" + b"?" * 4000)
    bench.run()
    assert [f"{name} {stage}" for name, stage in bench.log] == expected
    assert bench.run().ran == 0


def test_sidecars_are_read_once(bench: _Bench, read: list[str]) -> None:
    bench.run()
    assert read == []
    # Those of an exposure that is done again are read by the run itself.
    bench.project.sidecar("m2", "extract").unlink()
    bench.run()
    assert {entry.split("/")[0] for entry in read} == {"m2"}


def test_damage_within_the_index_is_met_by_reading(
    bench: _Bench, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_index(bench.project) as index, index.connection:
        index.connection.execute("UPDATE stages SET upstream = '{' WHERE exposure = 'm2'")
    bench.project.sidecar("m10", "extract").unlink()
    bench.run()
    assert bench.log == [("m10", "extract")]
    assert {"m2/ctf", "m10/ctf"} <= set(read)
    assert "m1/ctf" not in read


def test_failures_are_known_without_reading(bench: _Bench, read: list[str]) -> None:
    def fails(work: object) -> None:
        raise ValueError("nothing fits")

    bench.values["ctf"] = 1
    bench.stage("ctf").fail = fails
    assert len(bench.run().failures) == 3
    bench.run()
    read.clear()
    summary = bench.run()
    assert {f.message for f in summary.known_failures.values()} == {"ValueError: nothing fits"}
    assert read == []
    bench.stage("ctf").fail = lambda work: None
    assert bench.run(retry_failed=True).ran == 3
