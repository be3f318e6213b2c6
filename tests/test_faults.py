"""Whatever happens to a run, nothing is lost and nothing that was finished is done again."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from icefloe.engine import Work, register
from icefloe.errors import DiskFullError, OutputError, TruncatedFileError
from icefloe.project import Project, project_lock, read_sidecar
from icefloe.project.runs import read_runs, read_settings_of
from icefloe.project.verify import verify_project
from test_engine import ALL, _Bench

SLOW = Path(__file__).with_name("slow_session.py")
TWO = [(name, stage) for name in ("m1", "m2") for stage in ALL]


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    return _Bench(tmp_path)


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, str]:
    directory = tmp_path / "undisturbed"
    directory.mkdir()
    other = _Bench(directory)
    other.run()
    return other.files()


class _Writes:
    """Counts the files that are renamed into place, and fails at one of them."""

    def __init__(
        self, patch: pytest.MonkeyPatch, at: int, error: BaseException, *, after: bool = False
    ) -> None:
        self.count = 0
        replace = Path.replace

        def disturbed(path: Path, target: Path) -> Path:
            self.count += 1
            if self.count == at and not after:
                raise error
            found = replace(path, target)
            if self.count == at:
                raise error
            return found

        patch.setattr(Path, "replace", disturbed)


def _two(root: Path) -> _Bench:
    root.mkdir()
    bench = _Bench(root)
    sources = bench.project.read_registry()
    bench.project.write_registry({name: sources[name] for name in ("m1", "m2")})
    return bench


class TestEveryWrite:
    """A fault at each write of a run in turn: settings, 8 files, 10 sidecars."""

    @pytest.mark.parametrize(
        ("error", "after", "raised"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), False, DiskFullError),
            (OSError(errno.EROFS, "Read-only file system"), False, OutputError),
            (KeyboardInterrupt(), False, KeyboardInterrupt),
            (KeyboardInterrupt(), True, KeyboardInterrupt),
        ],
        ids=["full", "read-only", "stopped before", "stopped after"],
    )
    def test_the_next_run_ends_as_an_undisturbed_one(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        after: bool,
        raised: type[BaseException],
    ) -> None:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is cut here
        undisturbed = _two(tmp_path / "undisturbed")
        with pytest.MonkeyPatch.context() as patch:
            total = _Writes(patch, 0, error)
            undisturbed.run()
        assert total.count == 19
        for at in range(1, total.count + 1):
            bench = _two(tmp_path / str(at))
            with pytest.MonkeyPatch.context() as patch:
                _Writes(patch, at, error, after=after)
                with pytest.raises(raised):
                    bench.run()
            begun = list(bench.log)
            assert not list(bench.project.root.rglob(".partial-*"))
            assert all(v.kind == "orphan" for v in verify_project(bench.project).findings)
            bench.run()
            repeated = [step for step in bench.log if step in begun]
            # At most the one that was being written; if its sidecar was there, not even that.
            assert repeated in ([], begun[-1:])
            assert [*begun[: len(begun) - len(repeated)], *bench.log] == TWO
            assert bench.files() == undisturbed.files()
            assert verify_project(bench.project).findings == []

    def test_a_journal_that_cannot_be_written_ends_the_run_before_it_works(
        self, bench: _Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (bench.project.root / "runs.jsonl").mkdir()
        with pytest.raises(OutputError, match=r"runs\.jsonl cannot be written"):
            bench.run()
        (bench.project.root / "runs.jsonl").rmdir()
        bench.run()
        assert {name for name, _ in bench.log} == {"m1", "m2", "m10"}

    def test_a_line_that_was_cut_short_spoils_no_other(self, bench: _Bench) -> None:
        bench.run()
        path = bench.project.root / "runs.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
        bench.values["ctf"] = 1
        bench.run()
        runs, broken = read_runs(bench.project)
        assert [run.outcome for run in runs.values()] == ["", "finished"]
        assert broken == 1
        assert verify_project(bench.project).wrong == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here (needs root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_a_disk_that_becomes_read_only(disk: Path) -> None:
    bench = _Bench(disk)
    bench.project.settings_file.write_text("schema = 1\n")
    bench.stage("ctf").fail = _stop_at_m2
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    _remount(disk, "ro")
    with pytest.raises(OutputError, match="cannot be written"):
        bench.run()
    assert bench.log == []
    # Looking at it works nevertheless.
    status = [sys.executable, "-m", "icefloe", "status", str(bench.project.root)]
    done = subprocess.run(status, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "index cannot be written" in done.stderr
    assert verify_project(bench.project).wrong == []
    _remount(disk, "rw")
    bench.stage("ctf").fail = lambda work: None
    bench.run()
    assert bench.ran("m1") == []
    assert bench.ran("m2") == ["ctf", "pick", "extract"]
    assert verify_project(bench.project).findings == []


def _stop_at_m2(work: Work) -> None:
    if work.name == "m2":
        raise KeyboardInterrupt


class TestClocks:
    def test_files_from_the_future_and_the_past_are_not_done_again(self, bench: _Bench) -> None:
        bench.run()
        for time_s in (4e9, 1e6):
            for path in bench.project.root.rglob("*"):
                os.utime(path, (time_s, time_s))
            assert bench.run().ran == 0

    def test_runs_are_told_apart_when_the_clock_jumps_back(
        self, bench: _Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from datetime import UTC, datetime, timedelta

        from icefloe.project import runs

        now = datetime(2026, 11, 24, tzinfo=UTC)

        class Backwards(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                nonlocal now
                now -= timedelta(hours=1)
                return now

        monkeypatch.setattr(runs, "datetime", Backwards)
        monkeypatch.setattr(time, "time", lambda: 0.0)
        made = []
        for value in range(3):
            bench.values["ctf"] = value
            bench.run()
            sidecar = read_sidecar(bench.project.sidecar("m1", "ctf"))
            assert sidecar is not None
            made.append(sidecar.run)
        found, _ = read_runs(bench.project)
        assert list(found) == made  # in the order in which they ran
        assert found[made[0]].time > found[made[2]].time

    def test_a_clock_that_stands_still(
        self, bench: _Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from icefloe.project import runs

        class Still(runs.datetime):  # type: ignore[name-defined, misc]
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return runs.datetime.fromtimestamp(0, tz)

        monkeypatch.setattr(runs, "datetime", Still)
        for value in range(3):
            bench.values["ctf"] = value
            bench.run()
        assert len(read_runs(bench.project)[0]) == 3


class TestMovies:
    @pytest.mark.parametrize(
        ("text", "time_s"),
        [("movie another", None), ("movie XX", None), ("movie XX", 1e6)],
        ids=["longer", "same size, now", "same size, older than the session"],
    )
    def test_another_movie_of_the_same_name_is_done(
        self, bench: _Bench, text: str, time_s: float | None
    ) -> None:
        bench.run()
        path = bench.raw / "m2.txt"
        path.unlink()
        path.write_text(text)
        if time_s is not None:
            os.utime(path, (time_s, time_s))
        bench.run()
        assert bench.log == [("m2", stage) for stage in ALL]
        assert text in bench.files()["m2_extract.txt"]

    def test_a_truncated_movie_fails_and_is_done_when_it_is_whole(self, bench: _Bench) -> None:
        (bench.raw / "m2.txt").write_text("movie")
        bench.stage("import").fail = _needs_two_words
        assert list(bench.run().failures) == ["m2"]
        assert bench.run().ran == 0  # not tried again as it is
        (bench.raw / "m2.txt").write_text("movie m2")
        summary = bench.run()  # without --retry-failed
        assert (summary.ran, summary.failures, summary.known_failures) == (1, {}, {})
        assert bench.log == [("m2", stage) for stage in ALL]

    @pytest.mark.parametrize("failing", [True, False], ids=["it failed", "it seemed whole"])
    def test_one_that_is_completed_while_it_is_read_is_read_again(
        self, bench: _Bench, undisturbed: dict[str, str], failing: bool
    ) -> None:
        # It is read ahead while it is still being copied; when its turn comes it is whole.
        path = bench.raw / "m2.txt"
        path.write_text("movie")
        first = bench.stage("import")
        prefetch = first.prefetch

        def copied(work: Work) -> None:
            prefetch(work)
            if work.name == "m2":
                path.write_text("movie m2")

        first.prefetch = copied  # type: ignore[method-assign]
        if failing:
            first.fail = _needs_two_words
        bench.run()
        first.prefetch = prefetch  # type: ignore[method-assign]
        bench.run()
        assert bench.log == [("m2", stage) for stage in ALL]
        assert bench.files() == undisturbed

    def test_one_whose_disk_was_away_is_done_when_it_is_back(self, bench: _Bench) -> None:
        away = bench.raw.with_name("away")
        (bench.raw / "m2.txt").rename(away)
        assert list(bench.run().failures) == ["m2"]
        away.rename(bench.raw / "m2.txt")
        bench.run()
        assert bench.log == [("m2", stage) for stage in ALL]


def _needs_two_words(work: Work) -> None:
    if len(work.once("text", work.source.read_text).split()) < 2:
        raise TruncatedFileError(f"{work.source} ends early")


def test_two_who_add_exposures_at_once_lose_none(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    project = Project.create(tmp_path / "s")
    groups = [[tmp_path / f"g{i}_{j}.tiff" for j in range(5)] for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda group: register(project, group), groups))
    assert len(project.read_registry()) == 40


def test_the_list_of_exposures_is_written_only_when_it_changes(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "s")
    movies = [tmp_path / "a.tiff", tmp_path / "b.tiff"]
    register(project, movies)
    before = project.registry_file.stat()
    assert register(project, movies) == ["a", "b"]
    after = project.registry_file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    project.registry_file.write_text("damaged")
    register(project, movies)
    assert list(project.read_registry()) == ["a", "b"]
    register(project, [tmp_path / "c.tiff"])
    assert list(project.read_registry()) == ["a", "b", "c"]


class _Slow:
    """`icefloe run` in a process of its own, with stages that take their time."""

    def __init__(self, root: Path, movies: int = 3) -> None:
        self.root, self.raw = root, root / "raw"
        self.raw.mkdir()
        for i in range(1, movies + 1):
            (self.raw / f"m{i}.txt").write_text(f"movie m{i}")
        self.project = Project(root / "s")

    def start(self, seconds: float, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, str(SLOW), str(seconds), "run", f"{self.raw}/*.txt"]
        command += ["--project", str(self.project.root), "--diameter", "100"]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
        )

    def wait_for(self, sidecars: int) -> None:
        limit = time.monotonic() + 60
        while len(self.finished()) < sidecars:
            assert time.monotonic() < limit
            time.sleep(0.01)

    def finished(self) -> dict[str, int]:
        found = {}
        for path in sorted(self.project.exposures.glob("*/[a-z]*.json")):
            try:
                found[f"{path.parent.name}/{path.name}"] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
        return found

    def files(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(self.project.micrographs.iterdir())}

    def expect_whole(self, movies: int = 3) -> None:
        assert len(self.finished()) == 6 * movies
        files = self.files()
        assert len(files) == 12 * movies
        for name, content in files.items():
            assert content == files[name.replace("_one", "_two")]
            assert f"movie {name.partition('_')[0]}".encode() in content
        assert verify_project(self.project).findings == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_cleanly_and_the_next_run_goes_on(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    slow = _Slow(tmp_path)
    process = slow.start(0.15)
    slow.wait_for(4)
    begin = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - begin < 5
    assert process.returncode == status
    assert "Stopped. What was finished is kept" in said
    assert "Traceback" not in said
    before = slow.finished()
    assert 4 <= len(before) < 18
    assert not list(slow.project.root.rglob(".partial-*"))
    (run,) = read_runs(slow.project)[0].values()
    assert run.outcome == f"stopped by {number.name}"
    assert slow.start(0.0).wait(60) == 0
    assert slow.finished().items() >= before.items()
    slow.expect_whole()


def test_a_second_run_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    slow = _Slow(tmp_path)
    first = slow.start(0.15)
    slow.wait_for(1)
    # However long the second takes to begin, the first is not over.
    first.send_signal(signal.SIGSTOP)
    second = slow.start(0.0)
    _, said = second.communicate(timeout=60)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1
    assert f"process {first.pid}" in said
    assert first.wait(60) == 0
    slow.expect_whole()
    assert len(read_runs(slow.project)[0]) == 1


def test_killed_at_random_moments(tmp_path: Path) -> None:
    # Three times here; `benchmarks/kill.py --light` does it as often as one likes.
    rng = random.Random(5)
    slow = _Slow(tmp_path, movies=2)
    repeated = 0
    for target in (2, 5, 9):
        before = slow.finished()
        process = slow.start(0.1)
        slow.wait_for(target)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        after = slow.finished()
        repeated += sum(after.get(path) != stamp for path, stamp in before.items())
    before = slow.finished()
    assert slow.start(0.0).wait(60) == 0
    assert repeated == 0
    assert slow.finished().items() >= before.items()
    slow.expect_whole(2)
    runs, broken = read_runs(slow.project)
    assert broken == 0
    assert {run.outcome for run in runs.values()} <= {"", "finished"}


class TestProvenance:
    def test_every_result_names_its_run_and_every_run_its_settings(self, bench: _Bench) -> None:
        bench.run()
        bench.values["pick"] = 2
        bench.run()
        runs, _ = read_runs(bench.project)
        assert [read_settings_of(bench.project, r.settings) for r in runs.values()] == [
            {"values": {}},
            {"values": {"pick": 2}},
        ]
        one, two = runs
        for name in ("m1", "m2", "m10"):
            made = {}
            for stage in ALL:
                sidecar = read_sidecar(bench.project.sidecar(name, stage))
                assert sidecar is not None
                made[stage] = sidecar.run
            assert made == {**dict.fromkeys(ALL, one), "pick": two, "extract": two}
        machine = runs[one].machine
        assert {"host", "system", "processor", "threads", "device", "python", "libraries"} <= set(
            machine
        )
        assert runs[one].stages == dict.fromkeys(ALL, 1)

    def test_a_run_with_nothing_to_do_leaves_no_line(self, bench: _Bench) -> None:
        bench.run()
        bench.run()
        assert len(read_runs(bench.project)[0]) == 1

    def test_a_run_names_the_gains_of_all_groups(self, tmp_path: Path) -> None:
        from icefloe.engine import Session, SessionSettings
        from icefloe.engine.executor import RunSummary
        from icefloe.engine.run_log import RunLog

        for name in ("monday", "tuesday"):
            (tmp_path / f"{name}.mrc").write_text(name)
        group = {"name": "t", "files": "day2/*", "gain": str(tmp_path / "tuesday.mrc")}
        settings = SessionSettings.model_validate(
            {"data": {"gain": str(tmp_path / "monday.mrc")}, "group": [group]}
        )
        session = Session(Project.create(tmp_path / "s"), settings)
        with RunLog(session, [], RunSummary()) as log:
            made = log.id
        inputs = read_runs(session.project)[0][made].inputs
        assert {role: entry["size"] for role, entry in inputs.items()} == {
            "gain": 6,
            "gain of group t": 7,
        }

    def test_kept_settings_can_be_used_again(self, tmp_path: Path) -> None:
        from icefloe.engine import SessionSettings
        from icefloe.engine.run_log import settings_content
        from icefloe.project import read_settings
        from icefloe.project.runs import save_settings, settings_path

        project = Project.create(tmp_path / "s")
        content = settings_content(SessionSettings())
        content["data"].update(pixel_size=0.83, gain="a gain.mrc")
        content["pick"]["diameter"] = [100.0, 120.0]
        name = save_settings(project, content)
        assert save_settings(project, content) == name
        read = read_settings(settings_path(project, name), SessionSettings)
        assert settings_content(read) == content

    def test_the_command(self, bench: _Bench, capsys: pytest.CaptureFixture[str]) -> None:
        from icefloe.cli.main import main

        bench.project.settings_file.write_text("schema = 1\n")
        bench.run()
        (run,) = read_runs(bench.project)[0].values()
        main(["provenance", str(bench.project.root)])
        text = capsys.readouterr().out
        for part in (run.id, "finished", "3, 0 failed", "15 stand", run.settings, "numpy"):
            assert part in text
        main(["provenance", str(bench.project.root), "m2"])
        text = capsys.readouterr().out
        for part in ("m2.txt (8 bytes", "micrographs/m2_ctf.txt", "crc32:", run.machine["host"]):
            assert part in text
        with pytest.raises(SystemExit):
            main(["provenance", str(bench.project.root), "m3"])
        assert "no exposure 'm3'" in capsys.readouterr().err


def test_marking_files_is_refused_while_a_run_works(bench: _Bench) -> None:
    from icefloe.cli.main import main

    bench.project.settings_file.write_text("schema = 1\n")
    bench.run()
    (bench.project.micrographs / "m1_ctf.txt").unlink()
    with project_lock(bench.project), pytest.raises(SystemExit) as stop:
        main(["verify", str(bench.project.root), "--redo"])
    assert stop.value.code == 1
