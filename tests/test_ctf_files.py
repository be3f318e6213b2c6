"""CTF results in RELION's and CTFFIND's files, and the command that writes them."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ctf_micrographs import thon_micrograph
from icefloe.cli.ctf import command
from icefloe.ctf import CtfResult, CtfSettings, estimate_ctf
from icefloe.ctf.spectrum import power_spectrum
from icefloe.errors import InputError
from icefloe.formats import StarTable, read_mrc, read_star, write_mrc, write_star
from icefloe.interop.optics import OpticsGroup, optics_table
from icefloe.interop.relion_ctf import ctffind_avrot_text, ctffind_text, micrographs_ctf
from icefloe.optics import CtfParameters, ctf_2d

TRUTH = CtfParameters(15300, 14700, 40, 300, 2.7, 0.07)
GROUP = OpticsGroup(300.0, 2.7, 0.07, 1.0, 1.0)
# The order of RELION's ctffind_runner, checked with a file that RELION wrote.
RELION = [
    "rlnMicrographName", "rlnOpticsGroup", "rlnCtfImage", "rlnDefocusU", "rlnDefocusV",
    "rlnCtfAstigmatism", "rlnDefocusAngle", "rlnCtfFigureOfMerit", "rlnCtfMaxResolution",
]  # fmt: skip


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    return thon_micrograph(TRUTH, shape=(800, 820), seed=20)


@pytest.fixture(scope="session")
def result(image: np.ndarray) -> CtfResult:
    return estimate_ctf(image, pixel_size=1.0, amplitude_contrast=0.07)


def run(*args: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in args])


def test_columns_are_relions_in_its_order(result: CtfResult, real_data: Path) -> None:
    real = read_star(real_data / "formats" / "relion" / "relion_ctf_estimation_output.star")
    assert list(real["micrographs"].columns) == RELION
    row = {"micrograph": "m/a.mrc", "ctf_image": "c/a.ctf:mrc", "ctf": result.numbers()}
    table = micrographs_ctf([row], [GROUP])["micrographs"]
    assert list(table.columns) == [*RELION, "rlnCtfIceRingDensity"]
    (written,) = table.rows()
    assert written["rlnCtfAstigmatism"] == pytest.approx(
        written["rlnDefocusU"] - written["rlnDefocusV"]
    )
    assert list(micrographs_ctf([row], [GROUP])["optics"].columns) == list(real["optics"].columns)


def test_further_columns_are_carried_along(result: CtfResult) -> None:
    numbers = dict(result.numbers(), phase_shift=90.0, fit_resolution=None)
    row = {
        "micrograph": "a.mrc",
        "no_dw": "a_noDW.mrc",
        "ctf_image": "a.ctf:mrc",
        "ctf": numbers,
        "row": {"rlnMicrographName": "old.mrc", "rlnAccumMotionTotal": 12.5, "rlnDefocusU": 1.0},
    }
    other = {**row, "row": {**row["row"], "rlnOnlyHere": 3}}  # type: ignore[dict-item]
    table = micrographs_ctf([row, other], [GROUP])["micrographs"]
    first = next(iter(table.rows()))
    assert next(iter(table.columns)) == "rlnMicrographNameNoDW"
    assert first["rlnMicrographName"] == "a.mrc"
    assert first["rlnAccumMotionTotal"] == 12.5
    assert first["rlnDefocusU"] == pytest.approx(result.parameters.defocus_u)
    assert first["rlnPhaseShift"] == 90.0
    assert first["rlnCtfMaxResolution"] == 25.0
    assert "rlnOnlyHere" not in table


def test_a_failed_fit_has_no_row(result: CtfResult) -> None:
    numbers = dict(result.numbers(), defocus_u=None)
    with pytest.raises(InputError, match="failed"):
        micrographs_ctf([{"micrograph": "a", "ctf_image": "b", "ctf": numbers}], [GROUP])


def test_text_has_ctffinds_five_comments_and_seven_columns(
    result: CtfResult, tmp_path: Path
) -> None:
    numbers = dict(result.numbers(), phase_shift=90.0)
    path = tmp_path / "a_ctf.txt"
    path.write_text(ctffind_text(numbers, "a.mrc", CtfSettings()))
    assert [line.startswith("#") for line in path.read_text().splitlines()] == [True] * 5 + [False]
    values = np.loadtxt(path)
    expected = [numbers[k] for k in ("defocus_u", "defocus_v", "defocus_angle")]
    np.testing.assert_allclose(values[1:4], expected, atol=1e-6)
    assert values[4] == pytest.approx(math.pi / 2, abs=1e-6)  # radians here, degrees elsewhere
    assert values[5:] == pytest.approx(
        [numbers["figure_of_merit"], numbers["fit_resolution"]], abs=1e-6
    )
    path.write_text(ctffind_text(dict(numbers, fit_resolution=None, defocus_u=None), "a.mrc"))
    values = np.loadtxt(path)
    assert np.isinf(values[6])
    assert np.isnan(values[1])


def test_curves_have_ctffinds_six_lines(result: CtfResult, tmp_path: Path) -> None:
    path = tmp_path / "a_ctf_avrot.txt"
    path.write_text(ctffind_avrot_text(result.numbers(), "a.mrc"))
    assert [line[0] == "#" for line in path.read_text().splitlines()] == [True] * 5 + [False] * 6
    values = np.loadtxt(path)
    assert values.shape == (6, 257)
    np.testing.assert_allclose(values[0, 1:], result.curves.frequency[1:], atol=1e-6)
    assert values[0, -1] == pytest.approx(1 / 2.8, abs=1e-5)


# Written by CTFFIND 4.1.14; programs look for these words.
RECORDED = (
    "# Pixel size: 1.000 Angstroms ; acceleration voltage: 300.0 keV ; "
    "spherical aberration: 2.70 mm ; amplitude contrast: 0.07",
    "# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 5.0 Angstroms ; "
    "min. def.: 5000.0 um; max. def. 50000.0 um",
    "# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; "
    "#4 - azimuth of astigmatism; #5 - additional phase shift [radians]; #6 - cross correlation; "
    "#7 - spacing (in Angstroms) up to which CTF rings were fit successfully",
)


def test_comments_are_ctffinds(result: CtfResult) -> None:
    numbers = result.numbers()
    lines = ctffind_text(numbers, "m/a.mrc", CtfSettings()).splitlines()
    assert lines[0].startswith("# Output from ")
    assert lines[1] == "# Input file: m/a.mrc ; Number of micrographs: 1"
    assert tuple(lines[2:5]) == RECORDED
    curves = ctffind_avrot_text(numbers, "m/a.mrc", CtfSettings()).splitlines()
    assert curves[2] == RECORDED[0]
    assert curves[3] == RECORDED[1] + "; num. frames averaged: 1"
    assert curves[4].startswith("# 6 lines per micrograph: #1 - spatial frequency (1/Angstroms); ")
    # No date: the same result is the same file.
    assert ctffind_text(numbers, "m/a.mrc", CtfSettings()) == "\n".join(lines) + "\n"


def test_command_fits_images_and_says_what_failed(image: np.ndarray, tmp_path: Path) -> None:
    write_mrc(tmp_path / "good.mrc", image, 1.0)
    noise = np.random.default_rng(0).standard_normal((400, 400)).astype(np.float32)
    write_mrc(tmp_path / "noise.mrc", noise, 1.0)
    (tmp_path / "broken.mrc").write_bytes((tmp_path / "good.mrc").read_bytes()[:5000])
    out = tmp_path / "out"
    done = run(
        *(tmp_path / f"{n}.mrc" for n in ("good", "noise", "broken")),
        *("--out", out, "--pixel-size", 1, "--amplitude-contrast", 0.07, "--device", "cpu"),
    )
    assert done.exit_code == 1
    lines = {line.split(":")[0]: line for line in done.stderr.splitlines() if ":" in line}
    assert "no Thon rings" in lines["noise"]
    assert "error" in lines["broken"]
    assert re.search(r"defocus 1\.(49|50)\d µm .* rings to", lines["good"])
    (row,) = read_star(out / "micrographs_ctf.star")["micrographs"].rows()
    assert row["rlnMicrographName"] == str(tmp_path / "good.mrc")
    assert row["rlnDefocusU"] == pytest.approx(15300, abs=120)
    assert row["rlnCtfImage"] == f"{out / 'good'}.ctf:mrc"
    picture, pixel_size = read_mrc(out / "good.ctf")
    assert picture.shape == (512, 512)
    assert pixel_size == pytest.approx(1.4)
    assert np.loadtxt(out / "good_ctf.txt")[1] == pytest.approx(row["rlnDefocusU"], abs=1e-3)
    assert not (out / "noise_ctf.txt").exists()


def test_command_takes_the_power_spectrum_a_star_names(image: np.ndarray, tmp_path: Path) -> None:
    spectrum = power_spectrum(image, 1.0, 512)
    write_mrc(tmp_path / "a_PS.mrc", spectrum.centred(), spectrum.pixel_size)
    # The micrograph itself is no use: were it read, the fit would fail.
    write_mrc(tmp_path / "a.mrc", np.random.default_rng(0).normal(size=(300, 300)), 1.0)
    write_mrc(tmp_path / "b.mrc", np.random.default_rng(1).normal(size=(300, 300)), 1.0)
    write_mrc(tmp_path / "b_noDW.mrc", image, 1.0)
    rows = [
        {
            "rlnMicrographName": f"{n}.mrc",
            "rlnMicrographNameNoDW": f"{n}_noDW.mrc",
            "rlnCtfPowerSpectrum": f"{n}_PS.mrc",  # that of b does not exist
            "rlnOpticsGroup": 1,
            "rlnAccumMotionTotal": 20.5,
        }
        for n in "ab"
    ]
    blocks = {"optics": optics_table([GROUP]), "micrographs": StarTable.from_rows(rows)}
    write_star(tmp_path / "corrected_micrographs.star", blocks)
    done = run(tmp_path / "corrected_micrographs.star", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    written = list(read_star(tmp_path / "out" / "micrographs_ctf.star")["micrographs"].rows())
    assert [r["rlnMicrographName"] for r in written] == ["a.mrc", "b.mrc"]
    for row in written:
        assert row["rlnDefocusU"] == pytest.approx(15300, abs=120)
        assert row["rlnAccumMotionTotal"] == 20.5


def test_options_reach_the_fit(image: np.ndarray, tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", image, 1.0)
    out = tmp_path / "out"
    args = (tmp_path / "a.mrc", "--out", out)
    done = run(*args, "--box", 384, "--resolution", 25, 6, "--max-defocus", 30000)
    assert done.exit_code == 0, done.stderr
    assert read_mrc(out / "a.ctf")[0].shape == (384, 384)
    comment = (out / "a_ctf.txt").read_text()
    assert "min. res.: 25.0" in comment
    assert "max. def. 30000.0 um" in comment
    assert "--box is 10" in str(run(*args, "--box", 10).exception)
    assert "phase shift" not in done.stderr
    assert "phase shift" in run(*args, "--phase-shift", "--phase-range", 10, 170).stderr


def test_relion_reads_what_is_written(image: np.ndarray, result: CtfResult, tmp_path: Path) -> None:
    if shutil.which("relion_star_handler") is None:
        pytest.skip("relion_star_handler is not on the PATH")
    write_mrc(tmp_path / "a.mrc", image, 1.0)
    write_mrc(tmp_path / "a.ctf", result.diagnostic, result.spectrum_pixel_size)
    row = {"micrograph": "a.mrc", "ctf_image": "a.ctf:mrc", "ctf": result.numbers()}
    write_star(tmp_path / "micrographs_ctf.star", micrographs_ctf([row], [GROUP]))

    def relion(*args: str) -> str:
        return subprocess.run(
            args, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    relion(
        "relion_star_handler", "--i", "micrographs_ctf.star", "--o", "kept.star",
        "--select", "rlnDefocusU", "--minval", "10000",
    )  # fmt: skip
    (kept,) = read_star(tmp_path / "kept.star")["micrographs"].rows()
    assert kept["rlnDefocusV"] == pytest.approx(result.parameters.defocus_v, abs=1e-3)
    assert "512 x 512" in relion("relion_image_handler", "--i", "a.ctf:mrc", "--stats")


def relion_extract(
    folder: Path, image: np.ndarray, numbers: dict[str, Any], size: int, *options: str
) -> dict[str, StarTable]:
    """Let RELION cut `size` pixels from the middle, with the CTF that we wrote."""
    if shutil.which("relion_preprocess") is None:
        pytest.skip("relion_preprocess is not on the PATH")
    for name in ("m", "picks/m"):
        (folder / name).mkdir(parents=True)
    write_mrc(folder / "m" / "a.mrc", image, 1.0)
    row = {"micrograph": "m/a.mrc", "ctf_image": "a.ctf:mrc", "ctf": numbers}
    write_star(folder / "micrographs_ctf.star", micrographs_ctf([row], [GROUP]))
    y, x = (float(n // 2) for n in image.shape)
    picks = StarTable.from_rows([{"rlnCoordinateX": x, "rlnCoordinateY": y}])
    write_star(folder / "picks" / "m" / "a_pick.star", {"": picks})
    done = subprocess.run(
        ["relion_preprocess", "--i", "micrographs_ctf.star", "--coord_dir", "picks/",
         "--coord_suffix", "_pick.star", "--part_star", "particles.star", "--part_dir",
         "Particles/", "--extract", "--extract_size", str(size), *options],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return read_star(folder / "particles.star")


def test_relion_extracts_with_the_defocus_written(
    image: np.ndarray, result: CtfResult, tmp_path: Path
) -> None:
    blocks = relion_extract(tmp_path, image, result.numbers(), 64, "--norm", "--bg_radius", "24")
    (particle,) = blocks["particles"].rows()
    p = result.parameters
    assert particle["rlnDefocusU"] == pytest.approx(p.defocus_u, abs=1e-3)
    assert particle["rlnDefocusV"] == pytest.approx(p.defocus_v, abs=1e-3)
    assert particle["rlnDefocusAngle"] == pytest.approx(p.defocus_angle, abs=1e-3)
    assert particle["rlnCtfFigureOfMerit"] == pytest.approx(result.figure_of_merit, abs=1e-5)
    (optics,) = blocks["optics"].rows()
    assert optics["rlnAmplitudeContrast"] == pytest.approx(GROUP.amplitude_contrast)
    assert optics["rlnImagePixelSize"] == pytest.approx(1.0)


@pytest.mark.parametrize("phase_shift", [0.0, 75.0])
def test_relion_flips_the_phases_that_our_ctf_has(phase_shift: float, tmp_path: Path) -> None:
    # Strongly astigmatic, so that a wrong sign or zero of the angle cannot pass.
    p = CtfParameters(20000, 16000, 35, GROUP.voltage, GROUP.cs, 0.07, phase_shift)
    noise = np.random.default_rng(4).standard_normal((512, 512)).astype(np.float32)
    numbers = {
        "defocus_u": 20000.0, "defocus_v": 16000.0, "defocus_angle": 35.0,
        "figure_of_merit": 0.2, "fit_resolution": 4.0, "phase_shift": phase_shift,
    }  # fmt: skip
    relion_extract(tmp_path, noise, numbers, 512, "--phase_flip")
    flipped = read_mrc(tmp_path / "Particles" / "m" / "a.mrcs")[0].squeeze().astype(np.float64)
    ratio = (np.fft.rfft2(flipped) / np.fft.rfft2(noise.astype(np.float64))).real
    radius = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None, :])
    band = (radius > 0.02) & (radius < 0.4)
    ctf = ctf_2d(p, (512, 512), 1.0)
    # RELION's CTF is positive where ours is negative.
    assert np.mean(np.sign(ratio[band]) == -np.sign(ctf[band])) > 0.999


def test_gemmi_and_mrcfile_read_what_is_written(
    image: np.ndarray, result: CtfResult, tmp_path: Path
) -> None:
    cif = pytest.importorskip("gemmi").cif
    mrcfile = pytest.importorskip("mrcfile")
    write_mrc(tmp_path / "a.ctf", result.diagnostic, result.spectrum_pixel_size)
    row = {"micrograph": "a.mrc", "ctf_image": "a.ctf:mrc", "ctf": result.numbers()}
    write_star(tmp_path / "micrographs_ctf.star", micrographs_ctf([row], [GROUP]))
    block = cif.read(str(tmp_path / "micrographs_ctf.star")).find_block("micrographs")
    table = block.find(["_rlnMicrographName", "_rlnCtfImage", "_rlnDefocusU", "_rlnDefocusAngle"])
    (read,) = table
    assert list(read)[:2] == ["a.mrc", "a.ctf:mrc"]
    assert float(read[2]) == pytest.approx(result.parameters.defocus_u, abs=1e-3)
    assert float(read[3]) == pytest.approx(result.parameters.defocus_angle, abs=1e-3)
    assert mrcfile.validate(tmp_path / "a.ctf")
    with mrcfile.open(tmp_path / "a.ctf") as handle:
        np.testing.assert_array_equal(handle.data, result.diagnostic)
        assert handle.voxel_size.x == pytest.approx(1.4)
