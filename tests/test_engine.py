"""What runs, what does not, and what is recorded: the engine with stages made of text files."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from icefloe.engine import Outcome, Output, Session, Work, expand_inputs, register, run_session
from icefloe.engine.overview import count_states
from icefloe.errors import DiskFullError, FitError, InputError, OutputError, ProjectLockedError
from icefloe.formats.atomic import write_text
from icefloe.project import Project, load_records, project_lock, read_sidecar


@dataclass
class _Settings:
    """One value a stage stands in for its settings."""

    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Fake:
    """A stage whose result is a line of text: its input, its settings."""

    name: str
    needs: Callable[[str], tuple[str, ...] | None]
    log: list[tuple[str, str]]
    version: int = 1
    fail: Callable[[Work], None] = lambda work: None
    reads: threading.Event | None = None

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return self.needs(kind)

    def choices(self, session: Session) -> Mapping[str, Any]:
        settings: Any = session.settings
        return {"value": settings.values.get(self.name)}

    def prefetch(self, work: Work) -> None:
        if self.name == "import":
            work.numbers["import"] = {"kind": work.once("text", work.source.read_text).split()[0]}

    def run(self, work: Work) -> Outcome:
        self.log.append((work.name, self.name))
        self.fail(work)
        settings: Any = work.session.settings
        value = settings.values.get(self.name)
        if self.name == "import":
            text = work.once("text", work.source.read_text)
            return Outcome({"kind": text.split()[0], "text": text})
        before = [work.numbers[n]["text"] for n in self.needs(work.numbers["import"]["kind"]) or ()]
        text = f"{self.name}={value}({', '.join(before)})"
        path = f"micrographs/{work.name}_{self.name}.txt"
        output = Output("text", path, lambda target: write_text(target, text))
        return Outcome({"text": text}, (output,), ("a flag",))


class _Bench:
    """A session of three movies and its fake stages."""

    def __init__(self, root: Path) -> None:
        self.raw = root / "raw"
        self.raw.mkdir()
        for name in ("m1", "m2", "m10"):
            (self.raw / f"{name}.txt").write_text(f"movie {name}")
        self.project = Project.create(root / "session")
        register(self.project, sorted(self.raw.glob("*.txt")))
        self.log: list[tuple[str, str]] = []
        self.values: dict[str, Any] = {}
        self.stages = [
            _Fake("import", lambda kind: (), self.log),
            _Fake("motion", lambda kind: ("import",) if kind == "movie" else None, self.log),
            _Fake("ctf", self._image, self.log),
            _Fake("pick", self._image, self.log),
            _Fake("extract", lambda kind: ("pick",), self.log),
        ]

    @staticmethod
    def _image(kind: str) -> tuple[str, ...]:
        return ("motion",) if kind == "movie" else ("import",)

    def stage(self, name: str) -> _Fake:
        return next(s for s in self.stages if s.name == name)

    def session(self) -> Session:
        session = Session(self.project, _Settings(self.values))  # type: ignore[arg-type]
        session.check_files = lambda: None  # type: ignore[method-assign]
        session.view = lambda name, listed: session  # type: ignore[method-assign]
        return session

    def run(self, **options: Any) -> Any:
        self.log.clear()
        return run_session(self.session(), stages=self.stages, **options)

    def ran(self, name: str) -> list[str]:
        return [stage for exposure, stage in self.log if exposure == name]

    def files(self) -> dict[str, str]:
        return {p.name: p.read_text() for p in sorted(self.project.micrographs.iterdir())}


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    return _Bench(tmp_path)


ALL = ["import", "motion", "ctf", "pick", "extract"]


class TestWhatRuns:
    def test_everything_once_and_in_order(self, bench: _Bench) -> None:
        summary = bench.run()
        assert bench.log == [(name, stage) for name in ("m1", "m2", "m10") for stage in ALL]
        assert (summary.total, summary.ran, summary.failures) == (3, 3, {})
        (text,) = (v for k, v in bench.files().items() if k == "m1_extract.txt")
        assert text == "extract=None(pick=None(motion=None(movie m1)))"
        assert all(record.state == "done" for record in load_records(bench.project))

    def test_nothing_a_second_time(self, bench: _Bench) -> None:
        bench.run()
        assert bench.run().ran == 0
        assert bench.log == []

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ("extract", ["extract"]),
            ("pick", ["pick", "extract"]),
            ("ctf", ["ctf"]),
            ("motion", ["motion", "ctf", "pick", "extract"]),
            ("import", ALL),
        ],
    )
    def test_a_changed_setting_redoes_what_depends_on_it(
        self, bench: _Bench, changed: str, expected: list[str]
    ) -> None:
        bench.run()
        bench.values[changed] = 7
        counts = count_states(bench.session(), bench.stages)
        assert [s for s in ALL if counts.get(s, {}).get("stale") == 3] == expected
        bench.run()
        assert bench.ran("m2") == expected
        assert bench.run().ran == 0

    def test_going_back_to_old_settings_gives_the_old_files(self, bench: _Bench) -> None:
        bench.run()
        before = bench.files()
        bench.values["motion"] = 7
        bench.run()
        assert bench.files() != before
        bench.values["motion"] = None
        bench.run()
        assert bench.files() == before

    def test_a_new_version_of_a_stage_redoes_it(self, bench: _Bench) -> None:
        bench.run()
        bench.stage("pick").version = 2
        bench.run()
        assert bench.ran("m1") == ["pick", "extract"]

    def test_a_touched_input_redoes_that_exposure(self, bench: _Bench) -> None:
        bench.run()
        (bench.raw / "m2.txt").write_text("movie m2 again")
        bench.run()
        assert bench.ran("m2") == ALL
        assert bench.ran("m1") == []

    def test_a_deleted_result_is_made_again_and_nothing_else(self, bench: _Bench) -> None:
        bench.run()
        (bench.project.micrographs / "m1_motion.txt").unlink()
        bench.run()
        assert bench.log == [("m1", "motion")]

    def test_a_damaged_sidecar_is_made_again(self, bench: _Bench) -> None:
        bench.run()
        bench.project.sidecar("m10", "pick").write_text("{")
        bench.run()
        assert bench.log == [("m10", "pick")]

    def test_an_input_that_is_gone_matters_only_where_it_is_needed(self, bench: _Bench) -> None:
        bench.run()
        (bench.raw / "m1.txt").unlink()
        assert bench.run().ran == 0

    def test_a_micrograph_skips_motion(self, bench: _Bench) -> None:
        (bench.raw / "m1.txt").write_text("micrograph m1")
        bench.run()
        assert bench.ran("m1") == ["import", "ctf", "pick", "extract"]


class TestFailures:
    def test_one_is_recorded_with_its_reason_and_the_rest_goes_on(self, bench: _Bench) -> None:
        def fail(work: Work) -> None:
            if work.name == "m2":
                raise FitError("No Thon rings", hint="Look at it")

        bench.stage("motion").fail = fail
        summary = bench.run()
        assert bench.ran("m2") == ["import", "motion"]
        assert bench.ran("m10") == ALL
        assert summary.failures["m2"].message == "No Thon rings. Look at it."
        record = next(r for r in load_records(bench.project) if r.name == "m2")
        assert record.failure is not None
        assert (record.failure.stage, record.failure.type) == ("motion", "FitError")
        assert record.state == "failed"

    def test_a_failed_ctf_does_not_keep_from_picking(self, bench: _Bench) -> None:
        bench.stage("ctf").fail = _raise(FitError("No Thon rings"))
        bench.run()
        assert bench.ran("m1") == ALL

    def test_an_unexpected_error_is_recorded_with_its_traceback(self, bench: _Bench) -> None:
        bench.stage("pick").fail = _raise(ZeroDivisionError("oops"))
        bench.run()
        sidecar = read_sidecar(bench.project.sidecar("m1", "pick"))
        assert sidecar is not None
        assert sidecar.error is not None
        assert sidecar.error["message"] == "ZeroDivisionError: oops"
        assert "in run" in sidecar.error["traceback"]

    def test_too_little_memory_is_a_failure_of_that_exposure(self, bench: _Bench) -> None:
        bench.stage("pick").fail = _raise(MemoryError("9 GB"))
        summary = bench.run()
        assert "Not enough memory" in summary.failures["m1"].message
        assert summary.ran == 3

    def test_an_error_met_while_reading_ahead_belongs_to_its_exposure(self, bench: _Bench) -> None:
        (bench.raw / "m2.txt").unlink()
        summary = bench.run()
        assert list(summary.failures) == ["m2"]
        assert summary.failures["m2"].stage == "import"

    def test_failures_are_tried_again_only_when_asked_or_changed(self, bench: _Bench) -> None:
        bench.stage("pick").fail = _raise(FitError("nothing"))
        bench.run()
        again = bench.run()
        assert again.ran == 0
        assert set(again.known_failures) == {"m1", "m2", "m10"}
        bench.run(retry_failed=True)
        assert bench.ran("m1") == ["pick"]
        bench.stage("pick").fail = lambda work: None
        bench.values["pick"] = 3
        assert bench.run().failures == {}
        assert bench.ran("m1") == ["pick", "extract"]
        assert all(record.state == "done" for record in load_records(bench.project))


class TestStopping:
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_ends_the_run_and_loses_nothing(
        self, bench: _Bench, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        replace = Path.replace

        def full(self: Path, target: Path) -> Path:
            if target.name == "m2_ctf.txt":
                raise OSError(code, "No space left on device")
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(DiskFullError, match="The disk is full"):
            bench.run()
        monkeypatch.undo()
        assert not list(bench.project.root.rglob(".partial-*"))
        bench.run()
        assert bench.log == [
            *[("m2", stage) for stage in ("ctf", "pick", "extract")],
            *[("m10", stage) for stage in ALL],
        ]

    def test_a_place_that_cannot_be_written_ends_the_run(self, bench: _Bench) -> None:
        bench.project.micrographs.rmdir()
        bench.project.micrographs.touch()
        with pytest.raises(OutputError, match="cannot be written"):
            bench.run()

    @pytest.mark.parametrize("stage", ALL)
    def test_interrupted_in_any_stage_it_goes_on_from_there(
        self, bench: _Bench, tmp_path: Path, stage: str
    ) -> None:
        bench.stage(stage).fail = _raise(KeyboardInterrupt(), only="m2")
        with pytest.raises(KeyboardInterrupt):
            bench.run()
        bench.stage(stage).fail = lambda work: None
        bench.run()
        assert bench.ran("m1") == []
        assert bench.ran("m2") == ALL[ALL.index(stage) :]
        undisturbed = tmp_path / "undisturbed"
        undisturbed.mkdir()
        other = _Bench(undisturbed)
        other.run()
        assert bench.files() == other.files()

    @pytest.mark.parametrize("killed_at", ["m1_motion.txt", "motion.json"])
    def test_while_files_are_replaced_the_stage_does_not_count_as_done(
        self, bench: _Bench, monkeypatch: pytest.MonkeyPatch, killed_at: str
    ) -> None:
        # Settings change, the run is killed between two renames, and the settings change back:
        # the new files must not pass for the old ones.
        bench.run()
        before = bench.files()
        bench.values["motion"] = 7
        replace = Path.replace

        def kill(self: Path, target: Path) -> Path:
            if target.name == killed_at:
                raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            bench.run()
        monkeypatch.undo()
        bench.values["motion"] = None
        bench.run()
        assert bench.files() == before

    def test_what_a_killed_run_left_is_cleared_away(self, bench: _Bench) -> None:
        (bench.project.micrographs / ".partial-1-m1.mrc").touch()
        bench.run()
        assert not list(bench.project.root.rglob(".partial-*"))

    def test_two_runs_at_once_are_refused(self, bench: _Bench) -> None:
        with project_lock(bench.project), pytest.raises(ProjectLockedError, match=str(os.getpid())):
            bench.run()


def _raise(error: BaseException, only: str | None = None) -> Callable[[Work], None]:
    def fail(work: Work) -> None:
        if only in (None, work.name):
            raise error

    return fail


class TestReadingAhead:
    def test_one_exposure_ahead_and_no_more(self, bench: _Bench) -> None:
        prepared: list[str] = []
        seen: dict[str, list[str]] = {}
        first = bench.stage("import")
        prefetch = first.prefetch

        def note(work: Work) -> None:
            prefetch(work)
            prepared.append(work.name)

        first.prefetch = note  # type: ignore[method-assign]
        bench.stage("extract").fail = lambda work: seen.update({work.name: list(prepared)})
        bench.run()
        assert len(seen["m1"]) <= 2
        assert prepared == ["m1", "m2", "m10"]


class TestExposures:
    def test_names_come_from_files_and_are_unique(self, tmp_path: Path) -> None:
        paths = []
        for listed in ("a/m1.tiff", "b/m1.tiff", "b/m1.eer", "b/m2.mrc.gz"):
            path = tmp_path / listed
            path.parent.mkdir(exist_ok=True)
            path.touch()
            paths.append(path)
        project = Project.create(tmp_path / "s")
        assert register(project, paths) == ["m1", "b_m1", "m1_2", "m2"]
        # Known files keep their names, in whatever order they are given.
        assert register(project, paths[::-1]) == ["m2", "m1_2", "b_m1", "m1"]

    def test_patterns_and_files_in_natural_order(self, tmp_path: Path) -> None:
        for name in ("m10.mrc", "m9.mrc", "x.txt"):
            (tmp_path / name).touch()
        found = expand_inputs([str(tmp_path / "*.mrc"), tmp_path / "m9.mrc"])
        assert [p.name for p in found] == ["m9.mrc", "m10.mrc"]

    def test_what_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no file"):
            expand_inputs([tmp_path / "*.mrc"])
        with pytest.raises(InputError, match="is a directory"):
            expand_inputs([tmp_path])
