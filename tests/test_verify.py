"""What happens to a session's files afterwards is found, and made good by the next run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from icefloe.cli.main import main
from icefloe.formats.mrc import write_mrc
from icefloe.project import Project, project_lock, read_sidecar, write_sidecar
from icefloe.project.checksum import checksum, describe_written
from icefloe.project.redo import mark_stale, stages_to_redo
from icefloe.project.verify import Verification, verify_project
from test_engine import ALL, _Bench


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    made = _Bench(tmp_path)
    made.project.settings_file.write_text("schema = 1\n")
    made.run()
    return made


def _found(result: Verification) -> list[tuple[str, str, str]]:
    return [(f.exposure, f.stage, f.kind) for f in result.findings]


def _redo(bench: _Bench) -> None:
    stages, lost = stages_to_redo(bench.project, verify_project(bench.project).findings)
    assert lost == {}
    mark_stale(bench.project, stages)


def _flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


class TestFindings:
    def test_an_untouched_session_is_fine(self, bench: _Bench) -> None:
        result = verify_project(bench.project)
        assert result.findings == []
        assert (result.exposures, result.files, result.without_checksum) == (3, 12, 0)
        assert result.size == sum(len(text) for text in bench.files().values())

    @pytest.mark.parametrize("quick", [False, True])
    def test_a_deleted_file(self, bench: _Bench, quick: bool) -> None:
        (bench.project.micrographs / "m1_pick.txt").unlink()
        assert _found(verify_project(bench.project, quick=quick)) == [("m1", "pick", "missing")]

    @pytest.mark.parametrize("quick", [False, True])
    def test_a_file_cut_short(self, bench: _Bench, quick: bool) -> None:
        path = bench.project.micrographs / "m2_motion.txt"
        os.truncate(path, 5)
        result = verify_project(bench.project, quick=quick)
        assert _found(result) == [("m2", "motion", "size")]
        assert "cut short: 5 bytes" in result.findings[0].text

    @pytest.mark.parametrize("place", [0, 3, -1])
    def test_a_flipped_bit(self, bench: _Bench, place: int) -> None:
        _flip(bench.project.micrographs / "m2_ctf.txt", place)
        assert _found(verify_project(bench.project)) == [("m2", "ctf", "content")]
        assert _found(verify_project(bench.project, quick=True)) == []

    def test_a_file_replaced_by_another_of_its_size(self, bench: _Bench) -> None:
        path = bench.project.micrographs / "m1_ctf.txt"
        before = path.stat()
        path.write_text(path.read_text()[::-1])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert _found(verify_project(bench.project)) == [("m1", "ctf", "content")]

    def test_two_files_that_changed_places(self, bench: _Bench) -> None:
        one, other = (bench.project.micrographs / f"{n}_ctf.txt" for n in ("m1", "m2"))
        text = one.read_text()
        one.write_text(other.read_text())
        other.write_text(text)
        assert len(verify_project(bench.project).wrong) == 2

    def test_a_sidecar_that_cannot_be_read(self, bench: _Bench) -> None:
        bench.project.sidecar("m1", "pick").write_text("{")
        found = _found(verify_project(bench.project))
        assert found == [("m1", "pick", "sidecar"), ("", "", "orphan")]

    def test_a_number_that_changed_in_a_sidecar(self, bench: _Bench) -> None:
        path = bench.project.sidecar("m1", "pick")
        text = path.read_text()
        path.write_text(text.replace("movie m1", "movie m2"))
        assert read_sidecar(path) is not None
        assert _found(verify_project(bench.project)) == [("m1", "pick", "sidecar")]

    def test_the_sidecar_of_another_exposure(self, bench: _Bench) -> None:
        source = bench.project.sidecar("m2", "pick").read_bytes()
        bench.project.sidecar("m1", "pick").write_bytes(source)
        assert ("m1", "pick", "sidecar") in _found(verify_project(bench.project))

    def test_an_input_that_changed_and_one_that_is_gone(self, bench: _Bench) -> None:
        (bench.raw / "m1.txt").write_text("movie m1, longer")
        (bench.raw / "m2.txt").unlink()
        found = _found(verify_project(bench.project))
        assert found == [("m1", "import", "input changed"), ("m2", "import", "input missing")]
        assert _found(verify_project(bench.project, inputs=False)) == []

    def test_orphans_and_partial_files_are_noted_only(self, bench: _Bench) -> None:
        (bench.project.picks / "old_picks.star").touch()
        (bench.project.micrographs / ".partial-7-m1.mrc").touch()
        result = verify_project(bench.project)
        assert {f.kind for f in result.findings} == {"orphan", "partial"}
        assert result.wrong == []

    def test_settings_and_runs_that_are_lost(self, bench: _Bench) -> None:
        (settings,) = (bench.project.root / "settings").iterdir()
        settings.write_text("schema = 1\n")
        assert _found(verify_project(bench.project)) == [("", "", "provenance")]
        (bench.project.root / "runs.jsonl").unlink()
        assert "runs that made results" in verify_project(bench.project).findings[0].text

    def test_sidecars_of_before_are_checked_by_structure(self, bench: _Bench) -> None:
        project = bench.project
        path = project.sidecar("m1", "ctf")
        content = json.loads(path.read_text())
        image = project.micrographs / "m1.mrc"
        write_mrc(image, np.zeros((8, 8), np.float32), 1.0)
        content["files"]["micrograph"] = "micrographs/m1.mrc"
        for key in ("written", "run", "checksum"):
            content.pop(key)
        path.write_text(json.dumps(content))
        result = verify_project(project)
        assert (result.findings, result.without_checksum) == ([], 2)
        os.truncate(image, image.stat().st_size - 1)
        assert _found(verify_project(project)) == [("m1", "ctf", "content")]
        os.truncate(project.micrographs / "m1_ctf.txt", 0)
        assert len(verify_project(project).wrong) == 2

    def test_the_checksum_is_that_of_the_whole_file(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"123456789")
        assert checksum(path) == "crc32:cbf43926"  # the check value of CRC-32
        path.write_bytes(bytes(range(256)) * 40000)
        before = describe_written(path)
        for place in (0, 4_194_303, 4_194_304, -1):
            _flip(path, place, 7)
            assert describe_written(path) != before
            _flip(path, place, 7)
        assert describe_written(path) == before


class TestRedo:
    def test_what_is_damaged_is_made_again_and_nothing_else(self, bench: _Bench) -> None:
        before = bench.files()
        _flip(bench.project.micrographs / "m1_motion.txt", 2)
        os.truncate(bench.project.micrographs / "m2_extract.txt", 3)
        (bench.project.micrographs / "m10_ctf.txt").unlink()
        _redo(bench)
        assert bench.run().ran == 3
        assert bench.log == [("m1", "motion"), ("m2", "extract"), ("m10", "ctf")]
        assert bench.files() == before
        assert verify_project(bench.project).findings == []
        assert bench.run().ran == 0

    def test_what_another_run_made_from_the_damage_is_made_again(self, bench: _Bench) -> None:
        bench.values["pick"] = 5
        bench.run()  # pick and extract are now of a second run, which read the micrograph
        _flip(bench.project.micrographs / "m1_motion.txt", 2)
        _redo(bench)
        bench.run()
        assert bench.log == [("m1", s) for s in ("motion", "pick", "extract")]

    def test_what_cannot_be_made_again_is_kept(self, bench: _Bench) -> None:
        (bench.raw / "m1.txt").unlink()
        _flip(bench.project.micrographs / "m1_motion.txt", 2)
        _flip(bench.project.micrographs / "m1_pick.txt", 2)
        stages, lost = stages_to_redo(bench.project, verify_project(bench.project).findings)
        assert (stages, lost) == ({"m1": ["pick"]}, {"m1": ["motion"]})

    def test_a_damaged_sidecar_is_made_again(self, bench: _Bench) -> None:
        path = bench.project.sidecar("m1", "extract")
        path.write_text(path.read_text().replace("extract=None", "extract=Nine"))
        _redo(bench)
        bench.run()
        assert bench.log == [("m1", "extract")]

    def test_the_command(self, bench: _Bench, capsys: pytest.CaptureFixture[str]) -> None:
        root = str(bench.project.root)
        assert main(["verify", root]) == 0
        assert "Nothing is wrong" in capsys.readouterr().out
        _flip(bench.project.micrographs / "m1_motion.txt", 2)
        assert main(["verify", root, "--quick"]) == 0
        for options, said in (([], "--redo"), (["--redo"], "Marked: motion of 1 exposures")):
            with pytest.raises(SystemExit) as stop:
                main(["verify", root, *options])
            assert stop.value.code == 1
            assert said in capsys.readouterr().out
        bench.run()
        assert bench.log == [("m1", "motion")]
        assert main(["verify", root]) == 0

    def test_marking_waits_for_no_run(self, bench: _Bench) -> None:
        _flip(bench.project.micrographs / "m1_motion.txt", 2)
        with project_lock(bench.project), pytest.raises(SystemExit):
            main(["verify", str(bench.project.root), "--redo"])
        assert bench.run().ran == 0


class TestDuringARun:
    def test_a_file_that_a_run_replaces_meanwhile_is_not_called_wrong(
        self, bench: _Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from icefloe.project import verify

        path = bench.project.micrographs / "m1_ctf.txt"
        sidecar_path = bench.project.sidecar("m1", "ctf")
        first = verify.checksum

        def replaced(target: Path) -> str:
            if target == path and monkeypatch.setattr(verify, "checksum", first) is None:
                path.write_text(path.read_text()[::-1])
                found = first(target)
                sidecar = read_sidecar(sidecar_path)
                assert sidecar is not None
                written = {"text": describe_written(path)}
                write_sidecar(sidecar_path, _with(sidecar, written=written))
                return found
            return first(target)

        monkeypatch.setattr(verify, "checksum", replaced)
        assert verify_project(bench.project).findings == []


def _with(sidecar, **changes):
    from dataclasses import replace

    return replace(sidecar, **changes)


def test_every_stage_of_the_fake_session_has_a_checksum(bench: _Bench) -> None:
    for name in ("m1", "m2", "m10"):
        for stage in ALL[1:]:
            sidecar = read_sidecar(Project(bench.project.root).sidecar(name, stage))
            assert sidecar is not None
            assert set(sidecar.written) == set(sidecar.files)
