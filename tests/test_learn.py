"""`icefloe pick learn`: a network that learns from what templates find, with nobody's marks."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.cli.main import cli
from icefloe.engine import Session
from icefloe.errors import DeviceError, InputError
from icefloe.formats import read_star, write_mrc
from icefloe.network import NetworkSettings, learn_particle, load_model, pick_network
from icefloe.network import learn as learning
from icefloe.picking import MatchSettings, bootstrap_bank
from icefloe.project import Project, load_records
from icefloe.scoring import match_picks, score_picks
from network_images import dots
from session_tools import icefloe

pytest.importorskip("torch")

PIXEL, DIAMETER = 2.0, 96.0


@pytest.fixture(scope="module")
def fields() -> list[tuple[np.ndarray, np.ndarray]]:
    """Three micrographs of small dark balls, and where they are."""
    return [dots(seed=i, noise=1.8, n=60) for i in range(3)]


@pytest.fixture(scope="module")
def bank(fields):
    return bootstrap_bank([image for image, _ in fields], pixel_size=PIXEL).bank


@pytest.fixture
def quick(monkeypatch):
    """Train for a few batches only."""
    whole = learning.train_network

    def short(*args, settings, **more):
        few = settings.model_copy(update={"steps": 6, "check_every": 3})
        return whole(*args, settings=few, **more)

    monkeypatch.setattr(learning, "train_network", short)


def test_it_learns_from_the_templates_and_finds_the_particles(fields, bank):
    images = [image for image, _ in fields]
    done = learn_particle(
        images,
        bank,
        pixel_size=PIXEL,
        settings=learning.LEARNING.model_copy(update={"steps": 16, "check_every": 8}),
    )
    card = done.training.model.card
    assert (card.diameter, card.edge, card.start) == (bank.diameter, 0.0, "general")
    assert len(done.picks) == 3
    assert 150 <= sum(done.picks) <= 190
    image, truth = dots(seed=9, noise=1.8, n=60)
    picks = pick_network(
        image, pixel_size=PIXEL, diameter=bank.diameter, model=done.training.model,
        settings=NetworkSettings(),
    )  # fmt: skip
    score = score_picks(
        np.stack([picks.y, picks.x], axis=1), picks.score, truth, 0.3 * DIAMETER / PIXEL
    )
    assert score.f1 > 0.93


def test_it_reads_no_more_micrographs_than_it_needs(fields, bank, quick, monkeypatch):
    monkeypatch.setattr(learning, "ENOUGH", 100)
    seen = []

    def images():
        for i in range(8):
            seen.append(i)
            yield fields[i % 3][0]

    # Enough after two, but three are the least.
    assert len(learn_particle(images(), bank, pixel_size=PIXEL).picks) == 3
    assert seen == [0, 1, 2]
    monkeypatch.setattr(learning, "ENOUGH", 10_000)
    monkeypatch.setattr(learning, "MICROGRAPHS", 5)
    seen.clear()
    assert len(learn_particle(images(), bank, pixel_size=PIXEL).picks) == 5
    assert seen == [0, 1, 2, 3, 4]


def test_nothing_is_learned_where_a_mask_lies(fields, bank, quick, monkeypatch):
    """Picks under a person's mask are no examples."""
    marks = []
    whole = learning.train_network

    def watched(images, positives, **more):
        marks.extend(positives)
        return whole(images, positives, **more)

    monkeypatch.setattr(learning, "train_network", watched)
    image, _ = fields[0]
    left = np.zeros(image.shape, dtype=bool)
    left[:, : image.shape[1] // 2] = True
    learn_particle([image], bank, pixel_size=PIXEL, masks=[left])
    ((_, x),) = marks
    assert len(x) > 15
    assert x.min() >= image.shape[1] // 2 - 2


def test_too_few_picks_are_told(bank):
    noise = np.random.default_rng(0).normal(0, 1, (512, 512)).astype(np.float32)
    with pytest.raises(InputError, match=r"too few.*pick auto"):
        learn_particle(
            [noise], bank, pixel_size=PIXEL, match=MatchSettings(threshold=0.9, junk=False)
        )


@pytest.fixture
def folder(fields, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, (image, _) in enumerate(fields):
        write_mrc(tmp_path / f"m{i}.mrc", image, PIXEL)
    return tmp_path


def test_the_command_with_nothing_given(folder, fields, quick):
    done = CliRunner().invoke(cli, ["pick", "learn", "m0.mrc", "m1.mrc", "m2.mrc", "--out", "p"])
    assert done.exit_code == 0, done.output
    assert "picks of the template in 3 micrographs" in done.output
    assert "likely right" not in done.output  # nobody marked anything
    for name in ("template.mrcs", "learned.png", "learned.safetensors"):
        assert (folder / "p" / name).stat().st_size > 1000
    table = read_star(folder / "p" / "m1_picks.star")[""]
    yx = np.stack([table["rlnCoordinateY"], table["rlnCoordinateX"]], axis=1).astype(float)
    score = np.asarray(table["rlnAutopickFigureOfMerit"], dtype=float)
    assert np.mean(match_picks(yx, score, fields[1][1], 15.0) >= 0) > 0.9
    # The weights are for the other command, too.
    again = CliRunner().invoke(
        cli, ["pick", "network", "m1.mrc", "--model", "p/learned.safetensors", "--out", "q"]
    )
    assert again.exit_code == 0, again.output
    other = read_star(folder / "q" / "m1_picks.star")[""]
    assert list(other["rlnCoordinateX"]) == list(table["rlnCoordinateX"])


def test_an_unreadable_micrograph_is_left_out_of_the_learning(folder, quick):
    (folder / "m0.mrc").write_bytes(b"no micrograph")
    words = ["pick", "learn", "m1.mrc", "m2.mrc", "m0.mrc", "--pixel-size", "2", "--out", "p"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1, done.output
    assert "m0: error" in done.output
    assert "in 2 micrographs" in done.output
    assert (folder / "p" / "m2_picks.star").is_file()
    assert not (folder / "p" / "m0_picks.star").exists()


class TestSession:
    OPTIONS = ("--pixel-size", PIXEL, "--device", "cpu", "--set", "ctf.local=off",
               "--set", "pick.reference_exposures=3", "--set", "extract.max_defocus=10000",
               "--set", "pick.reference_classes=false")  # fmt: skip

    def run(self, project: Path, *words: object) -> None:
        assert icefloe("run", *words, "--project", project, *self.OPTIONS) == 0

    def test_a_session_picks_with_what_it_learned(self, folder, fields, quick, capsys):
        project = folder / "s"
        self.run(project, f"{folder}/m*.mrc", "--pick", "learn")
        assert "a network learned from" in capsys.readouterr().err
        made = json.loads((project / "picks" / "reference" / "reference.json").read_text())
        assert made["network"] == "network.safetensors"
        assert len(made["numbers"]["network"]["picks"]) == 3
        model = load_model(project / "picks" / "reference" / "network.safetensors")
        assert model.card.diameter == pytest.approx(made["diameter"])
        for index, record in enumerate(load_records(Project.open(project))):
            assert record.state == "done"
            found = record.numbers["pick"]
            assert (found["method"], found["shape_found"]) == ("learn", "network")
            yx = np.stack([found["y"], found["x"]], axis=1)
            assert (
                np.mean(match_picks(yx, np.array(found["score"]), fields[index][1], 15) >= 0) > 0.9
            )
            assert all(0.4 <= score <= 1 for score in found["score"])

        # Nothing to do again; other weights in the file mean other picks.
        stamps = {p: p.stat().st_mtime_ns for p in project.glob("exposures/*/pick.json")}
        self.run(project)
        assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
        self.run(project, "--set", "pick.network.threshold=0.6")
        again = json.loads((project / "picks" / "reference" / "reference.json").read_text())
        assert again == made  # a choice about picking keeps what was learned
        assert all(p.stat().st_mtime_ns != old for p, old in stamps.items())
        before = Session.open(project).reference()
        shutil.copy(
            Path(learning.__file__).parent / "weights" / "general.safetensors",
            project / "picks" / "reference" / "network.safetensors",
        )
        after = Session.open(project).reference()
        assert before.identity != after.identity

        # The templates alone: the reference is made for them.
        self.run(project, "--pick", "auto")
        assert not (project / "picks" / "reference" / "network.safetensors").exists()
        records = load_records(Project.open(project))
        assert {r.numbers["pick"]["shape_found"] for r in records} == {"template"}

    def test_templates_pick_where_training_fails(self, folder, monkeypatch, capsys):
        def broken(*_, **__):
            raise InputError("there is no memory left")

        monkeypatch.setattr(learning, "train_network", broken)
        project = folder / "s"
        self.run(project, f"{folder}/m*.mrc", "--pick", "learn")
        assert "the templates pick instead" in capsys.readouterr().err
        records = load_records(Project.open(project))
        assert {r.numbers["pick"]["shape_found"] for r in records} == {"template"}
        assert all("no memory left" in " ".join(r.flags["pick"]) for r in records)

    def test_without_torch_it_is_said_at_once(self, folder, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "torch", None)
        words = ("run", f"{folder}/m*.mrc", "--pick", "learn", "--project", folder / "s")
        assert icefloe(*words, *self.OPTIONS) == 1
        assert "icefloe[torch]" in capsys.readouterr().err
        with pytest.raises(DeviceError):
            learn_particle([], None, pixel_size=1.0)
