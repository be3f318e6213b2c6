"""Picking in a session without a diameter: the reference, what it depends on, masks, pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from icefloe.engine import Session, register, run_session
from icefloe.engine.pick_settings import PickSettings
from icefloe.engine.picking import pick_choices
from icefloe.engine.settings import SessionSettings
from icefloe.formats import read_mrc, read_star, write_mrc
from icefloe.formats.star import StarTable, write_star
from icefloe.project import Project, load_records, read_settings, write_settings
from icefloe.scoring import score_picks
from icefloe.simulate import SimulationSettings, simulate_micrograph
from session_tools import icefloe

PIXEL, DIAMETER = 2.0, 120.0
GOOD = ("m2", "m3", "m4", "m5")
CHOICES = ["--set", "pick.reference_exposures=3", "--set", "pick.reference_micrographs=2"]
FACTS = ["--pixel-size", PIXEL, "--device", "cpu", "--pick", "auto"]
FACTS += ["--set", "extract.max_defocus=10000"]
# A quicker search for the CTF.
FACTS += [
    "--set",
    "ctf.local=off",
    "--set",
    "ctf.defocus_min=9000",
    "--set",
    "ctf.defocus_max=24000",
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One micrograph of noise and four of particles, one of another size."""
    directory = tmp_path_factory.mktemp("raw")
    noise = np.random.default_rng(1).normal(0, 1, (640, 640)).astype(np.float32)
    write_mrc(directory / "m1.mrc", noise, PIXEL)
    for index, name in enumerate(GOOD):
        settings = SimulationSettings(
            shape=(640, 704 if name == "m3" else 640),
            pixel_size=PIXEL,
            contrast=1.0,
            debris=0.1,
            defocus=14000.0 + 1500 * index,
            particle_diameter=DIAMETER,
        )
        made = simulate_micrograph(settings, name)
        write_mrc(directory / f"{name}.mrc", np.asarray(made.image, np.float32), PIXEL)
        np.save(directory / f"{name}.npy", made.truth.yx)
    return directory


@pytest.fixture(scope="module")
def finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("auto") / "s"
    assert icefloe("run", f"{raw}/m*.mrc", "--project", project, *FACTS, *CHOICES) == 0
    return project


@pytest.fixture
def session(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "s", symlinks=True))


def reference(project: Path) -> dict:
    return json.loads((project / "picks" / "reference" / "reference.json").read_text())


def contents(project: Path) -> dict[str, bytes]:
    files = [p for part in ("picks", "particles") for p in (project / part).rglob("*")]
    return {str(p.relative_to(project)): p.read_bytes() for p in sorted(files) if p.is_file()}


def times(project: Path, stage: str) -> dict[str, int]:
    return {
        p.parent.name: p.stat().st_mtime_ns for p in (project / "exposures").glob(f"*/{stage}.json")
    }


def again(project: Path, *options: object) -> None:
    assert icefloe("run", "--project", project, "--device", "cpu", *options) == 0


class TestAuto:
    def test_the_first_good_exposures_give_the_reference(self, finished: Path) -> None:
        found = reference(finished)
        # m1 has no Thon rings; of m2, m3 and m4 the first and the last are taken.
        assert found["inputs"] == ["m2", "m4"]
        assert found["complete"]
        assert abs(found["diameter"] / DIAMETER - 1) < 0.15
        assert len(found["numbers"]["sizes"]) == len(found["numbers"]["evidence"])
        stack, pixel_size = read_mrc(finished / "picks" / "reference" / "templates.mrcs")
        assert stack.ndim == 3
        low, high, width = found["templates"]["usual"]
        assert 0 < low < high < 0.8
        assert 0 < width < high - low
        assert pixel_size == pytest.approx(found["templates"]["pixel_size"], rel=1e-3)
        for name in ("templates.png", "reference.svg"):
            assert (finished / "picks" / "reference" / name).stat().st_size > 100

    def test_all_are_picked_in_the_same_run_and_the_picks_are_the_particles(
        self, raw: Path, finished: Path
    ) -> None:
        records = {r.name: r for r in load_records(Project.open(finished))}
        assert all(r.state == "done" for r in records.values())
        for name in GOOD:
            picks = records[name].numbers["pick"]
            truth = np.load(raw / f"{name}.npy")
            places = np.stack([picks["y"], picks["x"]], axis=1)
            score = score_picks(places, picks["score"], truth, 0.3 * DIAMETER / PIXEL)
            assert score.precision > 0.9
            # Particles cut by the border count as missed.
            assert score.recall > 0.75
            assert records[name].numbers["extract"]["n_particles"] == picks["n_picks"]
            box = records[name].numbers["extract"]["extract_box"]
            assert box * PIXEL > 1.2 * picks["diameter_max"]
        assert records["m3"].file("pick", "mask") is not None

    def test_a_second_run_does_nothing(self, session: Path) -> None:
        before = times(session, "pick")
        again(session)
        assert times(session, "pick") == before

    def test_a_choice_about_picking_keeps_the_reference(self, session: Path) -> None:
        before, made = times(session, "pick"), reference(session)
        again(session, "--set", "pick.template.threshold=0.9")
        assert all(stamp != before[name] for name, stamp in times(session, "pick").items())
        assert reference(session) == made

    def test_a_lost_or_half_written_reference_is_made_again_alike(
        self, finished: Path, session: Path
    ) -> None:
        (session / "picks" / "reference" / "reference.json").unlink()
        (session / "exposures" / "m4" / "extract.json").unlink()
        again(session)
        assert contents(session) == contents(finished)

    def test_it_does_not_matter_in_how_many_runs_they_came(
        self, raw: Path, finished: Path, session: Path
    ) -> None:
        project = Project.open(session)
        shutil.rmtree(session / "picks" / "reference")
        for name in ("m4", "m5"):
            shutil.rmtree(session / "exposures" / name)
        for path in [*session.glob("exposures/*/pick.json"), *session.glob("p*/m*.*")]:
            path.unlink()
        project.write_registry({n: str(raw / f"{n}.mrc") for n in ("m1", "m2", "m3")})
        opened = Session.open(session)
        run_session(opened, more_to_come=True)
        assert opened.reference() is None
        assert "waits for 3" in opened.why_no_picking()
        assert not list(session.glob("exposures/*/pick.json"))
        register(project, [raw / "m4.mrc", raw / "m5.mrc"])
        run_session(Session.open(session))
        (session / "picks" / "reference" / "reference.svg").write_bytes(
            (finished / "picks" / "reference" / "reference.svg").read_bytes()
        )
        assert contents(session) == contents(finished)

    def test_too_few_particles_are_said_and_no_error(
        self, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        project = tmp_path / "s"
        assert icefloe("run", raw / "m1.mrc", "--project", project, *FACTS) == 0
        assert "nothing is picked" in capsys.readouterr().err
        assert reference(project)["method"] == "none"
        assert icefloe("status", project) == 0
        assert "nothing is picked" in capsys.readouterr().out
        again(project, "--diameter", "120")
        assert reference(project)["method"] == "blob"
        (record,) = load_records(Project.open(project))
        assert record.state == "done"
        assert "discs and rings of 120 A" in " ".join(record.flags["pick"])
        # With better exposures it is made after all, and the first one picked again.
        assert icefloe("run", raw / "m2.mrc", "--project", project, "--device", "cpu") == 0
        assert reference(project)["method"] == "template"
        assert all(r.state == "done" for r in load_records(Project.open(project)))


class TestReplaced:
    def test_templates_of_a_person_and_back(
        self, finished: Path, session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        y, x = np.mgrid[-40:41, -40:41]
        ball = (np.hypot(y, x) < 30).astype(np.float32)
        write_mrc(tmp_path / "ball.mrcs", ball[None], PIXEL)
        options = ("reference", "--project", session)
        assert icefloe(*options, "--templates", tmp_path / "ball.mrcs") == 0
        assert "templates given" in capsys.readouterr().out
        assert (reference(session)["origin"], reference(session)["templates"]["count"]) == (
            "user",
            1,
        )
        before = times(session, "pick")
        again(session, "--set", "pick.reference_exposures=2")
        assert all(stamp != before[name] for name, stamp in times(session, "pick").items())
        assert reference(session)["origin"] == "user"  # no setting takes it away
        again(session, "--set", "pick.reference_exposures=3")
        assert icefloe(*options, "--redo") == 0
        again(session)
        assert contents(session) == contents(finished)

    def test_the_method_template(self, session: Path, tmp_path: Path) -> None:
        source = session / "picks" / "reference" / "templates.mrcs"
        shutil.copy(source, tmp_path / "mine.mrcs")
        before = times(session, "pick")
        again(session, "--templates", tmp_path / "mine.mrcs", "--set", "pick.template_ctf=false")
        assert 'method = "template"' in (session / "icefloe.toml").read_text()
        assert all(stamp != before[name] for name, stamp in times(session, "pick").items())
        record = load_records(Project.open(session))[1]
        assert record.numbers["pick"]["n_picks"] > 20

    def test_a_mask_of_a_person(self, finished: Path, session: Path) -> None:
        before = times(session, "pick")
        mask = np.zeros((40, 40), dtype=np.int8)
        mask[:, :20] = 1
        (session / "picks" / "masks").mkdir()
        path = session / "picks" / "masks" / "m2_mask.mrc"
        write_mrc(path, mask, 32.0)
        again(session)
        after = times(session, "pick")
        assert [name for name in after if after[name] != before[name]] == ["m2"]
        picks = load_records(Project.open(session))[1].numbers["pick"]
        assert picks["mask_given"]
        assert picks["n_picks"] > 5
        assert min(picks["x"]) > 315
        path.unlink()
        (session / "picks" / "masks").rmdir()
        again(session)
        assert contents(session) == contents(finished)


class TestExport:
    def test_class_and_angle_of_the_picks_reach_the_particles(self, session: Path) -> None:
        path = session / "picks" / "m2_picks.star"
        (table,) = read_star(path).values()
        n = len(table)
        columns = {
            **table.columns,
            "rlnClassNumber": np.arange(1, n + 1),
            "rlnAnglePsi": np.linspace(0, 90, n),
        }
        write_star(path, {"": StarTable(columns)})
        assert icefloe("export", "relion", "--project", session) == 0
        particles = read_star(session / "relion" / "particles.star")["particles"]
        names = [str(v) for v in particles["rlnMicrographName"]]
        own = np.array([name.endswith("m2.mrc") for name in names])
        kept = load_records(Project.open(session))[1].numbers["extract"]["kept"]
        classes = np.asarray(particles["rlnClassNumber"], dtype=int)
        assert classes[own].tolist() == [i + 1 for i in kept]
        assert set(classes[~own].tolist()) == {1}  # the one template
        psi = np.asarray(particles["rlnAnglePsi"], dtype=float)[own]
        np.testing.assert_allclose(psi, np.linspace(0, 90, n)[kept], atol=1e-4)


class TestInspect:
    def test_pictures_and_chosen_picks(self, session: Path, tmp_path: Path) -> None:
        out = tmp_path / "look"
        options = ["--project", session, "--out", out, "--micrographs", 2]
        assert icefloe("pick", "inspect", *options, "--threshold", "0.3") == 0
        page = (out / "picks.html").read_text()
        assert page.count("<svg") == 1 + 2 * 5  # the size, and five a micrograph
        for name in ("looser", "chosen", "stricter", "scores", "contrast"):
            assert (out / f"m1_{name}.svg").is_file()
        for name in ("accepted", "borderline", "rejected"):
            assert (out / f"windows_{name}.png").is_file()
        (listed,) = read_star(out / "picks.star").values()
        assert len(listed) == 5
        for record in load_records(Project.open(session)):
            (table,) = read_star(out / f"{record.name}_picks.star").values()
            recorded = np.asarray(record.numbers["pick"]["score"])
            score = np.asarray(table["rlnAutopickFigureOfMerit"], dtype=float)
            assert np.all(score >= 0.3)
            if record.numbers["pick"]["threshold"] <= 0.3:
                assert len(score) == int((recorded >= 0.3).sum())

    def test_a_list_of_pick_auto(self, finished: Path, tmp_path: Path) -> None:
        files = [finished / "micrographs" / f"{name}.mrc" for name in ("m2", "m4")]
        assert icefloe("pick", "auto", *files, "--out", tmp_path / "p", "--pixel-size", PIXEL) == 0
        star = tmp_path / "p" / "picks.star"
        assert icefloe("pick", "inspect", star, "--max-contrast", "1.2") == 0
        out = tmp_path / "p" / "picks_inspected"
        page = (out / "picks.html").read_text()
        assert "only they are shown" not in page
        for name in ("m2", "m4"):
            (before,) = read_star(tmp_path / "p" / f"{name}_picks.star").values()
            (after,) = read_star(out / f"{name}_picks.star").values()
            assert 0 < len(after) < len(before)
        assert icefloe("extract", out / "picks.star", "--out", tmp_path / "e", "--box", "96") == 0

    def test_one_of_list_and_session(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert icefloe("pick", "inspect") == 1
        assert "PICKS" in capsys.readouterr().err


class TestSettings:
    def test_a_session_of_before_picks_as_it_did(self, tmp_path: Path) -> None:
        path = tmp_path / "icefloe.toml"
        path.write_text(
            "schema = 1\n[pick]\n# Sizes.\ndiameter = [110.0, 130.0] # mine\n"
            '# A shape.\nshape = "ring"\ncontrast = "bright"\n# Old note.\nthreshold = ""\n'
        )
        settings = read_settings(path, SessionSettings)
        assert settings.pick.method == "blob"
        blob = settings.pick.blob_settings()
        assert (blob.diameter, blob.shape, blob.contrast) == ((110.0, 130.0), "ring", "bright")
        write_settings(path, settings)
        text = path.read_text()
        assert "schema = 2" in text
        assert "# mine" in text
        assert "Old note" not in text
        assert text.index("[pick.blob]") < text.index("shape =")
        assert read_settings(path, SessionSettings) == settings

    def test_its_picks_stay_what_they_are(self, tmp_path: Path) -> None:
        project = Project.create(tmp_path / "s")
        pick = PickSettings(method="blob", diameter=(110.0, 130.0))
        found = pick_choices(Session(project, SessionSettings(pick=pick)))
        # What picking had as its settings before there were methods.
        assert found == {
            "pick": {
                "diameter": [110.0, 130.0],
                "shape": "auto",
                "threshold": None,
                "min_distance": 0.5,
                "max_picks": 0,
                "edge": 0.3,
                "max_contrast": 3.0,
                "contrast": "dark",
                "local_window": 1.0,
                "samples": 16,
            }
        }

    @pytest.mark.parametrize("pick", ["", '[pick]\ndiameter = ""\n'])
    def test_one_without_a_diameter_still_picks_nothing(self, tmp_path: Path, pick: str) -> None:
        path = tmp_path / "icefloe.toml"
        path.write_text(f"schema = 1\n{pick}")
        assert read_settings(path, SessionSettings).pick.method == "none"
