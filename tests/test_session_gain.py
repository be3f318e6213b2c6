"""A run looks whether the gain is used as its movies show it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from icefloe.cli.progress import RunDisplay
from icefloe.engine import Session, register, run_session
from icefloe.engine.gain_check import GainCheck, read_gain_warnings
from icefloe.engine.setup import open_or_create
from icefloe.engine.stage import Work
from icefloe.engine.stages import STANDARD_STAGES
from icefloe.formats import write_mrc
from icefloe.formats.gain import orient_gain
from icefloe.formats.movie import open_movie
from icefloe.formats.tiff import write_tiff_movie

SHAPE = (192, 256)
FRAMES = 4


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Movies of noise through a camera, and its gain stored in two ways."""
    directory = tmp_path_factory.mktemp("camera")
    rng = np.random.default_rng(5)
    gain = 1 + 0.05 * rng.standard_normal(SHAPE).astype(np.float32)
    for i in range(5):
        bright = 10 * (1 + 0.2 * np.sin(np.arange(SHAPE[1]) / (20.0 + i)))
        frames = rng.poisson(bright / gain, (FRAMES, *SHAPE)).astype(np.uint16)
        write_tiff_movie(directory / f"m{i}.tiff", frames, 1.0)
        write_tiff_movie(directory / f"corrected{i}.tiff", (frames * gain).round().astype("u2"), 1)
    write_mrc(directory / "right.mrc", gain, 1.0)
    write_mrc(directory / "inverse.mrc", (1 / gain).astype(np.float32), 1.0)
    write_mrc(directory / "turned.mrc", orient_gain(gain, 2, 0), 1.0)
    return directory


def make(project: Path, camera: Path, gain: str | None, rotate: int = 0, flip: int = 0) -> Session:
    data = {"pixel_size": 1.0, "dose_per_frame": 1.0, "gain_rotate": rotate, "gain_flip": flip}
    data |= {} if gain is None else {"gain": str(camera / gain)}
    changes = {"data": data, "motion": {"patches": [1, 1]}}
    return Session(*open_or_create(project, changes, may_create=True))


def look(session: Session, *movies: Path) -> tuple[GainCheck, str | None]:
    """Show movies to the check of a session, as a run does."""
    check = GainCheck.start(session)
    for path in movies:
        work = Work(session, path.stem, path, {"import": {"format": "tiff"}})
        with open_movie(path) as movie:
            work.keep("frames", list(movie))
        check.add(work)
    return check, check.news()


def run(session: Session, movie: Path) -> None:
    register(session.project, [movie])
    with RunDisplay(session, 1) as display:
        run_session(session, stages=STANDARD_STAGES[:2], observer=display)


def test_the_run_warns_once_and_takes_the_advice(camera, tmp_path, capsys):
    project = tmp_path / "s"
    run(make(project, camera, "turned.mrc"), camera / "m0.tiff")
    said = capsys.readouterr().err
    assert said.count("WARNING") == 1
    assert "--gain-rotate 2 --gain-flip 0" in said
    before = (project / "gain_check.json").read_bytes()
    run(Session.open(project), camera / "m1.tiff")
    assert "motion" in (said := capsys.readouterr().err)
    assert "WARNING" not in said
    assert (project / "gain_check.json").read_bytes() == before
    run(make(project, camera, "turned.mrc", 2), camera / "m1.tiff")
    assert "WARNING" not in capsys.readouterr().err
    assert json.loads((project / "gain_check.json").read_text())["verdict"] == "right"


@pytest.mark.parametrize(("rotate", "flip"), [(0, 1), (0, 2), (2, 1), (2, 2), (0, 0)])
def test_the_advice_does_not_depend_on_what_is_given(camera, tmp_path, rotate, flip):
    session = make(tmp_path / "s", camera, "turned.mrc", rotate, flip)
    check, message = look(session, camera / "m0.tiff")
    assert check.verdict == "wrong"
    assert "--gain-rotate 2 --gain-flip 0 is better" in (message or "")
    assert read_gain_warnings(session) == [message]
    # With another orientation in the settings that warning is out of date.
    assert read_gain_warnings(make(tmp_path / "s", camera, "turned.mrc", 2, 0)) == []


def test_a_right_gain_is_passed_over(camera, tmp_path):
    session = make(tmp_path / "s", camera, "right.mrc")
    check, message = look(session, camera / "m0.tiff")
    assert (check.verdict, message) == ("right", None)
    assert read_gain_warnings(session) == []


def test_a_gain_of_another_size_is_named_unless_the_movies_show_it(camera, tmp_path):
    small = np.ones((SHAPE[0] // 2, SHAPE[1] // 2), np.float32)
    write_mrc(tmp_path / "small.mrc", small, 1.0)
    session = make(tmp_path / "s", tmp_path, "small.mrc")
    _, message = look(session, camera / "m0.tiff")
    assert "magnified 2 times" in (message or "")
    assert read_gain_warnings(session) == [message]


def test_a_gain_that_divides_is_named(camera, tmp_path):
    _, message = look(make(tmp_path / "s", camera, "inverse.mrc"), camera / "m0.tiff")
    assert "inverted" in (message or "")


def test_a_pattern_without_a_gain_is_seen_in_two_movies(camera, tmp_path):
    session = make(tmp_path / "s", camera, None)
    movies = [camera / "m0.tiff", camera / "m1.tiff"]
    assert look(session, movies[0])[0].verdict is None
    check, message = look(session, *movies)
    assert check.verdict == "pattern"
    # 5 % RMS were put in, of which a high-pass leaves nearly all.
    assert "4.9%" in (message or "") or "5.0%" in (message or "")


def test_movies_that_are_corrected_already_are_seen(camera, tmp_path):
    movies = sorted(camera.glob("corrected?.tiff"))
    check, message = look(make(tmp_path / "s", camera, "right.mrc"), *movies)
    assert check.verdict == "absent"
    assert "corrected already" in (message or "")
    check, message = look(make(tmp_path / "t", camera, None), *movies)
    assert (check.verdict, message) == ("none", None)


def test_it_gives_up_after_five_movies(camera, tmp_path):
    session = make(tmp_path / "s", camera, None)
    movies = sorted(camera.glob("corrected?.tiff"))
    assert look(session, *movies[:4])[0].verdict is None
    check, message = look(session, *movies)
    assert (check.verdict, message) == ("none", None)
    content = json.loads((tmp_path / "s" / "gain_check.json").read_text())
    assert len(content["movies"]) == 5


def test_results_are_the_same_whether_it_looks_or_not(camera, tmp_path, monkeypatch):
    for name in "st":
        session = make(tmp_path / name, camera, "turned.mrc")
        register(session.project, [camera / "m0.tiff"])
        run_session(session, stages=STANDARD_STAGES[:2])
        monkeypatch.setattr(GainCheck, "add", lambda self, work: None)
    assert (tmp_path / "s" / "gain_check.json").exists()
    assert not (tmp_path / "t" / "gain_check.json").exists()
    one, other = (sorted((tmp_path / d / "micrographs").glob("*")) for d in "st")
    assert [p.name for p in one] == [p.name for p in other] != []
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, other, strict=True))
    sidecars = [json.loads((tmp_path / d / "exposures/m0/motion.json").read_text()) for d in "st"]
    assert sidecars[0]["fingerprint"] == sidecars[1]["fingerprint"]
