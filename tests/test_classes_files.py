"""`icefloe classify`: files as RELION's, its conventions, selection by hand."""

import shutil
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter

from class_particles import DIAMETER, PIXEL, particles
from icefloe.cli.classify import command
from icefloe.cli.main import main
from icefloe.errors import InputError, SettingsError, StarColumnError
from icefloe.formats import StarTable, read_mrc, read_star, write_mrc, write_star
from icefloe.interop.optics import OpticsGroup, optics_table


def write_stack(folder, truth):
    n = len(truth.images)
    write_mrc(folder / "stack.mrcs", truth.images, PIXEL)
    columns = {
        "rlnCoordinateX": np.arange(n) + 50.0,
        "rlnCoordinateY": np.full(n, 80.0),
        "rlnImageName": np.array([f"{i + 1:06d}@stack.mrcs" for i in range(n)], object),
        "rlnMicrographName": np.full(n, "m.mrc", object),
        "rlnOpticsGroup": np.ones(n, int),
        "rlnAutopickFigureOfMerit": np.linspace(0, 1, n),
    }
    if truth.ctf:
        columns |= {
            "rlnDefocusU": np.array([c.defocus_u for c in truth.ctf]),
            "rlnDefocusV": np.array([c.defocus_v for c in truth.ctf]),
            "rlnDefocusAngle": np.array([c.defocus_angle for c in truth.ctf]),
        }
    optics = optics_table(
        [OpticsGroup(300.0, 2.7, 0.1, PIXEL, PIXEL)], image_pixel_size=PIXEL, image_size=40
    )
    write_star(folder / "particles.star", {"optics": optics, "particles": StarTable(columns)})


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    # Without a CTF: a plain average must then look like the class.
    truth = particles(300, noise=1.0, with_ctf=False, seed=4)
    write_stack(folder, truth)
    call = [str(folder / "particles.star"), "--out", str(folder / "out"), "--classes", "6"]
    call += ["--diameter", str(DIAMETER), "--iterations", "8", "--device", "cpu"]
    done = CliRunner().invoke(command, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return folder, truth, done.output


def test_files_are_those_of_relion(job):
    folder, truth, output = job
    out = folder / "out"
    averages, size = read_mrc(out / "run_classes.mrcs")
    assert averages.shape == (6, 40, 40)
    assert size == pytest.approx(PIXEL)
    model = read_star(out / "run_model.star")
    classes = model["model_classes"]
    assert classes["rlnReferenceImage"][1] == f"000002@{out / 'run_classes.mrcs'}"
    assert classes["rlnClassDistribution"].sum() == pytest.approx(1, abs=1e-3)
    assert (classes["rlnEstimatedResolution"] > 2 * PIXEL - 1e-6).all()
    data, before = read_star(out / "run_data.star"), read_star(folder / "particles.star")
    for name, column in before["particles"].columns.items():
        assert (data["particles"][name] == column).all(), name
    assert set(np.unique(data["particles"]["rlnClassNumber"])) <= set(range(1, 7))
    assert (out / "classes.png").read_bytes()[:4] == b"\x89PNG"
    assert "no CTF" in output
    assert "template" in output
    templates, _ = read_mrc(out / "templates.mrcs")
    assert len(templates) >= 3
    selected = read_star(out / "particles_selected.star")["particles"]
    assert 0 < len(selected) <= len(truth.images)


@pytest.mark.skipif(shutil.which("relion_stack_create") is None, reason="RELION is not installed")
def test_relion_turns_and_moves_particles_onto_their_classes(job):
    folder, _, _ = job
    table = read_star(folder / "out" / "run_data.star")
    averages, _ = read_mrc(folder / "out" / "run_classes.mrcs")
    number = np.asarray(table["particles"]["rlnClassNumber"])

    def likeness(name, columns):
        star = folder / f"{name}.star"
        write_star(star, {**table, "particles": StarTable(columns)})
        call = ["relion_stack_create", "--i", star.name, "--o", name, "--apply_transformation"]
        subprocess.run(call, cwd=folder, check=True, capture_output=True)
        aligned, _ = read_mrc(folder / f"{name}.mrcs")
        c = np.arange(40) - 20
        mask = np.hypot(c[:, None], c[None]) < 13
        found = []
        for k in np.unique(number):
            mean = gaussian_filter(aligned[number == k].mean(axis=0), 1.0)
            ours = gaussian_filter(averages[k - 1], 1.0)
            found.append(np.corrcoef(mean[mask], ours[mask])[0, 1])
        return float(np.min(found))

    columns = dict(table["particles"].columns)
    right = likeness("right", columns)
    assert right > 0.95
    assert right > likeness("psi", columns | {"rlnAnglePsi": -columns["rlnAnglePsi"]}) + 0.05
    other = {f"rlnOrigin{a}Angst": -columns[f"rlnOrigin{a}Angst"] for a in "XY"}
    assert right > likeness("origin", columns | other) + 0.005


@pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed")
def test_relion_goes_on_from_the_classes(job):
    folder, _, _ = job
    call = [
        "relion_refine", "--i", "out/run_data.star", "--ref", "out/run_model.star", "--o",
        "next/run", "--K", "6", "--iter", "1", "--particle_diameter", "130", "--zero_mask",
        "--norm", "--scale", "--j", "1", "--dont_combine_weights_via_disc", "--psi_step", "12",
        "--offset_range", "3", "--offset_step", "2",
    ]  # fmt: skip
    (folder / "next").mkdir()
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    before = read_star(folder / "out" / "run_data.star")["particles"]
    after = read_star(folder / "next" / "run_it001_data.star")["particles"]
    ours = np.argsort(before["rlnImageName"].astype(str))
    theirs = np.argsort(after["rlnImageName"].astype(str))
    # RELION searches all classes, angles and places anew, and finds the same.
    assert np.mean(before["rlnClassNumber"][ours] == after["rlnClassNumber"][theirs]) > 0.8
    turn = before["rlnAnglePsi"][ours] - after["rlnAnglePsi"][theirs]
    assert np.median(np.abs((turn + 180) % 360 - 180)) < 4
    for axis in "XY":
        name = f"rlnOrigin{axis}Angst"
        assert np.median(np.abs(before[name][ours] - after[name][theirs])) < 0.6 * PIXEL


def test_recentring_moves_coordinates_to_the_classes_middle(job):
    from icefloe.interop.relion_reextract import listed_particles, recentred

    folder, truth, _ = job
    blocks = read_star(folder / "out" / "run_data.star")
    [(_, picks)] = listed_particles(blocks, "x").values()
    moved = recentred(picks, PIXEL)
    dx = np.asarray(moved.x) - np.asarray(blocks["particles"]["rlnCoordinateX"])
    dy = np.asarray(moved.y) - np.asarray(blocks["particles"]["rlnCoordinateY"])
    # Up to where each class has its own middle.
    assert np.corrcoef(dx, truth.place[:, 1])[0, 1] > 0.6
    assert np.corrcoef(dy, truth.place[:, 0])[0, 1] > 0.6


def test_classes_can_be_chosen_by_hand_later(job):
    folder, _, _ = job
    model = str(folder / "out" / "run_model.star")
    call = [model, "--select", "1,3-4", "--out", str(folder / "hand"), "--device", "cpu"]
    done = CliRunner().invoke(command, call, catch_exceptions=False)
    assert done.exit_code == 0
    templates, size = read_mrc(folder / "hand" / "templates.mrcs")
    assert len(templates) == 3
    assert size == pytest.approx(PIXEL)
    chosen = read_star(folder / "hand" / "particles_selected.star")["particles"]
    assert set(np.unique(chosen["rlnClassNumber"])) <= {1, 3, 4}
    for text, match in (("1,9", "1 to 6"), ("a", "numbers of classes"), ("0", "from 1")):
        call[2] = text
        with pytest.raises(SettingsError, match=match):
            CliRunner().invoke(command, call, catch_exceptions=False)


def test_what_cannot_be_read_is_said(job, tmp_path):
    folder, _, _ = job
    with pytest.raises(InputError, match="no file"):
        CliRunner().invoke(command, ["none.star", "--out", str(tmp_path)], catch_exceptions=False)
    blocks = read_star(folder / "particles.star")
    columns = dict(blocks["particles"].columns)
    columns["rlnImageName"] = np.array(["000001@gone.mrcs"] * len(columns["rlnImageName"]), object)
    write_star(tmp_path / "a.star", {**blocks, "particles": StarTable(columns)})
    with pytest.raises(InputError, match=r"gone\.mrcs"):
        CliRunner().invoke(
            command, [str(tmp_path / "a.star"), "--out", str(tmp_path)], catch_exceptions=False
        )
    del columns["rlnImageName"]
    write_star(tmp_path / "b.star", {**blocks, "particles": StarTable(columns)})
    with pytest.raises(StarColumnError, match="rlnImageName"):
        CliRunner().invoke(
            command, [str(tmp_path / "b.star"), "--out", str(tmp_path)], catch_exceptions=False
        )


def test_a_setting_out_of_range_is_one_line(job, capsys):
    folder, _, _ = job
    call = ["classify", str(folder / "particles.star"), "--out", str(folder / "x")]
    with pytest.raises(SystemExit):
        main([*call, "--resolution", "-3"])
    error = capsys.readouterr().err
    assert "--resolution" in error
    assert "Traceback" not in error
