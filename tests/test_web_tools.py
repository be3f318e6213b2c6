"""Classes by click, the grid's map, exports by button, settings tried: what the server does."""

from __future__ import annotations

import io
import json
import shutil
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_session
from session_tools import PIXEL, icefloe

pytest.importorskip("starlette", reason="the extra 'web' is not installed")

from PIL import Image
from starlette.testclient import TestClient

from icefloe.engine.given_templates import given_templates
from icefloe.engine.micrograph_stages import PickStage
from icefloe.engine.settings import SessionSettings
from icefloe.formats.coordinates import read_coordinates
from icefloe.formats.cryosparc import read_cs
from icefloe.formats.mrc import read_mrc, write_mrc
from icefloe.formats.star import StarTable, read_star, write_star
from icefloe.project import Project, read_settings, write_settings
from icefloe.project.lock import project_lock
from icefloe.web.app import create_app
from icefloe.web.security import Tokens

BASE = "http://127.0.0.1:8790"
HERE = {"Origin": BASE}

pytest_plugins = ["session_fixtures"]


def client(project: Project) -> TestClient:
    return TestClient(create_app(project, Tokens("o" * 43, "g" * 43), poll=600), base_url=BASE)


@pytest.fixture
def fake(tmp_path: Path) -> Project:
    made = fake_session.make_session(tmp_path / "s", 6, preview=64)
    made.settings_file.unlink()
    write_settings(made.settings_file, SessionSettings())
    return made


@pytest.fixture
def page(fake: Project) -> Iterator[TestClient]:
    with client(fake) as found:
        found.get("/", params={"token": "o" * 43})
        yield found


@pytest.fixture
def real(session: Path) -> Iterator[TestClient]:
    """The page of a session that was really processed."""
    with client(Project.open(session)) as found:
        found.get("/", params={"token": "o" * 43})
        yield found


def post(page: TestClient, path: str, content: dict[str, Any]) -> Any:
    answer = page.post(f"/api/{path}", json=content, headers=HERE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def make_classes(directory: Path) -> np.ndarray:
    """Write a classification as RELION does: three classes, a disc of another size in each."""
    directory.mkdir(parents=True)
    y, x = np.mgrid[:32, :32] - 16
    images = np.stack([(np.hypot(y, x) < r).astype(np.float32) for r in (5, 7, 9)])
    write_mrc(directory / "run_classes.mrcs", images, 4.0)
    names = [f"{k:06d}@Class2D/job001/run_classes.mrcs" for k in (1, 2, 3)]
    classes = {"rlnReferenceImage": names, "rlnClassDistribution": [0.5, 0.3, 0.2]}
    classes["rlnEstimatedResolution"] = [12.0, 14.0, 999.0]
    write_star(directory / "run_model.star", {"model_classes": StarTable(classes)})
    particles = {"rlnImageName": [f"{k:06d}@p.mrcs" for k in range(1, 7)]}
    table = StarTable({**particles, "rlnClassNumber": [1, 1, 2, 3, 3, 3]})
    write_star(directory / "run_data.star", {"particles": table})
    return images


class TestClasses:
    def test_classes_chosen_by_click_are_templates(self, fake: Project, page: TestClient) -> None:
        assert page.get("/api/classes").json() == []
        images = make_classes(fake.root / "Class2D" / "job001")
        key = page.get("/api/classes").json()[0]["id"]
        detail = page.get("/api/classes/set", params={"set": key}).json()
        assert [c["share"] for c in detail["classes"]] == [0.5, 0.3, 0.2]
        assert detail["chosen"] == []
        answer = page.get("/api/classes/picture", params={"set": key, "number": 3})
        shown = np.asarray(Image.open(io.BytesIO(answer.content)))
        # A disc of 9 of 16 pixels is white, what is around it black.
        assert shown[48, 48] == shown[48, 48 + 22] == 255
        assert shown[48, 48 + 32] == 0
        saved = post(page, "classes/select", {"set": key, "numbers": [3, 1]})
        assert (saved["count"], saved["particles"], saved["particles_of"]) == (2, 5, 6)
        templates, size = read_mrc(fake.root / saved["templates"])
        assert templates.shape == (2, 32, 32)
        assert size == pytest.approx(4.0)
        for template, image in zip(templates, images[[0, 2]], strict=True):
            assert np.corrcoef(template.ravel(), image.ravel())[0, 1] > 0.95
        listed = read_star(fake.picks / "selected_classes" / "particles_selected.star")
        assert listed["particles"]["rlnClassNumber"].astype(int).tolist() == [1, 1, 3, 3, 3]
        assert page.get("/api/classes/set", params={"set": key}).json()["chosen"] == [1, 3]
        # The settings take the file as it is, and picking reads it.
        changes = {"pick": {"method": "template", "templates": saved["templates"]}}
        post(page, "settings", {"changes": changes, "save": True})
        settings = read_settings(fake.settings_file, SessionSettings)
        assert settings.pick.method == "template"
        assert len(given_templates(fake.locate(str(settings.pick.templates))).images) == 2

    def test_a_class_that_is_not_there_is_refused(self, fake: Project, page: TestClient) -> None:
        make_classes(fake.root / "classes")
        wrong: list[list[Any]] = [[0], [4], [-1], [], ["a"], [1.5]]
        for numbers in wrong:
            body = {"set": "classes", "numbers": numbers}
            assert page.post("/api/classes/select", json=body, headers=HERE).status_code == 422
        assert not (fake.picks / "selected_classes").exists()

    def test_averages_outside_the_session_are_not_shown(
        self, fake: Project, page: TestClient
    ) -> None:
        make_classes(fake.root / "classes")
        outside = fake.root.parent / "outside.mrcs"
        (fake.root / "classes" / "run_classes.mrcs").rename(outside)
        names = [f"{k:06d}@{outside}" for k in (1, 2, 3)]
        blocks = {"model_classes": StarTable({"rlnReferenceImage": names})}
        write_star(fake.root / "classes" / "run_model.star", blocks)
        asked = {"set": "classes", "number": 1}
        assert page.get("/api/classes/picture", params=asked).status_code == 404
        (fake.root / "classes" / "outside.mrcs").symlink_to(outside)  # beside the model
        assert page.get("/api/classes/picture", params=asked).status_code == 404


def test_places_on_the_grid_are_in_the_table(fake: Project) -> None:
    values = {"program": "EPU", "stage_position": [12.5, -7.25, 3.0], "shift": [0.5, -0.125]}
    content = {"schema": 1, "of": ["a.xml", 1, 1], "values": values}
    (fake.exposures / "movie_0002" / "acquisition.json").write_text(json.dumps(content))
    with client(fake) as page:
        page.get("/", params={"token": "o" * 43})
        content = page.get("/api/table").content
    (size,) = struct.unpack("<I", content[:4])
    head = json.loads(content[4 : 4 + size])
    n = len(head["names"])
    found = np.frombuffer(content[4 + size :], "<f4").reshape(-1, n)[: len(head["extra"])]
    places = dict(zip(head["extra"], found, strict=True))
    row = head["names"].index("movie_0002")
    got = [float(places[key][row]) for key in ("stage_x", "stage_y", "shift_x", "shift_y")]
    assert got == [12.5, -7.25, 0.5, -0.125]
    assert np.isnan(np.delete(places["stage_x"], row)).all()


class TestExports:
    def test_what_is_made_can_be_fetched(self, session: Path, real: TestClient) -> None:
        assert real.get("/api/downloads").json() == []
        made = [name for kind in ("report", "pdf", "methods", "relion", "cryosparc")
                for name in post(real, "export", {"kind": kind})["downloads"]]  # fmt: skip
        content = {}
        for name in made:
            answer = real.get("/api/download", params={"file": name})
            assert answer.status_code == 200
            assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
            content[name] = answer.content
        assert {row["name"] for row in real.get("/api/downloads").json()} == set(made)
        assert content["report.html"].lstrip().lower().startswith(b"<!doctype html")
        assert content["report.pdf"].startswith(b"%PDF-")
        assert b"otion" in content["methods.txt"]
        with zipfile.ZipFile(io.BytesIO(content["relion.zip"])) as archive:
            names = archive.namelist()
            assert archive.testzip() is None
        assert {"relion/particles.star", "relion/micrographs_ctf.star"} <= set(names)
        star = read_star(session / "relion" / "particles.star")["particles"]
        (session / "back.cs").write_bytes(content["particles.cs"])
        table = read_cs(session / "back.cs")
        assert len(table["uid"]) == len(star) > 10
        for stack in set(table["blob/path"].tolist()):
            assert stack[0] == ">"
            assert (session / stack[1:]).is_file()
        assert f"num_items: {len(star)}" in content["particles.csg"].decode()
        index = [int(str(v).partition("@")[0]) - 1 for v in star["rlnImageName"].tolist()]
        assert table["blob/idx"].tolist() == index
        x = table["location/center_x_frac"] * table["location/micrograph_shape"][:, 1]
        origin = star["rlnOriginXAngst"].astype(float) / PIXEL
        np.testing.assert_allclose(x, star["rlnCoordinateX"].astype(float) - origin, atol=0.01)

    def test_picks_alone_are_fetched_where_no_particles_are_cut_out(
        self, session: Path, real: TestClient
    ) -> None:
        shutil.rmtree(session / "particles")
        for path in (session / "exposures").glob("*/extract.json"):
            path.unlink()
        assert post(real, "export", {"kind": "cryosparc"})["downloads"] == [
            "picks.cs",
            "picks.csg",
        ]
        (session / "back.cs").write_bytes(
            real.get("/api/download", params={"file": "picks.cs"}).content
        )
        table = read_cs(session / "back.cs")
        expected = {
            name: real.get("/api/exposure", params={"name": name}).json()["picks"]
            for name in ("movie_1", "movie_2")
        }
        path = np.char.decode(table["location/micrograph_path"].astype("S"))
        shape = table["location/micrograph_shape"]
        for name, picks in expected.items():
            mine = path == f"micrographs/{name}.mrc"
            assert mine.sum() == len(picks["x"]) > 5
            x = table["location/center_x_frac"] * shape[:, 1]
            y = (1 - table["location/center_y_frac"]) * shape[:, 0]  # counted from below
            found = np.stack([x[mine], y[mine]], axis=1)
            np.testing.assert_allclose(found, np.stack([picks["x"], picks["y"]], 1), atol=0.01)

    def test_what_cannot_be_made_says_why(self, tmp_path: Path) -> None:
        empty = Project.create(tmp_path / "empty")
        write_settings(empty.settings_file, SessionSettings())
        with client(empty) as page:
            page.get("/", params={"token": "o" * 43})
            for kind in ("relion", "cryosparc", "everything"):
                answer = page.post("/api/export", json={"kind": kind}, headers=HERE)
                assert answer.status_code == 422
                assert answer.json()["error"]


def test_the_calculator_needs_no_session(tmp_path: Path) -> None:
    empty = Project.create(tmp_path / "empty")
    write_settings(empty.settings_file, SessionSettings())
    app = create_app(empty, Tokens("o" * 43, "g" * 43), poll=600, calculator=True)
    with TestClient(app, base_url=BASE) as page:
        page.get("/", params={"token": "g" * 43})
        assert page.get("/api/session").json()["calculator"] is True
        asked = {"diameter": 150, "defocus": 20000, "resolution": 3, "voltage": 300, "cs": 2.7}
        asked |= {"amplitude_contrast": 0.1, "pixel_size": 1.0}
        assert page.get("/api/calculator", params=asked).json()["pixels"] >= 150 + 2 * 131


def test_settings_are_tried_and_taken_over(session: Path, real: TestClient) -> None:
    before = (session / "icefloe.toml").read_bytes()
    bad = {"changes": {"pick": {"blob": {"threshold": "high"}}}}
    assert real.post("/api/trial", json=bad, headers=HERE).status_code == 422
    assert real.get("/api/trial").json()["state"] == "none"
    post(real, "trial", {"changes": {"pick": {"blob.threshold": 8.0}}, "count": 2})
    until = time.monotonic() + 60
    while (found := real.get("/api/trial").json())["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert (found["state"], found["error"]) == ("done", "")
    assert found["names"] == ["movie_1", "movie_2"]
    row = [column["name"] for column in found["columns"]].index("pick.threshold")
    assert found["new"][row] == [8.0, 8.0]
    assert found["old"][row] != [8.0, 8.0]
    assert (session / "icefloe.toml").read_bytes() == before
    pair = real.get("/api/trial/exposure", params={"name": "movie_1"}).json()
    assert min(pair["new"]["picks"]["score"], default=8.0) >= 8.0
    for more in ({}, {"trial": "1"}):
        asked = {"name": "movie_1", "picture": "preview", **more}
        assert real.get("/api/picture", params=asked).content.startswith(b"\x89PNG")
    assert real.get("/api/trial/exposure", params={"name": "movie_3"}).status_code == 404
    asked = {"name": "../movie_1", "picture": "preview", "trial": "1"}
    assert real.get("/api/picture", params=asked).status_code == 404
    assert "pick" in post(real, "trial/adopt", {"save": False})["stale"]
    assert (session / "icefloe.toml").read_bytes() == before
    post(real, "trial/adopt", {"save": True})
    assert read_settings(session / "icefloe.toml", SessionSettings).pick.blob.threshold == 8.0
    shutil.rmtree(session.with_name("s-trial"))


def test_a_trial_can_be_cancelled(
    session: Path, real: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert real.post("/api/trial/cancel", json={}, headers=HERE).status_code == 422
    at_work, go_on = threading.Event(), threading.Event()
    whole = PickStage.run

    def slow(self: PickStage, work: Any) -> Any:
        at_work.set()
        assert go_on.wait(30)
        return whole(self, work)

    monkeypatch.setattr(PickStage, "run", slow)
    before = {path: path.read_bytes() for path in session.rglob("*.json")}
    post(real, "trial", {"changes": {"pick": {"blob.threshold": 8.0}}, "count": 2})
    assert at_work.wait(30)
    post(real, "trial/cancel", {})
    go_on.set()
    until = time.monotonic() + 30
    while (found := real.get("/api/trial").json())["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.02)
    assert (found["state"], found["error"]) == ("cancelled", "")
    assert real.get("/api/trial/exposure", params={"name": "movie_1"}).status_code == 404
    # What was not tried to its end is not taken over, and the session is as it was.
    assert real.post("/api/trial/adopt", json={"save": True}, headers=HERE).status_code == 422
    assert {path: path.read_bytes() for path in session.rglob("*.json")} == before
    beside = session.with_name("s-trial")
    assert len(list((beside / "exposures").glob("*/pick.json"))) < 4
    # Another can be tried at once.
    post(real, "trial", {"changes": {"pick": {"blob.threshold": 9.0}}, "count": 1})
    while (found := real.get("/api/trial").json())["state"] == "running":
        assert time.monotonic() < until + 30
        time.sleep(0.02)
    assert found["state"] == "done"
    shutil.rmtree(beside)


def test_picks_by_hand_are_what_train_and_extract_read(
    session: Path, real: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from icefloe.cli.inputs import expand_micrographs
    from icefloe.cli.train import _with_picks

    x, y = [100.5, 200.0, 300.25], [40.0, 250.0, 130.5]
    post(real, "picks", {"name": "movie_1", "x": x, "y": y})
    items = expand_micrographs(
        tuple(sorted((session / "micrographs").glob("movie_?.mrc"))),
        pixel_size=None, voltage=None, cs=None, amplitude_contrast=None,
    )  # fmt: skip
    monkeypatch.chdir(session)  # where the page says that the command is to be given
    for files in ([Path("picks/by_hand/movie_1.star")], [Path("picks/by_hand.star")]):
        chosen, marks = _with_picks(items, tuple(files))
        assert [item.name for item in chosen] == ["movie_1"]
        assert marks[0][0].tolist() == y
        assert marks[0][1].tolist() == x
    # Templates of them: particles are cut out where a person put them.
    assert icefloe("export", "relion", "--project", session) == 0
    arguments = ["--picks", "picks/by_hand.star", "--box", "64", "--out", "by_hand"]
    assert icefloe("extract", "relion/micrographs_ctf.star", *arguments) == 0
    particles = read_star(session / "by_hand" / "particles.star")["particles"]
    assert np.floor(x).tolist() == particles["rlnCoordinateX"].astype(float).tolist()


def test_every_number_of_a_session_has_its_label_unit_and_sentence(real: TestClient) -> None:
    content = real.get("/api/table").content
    (size,) = struct.unpack("<I", content[:4])
    columns = json.loads(content[4 : 4 + size])["columns"]
    assert len(columns) > 60
    unexplained = [c["name"] for c in columns if not c["about"] or "Recorded by" in c["about"]]
    assert unexplained == []
    units = {c["name"]: c["unit"] for c in columns}
    for end, unit in (("pixel_size", "Å"), ("_resolution", "Å"), ("angle", "°"), ("voltage", "kV")):
        assert {units[name] for name in units if name.endswith(end)} == {unit}, end


def test_a_part_of_a_micrograph_is_what_the_file_holds(session: Path, real: TestClient) -> None:
    image, _ = read_mrc(session / "micrographs" / "movie_1.mrc")
    asked = {"name": "movie_1", "x": 100, "y": 60, "width": 200, "height": 120}
    content = real.get("/api/crop", params={**asked, "resolution": 0}).content
    shown = np.asarray(Image.open(io.BytesIO(content))).astype(float)
    assert shown.shape == (120, 200)
    part = np.asarray(image, dtype=float)[60:180, 100:300]
    low, high = np.percentile(part, (0.5, 99.5))
    np.testing.assert_allclose(shown, 255 * np.clip((part - low) / (high - low), 0, 1), atol=0.6)
    # With a low-pass of 40 A nothing is left beyond it (pixels of 1.5 A).
    content = real.get("/api/crop", params={**asked, "resolution": 40}).content
    power = np.abs(np.fft.rfft2(np.asarray(Image.open(io.BytesIO(content))).astype(float))) ** 2
    k = np.hypot(np.fft.fftfreq(120)[:, None], np.fft.rfftfreq(200)[None, :]) / PIXEL
    power[0, 0] = 0
    assert power[k > 1 / 15].sum() < 0.02 * power.sum()
    for bad in ({"x": -1}, {"width": 10**7}, {"resolution": "nan"}, {"name": "../x"}, {"y": 9999}):
        answer = real.get("/api/crop", params={**asked, "resolution": 0, **bad})
        assert answer.status_code in (404, 422)


def test_scores_of_the_session_are_those_of_its_picks(session: Path, real: TestClient) -> None:
    found = real.get("/api/scores").json()
    scores = np.concatenate(
        [
            real.get("/api/exposure", params={"name": name}).json()["picks"]["score"]
            for name in ("movie_1", "movie_2")
        ]
    )
    assert found["total"] == found["read"] == len(scores) == sum(found["picked"])
    everything = np.concatenate(
        [
            real.get("/api/exposure", params={"name": name}).json()["candidates"]["score"]
            for name in ("movie_1", "movie_2")
        ]
    )
    assert sum(found["counts"]) == len(everything) > len(scores)
    for bins, values in ((found["picked"], scores), (found["counts"], everything)):
        middle = 0.5 * (found["score"][89] + found["score"][90])
        counts = np.reshape(bins, (100, 100)).sum(axis=1)
        assert abs(int(counts[90:].sum()) - int((values >= middle).sum())) <= 2


def test_limits_are_chosen_and_written(session: Path, real: TestClient) -> None:
    """What becomes stale is said first; the picks, the settings and the journal follow."""
    lists = real.get("/api/exposure", params={"name": "movie_1"}).json()
    peaks, star = lists["candidates"], session / "picks" / "movie_1_picks.star"
    limit = peaks["score"][peaks["picked"] + 4]
    body = {"limits": {"score": limit}, "save": False}
    before = (session / "icefloe.toml").read_bytes()
    asked = real.post("/api/limits", json=body, headers=HERE).json()
    assert (asked["exposures"], asked["rest"], asked["particles"]) == (2, 0, 2)
    assert (session / "icefloe.toml").read_bytes() == before
    done = real.post("/api/limits", json={**body, "save": True}, headers=HERE).json()
    assert done == {**asked, "saved": True}
    assert len(read_coordinates(star).x) == peaks["picked"] + 5
    found = real.get("/api/exposure", params={"name": "movie_1"}).json()
    assert found["picks"]["score"] == peaks["score"][: peaks["picked"] + 5]
    assert found["limits"] == [limit, None, None]
    assert found["candidates"] == peaks
    assert real.get("/api/scores").json()["counts"]
    bad = {"limits": {"min_power": 2, "max_power": 1}, "save": True}
    assert real.post("/api/limits", json=bad, headers=HERE).status_code == 422
    with project_lock(Project.open(session)):
        busy = real.post("/api/limits", json={**body, "save": True}, headers=HERE)
    assert busy.status_code == 422
    assert "Another run works" in busy.json()["error"]
