"""Picking of long particles in a session: class averages as reference, and a network."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from icefloe.engine import Session, run_session
from icefloe.engine.picking import network_diameter, pick_choices, uses_ctf
from icefloe.engine.setup import changed_settings
from icefloe.engine.stage import Work
from icefloe.engine.stages import STANDARD_STAGES
from icefloe.errors import DeviceError, FitError, SettingsError
from icefloe.project import Project, load_records
from icefloe.scoring import PickScore, pool_picks
from rod_micrographs import LENGTH, PIXEL, rod_micrographs
from session_tools import icefloe

FACTS = ["--pixel-size", PIXEL, "--device", "cpu", "--pick", "auto"]
FACTS += ["--set", "ctf.local=off"]
FACTS += ["--set", "pick.reference_exposures=3", "--set", "extract.max_defocus=20000"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rods")
    for index, truth in enumerate(rod_micrographs(directory, 3)):
        np.save(directory / f"m{index + 1}.npy", truth)
    return directory


@pytest.fixture(scope="module")
def finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("classes") / "s"
    assert icefloe("run", f"{raw}/m*.mrc", "--project", project, *FACTS) == 0
    return project


@pytest.fixture
def session(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "s", symlinks=True))


def reference(project: Path) -> dict:
    return json.loads((project / "picks" / "reference" / "reference.json").read_text())


def scored(project: Path, raw: Path) -> PickScore:
    found = []
    for record in load_records(Project.open(project)):
        picks = record.numbers["pick"]
        at = np.stack([picks["y"], picks["x"]], axis=1)
        found.append((at, np.asarray(picks["score"]), np.load(raw / f"{record.name}.npy")))
    return pool_picks(found, 0.3 * LENGTH / PIXEL)


class TestClasses:
    def test_they_take_the_round_templates_place_and_say_why(
        self, raw: Path, finished: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = reference(finished)
        classes = made["numbers"]["classes"]
        assert classes["taken"]
        assert classes["ratio"] >= classes["needed"] > 1
        assert len(classes["separation_round"]) == len(classes["separation_classes"]) == 3
        # The round template is as wide as the rods, its diameter is not their length.
        assert classes["diameter_round"] < 0.7 * LENGTH
        assert 0.75 * LENGTH < made["diameter"] < 1.2 * LENGTH
        assert made["templates"]["ctf"]
        assert made["templates"]["turns"]
        assert made["templates"]["count"] == classes["templates"] >= 3
        opened = Session.open(finished)
        stored = opened.reference()
        assert stored is not None
        assert stored.reference.ctf
        assert uses_ctf(opened)
        score = scored(finished, raw)
        assert score.f1 > 0.95
        assert icefloe("reference", "--project", finished) == 0
        assert "class averages of particles of" in capsys.readouterr().out

    def test_the_same_bytes_again_and_in_parts(self, finished: Path, session: Path) -> None:
        shutil.rmtree(session / "picks" / "reference")
        assert icefloe("run", "--project", session, "--device", "cpu", "--threads", 1) == 0
        for name in ("reference.json", "templates.mrcs", "templates.png"):
            path = Path("picks") / "reference" / name
            assert (session / path).read_bytes() == (finished / path).read_bytes()

    def test_the_ctf_is_what_picks_depend_on_but_can_do_without(
        self, session: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage = next(s for s in STANDARD_STAGES if s.name == "ctf")

        def fail(work: Work) -> None:
            raise FitError("no fit today")

        monkeypatch.setattr(stage, "run", fail)
        shutil.copy((session / "micrographs" / "m3.mrc").resolve(), session / "m9.mrc")
        assert icefloe("run", session / "m9.mrc", "--project", session, "--device", "cpu") == 0
        record = load_records(Project.open(session))[-1]
        assert record.name == "m9"
        assert record.status["ctf"] == "failed"
        assert record.status["pick"] == "done"
        assert record.numbers["pick"]["n_picks"] > 20
        # Without a change there is nothing to do.
        assert run_session(Session.open(session)).ran == 0
        # Another CTF makes other picks.
        monkeypatch.undo()
        before = (session / "exposures" / "m1" / "pick.json").read_bytes()
        options = ["--set", "data.amplitude_contrast=0.07"]
        assert icefloe("run", "--project", session, "--device", "cpu", *options) == 0
        assert (session / "exposures" / "m1" / "pick.json").read_bytes() != before


class TestNetwork:
    def test_the_general_model_with_the_diameter_of_the_reference(
        self, raw: Path, session: Path
    ) -> None:
        pytest.importorskip("torch")
        options = ["--pick", "network", "--set", "pick.network.threshold=0.3"]
        made = (session / "picks" / "reference" / "reference.json").read_bytes()
        assert icefloe("run", "--project", session, "--device", "cpu", *options) == 0
        assert (session / "picks" / "reference" / "reference.json").read_bytes() == made
        opened = Session.open(session)
        assert network_diameter(opened) == pytest.approx(reference(session)["diameter"])
        records = load_records(Project.open(session))
        assert all(r.state == "done" for r in records)
        picks = records[0].numbers["pick"]
        assert (picks["method"], picks["shape_found"], picks["threshold"]) == (
            "network",
            "network",
            0.3,
        )
        assert min(picks["score"]) >= 0.3
        assert scored(session, raw).f1 > 0.8
        assert run_session(Session.open(session)).ran == 0
        assert icefloe("pick", "inspect", "--project", session, "--micrographs", 1) == 0

    def test_another_model_makes_picks_stale(self, session: Path, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        from icefloe.network import PickerModel, load_model, save_model

        general = load_model()
        mine = tmp_path / "mine.safetensors"
        card = general.card.model_copy(update={"name": "mine", "diameter": 170.0})
        save_model(mine, PickerModel(card, general.tensors))
        assert icefloe("run", "--project", session, "--device", "cpu", "--model", mine) == 0
        assert 'method = "network"' in (session / "icefloe.toml").read_text()
        opened = Session.open(session)
        # It was trained for one size: no reference is needed.
        assert not opened.uses_reference()
        assert pick_choices(opened)["diameter"] == 170.0
        first = pick_choices(opened)["model"]
        tensors = {k: v * np.float32(1.01) for k, v in general.tensors.items()}
        save_model(mine, PickerModel(card, tensors))
        again = Session.open(session)
        assert pick_choices(again)["model"] != first
        assert run_session(again).ran == 3
        # Without torch it is said before any exposure, not of each.
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "torch", None)
            patch.setattr("importlib.util.find_spec", lambda name: None)
            save = Session.open(session)
            save_path = session / "exposures" / "m1" / "pick.json"
            save_path.unlink()
            with pytest.raises(DeviceError, match=r"pip install 'icefloe\[torch\]'"):
                run_session(save)
        assert not save_path.exists()
        mine.unlink()
        assert icefloe("run", "--project", session, "--device", "cpu") == 1

    def test_choices_that_cannot_be(self, session: Path) -> None:
        opened = Session.open(session)
        changes = {"pick": {"network.threshold": 3}}
        with pytest.raises(SettingsError, match="threshold"):
            changed_settings(opened.project, opened.settings, changes)
