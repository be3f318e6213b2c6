"""The index is a cache: equal to a rebuilt one whatever happened, and gone without harm."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fake_session import make_session
from icefloe.cli.main import main
from icefloe.curation import add_decisions
from icefloe.curation.indexed import session_index
from icefloe.curation.rules import parse_rule
from icefloe.curation.store import load_figures, rules_path, write_rules
from icefloe.engine.overview import count_states
from icefloe.project import Project, load_records, read_sidecar, write_sidecar
from icefloe.project.filesystem import file_system, is_network
from icefloe.project.index import Index, index_path, open_index
from icefloe.project.index_rows import COLUMNS
from test_engine import _Bench


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_session(tmp_path / "s", 8, preview=32)
    made.settings_file.write_text("schema = 1\n")
    return made


def _dump(project: Project) -> dict[str, list[tuple[object, ...]]]:
    with session_index(project) as index:
        return index.dump()


def _rebuilt(project: Project) -> dict[str, list[tuple[object, ...]]]:
    _delete(project)
    return _dump(project)


def _delete(project: Project) -> None:
    for path in project.root.glob("index.sqlite*"):
        path.unlink()


def _change_number(project: Project) -> None:
    path = project.sidecar("movie_0002", "ctf")
    sidecar = read_sidecar(path)
    assert sidecar is not None
    write_sidecar(path, replace(sidecar, numbers={**sidecar.numbers, "defocus_u": 1.0}))


def _older_than_before(project: Project) -> None:
    _change_number(project)
    os.utime(project.sidecar("movie_0002", "ctf"), (1000, 1000))


def _fail(project: Project) -> None:
    path = project.sidecar("movie_0003", "motion")
    sidecar = read_sidecar(path)
    assert sidecar is not None
    error = {"type": "FitError", "message": "nothing"}
    write_sidecar(path, replace(sidecar, status="failed", error=error, numbers={}))


def _same_size_and_time(project: Project) -> None:
    path = project.sidecar("movie_0001", "pick")
    before = path.stat()
    text = path.read_text()
    path.write_text(text.replace('"status": "done"', '"status": "dome"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def _register_one_more(project: Project) -> None:
    sources = project.read_registry()
    project.write_registry({"a_first": "/data/a.tiff", **sources})


def _drop_one(project: Project) -> None:
    sources = project.read_registry()
    del sources["movie_0004"]
    project.write_registry(sources)


def _new_rule(project: Project) -> None:
    write_rules(rules_path(project), [parse_rule("ctf.defocus > 9000", "too close")])


CHANGES: list[Callable[[Project], object]] = [
    _change_number,
    _older_than_before,
    _fail,
    _same_size_and_time,
    _register_one_more,
    _drop_one,
    _new_rule,
    lambda p: p.sidecar("movie_0001", "ctf").unlink(),
    lambda p: p.sidecar("movie_0001", "ctf").write_text("{"),
    lambda p: shutil.rmtree(p.exposures / "movie_0005"),
    lambda p: add_decisions(p, "reject", ["movie_0001"], "ice"),
    lambda p: add_decisions(p, "undo", ["movie_0001"]),
]


class TestRebuilding:
    def test_brought_up_to_date_it_equals_a_rebuilt_one_row_for_row(self, project: Project) -> None:
        _new_rule(project)
        before = _dump(project)
        assert {t: bool(rows) for t, rows in before.items()} == {
            **dict.fromkeys(COLUMNS, True),
            "decisions": False,
            "meta": True,
        }
        for change in CHANGES:
            change(project)
            updated = _dump(project)
            assert updated != before, change
            before = _rebuilt(project)
            assert updated == before, change

    def test_only_what_changed_is_read(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from icefloe.project import index_tables as index

        read: list[str] = []
        rows = index.exposure_rows
        monkeypatch.setattr(index, "exposure_rows", lambda *a: (read.append(a[2]), rows(*a))[1])
        _dump(project)
        assert len(read) == 9
        read.clear()
        _dump(project)
        assert read == []
        _change_number(project)
        _dump(project)
        assert read == ["movie_0002"]

    def test_it_gives_the_records_that_the_sidecars_give(self, project: Project) -> None:
        with open_index(project) as index:
            assert index.records() == load_figures(project)
            off = ("pick", "extract")
            assert [(r.name, r.status, r.failure) for r in index.records(without=off)] == [
                (r.name, r.status, r.failure) for r in load_records(project, without=off)
            ]

    def test_a_file_that_vanishes_and_comes_back(self, tmp_path: Path) -> None:
        bench = _Bench(tmp_path)
        bench.run()
        path = bench.project.micrographs / "m1_pick.txt"
        session = bench.session()
        for there in (True, False, True):
            if not there:
                text = path.read_text()
                path.unlink()
            elif not path.exists():
                path.write_text(text)
            with open_index(bench.project) as index:
                assert index.records() == load_figures(bench.project)
                counts = count_states(session, bench.stages, index.stages())
                assert index.dump() == _copy_dump(bench.project)
            assert counts == count_states(session, bench.stages)
            assert counts["pick"]["stale"] == (0 if there else 1)

    def test_numbers_and_files_for_queries(self, tmp_path: Path) -> None:
        bench = _Bench(tmp_path)
        bench.run()
        with open_index(bench.project) as index:
            query = "SELECT name, json_extract(pick, '$.text') FROM numbers"
            assert [name for name, _ in index.connection.execute(query)] == ["m1", "m2", "m10"]
            query = "SELECT path, size, checksum FROM files WHERE exposure = 'm1' AND stage = 'ctf'"
            ((path, size, checksum),) = index.connection.execute(query).fetchall()
        assert path == "micrographs/m1_ctf.txt"
        assert size == (bench.project.root / path).stat().st_size
        assert checksum.startswith("crc32:")


def _copy_dump(project: Project) -> dict[str, list[tuple[object, ...]]]:
    """Dump what an index without a past holds."""
    index = Index(project, None)
    index.refresh()
    try:
        return index.dump()
    finally:
        index.close()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xaa" * (len(content) - 8192)
    path.write_bytes(content)


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def _other_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE stages RENAME TO phases")
    connection.close()


class TestDamage:
    @pytest.mark.parametrize("damage", [_garbage, _cut, _overwritten, _newer, _other_table])
    def test_it_is_thrown_away_with_a_notice(
        self, project: Project, damage: Callable[[Path], None]
    ) -> None:
        expected = _dump(project)
        damage(index_path(project))
        told: list[str] = []
        with session_index(project, told.append) as index:
            assert index.dump() == expected
        assert len(told) == 1
        assert "made again" in told[0]
        told.clear()
        with session_index(project, told.append) as index:
            assert index.dump() == expected
        assert told == []

    def test_damage_that_is_found_late(self, project: Project) -> None:
        with open_index(project) as index, index.connection:
            index.connection.execute("UPDATE stages SET numbers = '{' WHERE stage = 'ctf'")
        told: list[str] = []
        for _ in range(2):
            with open_index(project, told.append) as index:
                assert index.records() == load_figures(project)
        assert len(told) == 1
        assert "made again" in told[0]

    def test_where_it_cannot_be_written_it_is_made_in_memory(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = _rebuilt(project)
        _delete(project)
        (project.root / ".index.lock").unlink()
        (project.root / ".index.lock").mkdir()  # even root cannot open this for writing
        told: list[str] = []
        with session_index(project, told.append) as index:
            assert {t: r for t, r in index.dump().items() if t in ("exposures", "stages")} == {
                t: expected[t] for t in ("exposures", "stages")
            }
        assert "cannot be written" in told[0]
        assert not index_path(project).exists()

    def test_two_at_once(self, project: Project) -> None:
        with session_index(project) as one:
            _change_number(project)
            with session_index(project) as other:
                assert other.records() == load_figures(project)
            assert len(one.records()) == 9


class TestFileSystems:
    MOUNTS = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 0:1 / {root}/share rw shared:3 - nfs4 server:/x rw\n"
        "3 1 0:2 / {root}/my\\040disk rw - fuse.sshfs me@there: rw\n"
    )

    @pytest.mark.parametrize(
        ("path", "kind", "network"),
        [("share/s", "nfs4", True), ("my disk", "fuse.sshfs", True), ("shared", "ext4", False)],
    )
    def test_network_shares_are_known(
        self, tmp_path: Path, path: str, kind: str, network: bool
    ) -> None:
        mounts = tmp_path / "mountinfo"
        mounts.write_text(self.MOUNTS.format(root=tmp_path))
        (tmp_path / path).mkdir(parents=True)
        assert file_system(tmp_path / path, mounts) == kind
        assert is_network(tmp_path / path, mounts) is network

    def test_there_the_index_has_a_rollback_journal(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_index(project) as index:
            assert index.journal_mode == "wal"
        monkeypatch.setattr("icefloe.project.index_tables.is_network", lambda path: True)
        with open_index(project) as index:
            assert index.journal_mode == "delete"
            assert index.records() == load_figures(project)
        assert [p.name for p in project.root.glob("index.sqlite*")] == ["index.sqlite"]


def test_commands_say_the_same_with_and_without_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    _new_rule(project)
    outputs = []
    for _ in range(2):
        for words in (["status"], ["curate"], ["curate", "--numbers"]):
            main([words[0], str(project.root), *words[1:]])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert index_path(project).exists()
