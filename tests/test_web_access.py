"""The page can be read and used: contrast, names, focus, in light and dark; linked views."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fake_session

pytest.importorskip("starlette", reason="the extra 'web' is not installed")

from chromium import Browser, find_chromium
from icefloe.curation import read_journal
from icefloe.engine.pick_candidates import read_candidates
from icefloe.engine.pick_settings import PickSettings
from icefloe.engine.settings import SessionSettings
from icefloe.formats.coordinates import read_coordinates
from icefloe.formats.mrc import read_mrc
from icefloe.project import Project, load_records, read_settings, write_settings
from page_server import served
from test_web_tools import make_classes

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="there is no Chromium (Debian: apt install chromium)"
)

# Contrast ratios of WCAG 2: of all text that is seen, with the ground that lies behind it.
CONTRAST = """
(() => {
  const numbers = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const channel = (v) => (v <= 10.31475 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const over = (top, ground, alpha) => top.map((v, k) => alpha * v + (1 - alpha) * ground[k]);
  const groundOf = (element) => {
    const above = [];
    for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor);
      if (a > 0) above.push([[r, g, b], a]);
      if (a === 1) break;
    }
    let found = [255, 255, 255];
    for (const [colour, a] of above.reverse()) found = over(colour, found, a);
    return found;
  };
  const worst = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    const field = e.matches("input:not([type=range]):not([type=radio]):not([type=checkbox])");
    const box = e.getBoundingClientRect();
    if (!(own || field) || !box.width || !box.height) continue;
    if (e.closest(":disabled, svg, option")) continue;
    const ground = groundOf(e), [r, g, b, a = 1] = numbers(getComputedStyle(e).color);
    const [x, y] = [light(over([r, g, b], ground, a)), light(ground)].sort((p, q) => q - p);
    const ratio = (x + 0.05) / (y + 0.05);
    const text = String(e.innerText || e.value).slice(0, 30);
    if (ratio < 4.5) worst.push(`${ratio.toFixed(2)} ${e.tagName} ${text}`);
  }
  return worst;
})()
"""
FIELDS = ("button", "textbox", "searchbox", "combobox", "slider", "spinbutton", "radio")
FIELDS += ("checkbox", "link", "tab", "img", "progressbar")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = fake_session.make_session(tmp_path_factory.mktemp("web") / "s", 9, preview=64)
    made.settings_file.unlink()
    pick = PickSettings(method="blob", diameter=130.0)
    write_settings(made.settings_file, SessionSettings(pick=pick))
    make_classes(made.root / "Class2D" / "job001")
    for i, name in enumerate(made.read_registry()):  # three places, three holes at each
        values = {"program": "EPU", "stage_position": [10.0 * (i // 3), 5.0, 1.0]}
        values["shift"] = [[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]][i % 3]
        content = {"schema": 1, "of": ["a.xml", 1, 1], "values": values}
        (made.exposures / name / "acquisition.json").write_text(json.dumps(content))
    return made


@pytest.fixture(scope="module")
def addresses(project: Project) -> Iterator[tuple[str, str]]:
    with served(project.root) as found:
        yield found


@pytest.fixture(scope="module")
def opened(addresses: tuple[str, str], chromium: Browser) -> Iterator[Browser]:
    ready(chromium, addresses[0])
    yield chromium
    assert chromium.leave() == []


def ready(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.wait("document.querySelector('#app[data-ready]') && icefloe.connected")


VIEWS = {
    "session": "document.querySelector('.gallery img')",
    "exposure": "document.querySelectorAll('table.numbers tr').length > 20",
    "classes": "document.querySelectorAll('.classes img').length === 3",
    "settings": "document.querySelectorAll('table.settings tr').length > 50",
    "tools": "document.querySelector('canvas.curve')",
}


@pytest.mark.parametrize("view", VIEWS)
def test_text_stands_out_and_everything_has_a_name(opened: Browser, view: str) -> None:
    show = "icefloe.open('movie_0001')" if view == "exposure" else f"icefloe.show('{view}')"
    opened.run(show)
    opened.wait(VIEWS[view])
    opened.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for theme in ("light", "dark"):
        opened.run(f"document.documentElement.dataset.theme = '{theme}'")
        assert opened.run(CONTRAST) == [], theme
    assert opened.run("document.documentElement.scrollWidth <= innerWidth"), "wider than 1280 px"
    nodes: list[dict[str, Any]] = opened.call("Accessibility.getFullAXTree")["nodes"]
    seen = [n for n in nodes if not n["ignored"] and n.get("role", {}).get("value") in FIELDS]
    assert len(seen) > 8
    # Thumbnails in a button with the exposure's name have an empty text on purpose.
    nameless = [n["role"]["value"] for n in seen if not n.get("name", {}).get("value")]
    assert nameless == []


def test_the_focus_is_seen_wherever_tab_leads(opened: Browser) -> None:
    opened.run("icefloe.show('session'), document.activeElement.blur(), scrollTo(0, 0)")
    reached = set()
    for _ in range(30):
        for kind in ("keyDown", "keyUp"):
            opened.call(
                "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
            )
        style = "getComputedStyle(document.activeElement)"
        width = opened.run(f"parseFloat({style}.outlineWidth)")
        assert width >= 2, opened.run("document.activeElement.outerHTML")[:200]
        assert opened.run(f"{style}.outlineStyle") != "none"
        reached.add(
            opened.run("document.activeElement.innerText || document.activeElement.tagName")
        )
    assert {"Session", "Settings", "Light / dark", "Show all 42"} <= reached


def test_the_map_selects_and_opens(opened: Browser) -> None:
    opened.run("icefloe.show('session'), icefloe.brush('#map', null)")
    canvas = "document.querySelector('canvas.map')"
    opened.run(f"{canvas}.scrollIntoView({{ block: 'center' }})")
    # Holes of a place are drawn apart, but nearer to each other than places are.
    points = opened.run("(({ x, y }) => [[...x], [...y]])(icefloe.table.map())")
    x, y = points
    assert x[0] == 0
    assert x[3] == 10
    assert x[1] == pytest.approx(4)
    assert y[2] - y[0] == pytest.approx(4)
    left, top, width, height = (
        opened.run(f"{canvas}.getBoundingClientRect().{k}")
        for k in ("left", "top", "width", "height")
    )
    # 30 um lie between the first place and the last hole's; they are 1/1.06 of the width.
    opened.drag(left + 12, top + 12, left + 0.22 * width, top + height - 40)
    opened.wait("icefloe.selection.brushes.has('#map') && icefloe.selection.count < 10")
    names = opened.run("icefloe.selection.list().map((i) => icefloe.table.names[i])")
    assert names == ["movie_0001", "movie_0002", "movie_0003"]
    opened.run("icefloe.brush('#map', null)")
    opened.wait("icefloe.selection.count === 10")
    # The first place is the leftmost, at the middle between the upper and the lower hole of it.
    opened.run("icefloe.painters.forEach((paint) => paint())")
    place = left + 8 + (width - 16) * (0.5 - 0.5 / 1.06)
    scale = 1.06 * 30 / (width - 16)  # um in a pixel of the screen
    middle = top + 8 + (height - 42) / 2
    opened.drag(place, middle + 2 / scale, place, middle + 2 / scale)
    opened.wait("icefloe.view === 'exposure'")
    assert opened.run("icefloe.current") == "movie_0001"
    assert opened.run("icefloe.selection.count") == 10  # a click selects nothing


def test_a_check_of_contrast_that_finds_what_is_pale(opened: Browser) -> None:
    opened.run("icefloe.show('session')")
    opened.run("icefloe.addRule('ctf.defocus >= 1')")
    opened.wait("document.querySelector('.draft')")
    for theme in ("light", "dark"):
        opened.run(f"document.documentElement.dataset.theme = '{theme}'")
        assert opened.run(CONTRAST) == []
        opened.run("document.documentElement.style.setProperty('--soft', '#808a94')")
        found = opened.run(CONTRAST)
        opened.run("document.documentElement.style.removeProperty('--soft')")
        assert (len(found) > 5) == (theme == "light")


def button(browser: Browser, text: str) -> None:
    found = f'[...document.querySelectorAll("main button")].find(b => b.innerText === "{text}")'
    browser.wait(f"{found} && !{found}.disabled")
    browser.run(f"{found}.click()")


SLIDER = (
    "[...document.querySelectorAll('.micrograph label')].find((l) => l.innerText.startsWith('{}'))"
)
SLIDER += "?.querySelector('input')"


def slide(browser: Browser, label: str, value: float) -> float:
    """Move a slider; return where it stands."""
    slider = SLIDER.format(label)
    browser.wait(slider)
    event = "e.dispatchEvent(new Event('input', { bubbles: true }))"
    return float(browser.run(f"(e => {{ e.value = {value}; {event}; return e.value; }})({slider})"))


def test_limits_of_picks_count_here_and_in_the_session(opened: Browser, project: Project) -> None:
    opened.run("icefloe.open('movie_0002')")
    text = "(document.querySelector('.micrograph output.kept')?.innerText ?? '')"
    records = [r for r in load_records(project) if r.numbers.get("pick", {}).get("n_picks")]
    peaks = {r.name: read_candidates(r.file("pick", "candidates")) for r in records}
    total = sum(r.numbers["pick"]["n_picks"] for r in records)
    own = peaks["movie_0002"]
    opened.wait(f"{text}.startsWith('{own.picked} picks here, about {total} in the session')")
    # Stricter and looser than what picking found.
    for wanted in (6.0, 1.5):
        limit = slide(opened, "Score at least", wanted)
        here = int((own.columns["score"] >= limit).sum())
        assert (here > own.picked) == (wanted < 3)
        opened.wait(f"{text}.startsWith('{here} picks here ({own.picked} now)')")
        said = re.search(r"about (\d+) in the session \((\d+) now", opened.run(text))
        assert said is not None
        kept = sum(int((p.columns["score"] >= limit).sum()) for p in peaks.values())
        assert abs(int(said[1]) - kept) < 0.03 * kept
        assert int(said[2]) == total
    most = slide(opened, "Power to", 1.2)
    here = int(((own.columns["score"] >= limit) & (own.columns["power"] <= most)).sum())
    opened.wait(f"{text}.startsWith('{here} picks here')")
    # They stay for the next exposure until they are given up; first it is said what they do.
    opened.run("icefloe.step(-1)")
    other = peaks["movie_0001"].columns
    here = int(((other["score"] >= limit) & (other["power"] <= most)).sum())
    opened.wait(f"{text}.startsWith('{here} picks here')")
    before = project.settings_file.read_bytes()
    button(opened, "Choose the session's picks so")
    # These results are of no run: they can only be picked again.
    flag = "(document.querySelector('.micrograph .flag')?.innerText ?? '')"
    opened.wait(f"{flag}.includes('{len(records) + 1} more can only be picked again')")
    button(opened, "Cancel")
    button(opened, "Back to what is")
    n = peaks["movie_0001"].picked
    opened.wait(f"{text}.startsWith('{n} picks here, about {total} in the session')")
    assert project.settings_file.read_bytes() == before


def test_classes_are_chosen_by_click(opened: Browser, project: Project) -> None:
    opened.run("icefloe.show('classes')")
    opened.wait("document.querySelectorAll('.classes img').length === 3")
    for k in (1, 3):
        place = f"document.querySelectorAll('.classes button')[{k - 1}].getBoundingClientRect()"
        x, y = (opened.run(f"{place}.{key}") + 30 for key in ("left", "top"))
        opened.drag(x, y, x, y)
    opened.wait("document.querySelectorAll('.classes [aria-pressed=true]').length === 2")
    button(opened, "Save as templates")
    button(opened, "Pick with them in the next run")
    said = "[...document.querySelectorAll('[role=status]')].map(e => e.innerText)"
    opened.wait(f"{said}.some((text) => text.startsWith('Set.'))")
    settings = read_settings(project.settings_file, SessionSettings)
    assert settings.pick.templates == "picks/selected_classes/templates.mrcs"
    assert read_mrc(project.root / settings.pick.templates)[0].shape == (2, 32, 32)


def test_picking_by_hand_with_the_mouse(
    opened: Browser, addresses: tuple[str, str], project: Project
) -> None:
    browser = opened
    star = project.picks / "by_hand" / "movie_0002.star"
    ny, nx = fake_session.SHAPE
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
    ready(browser, addresses[0])
    browser.run("icefloe.open('movie_0002')")
    saved(44)


def test_a_guest_looks_and_changes_nothing(
    opened: Browser, addresses: tuple[str, str], project: Project
) -> None:
    ready(opened, addresses[1])
    assert "looking only" in opened.run("document.querySelector('header').innerText")
    opened.key("j")
    opened.key("r")
    opened.run("icefloe.open('movie_0002')")
    opened.wait("document.querySelector('table.numbers')")
    words = opened.run("[...document.querySelectorAll('button')].map(b => b.innerText)")
    assert not {"Accept", "Reject", "Save the rules", "Add"} & set(words)
    assert opened.run("document.querySelector('fieldset')") is None
    assert not (project.root / "curation").exists()


def test_the_page_in_a_browser(
    opened: Browser, addresses: tuple[str, str], project: Project
) -> None:
    """The whole way: address, plots, a brush, keys, the journal, an exposure."""
    browser = opened
    ready(browser, addresses[0])
    assert "token" not in browser.run("location.href")
    canvas = "document.querySelector('canvas.histogram').getBoundingClientRect()"
    x, y, w = (browser.run(f"{canvas}.{k}") for k in ("left", "top", "width"))
    browser.drag(x + 8, y + 30, x + w / 2, y + 30)
    browser.wait("icefloe.selection.brushes.size === 1 && icefloe.selection.count < 10")
    said = browser.run("document.querySelector('.sticky').innerText")
    assert said.startswith(f"{browser.run('icefloe.selection.count')} of 10 selected")
    browser.run("icefloe.selection.brushes.clear(), icefloe.brush('', null)")
    browser.wait("icefloe.selection.count === 10")
    browser.key("j")
    browser.key("r")
    browser.wait("icefloe.table.verdict[0] === 1")
    browser.key("u")
    browser.wait("icefloe.table.verdict[0] === 0")
    decisions = [(d.exposure, d.decision) for d in read_journal(project)[0]]
    assert decisions == [("movie_0001", "reject"), ("movie_0001", "undo")]
    browser.run("icefloe.open('movie_0002')")
    browser.wait("document.querySelectorAll('table.numbers tr').length > 20")
    browser.wait("[...document.images].every((i) => !i.src || i.complete)")
    # Something arrives while the page is open.
    numbers = fake_session.ctf_numbers(np.random.default_rng(5), 54321.0)
    fake_session._write(project, "movie_0003", "ctf", numbers=numbers)
    browser.wait("Math.abs(icefloe.table.columns.get('ctf.defocus').values[2] - 54321) < 1")


def test_answers_that_come_late_and_picks_that_are_not_saved(
    opened: Browser, addresses: tuple[str, str], project: Project
) -> None:
    """What is shown is what was asked for last, and no pick by hand is lost on the way."""
    browser = opened
    ready(browser, addresses[0])
    before = len(read_journal(project)[0])
    # Keys decide where exposures are looked at only; a name that is not there is said.
    browser.run("icefloe.step(1), icefloe.show('settings')")
    for key in "ra":
        browser.key(key)
    browser.run("history.back()")
    browser.wait("icefloe.view === 'session'")
    browser.run("icefloe.visit('?exposure=nothing')")
    browser.wait("document.querySelector('.message').innerText.includes('no exposure nothing')")
    # The answer about the first exposure comes after that about the second.
    browser.run("""
      window.real = window.fetch;
      window.fetch = async (address, ...rest) => {
        const found = await window.real(address, ...rest);
        const late = String(address).includes("exposure?name=movie_0001");
        if (late) await new Promise((r) => setTimeout(r, 600));
        return found;
      }, 0""")
    browser.run("icefloe.open('movie_0001')")
    time.sleep(0.1)
    browser.run("icefloe.step(1)")
    title = "document.querySelector('h2[tabindex]').innerText"
    shown = "document.querySelector('.micrograph canvas')?.getAttribute('aria-label')"
    browser.wait(f"{shown}?.startsWith('Micrograph movie_0002')")
    time.sleep(0.9)
    assert browser.run(f"[{title}, {shown}]")[1].startswith("Micrograph movie_0002")
    browser.run("history.back()")
    browser.wait("icefloe.view === 'session'")
    # A pick that the server does not take is kept, shown again, and sent again.
    browser.run("""
      window.lost = 0;
      window.fetch = (address, ...rest) => {
        const lost = String(address).includes("/api/picks") && window.lost++ < 1;
        if (lost) return Promise.reject(new Error("lost"));
        return window.real(address, ...rest);
      }, 0""")
    browser.run("icefloe.open('movie_0009')")
    browser.wait(f"{shown}?.startsWith('Micrograph movie_0009')")
    radio = "[...document.querySelectorAll('input[name=tool]')]"
    browser.run(f"{radio}.find((e) => e.parentElement.innerText.trim() === 'add').click()")
    box = "document.querySelector('.micrograph canvas').getBoundingClientRect()"
    x, y = (
        browser.run(f"{box}.{a} + {box}.{b} / 2") for a, b in (("left", "width"), ("top", "height"))
    )
    browser.drag(x, y, x, y)
    output = "[...document.querySelectorAll('fieldset output')].at(-1)?.innerText"
    browser.wait(f"{output}?.startsWith('1 by hand, not saved (lost)')")
    browser.run("icefloe.step(-1)")
    browser.wait(f"{shown}?.startsWith('Micrograph movie_0008')")
    browser.run("icefloe.step(1)")
    browser.wait(f"{output}?.startsWith('1 by hand')")
    browser.wait(f"{output} === '1 by hand'", 10)
    assert len(read_coordinates(project.picks / "by_hand" / "movie_0009.star").x) == 1
    # Two decisions at once: taking back leads to the first of them.
    assert len(read_journal(project)[0]) == before
    browser.run(
        "icefloe.decide('reject').then(() => icefloe.decide('accept')).then(() => icefloe.undo())"
    )
    decisions = [d.decision for d in read_journal(project)[0][before:]]
    assert decisions == ["reject", "accept", "reject"]
    browser.run("icefloe.undo()")
    assert read_journal(project)[0][-1].decision == "undo"
    # The wheel keeps in place what lies under the pointer.
    browser.run(f"{radio}.find((e) => e.parentElement.innerText.trim() === 'look').click()")
    x, y = (
        browser.run(f"{box}.{a} + 0.25 * {box}.{b}")
        for a, b in (("left", "width"), ("top", "height"))
    )
    for _ in range(3):
        browser.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-100)
        time.sleep(0.2)
    browser.wait("document.querySelector('[aria-label=Zoom]').innerText.includes('2.0×')")
    browser.run("window.fetch = window.real, 0")
