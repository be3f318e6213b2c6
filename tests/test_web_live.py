"""The page in a browser while a session is processed, and picking by hand with the mouse."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fake_session
from session_tools import CHOICES, FACTS, icefloe

pytest.importorskip("starlette", reason="the extra 'web' is not installed")

from chromium import Browser, find_chromium
from icefloe.engine.settings import SessionSettings
from icefloe.formats.coordinates import read_coordinates
from icefloe.project import read_settings, write_settings
from page_fixtures import leave
from page_server import page_server, served

pytest_plugins = ["page_fixtures", "session_fixtures"]
pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="there is no Chromium (Debian: apt install chromium)"
)


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    yield chromium
    leave(chromium)


def ready(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.wait("document.querySelector('#app[data-ready]') && icefloe.connected")


def arrive(movie: Path, directory: Path) -> None:
    """Copy a movie as a microscope's program does: under its name when it is whole."""
    shutil.copy(movie, directory / f".{movie.name}")
    (directory / f".{movie.name}").rename(directory / movie.name)


def try_settings(browser: Browser, project: Path) -> None:
    """Change a setting, try it, compare, take it over."""

    def button(text: str) -> None:
        found = f"[...document.querySelectorAll('button')].find(b => b.innerText === '{text}')"
        browser.wait(f"{found} && !{found}.disabled")
        browser.run(f"{found}.click()")

    before = (project / "icefloe.toml").read_bytes()
    browser.run("icefloe.show('settings')")
    field = "document.querySelector('input[aria-label=\"pick.blob.threshold\"]')"
    browser.wait(field)
    browser.run(f"({field}.value = '7.5', {field}.dispatchEvent(new Event('change')))")
    button("Try the changes")
    browser.wait("document.querySelectorAll('table.trial tbody tr').length === 3", 60)
    browser.wait("document.querySelectorAll('canvas.still').length === 2")
    assert "→ 7.5" in browser.run("document.querySelector('table.trial').innerText")
    assert (project / "icefloe.toml").read_bytes() == before
    button("Take these settings over")
    browser.wait("document.body.innerText.includes('Taken over. The next run does again: pick')")
    settings = read_settings(project / "icefloe.toml", SessionSettings)
    assert settings.pick.blob.threshold == 7.5


def test_a_live_session_and_a_restart_of_the_server(
    browser: Browser, movies: Path, tmp_path: Path
) -> None:
    project, incoming = tmp_path / "s", tmp_path / "incoming"
    incoming.mkdir()
    gain = ["--gain", movies / "gain.mrc"]
    assert icefloe("init", project, *FACTS[:-2], *gain, *CHOICES) == 0
    with page_server(project) as server:
        ready(browser, server.owner)
        assert browser.run("icefloe.table.n") == 0
        command = [sys.executable, "-m", "icefloe", "run", f"{incoming}/*.tiff"]
        command += ["--project", str(project), "--watch", "--poll", "0.2", "--device", "cpu"]
        run = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
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
            browser.run("document.querySelector('main details').open = true")
            reason = browser.run("document.querySelector('main details').innerText")
            assert "movie_3" in reason
            assert "Copy the file again" in reason
            try_settings(browser, project)
        finally:
            run.kill()
            run.wait()
    lost = [p for p in browser.problems if "ERR_CONNECTION" not in p and "ERR_INCOMPLETE" not in p]
    assert lost == []


def test_picking_by_hand_with_the_mouse(browser: Browser, tmp_path: Path) -> None:
    project = fake_session.make_session(tmp_path / "s", 3, preview=64)
    project.settings_file.unlink()
    write_settings(project.settings_file, SessionSettings())
    star = project.picks / "by_hand" / "movie_0002.star"
    ny, nx = fake_session.SHAPE
    with served(project.root) as (owner, _):
        ready(browser, owner)
        browser.run("icefloe.open('movie_0002')")
        canvas = "document.querySelector('.micrograph canvas')"
        browser.wait(canvas)
        box = f"{canvas}.getBoundingClientRect()"
        left, top, width, height = (
            browser.run(f"{box}.{key}") for key in ("left", "top", "width", "height")
        )
        # The whole field is shown: of the two scales the smaller one counts.
        scale = min(width / nx, height / ny)
        left += (width - nx * scale) / 2

        def screen(x: float, y: float) -> tuple[float, float]:
            return left + (x + 0.5) * scale, top + (y + 0.5) * scale

        def tool(name: str) -> None:
            browser.run(
                "[...document.querySelectorAll('input[name=tool]')].find((e) => "
                f"e.parentElement.innerText.trim() === '{name}').click()"
            )

        def saved(count: int) -> np.ndarray:
            text = f"'{count} by hand'"
            output = "[...document.querySelectorAll('fieldset output')].at(-1)?.innerText"
            browser.wait(f"{output} === {text}", 10)
            found = read_coordinates(star)
            return np.stack([found.x, found.y], axis=1)

        wanted = np.array([[400.0, 300.0], [1500.0, 2500.0], [3300.0, 3600.0], [1530.0, 2540.0]])
        tool("add")
        for place in wanted:
            browser.drag(*screen(*place), *screen(*place))
        assert np.abs(saved(4) - wanted).max() < 1 / scale  # a pixel of the screen
        tool("remove")
        browser.drag(*screen(405, 310), *screen(405, 310))
        assert np.abs(saved(3) - wanted[1:]).max() < 1 / scale
        tool("erase")
        browser.drag(*screen(1200, 2500), *screen(1520, 2520))
        assert np.abs(saved(1) - wanted[2:3]).max() < 1 / scale
        undo = "[...document.querySelectorAll('fieldset button')].find(b => b.innerText === 'Undo')"
        for count in (3, 4):
            browser.run(f"{undo}.click()")
            saved(count)
        # A few hundred a minute: each click is saved before the next second is over.
        tool("add")
        start = time.monotonic()
        for i in range(40):
            place = screen(200 + 80 * i, 3000)
            browser.drag(*place, *place)
        assert len(saved(44)) == 44
        assert time.monotonic() - start < 8
        ready(browser, owner)
        browser.run("icefloe.open('movie_0002')")
        saved(44)
    assert browser.problems == []
