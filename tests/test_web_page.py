"""What the page's server tells and writes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_session

pytest.importorskip("starlette", reason="the extra 'web' is not installed")

from PIL import Image
from starlette.testclient import TestClient

from icefloe.curation import load_curation, parse_rule, read_journal
from icefloe.curation.measures import values_of
from icefloe.curation.store import load_figures, rules_path
from icefloe.engine.settings import SessionSettings
from icefloe.formats.coordinates import read_coordinates
from icefloe.project import Project, read_settings, write_settings
from icefloe.web.app import create_app
from icefloe.web.events import Hub
from icefloe.web.security import Tokens
from icefloe.web.table import VERDICTS
from icefloe.web.watch import Watch

BASE = "http://127.0.0.1:8790"
HERE = {"Origin": BASE}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = fake_session.make_session(tmp_path / "s", 9, preview=64)
    made.settings_file.unlink()
    write_settings(made.settings_file, SessionSettings())
    return made


@pytest.fixture
def page(project: Project) -> Any:
    tokens = Tokens()
    with TestClient(create_app(project, tokens, poll=600), base_url=BASE) as client:
        client.get("/", params={"token": tokens.owner})
        yield client


def table(page: Any, since: int = -1) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    content = page.get("/api/table", params={"since": since}).content
    (size,) = struct.unpack("<I", content[:4])
    head = json.loads(content[4 : 4 + size])
    names = [*head["extra"], *(c["name"] for c in head["columns"])]
    values = np.frombuffer(content[4 + size :], "<f4").reshape(len(names), len(head["names"]))
    return head, dict(zip(names, values, strict=True))


def post(page: Any, path: str, content: dict[str, Any]) -> Any:
    answer = page.post(f"/api/{path}", json=content, headers=HERE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_table_holds_what_the_sidecars_record(page: Any, project: Project) -> None:
    head, columns = table(page)
    records = load_figures(project)
    assert head["names"] == [record.name for record in records]
    assert head["counts"]["states"]["failed"] == 1
    assert head["failures"]["movie_0006"] == ["import", fake_session.TRUNCATED]
    assert all(column["label"] for column in head["columns"])
    for column in head["columns"]:
        expected = values_of(records, column["name"]).astype(np.float32)
        np.testing.assert_array_equal(columns[column["name"]], expected)


def test_a_change_sends_only_what_changed(page: Any, project: Project) -> None:
    version = table(page)[0]["version"]
    post(page, "decisions", {"decision": "reject", "names": ["movie_0003"]})
    head, columns = table(page, version)
    assert head["names"] == ["movie_0003"]
    assert columns["place"].tolist() == [2]
    assert head["version"] > version
    assert table(page, head["version"])[0]["names"] == []


def test_new_results_are_found(project: Project) -> None:
    watch = Watch(project)
    assert watch.poll()
    version = watch.table.version
    assert not watch.poll()
    numbers = fake_session.ctf_numbers(np.random.default_rng(5), 12345.0)
    fake_session._write(project, "movie_0002", "ctf", numbers=numbers)
    sources = {**project.read_registry(), "movie_0010": "/data/movie_0010.tiff"}
    project.write_registry(sources)
    assert watch.poll()
    changed = [name for name, v in watch.table.changed.items() if v > version]
    assert changed == ["movie_0002", "movie_0010"]
    found = watch.table.rows["movie_0002"][watch.table.columns["ctf.defocus"]]
    assert found == pytest.approx(12345.0)
    assert list(watch.table.records) == list(project.read_registry())


def test_the_pace_is_that_of_the_last_exposures(project: Project) -> None:
    sources = project.read_registry()
    for i, name in enumerate(sources):  # one a minute
        for path in (project.exposures / name).glob("*.json"):
            os.utime(path, (1e9 + 60 * i, 1e9 + 60 * i))
    more = {f"movie_{i:04d}": f"/data/movie_{i:04d}.tiff" for i in (20, 21, 22)}
    project.write_registry({**sources, **more})
    watch = Watch(project)
    watch.poll()
    assert watch.table.counts()["states"]["waiting"] == 3
    assert watch.pace() == {"per_hour": 60.0, "seconds_left": 180}


def test_verdicts_are_those_of_curate(page: Any, project: Project) -> None:
    keep = {"keep": "ctf.defocus <= 15000", "reason": "too far"}
    preview = post(page, "rules/preview", {"rules": [keep]})
    assert not rules_path(project).exists()
    post(page, "rules", {"rules": [keep]})
    post(page, "decisions", {"decision": "accept", "names": ["movie_0006", "movie_0008"]})
    post(page, "decisions", {"decision": "reject", "names": ["movie_0001"], "reason": "dirt"})
    curation = load_curation(project)
    assert curation is not None
    assert curation.counts[0].rule == parse_rule(text=keep["keep"], reason="too far")
    assert preview["rules"][0]["takes"] == len(curation.counts[0].taken) > 0
    head, columns = table(page)
    found = {n: VERDICTS[int(v)] for n, v in zip(head["names"], columns["verdict"], strict=True)}
    assert found == {name: verdict.state for name, verdict in curation.verdicts.items()}
    assert found["movie_0006"] == "accepted"
    assert page.get("/api/rules").json()["rules"] == [keep]
    decisions, broken = read_journal(project)
    assert [(d.exposure, d.decision) for d in decisions] == [
        ("movie_0006", "accept"),
        ("movie_0008", "accept"),
        ("movie_0001", "reject"),
    ]
    assert not broken


def test_a_rule_that_cannot_be_read_says_why(page: Any) -> None:
    body = {"rules": [{"keep": "ctf.defocus is large"}]}
    answer = page.post("/api/rules/preview", json=body, headers=HERE)
    assert answer.status_code == 422
    assert "cannot be read" in answer.json()["error"]


def test_an_exposure_with_its_picks_figures_and_pictures(page: Any) -> None:
    found = page.get("/api/exposure", params={"name": "movie_0001"}).json()
    assert len(found["picks"]["x"]) == len(found["picks"]["score"]) > 100
    assert {"spectrum_curves", "frame_track", "patch_tracks"} <= set(found["figures"])
    units = {row["name"]: row["unit"] for row in found["numbers"]}
    assert units["ctf.defocus"] == units["motion.motion_total"] == "Å"
    for figure in found["figures"]:
        answer = page.get("/api/figure", params={"name": "movie_0001", "figure": figure})
        assert answer.content.startswith(b"<svg")
    assert {"preview", "thumbnail", "spectrum"} <= set(found["pictures"])
    for picture in found["pictures"]:
        answer = page.get("/api/picture", params={"name": "movie_0001", "picture": picture})
        assert Image.open(io.BytesIO(answer.content)).format == "PNG"
    failed = page.get("/api/exposure", params={"name": "movie_0006"}).json()
    assert failed["failure"] == ["import", fake_session.TRUNCATED]


def test_picks_by_hand_become_a_star(page: Any, project: Project) -> None:
    x, y = [10.5, 2000.0], [3000.0, 7.25]
    assert post(page, "picks", {"name": "movie_0002", "x": x, "y": y}) == {"saved": 2}
    found = read_coordinates(project.picks / "by_hand" / "movie_0002.star")
    assert (found.x.tolist(), found.y.tolist()) == (x, y)
    detail = page.get("/api/exposure", params={"name": "movie_0002"}).json()
    assert detail["hand_picks"] == {"x": x, "y": y}
    assert page.get("/api/exposure", params={"name": "movie_0001"}).json()["hand_picks"] is None


def test_settings_are_checked_before_they_are_written(page: Any, project: Project) -> None:
    before = project.settings_file.read_bytes()
    changes = {"data": {"voltage": 200.0}}
    assert post(page, "settings", {"changes": changes, "save": False})["saved"] is False
    for bad in ({"data": {"voltage": "high"}}, {"data": {"volts": 1}}, {"nothing": {"a": 1}}):
        answer = page.post("/api/settings", json={"changes": bad, "save": True}, headers=HERE)
        assert answer.status_code == 422
    assert project.settings_file.read_bytes() == before
    post(page, "settings", {"changes": changes, "save": True})
    assert read_settings(project.settings_file, SessionSettings).data.voltage == 200.0
    rows = page.get("/api/settings").json()
    row = next(r for r in rows if (r["section"], r["key"]) == ("data", "voltage"))
    assert row["value"] == 200.0
    assert row["about"]


def test_the_calculator_gives_the_box_of_the_command(page: Any) -> None:
    asked = {"diameter": 150, "defocus": 20000, "resolution": 3, "voltage": 300}
    asked |= {"cs": 2.7, "amplitude_contrast": 0.1, "pixel_size": 1.0}
    found = page.get("/api/calculator", params=asked).json()
    # lambda at 300 kV is 0.019687 A: 0.019687 x 20000 / 3 = 131.2 A on each side.
    assert found["delocalisation"] == pytest.approx(131.25, abs=0.1)
    assert found["minimum"] == pytest.approx(150 + 2 * 131.25, abs=0.2)
    assert found["pixels"] >= found["minimum"]
    assert found["ctf"][0] == pytest.approx(-0.1)
    assert page.get("/api/calculator", params={**asked, "defocus": "nan"}).status_code == 422


def events(boot: str, last: str, version: int, later: tuple[int, ...] = ()) -> list[bytes]:
    """Return what a page hears that connects at a version, and later ones after that."""

    async def listen() -> list[bytes]:
        hub = Hub()
        await hub.publish(version)
        found = []
        stream = hub.stream(boot, last, version)
        found.append(await anext(stream))
        for number in later:
            await hub.publish(number)
            found.append(await anext(stream))
        await hub.close()
        assert [part async for part in stream] == []
        return found

    return asyncio.run(asyncio.wait_for(listen(), 10))


def test_a_page_that_comes_back_hears_what_it_missed() -> None:
    assert b"event: hello\nid: a-4\n" in events("a", "", 4)[0]
    assert b"event: hello\nid: a-4\n" in events("a", "a-4", 4)[0]
    assert b"event: change\nid: a-4\n" in events("a", "a-2", 4)[0]
    assert b"event: reset\nid: b-4\n" in events("b", "a-4", 4)[0]
    assert b"event: hello" in events("a", "a-nonsense", 4)[0]
    assert [b"id: a-5" in e for e in events("a", "", 4, (5, 6))] == [False, True, False]
