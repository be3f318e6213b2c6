"""The page in a browser while a session is processed, and picking by hand with the mouse."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from session_tools import CHOICES, FACTS, icefloe

pytest.importorskip("starlette", reason="the extra 'web' is not installed")

from chromium import Browser, find_chromium
from icefloe.curation.journal import read_limits
from icefloe.engine.pick_candidates import read_candidates
from icefloe.engine.settings import SessionSettings
from icefloe.formats.coordinates import read_coordinates
from icefloe.project import Project, read_settings
from page_server import page_server

pytest_plugins = ["page_fixtures", "session_fixtures"]
pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="there is no Chromium (Debian: apt install chromium)"
)


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    yield chromium
    chromium.leave()


def ready(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.wait("document.querySelector('#app[data-ready]') && icefloe.connected")


def arrive(movie: Path, directory: Path) -> None:
    """Copy a movie as a microscope's program does: under its name when it is whole."""
    shutil.copy(movie, directory / f".{movie.name}")
    (directory / f".{movie.name}").rename(directory / movie.name)


def button(browser: Browser, text: str) -> None:
    found = f'[...document.querySelectorAll("button")].find(b => b.innerText === "{text}")'
    # Found and clicked in one go: the page may be drawn anew between two looks.
    browser.wait(f"(b => b && !b.disabled && (b.click(), true))({found})")


def try_settings(browser: Browser, project: Path) -> None:
    """Change a setting, try it, compare, take it over."""

    before = (project / "icefloe.toml").read_bytes()
    browser.run("icefloe.show('settings')")
    field = "document.querySelector('input[aria-label=\"pick.blob.threshold\"]')"
    browser.wait(f"(f => f && (f.value = '7.5', f.dispatchEvent(new Event('change'))))({field})")
    button(browser, "Try the changes")
    browser.wait("document.querySelectorAll('table.trial tbody tr').length === 3", 60)
    browser.wait("document.querySelectorAll('canvas.still').length === 2")
    browser.wait("document.querySelector('table.trial')?.innerText.includes('→ 7.5')")
    assert (project / "icefloe.toml").read_bytes() == before
    button(browser, "Take these settings over")
    browser.wait("document.body.innerText.includes('Taken over. The next run does again: pick')")
    settings = read_settings(project / "icefloe.toml", SessionSettings)
    assert settings.pick.blob.threshold == 7.5


def loosen(browser: Browser, project: Path) -> None:
    """Take the weaker peaks into the picks of the session, with the slider."""
    star = project / "picks" / "movie_1_picks.star"
    before = len(read_coordinates(star).x)
    browser.run("icefloe.open('movie_1')")
    output = "document.querySelector('.micrograph output.kept')?.innerText ?? ''"
    browser.wait(f"({output}).startsWith('{before} picks here')")
    found = read_candidates(project / "exposures" / "movie_1" / "pick_candidates.npz")
    assert found is not None
    limit = float(found.columns["score"][before + 3])
    slider = "[...document.querySelectorAll('.micrograph label')].find((l) => "
    slider += "l.innerText.startsWith('Score at least')).querySelector('input')"
    event = "e.dispatchEvent(new Event('input', { bubbles: true }))"
    browser.run(f"(e => {{ e.value = {limit}; {event}; }})({slider})")
    button(browser, "Choose the session's picks so")
    button(browser, "Choose them")
    browser.wait("document.querySelector('.message').innerText.includes('2 exposures have')")
    after = len(read_coordinates(star).x)
    assert before < after < before + 10
    browser.wait(f"({output}).startsWith('{after} picks here, about')")
    limits = read_settings(project / "icefloe.toml", SessionSettings).pick.limits
    (decided,) = read_limits(Project.open(project))
    assert decided.limits == limits.model_dump()


def test_a_live_session_and_a_restart_of_the_server(
    browser: Browser, movies: Path, tmp_path: Path
) -> None:
    project, incoming = tmp_path / "s", tmp_path / "incoming"
    incoming.mkdir()
    gain = ["--gain", movies / "gain.mrc"]
    assert icefloe("init", project, *FACTS[:-2], *gain, *CHOICES) == 0
    with page_server(project) as server:
        command = [sys.executable, "-m", "icefloe", "run", f"{incoming}/*.tiff"]
        command += ["--project", str(project), "--watch", "--poll", "0.2", "--device", "cpu"]
        run = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            ready(browser, server.owner)
            assert browser.run("icefloe.table.n") == 0
            arrive(movies / "movie_1.tiff", incoming)
            browser.wait("icefloe.table.counts.states.done === 1", 240)  # kernels may be compiled
            browser.wait("document.querySelector('.counts').innerText.includes('live run')")
            thumbnail = "document.querySelector('.gallery img')"
            browser.wait(f"{thumbnail} && {thumbnail}.complete && {thumbnail}.naturalWidth > 20")
            browser.wait("document.querySelectorAll('canvas.histogram').length >= 5")
            browser.run("icefloe.open('movie_1')")
            browser.wait(
                "document.querySelector('figure img[alt=\"Spectrum with the fitted CTF\"]')"
            )
            browser.run("icefloe.show('session')")
            # The server ends, and what comes meanwhile is there when it is back.
            server.stop(signal.SIGKILL)
            browser.wait("!icefloe.connected")
            arrive(movies / "movie_2.tiff", incoming)
            arrive(movies / "movie_3.tiff", incoming)
            before = server.owner
            server.start()
            assert server.owner == before
            browser.wait("icefloe.connected", 30)
            browser.wait("icefloe.table.counts.states.done === 2", 60)
            # What is not whole yet is said; when the run has ended it is a failure with its reason.
            counts = "document.querySelector('.counts').innerText"
            browser.wait(f"{counts}.includes('1 not whole yet')", 60)
            run.send_signal(signal.SIGINT)
            run.wait(30)
            browser.wait(f"{counts}.includes('No run')")
            assert icefloe("run", movies / "movie_3.tiff", "--project", project) == 0
            browser.wait("icefloe.table.counts.states.failed === 1")
            failed = "[...document.querySelectorAll('main details')].find"
            failed += "(d => d.innerText.includes('1 failed'))"
            # Opened and read in one go: whatever comes draws the page anew.
            for part in ("movie_3", "Copy the file again"):
                shown = f"d && (d.open = true, d.innerText.includes('{part}'))"
                browser.wait(f"(d => {shown})({failed})")
            loosen(browser, project)
            try_settings(browser, project)
        finally:
            run.kill()
            run.wait()
    lost = [p for p in browser.problems if "ERR_CONNECTION" not in p and "ERR_INCOMPLETE" not in p]
    assert lost == []
