"""Alarms: rules, where they go, free space, and the log of a live run."""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from icefloe.engine.alarm_sinks import AlarmSinks
from icefloe.engine.alarms import AlarmEvent, Alarms, AlarmSettings, measure_exposure
from icefloe.engine.disk_space import DiskSpace, free_bytes
from icefloe.errors import SettingsError
from icefloe.project import Project
from icefloe.project.live_log import (
    LiveEntry,
    LiveTally,
    append_entry,
    live_figures,
    read_entries,
)


def feed(alarms: Alarms, key: str, values) -> list[tuple[int, str, bool]]:
    out = []
    for index, value in enumerate(values):
        events = alarms.exposure(None if value is None else {key: value})
        out += [(index, event.rule, event.raised) for event in events]
    return out


def test_an_alarm_is_raised_once_and_ends_with_hysteresis():
    alarms = Alarms(AlarmSettings(window=4, fit_resolution=5.0, hysteresis=0.1))
    assert feed(alarms, "fit_resolution", [4, 4, 4, 4]) == []
    # The median of four passes 5 with the second bad one: (4 + 9) / 2.
    assert feed(alarms, "fit_resolution", [9, 9, 9]) == [(1, "fit_resolution", True)]
    assert "9.0 A" not in alarms.active["fit_resolution"]
    assert "6.5 A" in alarms.active["fit_resolution"]
    # 4.8 is better than the limit but not by a tenth: the alarm stays.
    assert feed(alarms, "fit_resolution", [4.8, 4.8, 4.8, 4.8, 5.2, 4.8, 5.2]) == []
    assert feed(alarms, "fit_resolution", [4, 4, 4, 4]) == [(1, "fit_resolution", False)]
    assert alarms.active == {}


@pytest.mark.parametrize(
    ("rule", "limit", "good", "bad"),
    [("ice", 0.5, 0.1, 0.9), ("motion", 40, 10, 60), ("picks", 50, 200, 3)],
)
def test_each_rule_has_its_bad_side(rule, limit, good, bad):
    settings = AlarmSettings(window=3, **{rule: limit})
    assert feed(Alarms(settings), rule, [good] * 9) == []
    assert feed(Alarms(settings), rule, [good, bad, bad, good, good]) == [
        (2, rule, True),
        (4, rule, False),
    ]
    # One exposure says nothing, nor does a rule that is not set.
    assert feed(Alarms(settings), rule, [bad]) == []
    assert feed(Alarms(AlarmSettings(window=3)), rule, [bad] * 9) == []


def test_failures_and_silence():
    alarms = Alarms(AlarmSettings(window=4, failures=0.5, no_movie_minutes=10))
    assert feed(alarms, "ice", [1, None, 1, None]) == []
    assert feed(alarms, "ice", [None]) == [(0, "failures", True)]
    # 2 of 4 is no longer above the limit, 1 of 4 is clearly below.
    assert feed(alarms, "ice", [1, 1, 1]) == [(2, "failures", False)]
    assert alarms.quiet(9) == []
    (event,) = alarms.quiet(11)
    assert (event.rule, event.raised) == ("no_movie", True)
    assert alarms.quiet(30) == []
    (event,) = alarms.quiet(0)
    assert not event.raised
    assert event.message.startswith("over: no new movie")


def test_no_thon_rings_are_the_worst_resolution():
    numbers = {
        "motion": {"motion_total": 12.0},
        "ctf": {"fit_resolution": 3.1, "iciness": 0.2},
        "pick": {"n_picks": 5},
    }
    assert measure_exposure(numbers, usable_ctf=True) == {
        "fit_resolution": 3.1, "ice": 0.2, "motion": 12.0, "picks": 5.0
    }  # fmt: skip
    assert measure_exposure(numbers, usable_ctf=False)["fit_resolution"] == math.inf
    assert measure_exposure({}, usable_ctf=False) == {}
    alarms = Alarms(AlarmSettings(window=2, fit_resolution=8))
    alarms.exposure({"fit_resolution": math.inf})
    (event,) = alarms.exposure({"fit_resolution": math.inf})
    assert event.value is None
    assert "is none" in event.message


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://host/x", "http://", "no address", "http://[x"]
)
def test_only_the_web_is_a_web_hook(address):
    with pytest.raises(SettingsError, match="http"):
        AlarmSettings(webhook=address)
    assert AlarmSettings(webhook="https://chat.example.org/hook").webhook is not None


@pytest.fixture
def server():
    """A web server that keeps what it is sent; `/slow` answers never, `/moved` redirects."""
    received: list[dict] = []
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/slow":
                release.wait(10)
            received.append({"path": self.path, **json.loads(body)})
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/elsewhere")
            else:
                self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args):
            return

    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{one.server_address[1]}", received, release
    release.set()
    one.shutdown()
    one.server_close()


EVENT = AlarmEvent("ice", True, "median ice number is 0.9", 0.9, 0.5)


def test_the_web_hook_gets_each_event_as_json(tmp_path, server):
    address, received, _ = server
    sinks = AlarmSinks(tmp_path, AlarmSettings(webhook=f"{address}/hook"))
    sinks.tell(EVENT)
    sinks.tell(AlarmEvent("ice", False, "over"))
    sinks.close()
    assert [(one["rule"], one["raised"]) for one in received] == [("ice", True), ("ice", False)]
    assert received[0]["value"] == 0.9
    assert received[0]["session"] == str(tmp_path)
    assert received[0]["text"] == "Icefloe: median ice number is 0.9"
    log = (tmp_path / "alarms.log").read_text().splitlines()
    assert [line.split("  ", 1)[1][:5] for line in log] == ["ALARM", "ok   "]


def test_a_web_hook_that_does_not_answer_never_holds_the_run(tmp_path, server):
    address, _, release = server
    sinks = AlarmSinks(tmp_path, AlarmSettings(webhook=f"{address}/slow"))
    begin = time.monotonic()
    for _ in range(150):
        sinks.tell(EVENT)
    assert time.monotonic() - begin < 1
    assert "others wait" in (tmp_path / "alarms.log").read_text()
    sinks.close(0.1)
    assert time.monotonic() - begin < 2
    release.set()


@pytest.mark.parametrize("path", ["/broken", "/moved"])
def test_what_goes_wrong_is_in_the_log(tmp_path, server, path):
    address, received, _ = server
    sinks = AlarmSinks(tmp_path, AlarmSettings(webhook=address + path))
    sinks.tell(EVENT)
    sinks.close()
    assert "could not be told" in (tmp_path / "alarms.log").read_text()
    assert [one["path"] for one in received] == [path]  # no redirection was followed


def test_a_command_gets_the_text_and_the_json(tmp_path):
    script = tmp_path / "tell.py"
    script.write_text(
        "import json, sys\n"
        f"open({str(tmp_path / 'told')!r}, 'w').write("
        "json.load(sys.stdin)['rule'] + '|' + '|'.join(sys.argv[1:]))\n"
    )
    sinks = AlarmSinks(tmp_path, AlarmSettings(command=f"{sys.executable} {script} 'two words'"))
    sinks.tell(AlarmEvent("ice", True, "bad; rm -rf $HOME"))
    sinks.close(20)
    assert (tmp_path / "told").read_text() == "ice|two words|bad; rm -rf $HOME"
    sinks = AlarmSinks(tmp_path, AlarmSettings(command="/no/such/program"))
    sinks.tell(EVENT)
    sinks.close()
    assert "/no/such/program could not be told" in (tmp_path / "alarms.log").read_text()


def test_free_space(tmp_path):
    space = DiskSpace(tmp_path, 5, free=lambda _: int(4.5e9))
    assert "4.50 GB are free" in (space.shortage() or "")
    assert DiskSpace(tmp_path, 5, free=lambda _: int(5e9)).shortage() is None
    assert DiskSpace(tmp_path, 0, free=lambda _: 0).shortage() is None
    assert DiskSpace(tmp_path, 5, free=lambda _: None).shortage() is None
    free = free_bytes(tmp_path)
    assert free is not None
    assert free > 0
    assert free_bytes(tmp_path / "nowhere") is None


def test_the_live_log_keeps_latency_and_throughput(tmp_path):
    project = Project.create(tmp_path / "s")
    assert read_entries(project) == []
    assert live_figures([]) is None
    for index in range(10):
        moment = 1000.0 + 60 * index
        append_entry(
            project,
            LiveEntry(f"m{index}", moment, moment + 2, moment + 10 + index, moment + 20),
        )
    append_entry(project, LiveEntry("old", 0.0, 1600, 1610, 1620, fresh=False))
    append_entry(project, LiveEntry("bad", 1650, 1651, None, 1680, failed=True))
    with (project.root / "live.jsonl").open("a") as handle:
        handle.write('{"name": "cut sho')
    entries = read_entries(project)
    assert len(entries) == 12
    figures = live_figures(entries)
    assert figures is not None
    assert figures.count == 10
    assert figures.latency == 14.5
    assert figures.slow == 18
    assert figures.slowest == 19
    assert figures.waited == 2
    assert figures.per_hour == pytest.approx(3600 * 11 / (1680 - 1020))


def test_figures_of_exposures_that_are_added_one_by_one():
    rng = random.Random(3)
    tally, entries = LiveTally(), []
    for index in range(80):
        complete = 5.0 * index + rng.random()
        picked = None if rng.random() < 0.1 else complete + rng.expovariate(0.2)
        done = complete + rng.uniform(5, 300)  # in any order
        entry = LiveEntry("m", complete, complete + rng.random(), picked, done, rng.random() < 0.8)
        entries.append(entry)
        tally.add(entry)
        figures = tally.figures()
        assert figures == live_figures(entries)
        fresh = [e for e in entries if e.fresh and e.picked is not None]
        if not fresh:
            continue
        latencies = sorted(e.picked - e.complete for e in fresh)
        last = sorted(e.done for e in entries)[-30:]
        assert figures is not None
        assert figures.count == len(fresh)
        assert figures.latency == statistics.median(latencies)
        assert figures.waited == statistics.median(e.taken - e.complete for e in fresh)
        assert figures.slow == next(
            x for i, x in enumerate(latencies) if 10 * (i + 1) >= 9 * len(fresh)
        )
        assert figures.slowest == latencies[-1]
        if len(last) > 1:
            assert figures.per_hour == 3600 * (len(last) - 1) / (last[-1] - last[0])
