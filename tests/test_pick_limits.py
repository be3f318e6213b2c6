"""Picks chosen by limits of score and power after picking: looser and stricter, without a rerun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icefloe.curation import read_journal
from icefloe.curation.journal import add_limits, read_limits
from icefloe.engine import Session
from icefloe.engine.pick_candidates import Candidates, choose, read_candidates
from icefloe.engine.pick_limits import choose_again
from icefloe.engine.pick_settings import PickLimits
from icefloe.engine.setup import change_settings
from icefloe.errors import ProjectLockedError
from icefloe.formats import read_star
from icefloe.kernels.peaks import find_peaks, weaker_peaks
from icefloe.project import Project, load_records
from icefloe.project.lock import is_locked, project_lock
from session_tools import icefloe, run

pytest_plugins = ["session_fixtures"]


def pick_of(project: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "exposures" / name / "pick.json").read_text())
    return found


def lasting(sidecar: dict[str, Any]) -> dict[str, Any]:
    """Return what of a sidecar does not depend on when and how long it was made."""
    return {k: v for k, v in sidecar.items() if k not in ("seconds", "run", "checksum")}


def scores(project: Path, name: str) -> np.ndarray:
    star = read_star(project / "picks" / f"{name}_picks.star")
    return np.asarray(star[""]["rlnAutopickFigureOfMerit"], dtype=np.float64)


def test_weaker_peaks_are_those_that_a_lower_threshold_adds() -> None:
    image = np.random.default_rng(2).normal(size=(80, 90)).astype(np.float32)
    strong, both = (find_peaks(image, 5.0, t)[0] for t in (1.5, 0.2))
    weak, values = weaker_peaks(image, 5.0, 1.5, 0.2)
    assert 20 < len(strong) < len(both)
    np.testing.assert_array_equal(np.concatenate([strong, weak]), both)
    assert (values < 1.5).all()
    assert len(weaker_peaks(image, 5.0, 1.5, 2.0)[0]) == 0


def test_what_is_below_the_threshold_is_kept_beside_the_picks(finished: Path) -> None:
    numbers = pick_of(finished, "movie_1")["numbers"]
    found = read_candidates(finished / "exposures" / "movie_1" / "pick_candidates.npz")
    assert found is not None
    assert found.picked == numbers["n_picks"] == len(scores(finished, "movie_1"))
    assert found.columns["score"][: found.picked].tolist() == numbers["score"]
    assert len(found) > found.picked
    assert (np.diff(found.columns["score"]) <= 0).all()
    assert found.columns["score"][found.picked] < found.threshold


@pytest.mark.parametrize("looser", [True, False])
def test_chosen_picks_are_those_of_a_run_with_the_limits(
    session: Path, movies: Path, looser: bool
) -> None:
    before = {name: pick_of(session, name)["numbers"]["n_picks"] for name in ("movie_1", "movie_2")}
    found = read_candidates(session / "exposures" / "movie_1" / "pick_candidates.npz")
    assert found is not None
    place = found.picked + 3 if looser else found.picked - 2
    limits = PickLimits(score=float(found.columns["score"][place]))
    opened = Session.open(session)
    asked = choose_again(opened, limits, save=False)
    assert pick_of(session, "movie_1")["numbers"]["n_picks"] == before["movie_1"]
    done = choose_again(opened, limits, save=True)
    assert done == asked
    assert (done.exposures, done.rest, done.particles) == (2, 0, 2)
    assert done.before == sum(before.values())
    after = {name: pick_of(session, name) for name in before}
    assert after["movie_1"]["numbers"]["n_picks"] == place + 1 == len(scores(session, "movie_1"))
    assert done.picks == sum(a["numbers"]["n_picks"] for a in after.values())
    assert after["movie_1"]["numbers"]["threshold"] == limits.score
    # Exports follow at once; particles of other picks are left out until they are cut out again.
    assert icefloe("export", "relion", "--project", session) == 0
    listed = read_star(session / "relion" / "picks.star")["coordinate_files"]
    assert len(listed) == 2
    assert not (session / "relion" / "particles.star").exists()
    # The whole session is in order, and a run only cuts the particles out again.
    assert icefloe("verify", "--project", session) == 0
    stars = {name: (session / "picks" / f"{name}_picks.star").read_bytes() for name in before}
    assert run(session, movies) == 0
    assert {name: pick_of(session, name) for name in before} == after
    records = {r.name: r for r in load_records(Project.open(session))}
    for name in before:
        assert (
            records[name].numbers["extract"]["n_particles"] <= (after[name]["numbers"]["n_picks"])
        )
        # What picking itself writes with these limits is the same.
        (session / "exposures" / name / "pick.json").unlink()
    assert run(session, movies) == 0
    for name in before:
        assert lasting(pick_of(session, name)) == lasting(after[name])
        assert (session / "picks" / f"{name}_picks.star").read_bytes() == stars[name]
    assert icefloe("export", "relion", "--project", session) == 0
    particles = read_star(session / "relion" / "particles.star")["particles"]
    assert len(particles) == sum(records[n].numbers["extract"]["n_particles"] for n in before)


def test_without_limits_everything_is_as_it_was(session: Path) -> None:
    before = pick_of(session, "movie_2")
    choose_again(Session.open(session), PickLimits(score=1e9), save=True)
    none = pick_of(session, "movie_2")
    assert none["numbers"]["n_picks"] == 0
    assert "no pick is within the limits of pick.limits" in none["flags"]
    choose_again(Session.open(session), PickLimits(), save=True)
    again = pick_of(session, "movie_2")
    assert {**lasting(again), "written": 0} == {**lasting(before), "written": 0}


def test_a_session_that_kept_no_candidates_is_picked_again(session: Path, movies: Path) -> None:
    for name in ("movie_1", "movie_2"):
        path = session / "exposures" / name / "pick_candidates.npz"
        path.write_bytes(path.read_bytes()[:100])
    lowest = min(scores(session, "movie_1")) - 0.5
    found = choose_again(Session.open(session), PickLimits(score=lowest), save=True)
    assert (found.exposures, found.rest) == (0, 2)
    assert run(session, movies) == 0
    assert pick_of(session, "movie_1")["numbers"]["threshold"] == lowest


def test_a_session_at_work_is_left_alone(session: Path) -> None:
    before = (session / "icefloe.toml").read_bytes()
    with project_lock(Project.open(session)), pytest.raises(ProjectLockedError):
        choose_again(Session.open(session), PickLimits(score=5.0), save=True)
    assert (session / "icefloe.toml").read_bytes() == before


def test_limits_of_power() -> None:
    columns = {
        "y": np.zeros(4), "x": np.zeros(4), "score": np.array([0.5, 0.4, 0.3, 0.2]),
        "power": np.array([1.0, 3.0, 0.2, 1.1]),
    }  # fmt: skip
    peaks = Candidates(columns, 2, 0.35)
    limits = PickLimits(score=0.1, min_power=0.5, max_power=2.0)
    assert peaks.within(limits).tolist() == [True, False, False, True]
    assert peaks.within(PickLimits()).tolist() == [True, True, False, False]
    assert peaks.within(PickLimits(max_power=2.0)).tolist() == [True, False, False, False]
    numbers, flags = choose(peaks, limits, {"n_picks": 2, "split": {}}, ("a",))
    assert numbers["score"] == [0.5, 0.2]
    assert (numbers["n_picks"], numbers["median_score"], flags) == (2, 0.35, ("a",))


def test_another_method_or_threshold_forgets_limits(session: Path) -> None:
    project = Project.open(session)
    settings = change_settings(
        project, Session.open(session).settings, {"pick": {"limits.score": 5}}
    )
    assert settings.pick.limits.score == 5
    kept = change_settings(project, settings, {"pick": {"blob.edge": 0.2}})
    assert kept.pick.limits.score == 5
    newer = change_settings(project, kept, {"pick": {"blob.threshold": 4.5, "limits.max_power": 2}})
    assert newer.pick.limits == PickLimits(score=5, max_power=2)
    newer = change_settings(project, newer, {"pick": {"blob.threshold": 6.5}})
    assert newer.pick.limits == PickLimits(max_power=2)
    other = change_settings(project, kept, {"pick": {"method": "auto"}})
    assert other.pick.limits == PickLimits()


def test_the_journal_holds_limits_beside_decisions(session: Path) -> None:
    project = Project.open(session)
    add_limits(project, PickLimits(score=4.5).model_dump())
    assert read_journal(project) == ([], 0)
    assert [d.limits for d in read_limits(project)] == [
        {"score": 4.5, "min_power": None, "max_power": None}
    ]


def test_looking_at_the_lock_never_keeps_a_run_out(session: Path) -> None:
    import fcntl

    project = Project.open(session)
    with project_lock(project):
        assert is_locked(project)
    # A look holds the file for a moment; a run that begins just then waits for it.
    with project.lock_file.open("r") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        import threading

        timer = threading.Timer(0.1, lambda: fcntl.flock(look, fcntl.LOCK_UN))
        timer.start()
        with project_lock(project):
            assert is_locked(project)
        timer.join()
