"""The keys of a page are kept for a restart of its server, and only for the user."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra 'web' is not installed")

from icefloe.project import Project
from icefloe.web.keys import KEPT, keys_path, session_tokens


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Project.create(tmp_path / "s")


def test_a_restart_finds_the_keys_for_a_day(project: Project) -> None:
    first = session_tokens(project, now=1000.0)
    assert session_tokens(project, now=1000.0 + KEPT - 1) == first
    assert session_tokens(project, now=1000.0 + KEPT + 1) != first
    assert first.owner != first.guest


def test_new_keys_on_request_and_for_another_session(project: Project, tmp_path: Path) -> None:
    first = session_tokens(project)
    other = session_tokens(Project.create(tmp_path / "other"))
    again = session_tokens(project, new=True)
    assert len({first.owner, other.owner, again.owner}) == 3
    assert session_tokens(project) == again


def test_keys_are_for_the_user_alone(project: Project) -> None:
    first = session_tokens(project)
    path = keys_path(project)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not any(project.root.rglob("*.json"))
    path.chmod(0o644)  # others may have read them
    assert session_tokens(project) != first


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1, "guest": 2, "made": 3}'])
def test_a_file_that_means_nothing_is_replaced(project: Project, text: str) -> None:
    session_tokens(project)
    keys_path(project).write_text(text)
    found = session_tokens(project)
    assert len(found.owner) == 43
    assert session_tokens(project) == found


def test_a_link_is_not_followed(project: Project, tmp_path: Path) -> None:
    first = session_tokens(project)
    path = keys_path(project)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert session_tokens(project) != first


def test_no_place_to_keep_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nothing")
    assert session_tokens(project) != session_tokens(project)
