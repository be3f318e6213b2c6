"""Facts of groups of movies and of their metadata; optics groups; settings that are tried."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icefloe.engine import Session
from icefloe.engine.facts import GroupSettings, compare_facts, group_of, resolve_facts
from icefloe.engine.overview import count_states
from icefloe.engine.settings import DataSettings, SessionSettings
from icefloe.engine.setup import open_or_create
from icefloe.errors import SettingsError
from icefloe.formats import read_star
from icefloe.formats.acquisition import Acquisition
from icefloe.project import Project, read_settings, write_settings
from session_tools import icefloe
from test_acquisition import epu

pytest_plugins = ["session_fixtures"]

GROUP = """
[[group]]
name = "second"
files = "*movie_2.tiff"
gain = "{gain}"
optics_group = "grid2"
"""


def append(project: Path, text: str) -> None:
    path = project / "icefloe.toml"
    path.write_text(path.read_text() + text)


class TestSettings:
    def test_groups_survive_reading_and_writing(self, tmp_path: Path) -> None:
        path = tmp_path / "icefloe.toml"
        write_settings(path, SessionSettings())
        assert "# [[group]]" in path.read_text()
        append(tmp_path, '\n# mine\n[[group]]\nname = "a"\nfiles = "a/*"\ngain_rotate = 1\n')
        append(tmp_path, '[[group]]\nname = "b"\nfiles = "b/*"\ndose_per_frame = 1.5\n')
        settings = read_settings(path, SessionSettings)
        assert [g.name for g in settings.group] == ["a", "b"]
        assert settings.group[1].dose_per_frame == 1.5
        before = path.read_text()
        write_settings(path, settings)
        assert path.read_text() == before
        write_settings(path, settings.model_copy(update={"group": settings.group[:1]}))
        assert [g.name for g in read_settings(path, SessionSettings).group] == ["a"]
        fresh = tmp_path / "fresh.toml"
        write_settings(fresh, settings)
        assert read_settings(fresh, SessionSettings) == settings

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('[[group]]\nname = "a"\n', "number 1: files is not set"),
            ('[[group]]\nname = "a"\nfiles = "x"\ngian = "y"\n', "Did you mean 'gain'"),
            ('[[group]]\nname = "a"\nfiles = "x"\npixel_size = -1\n', "pixel_size is -1"),
            ('[group]\nname = "a"\n', r"tables: \[\[group\]\]"),
            ('[[group]]\nname = "a"\nfiles = "x"\n' * 2, "Two groups are called a"),
            (
                '[[group]]\nname = "a"\nfiles = "x"\ndose_per_frame = 1.0\ntotal_dose = 9.0\n',
                "one of them",
            ),
        ],
    )
    def test_what_is_wrong_with_a_group_is_said(self, tmp_path, text, message) -> None:
        (tmp_path / "icefloe.toml").write_text(f"schema = {SessionSettings.SCHEMA}\n{text}")
        with pytest.raises(SettingsError, match=message):
            read_settings(tmp_path / "icefloe.toml", SessionSettings)

    def test_an_option_cannot_set_a_group(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"\[\[group\]\]"):
            open_or_create(tmp_path / "s", {"group": {"name": "x"}}, may_create=True)


class TestFacts:
    def test_the_first_group_that_matches_counts(self) -> None:
        groups = [
            GroupSettings(name="a", files="grid2/*.tiff"),
            GroupSettings(name="b", files="/raw/**/x_*.tiff"),
            GroupSettings(name="c", files="*.eer"),
        ]

        def name(path: str) -> str | None:
            found = group_of(groups, Path(path))
            return None if found is None else found.name

        assert name("/raw/grid2/x_1.tiff") == "a"
        assert name("/raw/grid2/deep/x_1.tiff") == "a"
        assert name("/raw/grid1/x_1.tiff") == "b"
        assert name("/raw/grid22/y.tiff") is None
        assert name("/raw/grid22/y.eer") == "c"

    def test_group_before_settings_before_metadata(self, tmp_path: Path) -> None:
        data = DataSettings(total_dose=50, gain="g.mrc", gain_rotate=2)
        group = GroupSettings(name="a", files="*", dose_per_frame=1.5, gain="h.mrc")
        recorded = Acquisition("EPU", pixel_size=0.83, dose=42, gain="i.dm4", gain_file="/i.dm4")
        found = resolve_facts(data, [group], tmp_path / "m.tiff", recorded)
        assert (found.dose_per_frame, found.total_dose) == (1.5, None)
        assert (found.gain, found.gain_rotate) == ("h.mrc", 0)
        assert found.pixel_size == 0.83
        assert resolve_facts(data, [], tmp_path / "m.tiff", None) is data
        found = resolve_facts(DataSettings(), [], tmp_path / "m.tiff", recorded)
        assert (found.total_dose, found.gain) == (42, None)
        recorded = replace(recorded, gain_file="/i.mrc", defects_file="/d.txt")
        found = resolve_facts(DataSettings(), [], tmp_path / "m.tiff", recorded)
        assert (found.gain, found.defects) == ("/i.mrc", "/d.txt")
        eer = DataSettings(eer_upsampling=2)
        assert resolve_facts(eer, [], tmp_path / "m.eer", recorded).pixel_size == 0.415

    def test_contradictions_have_both_numbers(self) -> None:
        data = DataSettings(pixel_size=1.0, dose_per_frame=1.0, voltage=200, gain="x/Ref_a.mrc")
        recorded = Acquisition("EPU", pixel_size=0.83, voltage=300, dose=42, gain="ref_A.dm4")
        found = compare_facts(data, Path("m.tiff"), recorded, 50)
        assert set(found) == {"pixel_size", "voltage", "total_dose"}
        assert "1 A" in found["pixel_size"]
        assert "0.83 A" in found["pixel_size"]
        assert "50 e/A^2" in found["total_dose"]
        assert "42 e/A^2" in found["total_dose"]
        assert compare_facts(data, Path("m.tiff"), Acquisition("EPU"), 50) == {}
        close = Acquisition("EPU", pixel_size=1.01, voltage=200, dose=47, gain="other.mrc")
        assert set(compare_facts(data, Path("m.tiff"), close, 50)) == {"gain"}


def waiting(project: Path) -> dict[str, int]:
    return {k: v["stale"] for k, v in count_states(Session.open(project)).items() if v["stale"]}


class TestSession:
    def test_a_group_makes_only_its_own_movies_stale(self, session: Path, movies: Path) -> None:
        gain = session / "other.mrc"
        shutil.copy(movies / "gain.mrc", gain)
        assert waiting(session) == {}
        append(session, GROUP.format(gain=gain))
        found = waiting(session)
        assert found["motion"] == 1
        assert found["ctf"] == 1
        assert "import" not in found
        assert icefloe("run", "--project", session) == 0
        assert waiting(session) == {}
        # The same gain under another name: the same micrograph, in a group of its own.
        assert icefloe("export", "relion", "--project", session) == 0
        star = read_star(session / "relion" / "micrographs_ctf.star")
        assert star["optics"]["rlnOpticsGroupName"].tolist() == ["opticsGroup1", "grid2_2"]
        gains = {
            str(read_star(p)["general"]["rlnMicrographGainName"][0])
            for p in (session / "relion" / "motion").glob("*.star")
        }
        assert gains == {"relion/gain_512x512.mrc", "relion/gain_512x512_2.mrc"}

    def test_a_recorded_gain_that_is_gone_ends_the_run_before_anything_is_lost(
        self, session: Path, movies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gain = tmp_path / "Ref.mrc"
        shutil.copy(movies / "gain.mrc", gain)
        values = {"program": "SerialEM", "gain": gain.name, "gain_file": str(gain)}
        record = {"schema": 1, "of": [], "values": values}
        for name in ("movie_1", "movie_2"):
            (session / "exposures" / name / "acquisition.json").write_text(json.dumps(record))
        assert icefloe("run", "--project", session, "--set", 'data.gain=""') == 0
        assert waiting(session) == {}
        before = snapshot(session)
        gain.unlink()
        capsys.readouterr()
        assert icefloe("run", "--project", session) == 1
        assert "Ref.mrc" in capsys.readouterr().err
        assert snapshot(session) == before

    def test_beam_shifts_become_groups_that_keep_their_names(
        self, session: Path, movies: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = Path(Project.open(session).read_registry()["movie_1"]).parent
        files = [source / f"movie_{n}.xml" for n in (1, 2)]
        try:
            files[0].write_text(epu(x=0.1))
            files[1].write_text(epu(x=0.3))
            change = ["--set", "data.shift_tolerance=0.05", "--set", "extract.box=80"]
            assert icefloe("run", "--project", session, *change) == 0
            said = capsys.readouterr().err
        finally:  # others use these movies, too
            for path in files:
                path.unlink(missing_ok=True)
        assert said.count("data.pixel_size is 1.5 A, EPU recorded 0.83 A") == 1
        assert said.count("the dose of a movie is 48 e/A^2, EPU recorded 42 e/A^2") == 1
        assert icefloe("export", "relion", "--project", session) == 0
        star = read_star(session / "relion" / "micrographs_ctf.star")
        assert star["optics"]["rlnOpticsGroupName"].tolist() == ["opticsGroup1", "opticsGroup1_2"]
        assert sorted(star["micrographs"]["rlnOpticsGroup"].tolist()) == [1, 2]
        known = json.loads((session / "optics_groups.json").read_text())
        assert [one["number"] for one in known["shifts"]] == [1, 2]
        if shutil.which("relion_star_handler"):
            done = subprocess.run(
                ["relion_star_handler", "--i", "relion/particles.star", "--o", "out.star",
                 "--combine"],
                cwd=session, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr


class TestTrial:
    def test_it_shows_old_and_new_and_leaves_the_session(
        self, session: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = snapshot(session)
        change = ["--set", "ctf.low_resolution=25"]
        assert icefloe("run", "--project", session, "--test-on", 5, *change) == 0
        out = capsys.readouterr().out
        assert snapshot(session) == before
        assert "ctf.low_resolution = 25" in out
        rows = [line for line in out.splitlines() if line.startswith(("movie_", "median"))]
        assert len(rows) == 3
        assert all(" -> " in row for row in rows)
        trial = session.with_name("s-trial")
        # Only the CTF was computed; the rest is linked.
        motion = [p / "exposures" / "movie_1" / "motion.json" for p in (session, trial)]
        assert motion[0].samefile(motion[1])
        ctf = [p / "exposures" / "movie_1" / "ctf.json" for p in (session, trial)]
        assert not ctf[0].samefile(ctf[1])
        assert icefloe("run", "--project", session, "--adopt") == 0
        assert Session.open(session).settings.ctf.low_resolution == 25
        assert waiting(session) == {}
        # What the session then has is what the trial showed.
        numbers = [json.loads(p.read_text())["numbers"] for p in ctf]
        assert numbers[0] == numbers[1]
        assert icefloe("run", "--project", session, "--test-on", 1, *change) == 0
        assert "change no result" in capsys.readouterr().out

    def test_it_replaces_no_directory_of_others(self, session: Path, capsys) -> None:
        session.with_name("s-trial").mkdir()
        (session.with_name("s-trial") / "precious").touch()
        change = ["--set", "ctf.low_resolution=25"]
        assert icefloe("run", "--project", session, "--test-on", 1, *change) == 1
        assert "is no trial" in capsys.readouterr().err
        assert icefloe("run", "--project", session, "--adopt") == 1
        assert "--test-on" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "options",
        [
            ["--test-on", "2"],
            ["--test-on", "2", "--watch", "--set", "pick.threshold=4"],
            ["--until-quiet", "2"],
            ["--adopt", "--set", "pick.threshold=4"],
        ],
    )
    def test_options_that_do_not_go_together(self, tmp_path: Path, options: list[Any]) -> None:
        assert icefloe("run", "--project", tmp_path / "s", *options) == 2
        assert not (tmp_path / "s").exists()


def snapshot(project: Path) -> dict[str, tuple[int, int]]:
    # The lock and the index say nothing of a session that its other files do not.
    passed_over = (".icefloe.lock", "index.sqlite")
    return {
        p.relative_to(project).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns)
        for p in sorted(project.rglob("*"))
        if p.is_file() and not p.name.startswith(passed_over)
    }
