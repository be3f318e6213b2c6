"""Fifty thousand exposures in the page: a brush selects what it should, and all views agree."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra 'web' is not installed")

from chromium import Browser, find_chromium
from icefloe.project import ExposureRecord, Project
from icefloe.web.app import create_app
from icefloe.web.security import Tokens
from icefloe.web.watch import Watch

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="there is no Chromium (Debian: apt install chromium)"
)

COUNT = 50_000
GREY = "89 99 109"


class Still(Watch):
    """A session that is in memory only."""

    def poll(self) -> bool:
        return False


@pytest.fixture(scope="module")
def numbers() -> dict[str, np.ndarray]:
    """Numbers of the exposures, float32 as the page has them; some were not measured."""
    rng = np.random.default_rng(7)
    found = {
        "defocus": 8000 + 14000 * rng.random(COUNT),
        "fit_resolution": 3.2 + rng.gamma(1.5, 0.5, COUNT),
        "motion_total": rng.gamma(4, 3, COUNT),
    }
    found["fit_resolution"][rng.random(COUNT) < 0.02] = np.nan
    return {key: values.astype(np.float32) for key, values in found.items()}


@pytest.fixture(scope="module")
def address(numbers: dict[str, np.ndarray], tmp_path_factory: Any) -> Iterator[str]:
    import uvicorn

    root: Path = tmp_path_factory.mktemp("large") / "s"
    project = Project.create(root)
    project.settings_file.write_text("schema = 1\n")
    status = dict.fromkeys(("import", "motion", "ctf"), "done")
    flags: dict[str, tuple[str, ...]] = dict.fromkeys(status, ())
    records, verdicts = {}, {}
    watch = Still(project)
    for i in range(COUNT):
        defocus, resolution, motion = (float(values[i]) for values in numbers.values())
        ctf = {"defocus_u": defocus, "defocus_v": defocus, "fit_resolution": resolution}
        if np.isnan(resolution):
            del ctf["fit_resolution"]
        name = f"movie_{i:05d}"
        found = {"ctf": ctf, "motion": {"motion_total": motion}}
        records[name] = ExposureRecord(name, root / name, "movie", status, found, flags=flags)
        verdicts[name] = ("rejected" if motion > 25 else "accepted", "rules")
        watch.table.places[name] = (12.0 * (i // 9 % 80), 12.0 * (i // 720), 0.0, 0.0)
    watch.table.update(records, list(records), verdicts)
    tokens = Tokens()
    config = uvicorn.Config(create_app(project, tokens, watch=watch), log_level="error")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/?token={tokens.owner}"
    server.should_exit = True
    thread.join(10)


# What each view shows, from the pixels or counts that it draws with: none of it is what the
# selection says of itself.
SEEN = """
(() => {
  const { table, selection } = icefloe;
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  icefloe.paint();
  const inHistogram = (name) => sum([...selection.histogram(name).chosen]) +
    (table.binned(name).chosen[255]);
  const colours = (canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const found = new Map();
    for (let i = 0; i < data.length; i += 4) {
      const key = `${data[i]} ${data[i + 1]} ${data[i + 2]}`;
      found.set(key, (found.get(key) || 0) + 1);
    }
    return Object.fromEntries(found);
  };
  return {
    bar: document.querySelector(".sticky b").innerText,
    histograms: ["ctf.defocus", "ctf.fit_resolution", "motion.motion_total"].map(inHistogram),
    list: selection.list().length,
    first: table.names[selection.list(1)[0]],
    page: [...document.querySelectorAll(".gallery .name")].map((e) => e.innerText),
    scatter: colours(document.querySelector("canvas.scatter")),
    map: colours(document.querySelector("canvas.map")),
  };
})()
"""


def edges(browser: Browser, selector: str) -> tuple[float, float, float, float]:
    found = browser.run(
        f"(() => {{ const e = document.querySelector('{selector}'); "
        "e.scrollIntoView({ block: 'center' }); const r = e.getBoundingClientRect(); "
        "return [r.left, r.top, r.width, r.height]; })()"
    )
    time.sleep(0.3)
    x, y, w, h = found
    return x, y, w, h


def test_a_brush_selects_and_all_views_follow(
    chromium: Browser, address: str, numbers: dict[str, np.ndarray]
) -> None:
    browser = chromium
    browser.open(address)
    browser.wait("document.querySelector('#app[data-ready]') && icefloe.connected", 60)
    assert browser.run("icefloe.table.n") == COUNT
    # A histogram: the range that the page says it took, against the numbers themselves.
    x, y, w, _ = edges(browser, "canvas.histogram")
    browser.drag(x + 0.3 * w, y + 20, x + 0.7 * w, y + 30)
    browser.wait("icefloe.selection.count < icefloe.table.n")
    (key,) = browser.run("[...icefloe.selection.brushes.keys()]")
    brush = browser.run(f"icefloe.selection.brushes.get('{key}')")
    values = numbers[key.split(".")[1]]
    low, high = np.float32(brush["lo"]), np.float32(brush["hi"])
    mine = (values >= low) & (values <= high)
    assert 0.1 * COUNT < mine.sum() < 0.95 * COUNT
    # A range in time beside it.
    x, y, w, h = edges(browser, "canvas.series")
    browser.drag(x + 46 + 0.25 * (w - 54), y + 0.5 * h, x + 46 + 0.5 * (w - 54), y + 0.5 * h)
    browser.wait("icefloe.selection.brushes.has('#order')")
    order = browser.run("icefloe.selection.brushes.get('#order')")
    at = np.arange(COUNT)
    mine &= (at >= order["lo"]) & (at <= order["hi"])
    assert order["hi"] - order["lo"] == pytest.approx(0.25 * COUNT, rel=0.05)
    browser.wait(f"icefloe.selection.count === {int(mine.sum())}")
    names = [f"movie_{i:05d}" for i in np.flatnonzero(mine)]
    # The list of exposures follows when the brush rests.
    browser.wait(f"document.querySelector('.gallery .name').innerText === '{names[0]}'")
    edges(browser, "canvas.scatter")
    seen = browser.run(SEEN)
    assert int(seen["bar"]) == seen["list"] == mine.sum()
    assert seen["first"] == names[0]
    assert seen["page"] == names[: len(seen["page"])]
    assert len(seen["page"]) == 36
    # A histogram shows what all other selections let through: its own brush is a frame in it.
    own = [f"ctf.{k}" if k != "motion_total" else f"motion.{k}" for k in numbers].index(key)
    outside = (at >= order["lo"]) & (at <= order["hi"])
    expected = [int(mine.sum())] * 3
    expected[own] = int(outside.sum())
    assert seen["histograms"] == expected
    # Nothing selected is drawn where nothing is: with no exposure selected no pixel is blue.
    browser.run("icefloe.brush('motion.motion_total', { kind: 'range', lo: 1e6, hi: 2e6 })")
    browser.wait("icefloe.selection.count === 0")
    browser.run("document.querySelector('canvas.scatter').scrollIntoView({ block: 'center' })")
    time.sleep(0.3)
    none = browser.run(SEEN)
    colour = "getComputedStyle(document.documentElement).getPropertyValue('--chosen').trim()"
    chosen = browser.run(colour)
    blue = " ".join(str(int(chosen[i : i + 2], 16)) for i in (1, 3, 5))
    assert blue not in none["scatter"]
    assert seen["scatter"][blue] > 500
    # On the map what is not selected is grey.
    assert none["map"][GREY] > seen["map"][GREY] + 500
    browser.wait("document.body.innerText.includes('No exposure is selected.')")
    # Back again; every view shows all.
    browser.run("icefloe.selection.brushes.clear(), icefloe.brush('', null)")
    browser.wait(f"icefloe.selection.count === {COUNT}")
    whole = browser.run(SEEN)
    assert whole["histograms"] == [COUNT] * 3
    problems = [p for p in browser.leave() if "/api/picture" not in p]
    assert problems == []
