"""A whole session through the command line: small simulated movies, real stages, real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from icefloe.formats import read_image, read_star, write_mrc
from icefloe.project import Project, load_records, project_lock, read_sidecar
from session_tools import CHOICES, FACTS, PIXEL, SIZE, icefloe, run

pytest_plugins = ["session_fixtures"]


def stamps(project: Path) -> dict[str, int]:
    """Times of all files that a stage writes."""
    parts = ("micrographs", "picks", "particles", "exposures")
    return {
        str(p.relative_to(project)): p.stat().st_mtime_ns
        for part in parts
        for p in (project / part).rglob("*")
        if p.is_file()
    }


def contents(project: Path) -> dict[str, bytes]:
    """Bytes of all files that a user opens."""
    parts = ("micrographs", "picks", "particles", "relion")
    files = [p for part in parts for p in (project / part).rglob("*") if p.is_file()]
    files += (project / "exposures").rglob("*.png")
    return {str(p.relative_to(project)): p.read_bytes() for p in sorted(files)}


def changed_stages(before: dict[str, int], after: dict[str, int], name: str) -> list[str]:
    prefix = f"exposures/{name}/"
    return [
        stage
        for stage in ("import", "motion", "ctf", "pick", "extract")
        if before.get(f"{prefix}{stage}.json") != after.get(f"{prefix}{stage}.json")
    ]


class TestOneCommand:
    def test_every_file_is_there_and_nothing_else(self, finished: Path) -> None:
        for name in ("movie_1", "movie_2"):
            for suffix in (".mrc", "_noDW.mrc", "_PS.mrc", ".ctf", "_ctf.txt"):
                assert (finished / "micrographs" / f"{name}{suffix}").is_file()
            assert (finished / "picks" / f"{name}_picks.star").is_file()
            assert (finished / "exposures" / name / "micrograph.png").is_file()
            assert (finished / "exposures" / name / "ctf.png").is_file()
        assert not list(finished.rglob(".partial-*"))
        assert not list((finished / "micrographs").glob("movie_3*"))

    def test_a_truncated_movie_is_a_recorded_failure(self, finished: Path) -> None:
        records = {r.name: r for r in load_records(Project.open(finished))}
        assert records["movie_1"].state == records["movie_2"].state == "done"
        failure = records["movie_3"].failure
        assert failure is not None
        assert failure.type == "TruncatedFileError"
        assert "movie_3.tiff" in failure.message

    def test_the_defocus_is_the_simulated_one(self, finished: Path) -> None:
        for record in load_records(Project.open(finished))[:2]:
            numbers = record.numbers["ctf"]
            defocus = (numbers["defocus_u"] + numbers["defocus_v"]) / 2
            truth = 15000.0 if record.name == "movie_1" else 21000.0
            assert abs(defocus - truth) < 400

    def test_particles_are_the_picks(self, finished: Path) -> None:
        for record in load_records(Project.open(finished))[:2]:
            stack = record.file("extract", "particles")
            assert stack is not None
            extracted = record.numbers["extract"]
            assert extracted["n_particles"] == record.numbers["pick"]["n_picks"] > 0
            assert extracted["box"] == 96
            star = read_star(finished / "picks" / f"{record.name}_picks.star")
            assert len(next(iter(star.values()))) == record.numbers["pick"]["n_picks"]

    def test_again_it_does_nothing(self, session: Path, movies: Path) -> None:
        before = stamps(session)
        assert run(session, movies) == 0
        assert icefloe("run", "--project", session) == 0
        assert stamps(session) == before

    def test_settings_given_are_in_the_file(self, finished: Path) -> None:
        text = (finished / "icefloe.toml").read_text()
        assert "diameter = [120.0, 120.0]" in text
        assert "dose_per_frame = 8.0" in text

    def test_status_tells_stages_medians_and_reasons(
        self, finished: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert icefloe("status", finished) == 0
        text = capsys.readouterr().out
        rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
        assert rows["import"][0] == "2" or rows["import"][0] == "3"
        assert rows["extract"] == ["2", "0", "0", "0"]
        assert "defocus" in text
        assert "movie_3" in text
        # The directory may be given as `run` takes it, too, but not two of them.
        assert icefloe("status", "--project", finished) == 0
        assert capsys.readouterr().out == text
        assert icefloe("status", finished, "--project", finished / "other") == 2
        assert "Two sessions" in capsys.readouterr().err
        assert icefloe("provenance", "--project", finished, "movie_1") == 0
        assert "movie_1.tiff" in capsys.readouterr().out


class TestStaleness:
    def test_a_pick_threshold_redoes_pick_and_extract(self, session: Path) -> None:
        before = stamps(session)
        assert icefloe("run", "--project", session, "--set", "pick.blob.threshold=5") == 0
        after = stamps(session)
        assert changed_stages(before, after, "movie_1") == ["pick", "extract"]
        assert before["micrographs/movie_1.mrc"] == after["micrographs/movie_1.mrc"]

    def test_cs_redoes_only_the_ctf(self, session: Path) -> None:
        before = stamps(session)
        assert icefloe("run", "--project", session, "--cs", "1.4") == 0
        assert changed_stages(before, stamps(session), "movie_2") == ["ctf"]

    def test_another_gain_redoes_from_motion(
        self, session: Path, movies: Path, tmp_path: Path
    ) -> None:
        gain = tmp_path / "gain.mrc"
        shutil.copy(movies / "gain.mrc", gain)
        before = stamps(session)
        assert icefloe("run", "--project", session, "--gain", gain) == 0
        middle = stamps(session)
        assert changed_stages(before, middle, "movie_1") == ["motion", "ctf", "pick", "extract"]
        os.utime(gain, ns=(1, 1))
        assert icefloe("run", "--project", session) == 0
        assert changed_stages(middle, stamps(session), "movie_1") == [
            "motion",
            "ctf",
            "pick",
            "extract",
        ]

    def test_later_stages_alone_give_the_bytes_of_one_pass(
        self, movies: Path, tmp_path: Path
    ) -> None:
        half = ["--set", "output.float16=true"]
        one, two = tmp_path / "one", tmp_path / "two"
        movie = movies / "movie_1.tiff"
        gain = ["--gain", movies / "gain.mrc"]
        assert icefloe("run", movie, "--project", one, *FACTS, *gain, *CHOICES, *half) == 0
        # First with other settings for every later stage, so that all of them run again.
        other = ["--diameter", "100", "--set", "ctf.high_resolution=7"]
        assert icefloe("run", movie, "--project", two, *FACTS, *gain, *CHOICES, *half, *other) == 0
        same = ["--diameter", "120", "--set", "ctf.high_resolution=5"]
        before = stamps(two)
        assert icefloe("run", "--project", two, *same) == 0
        assert changed_stages(before, stamps(two), "movie_1") == ["ctf", "pick", "extract"]
        assert contents(one) == contents(two)

    def test_the_number_of_threads_changes_no_byte(
        self, finished: Path, movies: Path, tmp_path: Path
    ) -> None:
        assert run(tmp_path / "s", movies, "--threads", "1") == 0
        expected = {k: v for k, v in contents(finished).items() if not k.startswith("relion/")}
        assert contents(tmp_path / "s") == expected


class TestMicrographs:
    @pytest.fixture
    def counts(self, finished: Path) -> Any:
        image = np.asarray(read_image(finished / "micrographs" / "movie_1_noDW.mrc").data)
        low, high = image.min(), image.max()
        return np.rint((image - low) / (high - low) * 65535).astype(np.uint16)

    def test_a_16_bit_png_becomes_an_mrc_with_its_values(self, counts: Any, tmp_path: Path) -> None:
        Image.fromarray(counts).save(tmp_path / "grid_1.png")
        project = tmp_path / "s"
        facts = ["--pixel-size", PIXEL, "--diameter", "120", "--box", "96", "--device", "cpu"]
        assert icefloe("run", tmp_path / "grid_1.png", "--project", project, *facts) == 0
        (record,) = load_records(Project.open(project))
        assert (record.kind, record.state) == ("micrograph", "done")
        written = read_image(project / "micrographs" / "grid_1.mrc")
        assert written.pixel_size == pytest.approx(PIXEL)
        np.testing.assert_array_equal(written.data, counts)
        defocus = (record.numbers["ctf"]["defocus_u"] + record.numbers["ctf"]["defocus_v"]) / 2
        assert abs(defocus - 15000) < 400

    def test_an_mrc_is_linked_and_its_header_tells_the_pixel_size(
        self, counts: Any, tmp_path: Path
    ) -> None:
        write_mrc(tmp_path / "grid_1.mrc", counts, PIXEL)
        project = tmp_path / "s"
        assert icefloe("run", tmp_path / "grid_1.mrc", "--project", project) == 0
        link = project / "micrographs" / "grid_1.mrc"
        assert link.is_symlink()
        assert link.resolve() == tmp_path / "grid_1.mrc"
        (record,) = load_records(Project.open(project), without=("pick", "extract"))
        assert record.state == "done"
        assert record.numbers["import"]["pixel_size"] == pytest.approx(PIXEL)

    def test_without_a_pixel_size_it_fails_and_says_what_to_do(
        self, counts: Any, tmp_path: Path
    ) -> None:
        Image.fromarray(counts).save(tmp_path / "grid_1.png")
        assert icefloe("run", tmp_path / "grid_1.png", "--project", tmp_path / "s") == 0
        (record,) = load_records(Project.open(tmp_path / "s"))
        assert record.failure is not None
        assert "--pixel-size" in record.failure.message
        # Given now, the exposure is tried again without being asked to.
        assert icefloe("run", "--project", tmp_path / "s", "--pixel-size", PIXEL) == 0
        assert load_records(Project.open(tmp_path / "s"))[0].status["ctf"] == "done"


class TestBadInput:
    def _refused(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
        assert icefloe(*arguments) == 1
        return capsys.readouterr().err

    def test_no_dose(
        self, movies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        movie = movies / "movie_1.tiff"
        text = self._refused(
            capsys, "run", movie, "--project", tmp_path / "s", "--pixel-size", PIXEL
        )
        assert "--dose-per-frame" in text

    @pytest.mark.parametrize("value", [np.nan, 0.0])
    def test_an_unusable_gain(
        self, movies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float
    ) -> None:
        gain = tmp_path / "gain.mrc"
        write_mrc(gain, np.full((SIZE, SIZE), value, dtype=np.float32), PIXEL)
        movie = movies / "movie_1.tiff"
        options = ["--project", tmp_path / "s", *FACTS, "--gain", gain]
        assert "gain.mrc" in self._refused(capsys, "run", movie, *options)

    def test_a_gain_of_another_size_is_a_failure_of_the_exposure(
        self, movies: Path, tmp_path: Path
    ) -> None:
        gain = tmp_path / "gain.mrc"
        write_mrc(gain, np.ones((SIZE, SIZE + 8), dtype=np.float32), PIXEL)
        movie = movies / "movie_1.tiff"
        assert icefloe("run", movie, "--project", tmp_path / "s", *FACTS, "--gain", gain) == 0
        (record,) = load_records(Project.open(tmp_path / "s"))
        assert record.failure is not None
        assert record.failure.type == "GainShapeError"

    @pytest.mark.parametrize(
        ("option", "value", "part"),
        [
            ("--pixel-size", "0", "data.pixel_size"),
            ("--dose-per-frame", "-1", "data.dose_per_frame"),
            ("--set", "pick.threshhold=3", "Did you mean 'pick.blob.threshold' or"),
            ("--set", "pick.blob.shape=cube", "pick.blob.shape is 'cube'"),
            ("--pick", "blobs", "pick.method is 'blobs'"),
            ("--pick", "template", "--templates FILE"),
        ],
    )
    def test_settings_out_of_range(
        self,
        session: Path,
        capsys: pytest.CaptureFixture[str],
        option: str,
        value: str,
        part: str,
    ) -> None:
        before = (session / "icefloe.toml").read_text()
        assert part in self._refused(capsys, "run", "--project", session, option, value)
        assert (session / "icefloe.toml").read_text() == before

    def test_a_place_that_is_a_file(
        self, movies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        movie = movies / "movie_1.tiff"
        text = self._refused(capsys, "run", movie, "--project", tmp_path / "file" / "s", *FACTS)
        assert "cannot be written" in text

    def test_no_session_and_no_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "icefloe init" in self._refused(capsys, "run", "--project", tmp_path)
        assert not list(tmp_path.iterdir())

    def test_two_runs_at_once(self, session: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with project_lock(Project.open(session)):
            text = self._refused(capsys, "run", "--project", session)
        assert f"process {os.getpid()}" in text


class TestInit:
    def test_it_writes_settings_that_run_reads(self, tmp_path: Path, movies: Path) -> None:
        project = tmp_path / "s"
        assert icefloe("init", project, "--pixel-size", "0.83", "--diameter", "90,120") == 0
        text = (project / "icefloe.toml").read_text()
        assert "pixel_size = 0.83" in text
        assert "diameter = [90.0, 120.0]" in text
        assert icefloe("init", project) == 1

    def test_a_gain_inside_the_session_is_named_relative_to_it(
        self, tmp_path: Path, movies: Path
    ) -> None:
        project = tmp_path / "s"
        project.mkdir()
        shutil.copy(movies / "gain.mrc", project / "gain.mrc")
        assert icefloe("init", project, "--gain", project / "gain.mrc") == 0
        assert 'gain = "gain.mrc"' in (project / "icefloe.toml").read_text()

    def test_the_gain_is_no_exposure(self, movies: Path, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        raw.mkdir()
        shutil.copy(movies / "gain.mrc", raw)
        shutil.copy(movies / "gain.mrc", raw / "grid_1.mrc")
        options = ["--gain", raw / "gain.mrc", "--pixel-size", PIXEL, "--project", tmp_path / "s"]
        assert icefloe("run", f"{raw}/*.mrc", *options) == 0
        assert list(Project.open(tmp_path / "s").read_registry()) == ["grid_1"]


class TestInterruption:
    def test_ctrl_c_ends_at_once_and_keeps_what_is_done(self, movies: Path, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        raw.mkdir()
        for number in range(80):
            shutil.copy(movies / "movie_1.tiff", raw / f"m{number}.tiff")
        project = tmp_path / "s"
        command = [sys.executable, "-m", "icefloe", "run", f"{raw}/*.tiff", "--project"]
        process = subprocess.Popen(
            [*command, str(project), *FACTS, *CHOICES], stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while not list(project.glob("exposures/*/extract.json")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        _, text = process.communicate(timeout=30)
        assert process.returncode == 130
        assert time.monotonic() - begin < 5
        assert "goes on from there" in text
        assert not list(project.rglob(".partial-*"))
        for sidecar in project.glob("exposures/*/*.json"):
            assert read_sidecar(sidecar) is not None
        assert len(json.loads((project / "exposures.json").read_text())["exposures"]) == 80
