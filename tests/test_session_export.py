"""The export of a session: complete, resolvable, and read by RELION's own programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from icefloe.formats import read_star
from icefloe.formats.gain import orient_gain, read_gain
from icefloe.project import Project, load_records
from session_tools import icefloe

pytest_plugins = ["session_fixtures"]

needs_relion = pytest.mark.skipif(
    shutil.which("relion_star_handler") is None, reason="RELION's programs are not installed"
)


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("exported") / "s"
    shutil.copytree(finished, project, symlinks=True)
    assert icefloe("export", "relion", "--project", project) == 0
    return project


def relion(project: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, timeout=300, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "ERROR" not in output
    return output


class TestContent:
    def test_every_path_is_found_from_the_session(self, exported: Path) -> None:
        found = 0
        for star in (exported / "relion").rglob("*.star"):
            for block in read_star(star).values():
                for label, column in block.columns.items():
                    if not label.endswith(("Name", "NameNoDW", "Metadata", "Spectrum", "Image")):
                        continue
                    if label == "rlnOpticsGroupName":
                        continue
                    for value in column:
                        path = str(value).split("@")[-1].removesuffix(":mrc")
                        assert (exported / path).is_file(), f"{star.name}: {label} {value}"
                        found += 1
        assert found > 20

    def test_rows_and_numbers_are_those_of_the_session(self, exported: Path) -> None:
        records = [r for r in load_records(Project.open(exported)) if r.state == "done"]
        fitted = read_star(exported / "relion" / "micrographs_ctf.star")["micrographs"]
        assert list(fitted["rlnMicrographName"]) == [f"micrographs/{r.name}.mrc" for r in records]
        for row, record in zip(fitted.rows(), records, strict=True):
            assert row["rlnDefocusU"] == pytest.approx(record.numbers["ctf"]["defocus_u"], abs=0.01)
        particles = read_star(exported / "relion" / "particles.star")
        assert len(particles["particles"]) == sum(
            r.numbers["extract"]["n_particles"] for r in records
        )
        (optics,) = particles["optics"].rows()
        assert optics["rlnImagePixelSize"] == pytest.approx(1.5)
        assert optics["rlnImageSize"] == 96
        assert optics["rlnVoltage"] == 300

    def test_absolute_paths_on_request(self, finished: Path, tmp_path: Path) -> None:
        project = Path(shutil.copytree(finished, tmp_path / "s"))
        assert icefloe("export", "relion", "--project", project, "--absolute") == 0
        table = read_star(project / "relion" / "particles.star")["particles"]
        assert str(table["rlnImageName"][0]) == f"000001@{project}/particles/movie_1.mrcs"

    def test_the_gain_is_turned_as_polishing_needs_it(
        self, finished: Path, movies: Path, tmp_path: Path
    ) -> None:
        project = Path(shutil.copytree(finished, tmp_path / "s"))
        for assignment in ("gain_rotate = 0", "gain_flip = 0"):
            key, value = assignment.split(" = ")
            text = (project / "icefloe.toml").read_text()
            new = f"{key} = {int(value) + 1}"
            (project / "icefloe.toml").write_text(text.replace(assignment, new))
        assert icefloe("export", "relion", "--project", project) == 0
        general = read_star(project / "relion" / "motion" / "movie_1.star")["general"]
        written = read_gain(project / str(general.value("rlnMicrographGainName")))
        np.testing.assert_array_equal(
            written, orient_gain(read_gain(movies / "gain.mrc"), rotate=1, flip=1)
        )


class TestReplacing:
    def test_it_is_made_anew_as_a_whole(self, exported: Path) -> None:
        before = {p: p.read_bytes() for p in (exported / "relion").rglob("*") if p.is_file()}
        (exported / "relion" / "particles.star").unlink()
        assert icefloe("export", "relion", "--project", exported) == 0
        after = {p: p.read_bytes() for p in (exported / "relion").rglob("*") if p.is_file()}
        assert after == before
        assert not list(exported.glob(".partial-*"))

    def test_files_of_others_are_not_deleted(
        self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        project = Path(shutil.copytree(finished, tmp_path / "s"))
        assert icefloe("export", "relion", "--project", project) == 0
        job = project / "relion" / "Class2D" / "run_it025_model.star"
        job.parent.mkdir()
        job.touch()
        assert icefloe("export", "relion", "--project", project) == 1
        assert "Class2D/run_it025_model.star" in capsys.readouterr().err
        assert job.exists()

    def test_nothing_to_export_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert icefloe("init", tmp_path / "s") == 0
        assert icefloe("export", "relion", "--project", tmp_path / "s") == 1
        assert "no micrograph" in capsys.readouterr().err


@needs_relion
class TestRelion:
    @pytest.mark.parametrize(
        "name", ["corrected_micrographs.star", "micrographs_ctf.star", "particles.star"]
    )
    def test_its_star_handler_reads_every_list(self, exported: Path, name: str) -> None:
        out = exported / "copy.star"
        relion(
            exported,
            *("relion_star_handler", "--i", f"relion/{name}", "--combine", "--o", str(out)),
        )
        ours, theirs = read_star(exported / "relion" / name), read_star(out)
        block = "particles" if name == "particles.star" else "micrographs"
        assert len(theirs[block]) == len(ours[block])

    def test_its_image_handler_finds_the_same_statistics(self, exported: Path) -> None:
        stack = "particles/movie_1.mrcs"
        text = relion(exported, "relion_image_handler", "--i", f"000001@{stack}", "--stats")
        with mrcfile.open(exported / stack) as opened:
            image = opened.data[0]
        assert f"(x,y,z,n)= {image.shape[1]} x {image.shape[0]}" in text
        average = float(text.split("avg=")[1].split()[0])
        assert average == pytest.approx(float(image.mean()), abs=1e-3)

    def test_it_classifies_the_particles(self, exported: Path) -> None:
        (exported / "Class2D").mkdir(exist_ok=True)
        relion(
            exported,
            *("relion_refine", "--i", "relion/particles.star", "--o", "Class2D/run"),
            *("--iter", "2", "--K", "2", "--ctf", "--particle_diameter", "130"),
            *("--offset_range", "3", "--offset_step", "2", "--psi_step", "24"),
            *("--tau2_fudge", "2", "--zero_mask", "--flatten_solvent", "--norm", "--scale"),
            *("--pad", "1", "--random_seed", "1", "--j", "2", "--dont_check_norm"),
        )
        classes = read_star(exported / "Class2D" / "run_it002_data.star")["particles"]
        ours = read_star(exported / "relion" / "particles.star")["particles"]
        assert len(classes) == len(ours)
