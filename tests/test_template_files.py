"""Templates from RELION's and cryoSPARC's files, maps and models."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.cli.pick import command
from icefloe.errors import InputError, MissingMetadataError, StarColumnError
from icefloe.formats import write_mrc, write_star
from icefloe.formats.cryosparc import write_cs
from icefloe.formats.star import StarTable
from icefloe.interop.template_files import read_templates

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A RELION project with four classes, the third without particles."""
    stack = np.random.default_rng(0).normal(size=(4, 16, 16)).astype(np.float32)
    job = tmp_path / "Class2D" / "job005"
    job.mkdir(parents=True)
    write_mrc(job / "run_it025_classes.mrcs", stack, 1.0)
    names = [f"{i:06d}@Class2D/job005/run_it025_classes.mrcs" for i in (1, 2, 3, 4)]
    share = np.array([0.5, 0.02, 0.0, 0.48])
    write_star(
        job / "run_it025_model.star",
        {
            "model_general": StarTable.from_values({"rlnPixelSize": 4.5, "rlnNrClasses": 4}),
            "model_classes": StarTable(
                {"rlnReferenceImage": np.array(names), "rlnClassDistribution": share}
            ),
        },
    )
    chosen = np.array(names)[[3, 1]]
    write_star(job / "class_averages.star", {"": StarTable({"rlnReferenceImage": chosen})})
    monkeypatch.chdir(tmp_path)
    return job, stack


def test_a_stack_is_taken_whole_or_by_numbers(tmp_path):
    stack = np.random.default_rng(0).normal(size=(3, 12, 12)).astype(np.float32)
    write_mrc(tmp_path / "averages.mrcs", stack, 2.5)
    whole = read_templates(tmp_path / "averages.mrcs")
    np.testing.assert_array_equal(whole.images, stack)
    assert (whole.pixel_size, whole.numbers) == (2.5, (1, 2, 3))
    some = read_templates(tmp_path / "averages.mrcs", classes=(3, 1), pixel_size=2.0)
    np.testing.assert_array_equal(some.images, stack[[2, 0]])
    assert (some.pixel_size, some.numbers) == (2.0, (3, 1))
    with pytest.raises(InputError, match="no image 4"):
        read_templates(tmp_path / "averages.mrcs", classes=(4,))
    with pytest.raises(InputError, match="--min-share"):
        read_templates(tmp_path / "averages.mrcs", min_share=0.1)
    write_mrc(tmp_path / "unknown.mrcs", stack, None)
    with pytest.raises(MissingMetadataError, match="--template-pixel-size"):
        read_templates(tmp_path / "unknown.mrcs")


@pytest.mark.parametrize("name", ["run_it025_model.star", "run_it025_classes.mrcs"])
def test_relions_classes_are_chosen_by_their_share(project, name):
    job, stack = project
    found = read_templates(job / name)
    assert (found.pixel_size, found.numbers) == (4.5, (1, 2, 4))
    np.testing.assert_array_equal(found.images, stack[[0, 1, 3]])
    assert read_templates(job / name, min_share=0.1).numbers == (1, 4)
    assert read_templates(job / name, classes=(2,)).numbers == (2,)
    with pytest.raises(InputError, match=r"0\.5"):
        read_templates(job / name, min_share=0.9)


def test_selected_averages_are_found_from_any_directory(project, tmp_path, monkeypatch):
    job, stack = project
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    found = read_templates(job / "class_averages.star")
    np.testing.assert_array_equal(found.images, stack[[3, 1]])
    assert (found.pixel_size, found.numbers) == (1.0, (1, 2))
    (job / "run_it025_classes.mrcs").unlink()
    with pytest.raises(InputError, match="not there"):
        read_templates(job / "class_averages.star")
    write_star(job / "no.star", {"": StarTable({"rlnImageName": np.array(["1@a.mrcs"])})})
    with pytest.raises(StarColumnError, match="rlnReferenceImage"):
        read_templates(job / "no.star")


def test_cryosparcs_class_averages(tmp_path):
    stack = np.random.default_rng(0).normal(size=(3, 12, 12)).astype(np.float32)
    job = tmp_path / "J7"
    job.mkdir()
    write_mrc(job / "J7_class_averages.mrc", stack, 1.0)
    path = job / "J7_class_averages.cs"
    columns = {
        "blob/path": np.array(["J7/J7_class_averages.mrc"] * 2, object),
        "blob/idx": np.array([2, 0], np.uint32),
        "blob/psize_A": np.array([3.2, 3.2], np.float32),
    }
    write_cs(path, columns)
    found = read_templates(path)
    np.testing.assert_array_equal(found.images, stack[[2, 0]])
    assert found.pixel_size == pytest.approx(3.2)
    del columns["blob/idx"]
    write_cs(path, columns)
    with pytest.raises(InputError, match="blob/idx"):
        read_templates(path)


def test_a_map_and_a_model_of_the_same_atoms_look_alike(tmp_path):
    rng = np.random.default_rng(2)
    # Every atom on a pixel of the map: what both see is the same but for the blur.
    places = np.unique(rng.integers(-8, 9, (60, 3)), axis=0)
    size, n = 4.0, 40
    lines = [
        f"ATOM  {i + 1:5d}  N   ALA A{i + 1:4d}    {x * size:8.3f}{y * size:8.3f}{z * size:8.3f}"
        "  1.00 20.00           N  "
        for i, (x, y, z) in enumerate(places)
    ]
    with gzip.open(tmp_path / "model.pdb.gz", "wt") as handle:
        handle.write("\n".join([*lines, "END"]) + "\n")
    model = read_templates(tmp_path / "model.pdb.gz", directions=5)
    assert model.images.shape[0] == 10
    assert model.diameter == pytest.approx(2 * size * 8 * 3**0.5, rel=0.35)
    from icefloe.picking import even_directions, project_atoms, project_volume

    volume = np.zeros((n, n, n), np.float32)
    volume[tuple((places + n // 2).T[::-1])] = 1
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(volume, 1.5)
    directions = even_directions(5)
    atoms = (places * size).astype(float)
    a = project_atoms(
        atoms, np.ones(len(atoms)), directions, pixel_size=size, box=n,
        resolution=1.5 * size * np.pi * (2 / np.log(2)) ** 0.5,
    )  # fmt: skip
    b = project_volume(blurred, directions)
    for one, other in zip(a, b, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98
    write_mrc(tmp_path / "map.mrc", blurred, size)
    found = read_templates(tmp_path / "map.mrc", directions=5)
    np.testing.assert_allclose(found.images, b, atol=1e-5)
    blurred[0, 0, 0] = np.nan
    write_mrc(tmp_path / "map.mrc", blurred, size)
    with pytest.raises(InputError, match="NaN"):
        read_templates(tmp_path / "map.mrc")


def test_the_command_takes_chosen_classes(project, tmp_path):
    job, _ = project
    image = np.random.default_rng(1).normal(size=(300, 320)).astype(np.float32)
    write_mrc(tmp_path / "one.mrc", image, 4.5)
    call = ["template", str(tmp_path / "one.mrc"), "--device", "cpu", "--out", str(tmp_path / "o")]
    call += ["--templates", str(job / "run_it025_model.star"), "--diameter", "60"]
    done = CliRunner().invoke(command, [*call, "--min-share", "0.1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "2 templates" in done.output
    done = CliRunner().invoke(command, [*call, "--classes", "2"], catch_exceptions=False)
    assert "1 templates" in done.output
    done = CliRunner().invoke(command, [*call, "--classes", "two"])
    assert "--classes" in str(done.exception)


@pytest.mark.skipif(not (DATA / "models").is_dir(), reason="no models in shared/data")
def test_a_real_model():
    found = read_templates(DATA / "models" / "apoferritin_ca_24mer.pdb", directions=3)
    assert found.diameter == pytest.approx(124, abs=6)
    assert found.images.shape[0] == 6
    assert np.isfinite(found.images).all()
