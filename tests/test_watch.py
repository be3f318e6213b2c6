"""Watching directories for movies that are whole."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from icefloe.engine.watch import Watcher
from icefloe.engine.work_queue import WorkQueue
from icefloe.errors import InputError, TruncatedFileError
from icefloe.formats.mrc import write_mrc
from icefloe.formats.tiff import write_tiff_movie
from icefloe.formats.whole import check_whole


class Clock:
    """Ten seconds pass between two polls."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def names(arrivals) -> list[str]:
    return [one.path.name for one in arrivals]


def never(path: Path) -> None:
    raise TruncatedFileError(f"{path} ends early")


def always(path: Path) -> None:
    return


def test_a_movie_is_taken_when_it_rested_for_two_polls(tmp_path):
    watcher = Watcher([tmp_path / "*.tiff"], check=always)
    assert watcher.poll() == []
    (tmp_path / "a.tiff").write_bytes(b"1")
    assert watcher.poll() == []
    (tmp_path / "a.tiff").write_bytes(b"12")
    assert watcher.poll() == []
    assert watcher.unsettled == 1
    (found,) = watcher.poll()
    assert found.path == tmp_path / "a.tiff"
    assert found.fresh
    assert watcher.poll() == []
    assert watcher.unsettled == 0


def test_completion_is_the_file_time_held_between_two_polls(tmp_path):
    clock = Clock()
    clock.now = 1000.0
    watcher = Watcher([tmp_path / "*.mrc"], check=always, clock=clock)
    watcher.poll()
    moments = {"early.mrc": 5.0, "right.mrc": 1004.0, "late.mrc": 9e9}  # two clocks are wrong
    for name, moment in moments.items():
        (tmp_path / name).write_bytes(b"1")
        os.utime(tmp_path / name, (moment, moment))
    clock.now = 1010.0
    watcher.poll()
    clock.now = 1020.0
    found = {one.path.name: one.complete for one in watcher.poll()}
    assert found == {"early.mrc": 1000.0, "right.mrc": 1004.0, "late.mrc": 1010.0}


@pytest.mark.parametrize("kind", ["tiff", "mrc"])
def test_a_truncated_movie_waits_until_it_is_whole(tmp_path, kind):
    clock = Clock()
    frames = np.random.default_rng(0).integers(0, 9, (4, 32, 40)).astype(np.uint8)
    whole = tmp_path / f"whole.{kind}"
    if kind == "tiff":
        write_tiff_movie(whole, frames, 1.0)
    else:
        write_mrc(whole, frames.astype(np.float32), 1.0)
    data = whole.read_bytes()
    check_whole(whole)
    path = tmp_path / "in" / f"a.{kind}"
    path.parent.mkdir()
    watcher = Watcher([path.parent / "*"], clock=clock)
    path.write_bytes(data[: len(data) // 2])
    for _ in range(4):
        clock.now += 10
        assert watcher.poll() == []
    (one,) = watcher.incomplete
    assert one.path == path
    assert "bytes" in one.reason
    path.write_bytes(data)
    clock.now += 10
    assert watcher.poll() == []
    assert watcher.incomplete == []
    clock.now += 10
    assert names(watcher.poll()) == [path.name]


def test_a_file_that_did_not_open_is_tried_again_though_it_rests(tmp_path):
    clock, tries = Clock(), []

    def check(path: Path) -> None:
        tries.append(path)
        if len(tries) < 2:
            raise InputError("the share is away")

    (tmp_path / "a.mrc").write_bytes(b"1")
    watcher = Watcher([tmp_path / "*"], check=check, timer=clock)
    found = []
    for _ in range(12):
        clock.now += 10
        found += watcher.poll()
    assert names(found) == ["a.mrc"]
    assert len(tries) == 2


def test_a_taken_movie_that_is_written_again_comes_again(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(b"1")
    watcher = Watcher([path], check=always)
    watcher.poll()
    assert names(watcher.poll()) == ["a.mrc"]
    path.write_bytes(b"123")
    watcher.poll()
    assert names(watcher.poll()) == ["a.mrc"]
    assert watcher.poll() == []


def test_what_was_taken_before_comes_only_when_it_changes(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(b"1")
    stamps = {str(tmp_path / n): (1, (tmp_path / n).stat().st_mtime_ns) for n in "ab"}
    watcher = Watcher([tmp_path / "*"], taken=stamps, check=always)
    assert watcher.poll() == watcher.poll() == []
    (tmp_path / "b").write_bytes(b"12")
    watcher.poll()
    assert names(watcher.poll()) == ["b"]


def test_patterns_reach_through_directories_that_come_later(tmp_path):
    watcher = Watcher([tmp_path / "*" / "Data" / "**" / "*_Fractions.tiff"], check=always)
    watcher.poll()
    for place in ("Square_2/Data", "Square_10/Data/deep/er", "Square_3/other", "Square_4/Data/.x"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a_Fractions.tiff").write_bytes(b"1")
        (tmp_path / place / "a.xml").write_bytes(b"1")
    watcher.poll()
    places = [one.path.parent.relative_to(tmp_path).as_posix() for one in watcher.poll()]
    assert places == ["Square_2/Data", "Square_10/Data/deep/er"]


def test_a_directory_that_is_away_for_a_while(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    watcher = Watcher([place / "*"], check=always)
    (place / "a").write_bytes(b"1")
    watcher.poll()
    place.rename(tmp_path / "away")
    assert watcher.poll() == []
    (tmp_path / "away").rename(place)
    watcher.poll()
    assert names(watcher.poll()) == ["a"]


def test_what_was_there_is_backlog(tmp_path):
    (tmp_path / "old").write_bytes(b"1")
    watcher = Watcher([tmp_path / "*"], check=never)
    watcher.poll()
    (tmp_path / "new").write_bytes(b"1")
    watcher.poll()
    watcher.poll()
    watcher._check = always
    assert len(watcher.incomplete) == 2
    watcher._timer = lambda: time.monotonic() + 100
    assert {one.path.name: one.fresh for one in watcher.poll()} == {"old": False, "new": True}


def test_twenty_thousand_files_cost_little(tmp_path, monkeypatch):
    for square in range(10):
        (tmp_path / f"s{square}").mkdir()
        for movie in range(2000):
            (tmp_path / f"s{square}" / f"m{movie}.tiff").touch()
    watcher = Watcher([tmp_path / "*" / "*.tiff"], check=always)
    found = 0
    while found < 20_000:
        found += len(watcher.poll())
    watcher.poll()
    calls = {"stat": 0, "scandir": 0}
    real = {"stat": os.stat, "scandir": os.scandir}
    for name in calls:

        def counted(*args, _name=name, **kwargs):
            calls[_name] += 1
            return real[_name](*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    watcher._polls = 1  # no full listing in what follows
    begin = time.process_time()
    (tmp_path / "s3" / "new.tiff").touch()
    watcher.poll()
    assert names(watcher.poll()) == ["new.tiff"]
    # On a file server each of these is a question over the network.
    assert calls["stat"] < 2 * 250
    assert calls["scandir"] <= 2
    assert time.process_time() - begin < 0.5


def drained(queue: WorkQueue) -> list[str]:
    out = []
    while (name := queue.pop()) is not None:
        out.append(name)
    return out


def test_order_of_the_queue():
    for order, expected in (("newest", ["c", "b", "a"]), ("oldest", ["a", "b", "c"])):
        queue = WorkQueue(order)
        for name, moment in (("b", 2), ("a", 1), ("c", 3)):
            queue.add(name, moment, fresh=False)
        assert drained(queue) == expected


def test_fresh_movies_do_not_wait_for_the_backlog_and_do_not_starve_it():
    queue = WorkQueue("oldest")
    for number in range(4):
        queue.add(f"old{number}", number, fresh=False)
    for number in range(6):
        queue.add(f"new{number}", 100 + number, fresh=True)
    assert len(queue) == 10
    first = [queue.pop() for _ in range(7)]
    assert first == ["new0", "new1", "new2", "new3", "old0", "new4", "new5"]
    assert drained(queue) == ["old1", "old2", "old3"]
    for number in (10, 2, 1):
        queue.add(f"m{number}", number, fresh=number == 10)
    assert queue.pop_first_named() == "m1"
    assert drained(queue) == ["m10", "m2"]
    assert queue.pop_first_named() is None
    queue.add("old", 1, fresh=False)
    queue.add("old", 1, fresh=False)
    queue.add("old", 1, fresh=True)
    assert drained(queue) == ["old"]
    assert len(queue) == 0
