"""Doses that differ from frame to frame, from a file to RELION's tables; and what goes wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import icefloe.motion
from icefloe.cli.motion import command as motion_command
from icefloe.engine import DataSettings
from icefloe.errors import MissingMetadataError, SettingsError, UnsupportedFormatError
from icefloe.formats import read_frame_doses, read_mrc, write_mrc
from icefloe.interop.relion_motion import read_motion_star
from icefloe.motion import MotionSettings, correct_motion
from session_tools import icefloe as run_icefloe

N = 6
DOSES = [0.5, 0.5, 1.0, 2.0, 2.0, 3.0]
MDOC = """T = SerialEM
[FrameSet = 0]
PixelSpacing = 1.0
SubFramePath = D:\\data\\a.tif
FrameDosesAndNumber = 0.5 2 1.0 1 2.0 2 3.0 1
"""


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("movies")
    rng = np.random.default_rng(0)
    expected = np.array(DOSES)[:, None, None] * np.ones((N, 128, 160))
    for name in "ab":
        write_mrc(folder / f"{name}.mrc", rng.poisson(expected).astype(np.int8), 1.0)
    (folder / "doses.txt").write_text("\n".join(map(str, DOSES)))
    return folder


def command(*arguments, **environment):
    words = [str(a) for a in arguments]
    return CliRunner().invoke(motion_command, [*words, "--device", "cpu"], env=environment)


@pytest.mark.parametrize(
    "text",
    [
        "0.5\n0.5\n1\n2\n2\n3\n",
        "# e/A^2\n\n0.5\r\n0.5 # second\r\n1.0\r\n2\r\n2e0\r\n3",
        "frame,dose\n1,0.5\n2,0.5\n3,1\n4,2\n5,2\n6,3\n",
        "dose\n0.5;\n0.5\n1\n2\n2\n3",
    ],
)
def test_reads_text_and_csv(tmp_path, text):
    (tmp_path / "doses.csv").write_text(text)
    assert read_frame_doses(tmp_path / "doses.csv").tolist() == DOSES


def test_reads_mdoc(tmp_path):
    (tmp_path / "a.tif.mdoc").write_text(MDOC)
    assert read_frame_doses(tmp_path / "a.tif.mdoc").tolist() == DOSES
    other = MDOC[MDOC.index("[") :].replace("a.tif", "b.tif").replace("0.5 2", "0.7 2")
    (tmp_path / "both.mdoc").write_text(MDOC + other)
    assert read_frame_doses(tmp_path / "both.mdoc", "/x/b.tif")[0] == 0.7
    assert read_frame_doses(tmp_path / "both.mdoc", "/x/a.tif")[0] == 0.5
    with pytest.raises(MissingMetadataError, match="SubFramePath"):
        read_frame_doses(tmp_path / "both.mdoc", "/x/c.tif")
    (tmp_path / "none.mdoc").write_text("[FrameSet = 0]\nPixelSpacing = 1.0\n")
    with pytest.raises(MissingMetadataError, match="FrameDosesAndNumber"):
        read_frame_doses(tmp_path / "none.mdoc")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dose\n",
        "1\ntwo\n",
        "1 2 3\n",
        "2,1.0\n1,1.0\n",
        "1\n-1\n",
        "0\n0\n",
        "1\nnan\n",
        "1x\n2\n",
    ],
)
def test_refuses_other_text(tmp_path, text):
    (tmp_path / "doses.txt").write_text(text)
    with pytest.raises(UnsupportedFormatError):
        read_frame_doses(tmp_path / "doses.txt")


def test_doses_reach_the_sum_and_relion(movies, tmp_path):
    done = command(movies / "a.mrc", "--out", tmp_path, "--dose-file", movies / "doses.txt")
    assert done.exit_code == 0, done.output
    assert "uneven" not in done.output
    # RELION knows one dose for all frames: their mean.
    star = read_motion_star(tmp_path / "a.star")
    assert star.general["rlnMicrographDoseRate"] == pytest.approx(1.5)
    frames = read_mrc(movies / "a.mrc")[0]
    direct = correct_motion(
        frames, pixel_size=1.0, dose_per_frame=1.5, frame_dose_factors=np.array(DOSES) / 1.5,
        name="a",
    )  # fmt: skip
    assert direct.numbers()["frame_doses"] == pytest.approx(DOSES)
    assert np.array_equal(np.squeeze(read_mrc(tmp_path / "a.mrc")[0]), direct.micrograph)
    even = command(movies / "a.mrc", "--out", tmp_path / "even", "--dose-per-frame", 1.5)
    # Counts say that the doses are not even, where nobody else does.
    assert "uneven counts" in even.output
    assert not np.allclose(read_mrc(tmp_path / "even" / "a.mrc")[0], direct.micrograph, atol=0.01)


def test_doses_of_another_number_of_frames(movies, tmp_path):
    (tmp_path / "five.txt").write_text("1\n" * 5)
    done = command(movies / "a.mrc", "--out", tmp_path, "--dose-file", tmp_path / "five.txt")
    assert done.exit_code == 1
    assert "5 frames for a movie of 6" in done.output


def test_one_dose_only(movies, tmp_path):
    done = command(
        movies / "a.mrc", "--out", tmp_path, "--dose-file", movies / "doses.txt", "--total-dose", 9
    )
    assert isinstance(done.exception, MissingMetadataError)
    with pytest.raises(SettingsError, match="total_dose"):
        DataSettings(total_dose=9.0, dose_file="doses.txt")


def test_session_with_a_dose_file(movies, tmp_path):
    project = tmp_path / "session"
    words = ["--project", project, "--device", "cpu"]
    assert run_icefloe("run", movies / "a.mrc", *words, "--dose-file", movies / "doses.txt") == 0
    sidecar = json.loads((project / "exposures" / "a" / "motion.json").read_text())
    assert sidecar["numbers"]["frame_doses"] == pytest.approx(DOSES)
    assert sidecar["numbers"]["dose_per_frame"] == pytest.approx(1.5)
    # The latest word on the dose counts, and a file that is gone is missed before anything runs.
    assert run_icefloe("run", *words, "--dose-per-frame", 2) == 0
    sidecar = json.loads((project / "exposures" / "a" / "motion.json").read_text())
    assert sidecar["numbers"]["dose_per_frame"] == 2
    assert run_icefloe("run", *words, "--set", "data.dose_file=gone.txt") == 1


def test_choices_reach_the_settings(movies, tmp_path, monkeypatch):
    seen = []

    def fake(*_, settings, **__):
        seen.append(settings)
        raise RuntimeError("enough")

    monkeypatch.setattr(icefloe.motion, "correct_motion", fake)
    words = [movies / "a.mrc", "--out", tmp_path, "--dose-per-frame", 1]
    command(*words, "--bfactor-whole", 700, "--bfactor-local", 90, "--alignment-dose", 3,
            "--dose-weighting-at", "mid")  # fmt: skip
    command(*words, "--bfactor", 80)
    assert seen == [
        MotionSettings(bfactor=700, bfactor_local=90, alignment_dose=3.0, dose_weighting_at="mid"),
        MotionSettings(bfactor_local=80),
    ]


@pytest.mark.parametrize(
    ("error", "words"),
    [(MemoryError("1 GB"), "not enough memory (1 GB)"), (ValueError("odd\nshape"), "odd shape")],
)
def test_an_unexpected_error_is_one_movies_alone(movies, tmp_path, monkeypatch, error, words):
    real = correct_motion

    def fake(*arguments, name, **facts):
        if name == "a":
            raise error
        return real(*arguments, name=name, **facts)

    monkeypatch.setattr(icefloe.motion, "correct_motion", fake)
    arguments = [movies / "a.mrc", movies / "b.mrc", "--out", tmp_path, "--dose-per-frame", 1.5]
    done = command(*arguments)
    assert done.exit_code == 1
    assert words in done.output
    assert "Traceback" not in done.output
    assert "1 of 2 failed" in done.output
    assert (tmp_path / "b.mrc").is_file()
    assert not (tmp_path / "a.mrc").exists()
    assert ("please report" in done.output) == isinstance(error, ValueError)
    assert "Traceback" in command(*arguments, ICEFLOE_DEBUG="1").output


@pytest.mark.parametrize("setting", [0.0, -1.0, float("nan")])
def test_alignment_dose_must_be_positive(setting):
    with pytest.raises(ValueError, match="alignment_dose"):
        MotionSettings(alignment_dose=setting)
