"""The page: whole, self-contained, honest about what is missing, bounded in size."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

import fake_session
from icefloe.cli.report import command
from icefloe.errors import ProjectError
from icefloe.project import Project
from icefloe.report import build_report
from icefloe.report.summary import QUANTITIES, read_rows, select_panels

VOID = {"meta", "input", "img", "br", "link"}


class Outline(HTMLParser):
    """Collects what the tests ask for and checks that elements nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.without_alt = 0
        self.heads: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[k] for k in ("src", "href") if k in given]
        self.without_alt += tag == "img" and "alt" not in given
        self.without_alt += tag == "svg" and not given.get("aria-label")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        given = dict(attrs)
        self.addresses += [given[k] for k in ("src", "href") if k in given]

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-2:] == ["th", "button"]:
            self.heads.append(data.strip())


@pytest.fixture(scope="session")
def session(tmp_path_factory) -> Project:
    return fake_session.make_session(tmp_path_factory.mktemp("report") / "grid-2", preview=128)


@pytest.fixture(scope="session")
def page(session) -> str:
    return build_report(session)


def test_the_page_is_whole_and_fetches_nothing(page):
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    for address in outline.addresses:
        assert address.startswith("data:image/webp;base64,") or address[1:] in outline.ids
    styles = re.sub(r'"data:[^"]*"', "", page)
    assert "url(" not in styles
    assert "@import" not in styles
    assert set(re.findall(r"https?://[^\s\"'<]+", styles)) == {"http://www.w3.org/2000/svg"}


def test_pictures_and_figures_have_a_text(page):
    assert Outline(page).without_alt == 0


def test_every_exposure_has_a_row_and_a_panel(session, page):
    for i, name in enumerate(session.read_registry(), 1):
        assert f'<th scope="row"><a href="#exposure-{i}">{name}</a></th>' in page
        assert f'id="exposure-{i}"' in page
    assert page.count('<article class="panel') == 9


def test_columns_carry_units(page):
    heads = Outline(page).heads
    assert heads[:3] == ["#", "Exposure", "Status"]
    assert "Defocus (µm)" in heads
    assert "Total motion (Å)" in heads


def test_failures_come_with_their_reason(page):
    assert "8 done, 1 failed" in page
    section = page[page.index("h-failures") : page.index("h-flags")]
    assert "movie_0006" in section
    assert fake_session.TRUNCATED in section


def test_remarks_name_their_exposures(page):
    section = page[page.index("h-flags") : page.index("h-distributions")]
    assert "no Thon rings" in section
    assert "movie_0004" in section
    table = page[page.index('id="exposures"') : page.index("h-panels")]
    assert table.count(">remark</span>") == 1


def test_numbers_of_the_table_are_those_recorded(session):
    rows = {row.name: row for row in read_rows(session)}
    from icefloe.project import load_records

    record = next(r for r in load_records(session) if r.name == "movie_0002")
    ctf = record.numbers["ctf"]
    values = rows["movie_0002"].values
    assert values["defocus"] == pytest.approx((ctf["defocus_u"] + ctf["defocus_v"]) / 2 / 1e4)
    assert values["motion"] == record.numbers["motion"]["motion_total"]
    assert values["picks"] == record.numbers["pick"]["n_picks"]
    assert rows["movie_0006"].state == "failed"
    assert set(rows["movie_0006"].values.values()) == {None}
    assert rows["square07_hole3"].values["motion"] is None


def test_a_fit_without_rings_is_not_shown_as_numbers(session, page):
    row = next(row for row in read_rows(session) if row.name == "movie_0004")
    for key in ("defocus", "astigmatism", "resolution"):
        assert row.values[key] is None
    assert row.values["ice"] is not None
    article = page[page.index('id="exposure-4"') : page.index('id="exposure-5"')]
    assert "Defocus U" not in article
    assert "fit to" not in article
    assert "no Thon rings" in article


def test_settings_are_summed_up(page):
    facts = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", page))
    assert facts["Pixel size"] == "1.05 Å"
    assert facts["Total dose"] == "48 e/Å²"
    assert facts["Voltage"] == "300 kV"
    assert facts["Particle diameter"] == "120 to 140 Å"
    assert facts["Micrograph"] == "3710 × 3838 px"


def test_a_micrograph_has_no_trajectories(page):
    article = page[page.index('id="exposure-9"') :]
    assert "square07_hole3" in article
    assert "Trajectory of the whole frame" not in article


def test_same_session_same_page(session, page):
    assert build_report(session) == page


def test_a_panel_takes_less_than_the_time_allowed(session):
    start = time.process_time()
    build_report(session)
    assert (time.process_time() - start) / 9 < 0.3


def test_an_empty_session_has_a_page(tmp_path):
    project = Project.create(tmp_path / "s")
    project.settings_file.write_text("")
    page = build_report(project)
    assert Outline(page).open == []
    assert "no exposures" in page


def test_damaged_records_and_pictures_are_only_missing(tmp_path):
    project = fake_session.make_session(tmp_path / "s", 3, micrograph_only=False, preview=64)
    project.sidecar("movie_0001", "ctf").write_text("{ broken")
    (project.exposures / "movie_0002" / "micrograph.png").write_bytes(b"no picture")
    (project.exposures / "movie_0002" / "ctf.png").unlink()
    for stage in ("import", "motion", "ctf", "pick", "extract"):
        project.sidecar("movie_0003", stage).unlink()
    page = build_report(project)
    assert Outline(page).open == []
    assert "1 done, 0 failed, 2 waiting" in page


def test_what_a_failed_stage_leaves_is_shown(tmp_path):
    project = fake_session.make_session(tmp_path / "s", 1, micrograph_only=False, preview=64)
    fake_session._write(project, "movie_0001", "ctf", error="All pixels are equal.")
    article = build_report(project).partition('id="exposure-1"')[2]
    assert "CTF fit failed. All pixels are equal." in article
    assert "Trajectory of the whole frame" in article
    assert "Power spectrum against resolution" not in article
    assert "Total motion" in article


def test_a_session_without_picking_is_done_after_the_ctf(tmp_path):
    project = fake_session.make_session(tmp_path / "s", 2, micrograph_only=False, preview=64)
    project.sidecar("movie_0001", "pick").unlink()
    project.sidecar("movie_0001", "extract").unlink()
    assert [row.state for row in read_rows(project)] == ["waiting", "done"]
    project.sidecar("movie_0002", "pick").unlink()
    project.sidecar("movie_0002", "extract").unlink()
    assert [row.state for row in read_rows(project)] == ["done", "done"]
    project.sidecar("movie_0001", "ctf").unlink()
    assert [row.state for row in read_rows(project)] == ["waiting", "done"]


@pytest.mark.parametrize("value", [None, "text", [], {}, True, 1e400])
def test_unusable_numbers_are_dashes(tmp_path, value):
    project = fake_session.make_session(tmp_path / "s", 1, micrograph_only=False, preview=64)
    numbers = fake_session.motion_numbers(np.random.default_rng(0))
    for stage in ("motion", "ctf", "pick", "extract"):
        given = {**dict.fromkeys(numbers, value), "curves": value, "y": value, "x": value}
        given |= dict.fromkeys(("defocus_u", "defocus_v", "n_picks", "fit_resolution"), value)
        fake_session._write(project, "movie_0001", stage, numbers=given)
    (row,) = read_rows(project)
    assert set(row.values.values()) == {None}
    assert Outline(build_report(project)).open == []


def test_names_cannot_break_the_page(tmp_path):
    project = Project.create(tmp_path / "<b>&s")
    project.settings_file.write_text("")
    name = "<img src=x onerror=alert(1)>\"'"
    project.write_registry({name.replace("/", ""): "/data/x"})
    page = build_report(project)
    assert "<img src=x" not in page
    assert Outline(page).open == []


def test_large_sessions_choose_their_panels(session):
    rows = read_rows(session)
    chosen, text = select_panels(rows, 9)
    assert (chosen, text) == (list(range(9)), "")
    many = rows * 40  # 360 exposures, 40 failed
    chosen, text = select_panels(many, 60)
    assert len(chosen) == len(set(chosen)) == 60
    assert chosen == sorted(chosen)
    assert "60 of the 360 exposures" in text
    assert "15 of the 40 that failed" in text
    shown = [many[i].values["resolution"] for i in chosen]
    known = [r for row in many if (r := row.values["resolution"]) is not None]
    assert shown.count(min(known)) >= 15
    assert shown.count(max(known)) >= 15
    assert select_panels(many, 0)[0] == []


def test_a_limit_keeps_the_page_small_and_says_so(session, page):
    short = build_report(session, panel_limit=4)
    assert short.count('<article class="panel') == 4
    assert "4 of the 9 exposures" in short
    assert len(short) < 0.7 * len(page)
    assert len(re.findall(r'<th scope="row">', short)) >= 9
    Outline(short)


def test_quantities_are_printed_with_their_decimals():
    defocus = next(q for q in QUANTITIES if q.key == "defocus")
    assert defocus.format(1.23456) == "1.23"
    assert defocus.format(None) == "–"


def test_the_command_writes_the_page(session, page, tmp_path):
    out = tmp_path / "new" / "x.html"
    result = CliRunner().invoke(command, ["--project", str(session.root), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert out.read_text(encoding="utf-8") == page
    result = CliRunner().invoke(command, ["--project", str(session.root), "--panels", "2"])
    assert result.exit_code == 0
    inside = (session.root / "report" / "report.html").read_text(encoding="utf-8")
    assert "2 of the 9 exposures" in inside


def test_a_directory_that_is_no_session_is_said_to_be_none(tmp_path):
    result = CliRunner().invoke(command, ["--project", str(tmp_path)])
    assert isinstance(result.exception, ProjectError)
