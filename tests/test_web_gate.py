"""Who may ask the page's server for what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import fake_session

pytest.importorskip("starlette", reason="the extra 'web' is not installed")

from starlette.testclient import TestClient

from icefloe.engine.settings import SessionSettings
from icefloe.project import Project, write_settings
from icefloe.web.app import create_app
from icefloe.web.security import MAX_BODY, Tokens

BASE = "http://127.0.0.1:8790"
HERE = {"Origin": BASE}
TOKENS = Tokens("o" * 43, "g" * 43)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = fake_session.make_session(tmp_path_factory.mktemp("web") / "s", 6, preview=64)
    made.settings_file.unlink()
    write_settings(made.settings_file, SessionSettings())
    (made.root.parent / "secret.png").write_bytes(b"secret")
    return made


@pytest.fixture(scope="module")
def server(project: Project) -> Iterator[TestClient]:
    app = create_app(project, TOKENS, poll=600)
    with TestClient(app, base_url=BASE, follow_redirects=False) as client:
        yield client


@pytest.fixture
def nobody(server: TestClient) -> TestClient:
    server.cookies.clear()
    return server


@pytest.fixture
def owner(nobody: TestClient) -> TestClient:
    assert nobody.get("/", params={"token": TOKENS.owner}).status_code == 303
    return nobody


@pytest.fixture
def guest(nobody: TestClient) -> TestClient:
    assert nobody.get("/", params={"token": TOKENS.guest}).status_code == 303
    return nobody


READ = ("/", "/static/main.js", "/api/session", "/api/table", "/api/events", "/api/rules")
READ += ("/api/exposure?name=movie_0001", "/api/settings", "/api/downloads", "/api/classes")
READ += ("/api/download?file=report.html", "/api/trial", "/api/scores", "/api/classes/set")
READ += ("/api/crop?name=movie_0001&x=0&y=0&width=99&height=99&resolution=0",)
WRITE = ("/api/decisions", "/api/rules", "/api/picks", "/api/settings", "/api/export")
WRITE += ("/api/classes/select", "/api/trial", "/api/trial/adopt", "/api/trial/cancel")


@pytest.mark.parametrize("path", READ)
def test_nothing_is_shown_without_a_token(nobody: TestClient, path: str) -> None:
    answer = nobody.get(path)
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("path", WRITE)
def test_nothing_is_changed_without_a_token(nobody: TestClient, path: str) -> None:
    assert nobody.post(path, json={}, headers=HERE).status_code == 401


@pytest.mark.parametrize("token", ["", "x", "o" * 42, "ö" * 43, TOKENS.owner + "x"])
def test_a_wrong_token_opens_nothing(nobody: TestClient, token: str) -> None:
    answer = nobody.get("/", params={"token": token})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    cookie = f"icefloe={token}".encode()
    assert nobody.get("/api/session", headers={"Cookie": cookie}).status_code == 401


def test_the_address_becomes_a_cookie_that_only_this_page_sends(nobody: TestClient) -> None:
    answer = nobody.get("/", params={"token": TOKENS.owner})
    assert answer.headers["location"] == "/"
    flags = {part.strip() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict"} <= flags
    assert nobody.get("/api/session").json()["role"] == "owner"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8790", "", "a b", "["])
def test_another_name_for_this_machine_is_refused(owner: TestClient, host: str) -> None:
    assert owner.get("/api/session", headers={"Host": host}).status_code == 421


def test_a_tunnel_from_another_port_works(owner: TestClient) -> None:
    assert owner.get("/api/session", headers={"Host": "localhost:9999"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8791"},
        {"Origin": "https://127.0.0.1:8790"},
        {**HERE, "Sec-Fetch-Site": "cross-site"},
        {**HERE, "Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_pages_cannot_change_anything(
    owner: TestClient, project: Project, headers: dict[str, str]
) -> None:
    body = {"decision": "reject", "names": ["movie_0001"]}
    assert owner.post("/api/decisions", json=body, headers=headers).status_code == 403
    assert not (project.root / "curation").exists()


def test_other_pages_cannot_read(owner: TestClient) -> None:
    answer = owner.get("/api/table", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_a_form_cannot_change_anything(owner: TestClient) -> None:
    kind = {**HERE, "Content-Type": "text/plain"}
    body = json.dumps({"decision": "reject", "names": ["movie_0001"]})
    assert owner.post("/api/decisions", content=body, headers=kind).status_code == 415


@pytest.mark.parametrize("path", WRITE)
def test_a_guest_changes_nothing(guest: TestClient, project: Project, path: str) -> None:
    before = sorted(project.root.rglob("*"))
    assert guest.post(path, json={}, headers=HERE).status_code == 403
    assert sorted(project.root.rglob("*")) == before
    assert guest.get("/api/session").json()["role"] == "guest"


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..",
        "movie_0001/../../..",
        "/etc/passwd",
        "movie_0001\0",
        "%2e%2e",
        "",
        "x" * 5000,
    ],
)
def test_names_that_are_paths_lead_nowhere(owner: TestClient, name: str) -> None:
    for path, more in (
        ("/api/exposure", {}),
        ("/api/picture", {"picture": "preview"}),
        ("/api/figure", {"figure": "spectrum_curves"}),
    ):
        assert owner.get(path, params={"name": name, **more}).status_code == 404
    body = {"name": name, "x": [1], "y": [1]}
    assert owner.post("/api/picks", json=body, headers=HERE).status_code == 404


@pytest.mark.parametrize("role", ["../secret.png", "micrograph.png", "", "motion", "import.json"])
def test_only_known_pictures_and_figures(owner: TestClient, role: str) -> None:
    found = owner.get("/api/picture", params={"name": "movie_0001", "picture": role})
    assert found.status_code == 404
    found = owner.get("/api/figure", params={"name": "movie_0001", "figure": role})
    assert found.status_code == 404


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/vendor"]
)
def test_only_the_files_of_the_page_are_sent(owner: TestClient, path: str) -> None:
    assert owner.get(path).status_code == 404


def test_a_picture_that_is_a_link_to_elsewhere_is_not_sent(
    owner: TestClient, project: Project
) -> None:
    path = project.exposures / "movie_0002" / "micrograph.png"
    path.unlink()
    path.symlink_to(project.root.parent / "secret.png")
    found = owner.get("/api/picture", params={"name": "movie_0002", "picture": "preview"})
    assert found.status_code == 404


@pytest.mark.parametrize(
    "name", ["../secret.png", "icefloe.toml", "", "report/report.html", "/etc"]
)
def test_only_known_files_are_offered(owner: TestClient, name: str) -> None:
    assert owner.get("/api/download", params={"file": name}).status_code == 404


def test_a_download_that_is_a_link_to_elsewhere_is_not_sent(
    owner: TestClient, project: Project
) -> None:
    (project.root / "export").mkdir()
    link = project.root / "export" / "relion.zip"
    link.symlink_to(project.root.parent / "secret.png")
    assert owner.get("/api/download", params={"file": "relion.zip"}).status_code == 404
    assert owner.get("/api/downloads").json() == []
    link.unlink()
    link.parent.rmdir()


@pytest.mark.parametrize("key", ["../..", "/etc", "reference/..", "", "curation"])
def test_names_of_classes_that_are_paths_lead_nowhere(
    owner: TestClient, project: Project, key: str
) -> None:
    assert owner.get("/api/classes/set", params={"set": key}).status_code == 422
    asked = {"set": key, "number": "1"}
    assert owner.get("/api/classes/picture", params=asked).status_code == 404
    body = {"set": key, "numbers": [1]}
    assert owner.post("/api/classes/select", json=body, headers=HERE).status_code == 422
    assert not (project.picks / "selected_classes").exists()


def test_a_body_that_is_too_large_is_refused(owner: TestClient) -> None:
    kind = {**HERE, "Content-Type": "application/json"}
    body = b" " * (MAX_BODY + 1)
    assert owner.post("/api/decisions", content=body, headers=kind).status_code == 413

    def in_parts() -> Iterator[bytes]:  # without a length
        for _ in range(40):
            yield b" " * (MAX_BODY // 32)

    assert owner.post("/api/decisions", content=in_parts(), headers=kind).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"decision": "delete", "names": ["movie_0001"]}',
        b'{"decision": "reject", "names": []}',
        b'{"decision": "reject", "names": ["nobody"]}',
        b'{"decision": "reject", "names": [1]}',
        b'{"decision": "reject", "names": ["movie_0001"], "more": 1}',
    ],
)
def test_a_body_that_means_nothing_is_an_error(
    owner: TestClient, project: Project, body: bytes
) -> None:
    kind = {**HERE, "Content-Type": "application/json"}
    answer = owner.post("/api/decisions", content=body, headers=kind)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert not (project.root / "curation").exists()


@pytest.mark.parametrize("point", [["-1", "1"], ["1e9", "1"], ["NaN", "1"], ["Infinity", "1"]])
def test_picks_outside_the_micrograph_are_refused(owner: TestClient, point: list[str]) -> None:
    body = f'{{"name": "movie_0001", "x": [{point[0]}], "y": [{point[1]}]}}'
    kind = {**HERE, "Content-Type": "application/json"}
    assert owner.post("/api/picks", content=body, headers=kind).status_code == 422


def test_other_methods_are_refused(owner: TestClient) -> None:
    assert owner.put("/api/rules", json={}, headers=HERE).status_code == 405
    assert owner.delete("/api/rules").status_code == 403


def test_every_answer_forbids_foreign_and_inline_scripts(owner: TestClient) -> None:
    for path in ("/", "/static/main.js", "/api/session", "/api/nothing"):
        headers = owner.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    page = owner.get("/").text
    assert page.count("<script") == page.count('<script type="module" src="/static/') == 1
    assert " style=" not in page
    figure = owner.get("/api/figure?name=movie_0001&figure=spectrum_curves")
    assert figure.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in figure.headers["content-security-policy"]
    assert "script-src" not in figure.headers["content-security-policy"]


def test_the_page_fetches_nothing_from_elsewhere() -> None:
    import icefloe.web

    for path in (Path(icefloe.web.__file__).parent / "static").iterdir():
        if path.is_file():
            assert "://" not in path.read_text(encoding="utf-8"), path.name


def test_a_wheel_has_the_files_of_the_page() -> None:
    """What is packed is all of src/icefloe that git does not ignore."""
    import subprocess
    import tomllib

    import icefloe.web

    root = Path(__file__).resolve().parents[1]
    content = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = content["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/icefloe"]}
    assert "exclude" not in content["tool"]["hatch"]["build"]
    static = Path(icefloe.web.__file__).parent / "static"
    files = [path for path in static.rglob("*") if path.is_file()]
    assert {"index.html", "main.js", "style.css", "htm-preact.js"} <= {f.name for f in files}
    git = ["git", "-C", str(root), "check-ignore", *map(str, files)]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    if found.returncode == 128:
        pytest.skip("this is no git checkout")
    assert found.stdout == ""
