"""`icefloe pick network` and `icefloe train`, as a user runs them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.cli.main import cli
from icefloe.formats.mrc import write_mrc
from icefloe.formats.star import read_star
from network_images import dots

pytest.importorskip("torch")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(2):
        image, places = dots(seed=i, noise=1.5)
        write_mrc(tmp_path / f"m{i}.mrc", image, 1.0)
        rows = "".join(f"{x:.2f},{y:.2f}\n" for y, x in places)
        (tmp_path / f"m{i}.csv").write_text("x,y\n" + rows)
    return tmp_path


def run(*words):
    return CliRunner().invoke(cli, [str(w) for w in words])


def test_train_then_pick(folder):
    done = run("train", "m0.mrc", "m1.mrc", "--picks", "m0.csv", "--picks", "m1.csv",
               "--diameter", 48, "--steps", 8, "--threads", 1,
               "--out", "model.safetensors")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (folder / "model.safetensors").stat().st_size > 100_000
    assert (folder / "model.png").read_bytes()[:4] == b"\x89PNG"
    assert "80 picks in 2 micrographs" in done.output

    # The diameter is the model's.
    picked = run("pick", "network", "m0.mrc", "--model", "model.safetensors", "--out", "picks")
    assert picked.exit_code == 0, picked.output
    table = read_star(folder / "picks" / "m0_picks.star")[""]
    assert 35 <= len(table["rlnCoordinateX"]) <= 45
    assert (table["rlnAutopickFigureOfMerit"] >= 0.4).all()
    blocks = read_star(folder / "picks" / "picks.star")
    assert blocks["icefloe"].value("icefloeDiameterMax") == 48
    # What it wrote is what train reads, micrographs from the list.
    again = run("train", "picks/picks.star", "--picks", "picks/picks.star", "--diameter", 48,
                "--steps", 1, "--threads", 1, "--out", "again.safetensors")  # fmt: skip
    assert again.exit_code == 0, again.output


def test_the_general_model_needs_a_diameter(folder):
    assert "--diameter" in str(run("pick", "network", "m0.mrc", "--out", "p").exception)
    done = run("pick", "network", "m0.mrc", "m1.mrc", "--diameter", 48, "--out", "p")
    assert done.exit_code == 0, done.output
    assert "likely right" in done.output


def test_one_bad_micrograph_does_not_end_the_others(folder):
    write_mrc(folder / "bad.mrc", np.full((300, 300), np.nan, np.float32), 1.0)
    done = run("pick", "network", "bad.mrc", "m0.mrc", "--diameter", 48, "--out", "p")
    assert done.exit_code == 1
    assert "bad: error" in done.output
    assert (folder / "p" / "m0_picks.star").is_file()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--picks", "m0.csv", "--diameter", "48", "--out", "model.pt"], "safetensors"),
        (["--picks", "none.csv", "--diameter", "48", "--out", "m.safetensors"], "no file"),
        (["--picks", "other.csv", "--diameter", "48", "--out", "m.safetensors"], "has picks"),
        (["--picks", "m0.csv", "--diameter", "48", "--missing", "2", "--out", "m.safetensors"],
         "--missing"),
        (["--picks", "m0.csv", "--diameter", "48", "--start", "m0.csv", "--out", "m.safetensors"],
         "not a weights file"),
    ],
)  # fmt: skip
def test_errors_of_train(folder, words, text):
    (folder / "other.csv").write_text("x,y\n1,2\n")
    assert text in str(run("train", "m0.mrc", *words).exception)


def test_help_and_settings_import_no_torch():
    code = (
        "import sys; from icefloe.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('LOADED', [m for m in ('torch', 'matplotlib') if m in sys.modules])"
    )
    for words in (["train", "--help"], ["pick", "network", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        assert "LOADED []" in done.stdout
