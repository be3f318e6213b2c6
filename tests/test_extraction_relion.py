"""Picks and particles on files: the commands, and what RELION makes of their output."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.cli.extract import command as extract_command
from icefloe.cli.pick import command as pick_command
from icefloe.errors import InputError, StarColumnError
from icefloe.formats import StarTable, read_image, read_mrc, read_star, write_mrc, write_star
from icefloe.interop.optics import OpticsGroup, optics_table
from icefloe.interop.relion_particles import ctf_row, join_columns, particle_columns, particles_star

PIXEL = 1.5
OPTICS = OpticsGroup(
    voltage=300.0, cs=0.0, amplitude_contrast=0.07,
    original_pixel_size=PIXEL, micrograph_pixel_size=PIXEL,
)  # fmt: skip
CTF = {"rlnDefocusU": 15000.0, "rlnDefocusV": 14000.0, "rlnDefocusAngle": 20.0}


def run(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def synthetic(seed):
    """A small micrograph of 25 balls that stand well out of the noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:520, :560]
    image = rng.normal(0, 1, y.shape)
    for cy in range(60, 500, 100):
        for cx in range(60, 540, 110):
            dy, dx = rng.uniform(-8, 8, 2)
            r2 = (y - cy - dy) ** 2 + (x - cx - dx) ** 2
            image -= 0.45 * np.sqrt(np.maximum(1 - r2 / 1600, 0))
    return image.astype(np.float32)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with two micrographs and their micrographs_ctf.star, entered."""
    monkeypatch.chdir(tmp_path)
    rows = []
    Path("mics").mkdir()
    for i, name in enumerate(("a", "b")):
        write_mrc(f"mics/{name}.mrc", synthetic(i), PIXEL)
        rows.append(
            {
                "rlnMicrographName": f"mics/{name}.mrc",
                "rlnOpticsGroup": 1,
                "rlnCtfFigureOfMerit": 0.1,
                "rlnCtfMaxResolution": 4.0 + i,
                **CTF,
            }
        )
    blocks = {"optics": optics_table([OPTICS]), "micrographs": StarTable.from_rows(rows)}
    write_star("micrographs_ctf.star", blocks)
    return tmp_path


def test_pick_and_extract_from_star_to_particles(project):
    result = run(pick_command, "blob", "micrographs_ctf.star", "--diameter", "120", "--out", "pk")
    assert result.exit_code == 0, result.output
    assert "a: 25 picks" in result.output
    listed = read_star("pk/picks.star")
    assert next(iter(listed)) == "coordinate_files"
    assert listed["coordinate_files"]["rlnMicrographCoordinates"].tolist() == [
        "pk/a_picks.star", "pk/b_picks.star"
    ]  # fmt: skip
    coordinates = read_star("pk/a_picks.star")[""]
    assert list(coordinates.columns) == [
        "rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit", "rlnClassNumber",
        "rlnAnglePsi",
    ]  # fmt: skip

    # picks.star alone leads back to micrographs, CTF and diameter.
    result = run(extract_command, "pk/picks.star", "--bin-to", "4", "--out", "ex")
    assert result.exit_code == 0, result.output
    blocks = read_star("ex/particles.star")
    optics, particles = blocks["optics"], blocks["particles"]
    # 120 A + 2 x 0.0197 x 15000 / 3 = 317 A: 216 pixels of 1.5 A
    assert optics.value("rlnImageSize") == 2 * round(216 * 1.5 / 4 / 2)
    assert optics.value("rlnImagePixelSize") == pytest.approx(
        216 * 1.5 / optics.value("rlnImageSize")
    )
    assert len(particles) == 50
    assert particles["rlnImageName"][0] == "000001@ex/Particles/a.mrcs"
    assert particles["rlnImageName"][-1] == "000025@ex/Particles/b.mrcs"
    assert set(particles["rlnDefocusU"]) == {15000.0}
    assert particles["rlnCtfMaxResolution"].tolist() == [4.0] * 25 + [5.0] * 25
    stack, pixel_size = read_mrc("ex/Particles/a.mrcs")
    assert stack.shape == (25, optics.value("rlnImageSize"), optics.value("rlnImageSize"))
    assert pixel_size == pytest.approx(optics.value("rlnImagePixelSize"), rel=1e-5)
    # Integer centres and origins add up to what was picked.
    a = slice(0, 25)
    np.testing.assert_allclose(
        particles["rlnCoordinateX"][a] - particles["rlnOriginXAngst"][a] / PIXEL,
        coordinates["rlnCoordinateX"],
        atol=0.01,
    )
    # Particles are bright in the middle.
    half = stack.shape[1] // 2
    assert stack[:, half - 3 : half + 3, half - 3 : half + 3].mean() > 0.5


def test_the_same_call_writes_the_same_bytes(project):
    for out in ("one", "two"):
        run(pick_command, "blob", "mics/a.mrc", "--diameter", "120", "--out", "pk")
        run(extract_command, "pk/picks.star", "--box", "128", "--out", out)
    stacks = [Path(out, "Particles", "a.mrcs").read_bytes() for out in ("one", "two")]
    assert stacks[0] == stacks[1]


def test_relions_autopick_star_with_its_micrographs_star(project):
    """Coordinates of another program, with its list beside them."""
    Path("AutoPick/mics").mkdir(parents=True)
    for name in ("a", "b"):
        columns = {"rlnCoordinateX": [100.5, 200.0], "rlnCoordinateY": [50.0, 300.25]}
        write_star(f"AutoPick/mics/{name}_autopick.star", {"": StarTable(columns)})
    table = StarTable(
        {
            "rlnMicrographName": ["mics/a.mrc", "mics/b.mrc"],
            "rlnMicrographCoordinates": [f"AutoPick/mics/{n}_autopick.star" for n in "ab"],
        }
    )
    write_star("autopick.star", {"coordinate_files": table})
    options = ("--box", "64", "--out", "ex", "--float16", "--no-invert", "--no-normalise")
    result = run(extract_command, "micrographs_ctf.star", "--picks", "autopick.star", *options)
    assert result.exit_code == 0, result.output
    particles = read_star("ex/particles.star")["particles"]
    assert particles["rlnCoordinateX"].tolist() == [100, 200, 100, 200]
    assert particles["rlnDefocusV"].tolist() == [14000.0] * 4
    assert "rlnAutopickFigureOfMerit" not in particles
    image = read_image("mics/a.mrc").data
    np.testing.assert_allclose(
        read_mrc("ex/Particles/a.mrcs")[0][1], image[268:332, 168:232], atol=2e-3
    )
    # Without any STAR of micrographs the options must tell the optics.
    result = run(extract_command, "autopick.star", "--box", "64", "--out", "plain", "--cs", "1.4")
    assert result.exit_code == 0
    blocks = read_star("plain/particles.star")
    assert blocks["optics"].value("rlnSphericalAberration") == 1.4
    assert "rlnDefocusU" not in blocks["particles"]


def test_a_score_limit_and_dropped_edges_leave_particles_out(project):
    run(pick_command, "blob", "mics/a.mrc", "--diameter", "120", "--out", "pk")
    scores = read_star("pk/a_picks.star")[""]["rlnAutopickFigureOfMerit"]
    limit = float(np.median(scores))
    run(extract_command, "pk/picks.star", "--box", "64", "--out", "ex", "--min-score", limit)
    kept = read_star("ex/particles.star")["particles"]["rlnAutopickFigureOfMerit"]
    np.testing.assert_allclose(kept, scores[scores >= limit])
    run(extract_command, "pk/picks.star", "--box", "200", "--out", "ed", "--edge", "drop")
    inner = read_star("ed/particles.star")["particles"]
    assert 0 < len(inner) < len(scores)
    assert inner["rlnCoordinateX"].min() >= 100


def test_a_bad_micrograph_is_reported_and_the_rest_goes_on(project):
    Path("mics/b.mrc").write_bytes(Path("mics/b.mrc").read_bytes()[:5000])
    result = run(pick_command, "blob", "micrographs_ctf.star", "--diameter", "120", "--out", "pk")
    assert result.exit_code == 1
    assert "b: error" in result.output
    assert "1 of 2 failed" in result.output
    assert read_star("pk/picks.star")["micrographs"]["rlnMicrographName"].tolist() == ["mics/a.mrc"]


def test_a_micrograph_without_ctf_is_left_out_where_others_have_one(project):
    run(pick_command, "blob", "mics/a.mrc", "mics/b.mrc", "--diameter", "120", "--out", "pk")
    blocks = read_star("micrographs_ctf.star")
    columns = {k: v[:1] for k, v in blocks["micrographs"].columns.items()}
    write_star("some.star", {"optics": blocks["optics"], "micrographs": StarTable(columns)})
    result = run(extract_command, "pk/picks.star", "--ctf", "some.star", "--box", 64, "--out", "ex")
    assert "1 picked micrographs are not in some.star" in result.output
    assert set(read_star("ex/particles.star")["particles"]["rlnMicrographName"]) == {"mics/a.mrc"}


def test_wrong_input_says_what_was_expected(project):
    with pytest.raises(StarColumnError, match="coordinate_files"):
        run(extract_command, "micrographs_ctf.star", "--box", "64", "--out", "ex")
    with pytest.raises(InputError, match="no file"):
        run(extract_command, "nothing.star", "--box", "64", "--out", "ex")
    with pytest.raises(Exception, match="--diameter"):
        run(pick_command, "blob", "mics/a.mrc", "--diameter", "wide", "--out", "pk")
    with pytest.raises(Exception, match="--min-distance"):
        run(pick_command, "blob", "mics/a.mrc", "--diameter", "9", "--min-distance", "-1",
            "--out", "pk")  # fmt: skip


def test_ctf_rows_come_from_sidecars_and_from_star_rows():
    numbers = {
        "defocus_u": 1e4, "defocus_v": 9e3, "defocus_angle": -20.0, "phase_shift": 5.0,
        "figure_of_merit": 0.2, "fit_resolution": None,
    }  # fmt: skip
    row = ctf_row(numbers)
    assert row["rlnDefocusU"] == 1e4
    assert row["rlnPhaseShift"] == 5.0
    assert "rlnCtfMaxResolution" not in row
    assert ctf_row({**numbers, "defocus_u": None}) is None
    assert ctf_row({"rlnMicrographName": "a.mrc"}) is None
    assert ctf_row(CTF)["rlnCtfScalefactor"] == 1.0


def test_half_a_million_particles_are_joined_without_a_loop_over_them():
    n = 50_000
    numbers = {k: np.arange(n) for k in ("y", "x", "kept")} | {
        "origin_y": np.zeros(n), "origin_x": np.zeros(n)
    }  # fmt: skip
    parts = [
        particle_columns(numbers, stack_name=f"{i}.mrcs", micrograph_name=f"{i}.mrc", ctf=CTF)
        for i in range(10)
    ]
    blocks = particles_star(join_columns(parts), [OPTICS], pixel_size=1.5, box=64)
    assert len(blocks["particles"]) == 10 * n
    assert blocks["particles"]["rlnImageName"][n] == "000001@1.mrcs"
    del parts[3]["rlnDefocusU"]
    with pytest.raises(StarColumnError, match="1 of 10"):
        join_columns(parts)


needs_relion = pytest.mark.skipif(
    shutil.which("relion_preprocess") is None, reason="RELION is not installed"
)


def relion(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    output = done.stdout + done.stderr
    assert "WARNING" not in output.upper().replace("WARNINGS", "")
    return output


@needs_relion
@pytest.mark.parametrize("scaled", [False, True])
def test_particles_equal_relions(project, scaled):
    """The same coordinates through `relion_preprocess`, windows over the border among them."""
    run(pick_command, "blob", "micrographs_ctf.star", "--diameter", "120", "--out", "mics")
    size, radius = (52, 20) if scaled else (128, 48)
    relion("relion_preprocess", "--i", "micrographs_ctf.star", "--coord_dir", "./",
           "--coord_suffix", "_picks.star", "--part_star", "RP/particles.star", "--extract",
           "--extract_size", 128, "--part_dir", "RP/", "--norm", "--bg_radius", radius,
           "--invert_contrast", *(("--scale", size) if scaled else ()))  # fmt: skip
    pixel = PIXEL * 128 / size
    run(extract_command, "mics/picks.star", "--box", 128, "--bin-to", pixel,
        "--background-diameter", 2 * radius * pixel, "--out", "ex")  # fmt: skip
    for name in ("a", "b"):
        theirs, ours = (read_mrc(f"{d}/{name}.mrcs")[0] for d in ("RP/mics", "ex/Particles"))
        assert ours.shape == theirs.shape == (25, size, size)
        assert (read_star(f"mics/{name}_picks.star")[""]["rlnCoordinateX"] < 64).any()
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


@needs_relion
def test_relion_classifies_the_particles_of_real_micrographs(real_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = real_data / "apoferritin-10146"
    with (source / "ctf_reference.csv").open() as handle:
        known = {r["micrograph"]: r for r in csv.DictReader(handle) if "4.1" in r["program"]}
    rows = []
    for name in sorted(known)[:2]:
        r = known[name]
        rows.append(
            {
                "rlnMicrographName": str(source / f"{name}.png"),
                "rlnOpticsGroup": 1,
                "rlnDefocusU": float(r["defocus_u_A"]),
                "rlnDefocusV": float(r["defocus_v_A"]),
                "rlnDefocusAngle": float(r["astigmatism_angle_deg"]),
            }
        )
    blocks = {"optics": optics_table([OPTICS]), "micrographs": StarTable.from_rows(rows)}
    write_star("ctf.star", blocks)
    run(pick_command, "blob", "ctf.star", "--diameter", "120", "--out", "pk")
    run(extract_command, "pk/picks.star", "--box", "160", "--bin-to", "7", "--out", "ex")
    n = len(read_star("ex/particles.star")["particles"])
    assert n > 200
    Path("C2").mkdir()
    relion("relion_refine", "--i", "ex/particles.star", "--o", "C2/run", "--K", 2, "--iter", 2,
           "--particle_diameter", 150, "--ctf", "--tau2_fudge", 2, "--flatten_solvent",
           "--zero_mask", "--psi_step", 45, "--offset_range", 2, "--offset_step", 2,
           "--oversampling", 0, "--norm", "--scale", "--j", 2,
           "--dont_combine_weights_via_disc")  # fmt: skip
    assert len(read_star("C2/run_it002_data.star")["particles"]) == n
    classes, _ = read_mrc("C2/run_it002_classes.mrcs")
    best = classes[np.argmax(classes.std(axis=(1, 2)))]
    # The average is a shell: brighter at 3/4 of the radius than in the middle or outside.
    c = np.arange(best.shape[0]) - best.shape[0] // 2
    radius = np.hypot(c[:, None], c[None, :]) * 160 * PIXEL / best.shape[0]

    def ring(a, b):
        return best[(radius >= a) & (radius < b)].mean()

    assert ring(35, 55) > ring(0, 15)
    assert ring(35, 55) > ring(68, 85)
