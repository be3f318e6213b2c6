"""The paragraph for a paper and the workflow file say what was done."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fake_session import make_session
from icefloe.cli.main import main
from icefloe.curation import add_decisions
from icefloe.curation.rules import parse_rule
from icefloe.curation.store import rules_path, write_rules
from icefloe.engine import SessionSettings
from icefloe.engine.run_log import settings_content
from icefloe.project import STAGES, Project, read_sidecar, write_sidecar
from icefloe.project.checksum import WrittenFile
from icefloe.project.runs import begin_run, end_run
from icefloe.report.methods import CITATIONS
from icefloe.report.workflow import Workflow, session_methods, session_workflow

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "workflow.schema.json"


def _settings(**pick: object) -> dict[str, object]:
    content = settings_content(SessionSettings())
    content["data"]["gain"] = "gain.mrc"
    content["pick"].update(diameter=[120.0, 140.0], **pick)
    return content


def _run_made(project: Project, names: set[str], settings: dict[str, object], mark: str) -> None:
    machine = {"host": "here", "threads": 2}
    stages = dict.fromkeys(STAGES, 1)
    run = begin_run(project, settings, version="0.1.0", stages=stages, inputs={}, machine=machine)
    for name in names:
        for stage in STAGES:
            path = project.sidecar(name, stage)
            sidecar = read_sidecar(path)
            if sidecar is not None:
                files = {"text": f"picks/{name}.txt"} if stage == "pick" else {}
                for file in files.values():
                    (project.root / file).write_text("1234")
                write_sidecar(
                    path,
                    replace(
                        sidecar,
                        run=run,
                        version="0.1.0",
                        files=files,
                        settings_hash=mark if stage == "pick" else "0",
                        written={role: WrittenFile(4, "crc32:9be3e0a3") for role in files},
                    ),
                )
    end_run(project, run, "finished", ran=len(names), failed=0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_session(tmp_path / "s", 8, preview=32)
    made.settings_file.write_text("schema = 1\n")
    names = set(made.read_registry())
    _run_made(made, names - {"movie_0002"}, _settings(), "a")
    _run_made(made, {"movie_0002"}, _settings(threshold=4.5), "b")
    return made


class TestMethods:
    def test_it_has_the_numbers_of_the_session(self, project: Project) -> None:
        text = session_methods(project)
        paragraph = text.paragraph
        sidecars = {n: read_sidecar(project.sidecar(n, "pick")) for n in project.read_registry()}
        picks = sum(s.numbers["n_picks"] for s in sidecars.values() if s is not None)
        assert "7 movies and 1 micrograph" in paragraph
        assert "40 frames" in paragraph
        assert "1.05 Å per pixel" in paragraph
        assert "300 kV" in paragraph
        assert "48 e⁻/Å²" in paragraph
        assert "Icefloe 0.1.0" in paragraph
        assert f"{picks:,} particles were picked" in paragraph
        assert "120 to 140 Å" in paragraph
        assert "boxes of 64 pixels at 4.2 Å" in paragraph
        assert "multiplied by the gain" in paragraph
        assert "1 exposure could not be processed" in paragraph
        assert any(r.startswith("1 exposure was never read") for r in text.remarks)
        assert [c.doi for c in text.citations] == [c.doi for c in CITATIONS.values()]
        for citation in text.citations:
            assert citation.short in paragraph

    def test_defocus_is_that_of_usable_fits(self, project: Project) -> None:
        found = re.search(
            r"Defocus was ([\d.]+) to ([\d.]+) µm", session_methods(project).paragraph
        )
        assert found is not None
        values = []
        for name in project.read_registry():
            sidecar = read_sidecar(project.sidecar(name, "ctf"))
            if sidecar is not None and "no Thon rings" not in sidecar.flags:
                n = sidecar.numbers
                values.append((n["defocus_u"] + n["defocus_v"]) / 2e4)
        assert found.groups() == (f"{min(values):.2f}", f"{max(values):.2f}")

    def test_results_of_other_settings_are_said(self, project: Project) -> None:
        text = session_methods(project)
        assert "threshold found for each micrograph" in text.paragraph
        assert any(r.startswith("1 of 8 results of pick were made") for r in text.remarks)

    def test_what_was_kept_counts_after_curation(self, project: Project) -> None:
        before = session_methods(project).paragraph
        write_rules(
            rules_path(project), [parse_rule("no flag 'no Thon rings'", "no CTF was found")]
        )
        add_decisions(project, "reject", ["movie_0001"], "ice")
        paragraph = session_methods(project).paragraph
        assert "6 of 9 exposures were kept" in paragraph
        assert "1 judged by eye" in paragraph
        assert "1 for 'no CTF was found'" in paragraph
        assert re.findall("[0-9,]+ particles", paragraph) != re.findall("[0-9,]+ particles", before)

    def test_without_recorded_runs_no_setting_is_claimed(self, tmp_path: Path) -> None:
        text = session_methods(make_session(tmp_path / "s", 3))
        assert "multiplied by the gain" not in text.paragraph
        assert "weighted" not in text.paragraph
        assert any("settings of motion were not recorded" in r for r in text.remarks)

    def test_an_empty_session(self, tmp_path: Path) -> None:
        project = Project.create(tmp_path / "s")
        assert session_methods(project).paragraph.startswith("The data are 0 exposures")
        assert session_workflow(project).stages == ()

    def test_the_command_prints_it(
        self, project: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["report", "--project", str(project.root), "--methods"]) == 0
        text = capsys.readouterr().out
        assert text == session_methods(project).text
        assert "https://doi.org/10.7554/eLife.06980" in text
        assert not (project.root / "report").exists()


class TestWorkflow:
    def test_the_file_fits_its_schema(self, project: Project) -> None:
        assert main(["report", "--project", str(project.root), "--panels", "0"]) == 0
        text = (project.root / "report" / "workflow.json").read_text()
        assert Workflow.model_validate_json(text) == session_workflow(project)
        content = json.loads(text)
        _check(content, json.loads(SCHEMA.read_text()))
        page = (project.root / "report" / "report.html").read_text()
        assert "For the methods section" in page
        with pytest.raises(AssertionError):
            _check({**content, "stages": [{"name": "motion"}]}, json.loads(SCHEMA.read_text()))

    def test_the_schema_in_the_documentation_is_that_of_the_program(self) -> None:
        assert json.loads(SCHEMA.read_text()) == Workflow.model_json_schema()

    def test_it_says_what_was_done(self, project: Project) -> None:
        flow = session_workflow(project)
        stages = {stage.name: stage for stage in flow.stages}
        assert list(stages) == ["import", "motion", "ctf", "pick", "extract"]
        pick = stages["pick"]
        assert (pick.done, pick.failed, pick.other_settings) == (8, 0, 1)
        assert pick.settings is not None
        assert pick.settings["pick"]["diameter"] == [120.0, 140.0]
        assert [(o.role, o.files, o.bytes) for o in pick.outputs] == [("text", 8, 32)]
        assert stages["import"].failed == 1
        assert flow.inputs.kinds == {"movie": 7, "micrograph": 1, "unknown": 1}
        assert sum(pick.runs.values()) == 8
        assert set(pick.runs) == {run.id for run in flow.runs}
        assert (project.root / flow.runs[0].settings).is_file()
        assert flow.selection is None


def _check(value: object, schema: dict, root: dict | None = None) -> None:
    """Assert that a value fits a JSON Schema, for the words that this one uses."""
    root = root or schema
    if "$ref" in schema:
        _check(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        fits = []
        for option in schema["anyOf"]:
            try:
                _check(value, option, root)
                fits.append(option)
            except AssertionError:
                continue
        assert fits, (value, schema)
    if "const" in schema:
        assert value == schema["const"]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
    if schema.get("type") == "number":
        assert isinstance(value, int | float)
    elif "type" in schema:
        assert isinstance(value, kinds[schema["type"]]), (value, schema)
    if "minimum" in schema:
        assert isinstance(value, int | float)
        assert value >= schema["minimum"]
    if isinstance(value, list):
        for item in value:
            _check(item, schema.get("items", {}), root)
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema.get("required", ())) <= set(value)
        assert schema.get("additionalProperties", True) or set(value) <= set(schema["properties"])
        for key, item in value.items():
            _check(item, schema["properties"].get(key, {}), root)
    elif isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        for item in value.values():
            _check(item, schema["additionalProperties"], root)
