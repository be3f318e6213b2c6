"""The session on disk: settings file, sidecars, registry, lock."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tomlkit
from pydantic import BaseModel, ConfigDict, Field

from icefloe import ctf
from icefloe.errors import OutputError, ProjectError, ProjectLockedError, SettingsError
from icefloe.project import (
    FileIdentity,
    Project,
    Sidecar,
    load_records,
    parse_assignment,
    project_lock,
    read_settings,
    read_sidecar,
    write_settings,
    write_sidecar,
)
from icefloe.project.layout import natural_key
from icefloe.project.settings_check import build_settings


class _Optics(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    pixel_size: float | None = Field(None, gt=0, description="Pixel size, A.")
    voltage: float = Field(300.0, gt=0, description="Acceleration voltage, kV.")
    name: str = Field("x", description="A name.")


class _Pick(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    diameter: tuple[float, float] | None = Field(None, description="Diameters, A.")
    shape: Literal["disc", "ring"] = Field("disc", description="Shape of a particle.")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    optics: _Optics = Field(default_factory=_Optics, description="The microscope.")
    pick: _Pick = Field(default_factory=_Pick, description="Picking.")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "session")


class TestSettingsFile:
    def test_every_setting_stands_with_its_description_and_default(self, tmp_path: Path) -> None:
        path = tmp_path / "icefloe.toml"
        write_settings(path, _Settings())
        text = path.read_text()
        for about in ("Pixel size, A.", "Acceleration voltage, kV.", "Diameters, A."):
            assert f"# {about}" in text
        assert "# One of: disc, ring." in text
        assert tomlkit.parse(text).unwrap() == {
            "schema": 1,
            "optics": {"pixel_size": "", "voltage": 300.0, "name": "x"},
            "pick": {"diameter": "", "shape": "disc"},
        }

    @pytest.mark.parametrize(
        "settings",
        [
            _Settings(),
            _Settings(
                optics=_Optics(pixel_size=1.06, voltage=200, name=""),
                pick=_Pick(diameter=(110.0, 130.0), shape="ring"),
            ),
        ],
    )
    def test_reading_gives_what_was_written(self, tmp_path: Path, settings: _Settings) -> None:
        write_settings(tmp_path / "s.toml", settings)
        assert read_settings(tmp_path / "s.toml", _Settings) == settings

    def test_a_person_s_comments_and_order_survive_a_change(self, tmp_path: Path) -> None:
        path = tmp_path / "s.toml"
        path.write_text('[pick]\nshape = "ring" # hollow, see EM day 3\n[optics]\nvoltage = 200\n')
        changed = _Settings(optics=_Optics(voltage=100), pick=_Pick(shape="ring"))
        write_settings(path, changed)
        text = path.read_text()
        assert "# hollow, see EM day 3" in text
        assert text.index("[pick]") < text.index("[optics]")
        assert read_settings(path, _Settings) == changed

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("[optics]\nvoltag = 3", ["optics.voltag", "Did you mean 'optics.voltage'"]),
            ("[piick]\nshape = 1", ["piick", "Did you mean 'pick'"]),
            ("[optics]\nvoltage = -1", ["optics.voltage is -1", "greater than 0", "kV"]),
            ('[pick]\nshape = "cube"', ["pick.shape is 'cube'", "'disc' or 'ring'"]),
            ('[optics]\nvoltage = ""', ["optics.voltage is ''", "valid number"]),
            ("optics = 3", ["'optics' is 3", "[optics]"]),
            ("[optics", ["not TOML"]),
            ("schema = 9", ["schema 9", "schema 1"]),
        ],
    )
    def test_a_mistake_is_named_with_what_is_allowed(
        self, tmp_path: Path, text: str, parts: list[str]
    ) -> None:
        path = tmp_path / "s.toml"
        path.write_text(text)
        with pytest.raises(SettingsError) as caught:
            read_settings(path, _Settings)
        assert str(path) in str(caught.value)
        for part in parts:
            assert part in str(caught.value)

    def test_one_number_may_be_given_where_a_file_has_none(self) -> None:
        made = build_settings(_Settings, {"optics": {"pixel_size": ""}}, "here")
        assert made.optics.pixel_size is None

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("pick.threshold=4", ("pick", "threshold", 4)),
            ("pick.diameter=[110, 130]", ("pick", "diameter", [110, 130])),
            ("pick.shape=ring", ("pick", "shape", "ring")),
            ('data.gain=""', ("data", "gain", "")),
            ("motion.even_odd=true", ("motion", "even_odd", True)),
        ],
    )
    def test_assignments(self, text: str, expected: tuple[str, str, object]) -> None:
        assert parse_assignment(text) == expected

    @pytest.mark.parametrize("text", ["threshold=4", "pick.threshold", ".x=1", "pick.=1"])
    def test_other_forms_of_assignment_are_refused(self, text: str) -> None:
        with pytest.raises(SettingsError, match=r"section\.key=value"):
            parse_assignment(text)


def _sidecar(stage: str, fingerprint: str = "f", **changes: object) -> Sidecar:
    values = {"status": "done", "exposure": "m1", "settings_hash": "h", **changes}
    return Sidecar(stage=stage, fingerprint=fingerprint, **values)  # type: ignore[arg-type]


class TestSidecars:
    def test_round_trip(self, tmp_path: Path) -> None:
        sidecar = _sidecar(
            "motion",
            upstream={"import": "a"},
            input=FileIdentity("m.tiff", 3, 17),
            numbers={"total": 1.25, "shifts": [[0.0, 1.5]]},
            files={"micrograph": "micrographs/m1.mrc"},
            flags=("one frame",),
        )
        write_sidecar(tmp_path / "motion.json", sidecar)
        assert read_sidecar(tmp_path / "motion.json") == sidecar

    def test_what_is_not_a_number_becomes_null(self, tmp_path: Path) -> None:
        numbers = {"a": math.nan, "b": np.float32(np.inf), "c": np.array([1.0, np.nan]), "d": ()}
        write_sidecar(tmp_path / "ctf.json", _sidecar("ctf", numbers=numbers))
        found = read_sidecar(tmp_path / "ctf.json")
        assert found is not None
        assert found.numbers == {"a": None, "b": None, "c": [1.0, None], "d": []}

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1, "stage": "ctf"}', "null"]
    )
    def test_one_that_cannot_be_read_counts_as_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "ctf.json").write_text(text)
        assert read_sidecar(tmp_path / "ctf.json") is None

    def test_cut_off_anywhere_it_counts_as_none(self, tmp_path: Path) -> None:
        path = tmp_path / "ctf.json"
        write_sidecar(path, _sidecar("ctf", numbers={"x": 1}))
        whole = path.read_text()
        for length in range(len(whole) - 2):
            path.write_text(whole[:length])
            assert read_sidecar(path) is None


class TestRecords:
    def _write(self, project: Project, *sidecars: Sidecar) -> None:
        project.write_registry({"m1": "/data/m1.tiff"})
        for sidecar in sidecars:
            path = project.sidecar("m1", sidecar.stage)
            path.parent.mkdir(exist_ok=True)
            write_sidecar(path, sidecar)

    def test_status_numbers_and_files(self, project: Project) -> None:
        (project.micrographs / "m1.mrc").touch()
        self._write(
            project,
            _sidecar("import", "i", numbers={"kind": "movie"}),
            _sidecar(
                "motion",
                "m",
                upstream={"import": "i"},
                numbers={"motion_total": 3},
                files={"micrograph": "micrographs/m1.mrc"},
            ),
            _sidecar("ctf", "c", upstream={"motion": "older"}),
            _sidecar(
                "pick",
                "p",
                status="failed",
                upstream={"motion": "m"},
                error={"type": "FitError", "message": "no peaks"},
            ),
        )
        (record,) = load_records(project)
        assert record.status == {
            "import": "done",
            "motion": "done",
            "ctf": "stale",
            "pick": "failed",
            "extract": "waiting",
        }
        assert record.kind == "movie"
        assert record.numbers["motion"] == {"motion_total": 3}
        assert "ctf" not in record.numbers
        assert record.file("motion", "micrograph") == project.micrographs / "m1.mrc"
        assert record.failure is not None
        assert (record.failure.stage, record.failure.message) == ("pick", "no peaks")
        assert record.state == "failed"

    def test_a_micrograph_has_no_motion(self, project: Project) -> None:
        self._write(project, _sidecar("import", numbers={"kind": "micrograph"}))
        (record,) = load_records(project, without=("pick", "extract"))
        assert list(record.status) == ["import", "ctf"]

    def test_a_file_that_is_gone_makes_its_stage_stale(self, project: Project) -> None:
        self._write(project, _sidecar("import", files={"micrograph": "micrographs/m1.mrc"}))
        assert load_records(project)[0].status["import"] == "stale"

    def test_a_damaged_sidecar_is_as_good_as_none(self, project: Project) -> None:
        self._write(project, _sidecar("import", numbers={"kind": "movie"}))
        project.sidecar("m1", "import").write_text('{"schema": 1, "sta')
        assert load_records(project)[0].status["import"] == "waiting"

    def test_a_ctf_without_rings_is_none_to_be_used(self, project: Project) -> None:
        fitted = _sidecar("ctf", numbers={"defocus_u": 1e4})
        self._write(project, _sidecar("import", numbers={"kind": "micrograph"}), fitted)
        assert load_records(project)[0].ctf == {"defocus_u": 1e4}
        write_sidecar(project.sidecar("m1", "ctf"), replace(fitted, flags=(ctf.NO_RINGS,)))
        assert load_records(project)[0].ctf is None


class TestLayout:
    def test_a_directory_without_settings_is_no_project(self, tmp_path: Path) -> None:
        with pytest.raises(ProjectError, match=r"no icefloe\.toml"):
            Project.open(tmp_path)
        with pytest.raises(ProjectError, match="not there"):
            Project.open(tmp_path / "nowhere")

    def test_a_place_that_cannot_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            Project.create(tmp_path / "file" / "session")

    def test_paths_inside_are_relative(self, project: Project) -> None:
        assert project.listed(project.root / "raw" / "m.tiff") == "raw/m.tiff"
        assert project.listed("/data/m.tiff") == "/data/m.tiff"
        assert project.locate("raw/m.tiff") == project.root / "raw" / "m.tiff"

    def test_a_lost_registry_is_put_together_again(self, project: Project) -> None:
        project.write_registry({"m10": "/d/m10.tiff", "m9": "/d/m9.tiff"})
        for name in ("m10", "m9"):
            path = project.sidecar(name, "import")
            path.parent.mkdir()
            write_sidecar(path, _sidecar("import", input=FileIdentity(f"/d/{name}.tiff", 1, 1)))
        before = project.read_registry()
        assert list(before) == ["m9", "m10"]
        (project.root / "exposures.json").write_text("{")
        assert project.read_registry() == before

    def test_numbers_sort_as_numbers(self) -> None:
        names = ["m10", "m2", "a_2_x", "a_10_x", "m", "2m"]
        assert sorted(names, key=natural_key) == ["2m", "a_2_x", "a_10_x", "m", "m2", "m10"]


class TestLock:
    def test_a_second_run_is_told_who_holds_it(self, project: Project) -> None:
        code = (
            "import sys; from icefloe.project import Project, project_lock\n"
            "with project_lock(Project.create(sys.argv[1])): print('held', flush=True); input()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", code, str(project.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ProjectLockedError, match=f"process {holder.pid} on"):
            project_lock(project).__enter__()
        holder.kill()
        holder.wait()
        with project_lock(project):  # a killed run holds nothing
            assert json.loads(project.lock_file.read_text())["pid"] != holder.pid

    def test_one_process_cannot_hold_it_twice(self, project: Project) -> None:
        with project_lock(project), pytest.raises(ProjectLockedError):
            project_lock(project).__enter__()


def test_the_list_of_exposures_is_read_again_when_another_process_wrote_it(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "s")
    project.write_registry({"m2": "/d/m2", "m10": "/d/m10"}, ordered=True)
    first = project.read_registry()
    first["mine"] = "not the project's"
    assert list(project.read_registry().items()) == [("m2", "/d/m2"), ("m10", "/d/m10")]
    code = "import sys, pathlib; from icefloe.project import Project; "
    code += "p = Project(pathlib.Path(sys.argv[1])); "
    code += "p.write_registry({'m2': '/d/m2', 'm10': '/d/x10'})"  # as long as before
    subprocess.run([sys.executable, "-c", code, str(project.root)], check=True)
    assert project.read_registry()["m10"] == "/d/x10"
    project.write_registry({"m2": "/d/m2", "m10": "/d/x10"}, ordered=True)
    project.registry_file.unlink()
    assert project.read_registry() == {}
    project.write_registry({"m2": "/d/m2"}, ordered=True)
    assert project.registry_file.is_file()
