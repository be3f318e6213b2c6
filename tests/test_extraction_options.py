"""CTF, dust, two sizes, extracting again, and odd sets of micrographs."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from icefloe.cli.boxsize_picture import delocalised, kept_fraction
from icefloe.cli.extract import command
from icefloe.errors import MissingMetadataError, SettingsError, StarColumnError
from icefloe.extraction import ExtractSettings, box_warning, extract_particles
from icefloe.extraction.ctf import CtfPlanes
from icefloe.formats import StarTable, read_mrc, read_star, write_mrc, write_star
from icefloe.interop.optics import OpticsGroup, optics_table
from icefloe.interop.particle_ctf import particle_ctf
from icefloe.interop.relion_picks import coordinate_files
from icefloe.optics import CtfParameters, advise_box, ctf_2d

PIXEL = 1.5
PLAIN = {"normalise": False, "invert": False}
CTF = CtfParameters(15000.0, 14000.0, 20.0, 300.0, 2.7, 0.1, 10.0)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).normal(10, 2, (300, 340)).astype(np.float32)


def extract(image, y, x, parameters=None, device="cpu", **settings):
    return extract_particles(
        image,
        y,
        x,
        pixel_size=PIXEL,
        ctf=parameters,
        settings=ExtractSettings(**settings),
        device=device,
    )


def run(*arguments, catch=False):
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=catch)


# ---- CTF


def test_the_ctf_of_many_is_that_of_one_with_the_sign_of_dark_particles():
    planes = CtfPlanes(64, PIXEL)([CTF, CTF.shifted(500.0)])
    for plane, parameters in zip(planes, (CTF, CTF.shifted(500.0)), strict=True):
        expected = -ctf_2d(parameters, (64, 64), PIXEL)
        # The row of +-Nyquist may stand for either sign.
        np.testing.assert_allclose(np.delete(plane, 32, 0), np.delete(expected, 32, 0), atol=2e-4)
    assert planes[0][0, 0] > 0


def test_multiplying_is_done_in_the_larger_window(image):
    stack = extract(image, [150.4], [160.0], CTF, box=64, ctf="multiply", ctf_box=128, **PLAIN)
    window = image[150 - 64 : 150 + 64, 160 - 64 : 160 + 64]
    transformed = np.fft.rfft2(window) * -ctf_2d(CTF, (128, 128), PIXEL)
    transformed[64] = 0  # its sign is free
    wide = np.fft.irfft2(transformed, (128, 128))
    ours = np.fft.rfft2(window) * CtfPlanes(128, PIXEL)([CTF])[0]
    row = np.fft.irfft2(np.where(np.arange(128)[:, None] == 64, ours, 0), (128, 128))
    np.testing.assert_allclose(stack.images[0], (wide + row)[32:96, 32:96], atol=5e-3)
    assert stack.numbers()["ctf"] == "multiply"


def test_flipping_phases_keeps_all_power(image):
    stack = extract(image, [150.0], [160.0], CTF, box=64, ctf="flip", ctf_box=64, **PLAIN)
    before = np.fft.rfft2(image[118:182, 128:192])
    after = np.fft.rfft2(stack.images[0])
    # But for the column of Nyquist, whose upper and lower half astigmatism may set against
    # each other.
    inner = (slice(None), slice(0, -1))
    np.testing.assert_allclose(np.abs(after)[inner], np.abs(before)[inner], rtol=2e-3, atol=0.05)
    signs = np.sign((after / before).real)
    np.testing.assert_array_equal(
        signs[1:20, 1:20], -np.sign(ctf_2d(CTF, (64, 64), PIXEL))[1:20, 1:20]
    )


def test_each_particle_may_have_its_own_defocus(image):
    y, x = [100.0, 400.0, 150.0], [100.0, 5.0, 200.0]  # the second is outside
    own = [CTF, CTF.shifted(99.0), CTF.shifted(3000.0)]
    both = extract(image, y, x, own, box=32, ctf="multiply")
    alone = extract(image, y[2:], x[2:], CTF.shifted(3000.0), box=32, ctf="multiply")
    np.testing.assert_allclose(both.images[1], alone.images[0], atol=1e-5)
    with pytest.raises(MissingMetadataError, match="not known"):
        extract(image, y, x, box=32, ctf="multiply")


def test_a_sessions_local_defocus_reaches_the_particles():
    numbers = {"defocus_u": 1e4, "defocus_v": 9e3, "defocus_angle": 5.0, "voltage": 300.0,
               "cs": 2.7, "amplitude_contrast": 0.1, "phase_shift": 0.0}  # fmt: skip
    assert particle_ctf(numbers, [1.0], [2.0]) == CtfParameters(1e4, 9e3, 5.0)
    with pytest.raises(MissingMetadataError, match="no defocus"):
        particle_ctf({**numbers, "defocus_u": None}, [1.0], [2.0])


def test_the_accelerators_path_does_the_same(image):
    pytest.importorskip("torch")
    options = {"box": 48, "ctf": "multiply", "small_bin_to": 4.0, "white_dust": 3.0}
    host = extract(image, [100.0, 3.0], [100.0, 330.0], CTF, **options)
    other = extract(image, [100.0, 3.0], [100.0, 330.0], CTF, device="torch-cpu", **options)
    np.testing.assert_allclose(other.images, host.images, atol=5e-4)
    np.testing.assert_allclose(other.small.images, host.small.images, atol=5e-4)


def test_beyond_the_border_is_the_mean_to_the_ctf_and_a_repeated_border_after_it(image):
    (particle,) = extract(
        image, [150.0], [10.0], CTF, box=64, ctf="multiply", ctf_box=96, **PLAIN
    ).images
    beyond = 32 - 10
    np.testing.assert_array_equal(particle[:, :beyond], particle[:, [beyond] * beyond])
    padded = np.pad(image, ((0, 0), (96, 0)), constant_values=image.mean(dtype=np.float64))
    (expected,) = extract(
        padded, [150.0], [106.0], CTF, box=64, ctf="multiply", ctf_box=96, **PLAIN
    ).images
    np.testing.assert_allclose(particle[:, beyond:], expected[:, beyond:], atol=1e-3)


# ---- dust, two sizes, boxes


def test_dust_is_replaced_by_noise_like_the_background(image):
    dirty = image.copy()
    dirty[150, 160], dirty[140, 150] = 500.0, -400.0
    clean = extract(dirty, [150.0], [160.0], box=64, white_dust=6, black_dust=6, **PLAIN)
    particle = clean.images[0]
    assert clean.flags == ("2 pixels of dust replaced",)
    assert abs(particle[32, 32] - 10) < 10
    changed = particle != dirty[118:182, 128:192]
    assert np.argwhere(changed).tolist() == [[22, 22], [32, 32]]
    again = extract(dirty, [150.0], [160.0], box=64, white_dust=6, black_dust=6, **PLAIN)
    np.testing.assert_array_equal(again.images, clean.images)
    white = extract(dirty, [150.0], [160.0], box=64, white_dust=6, **PLAIN)
    assert white.images[0, 22, 22] == -400.0


def test_two_sizes_in_one_pass_equal_two_passes(image):
    y, x = [100.0, 5.5], [100.0, 200.0]
    both = extract(image, y, x, box=96, small_bin_to=6.0)
    np.testing.assert_array_equal(both.images, extract(image, y, x, box=96).images)
    np.testing.assert_array_equal(
        both.small.images, extract(image, y, x, box=96, bin_to=6.0).images
    )
    assert both.numbers()["small"] == {"box": 24, "pixel_size": 6.0}
    with pytest.raises(SettingsError, match="not smaller"):
        extract(image, y, x, box=96, bin_to=6.0, small_bin_to=6.0)


def test_a_box_that_loses_signal_is_warned_of():
    settings = ExtractSettings(box=256, max_defocus=20000, resolution=3)
    text = box_warning(settings, pixel_size=1.1, diameter=150)
    assert "282 A" in text
    assert "412 A (378 pixels)" in text
    assert box_warning(settings, pixel_size=1.1, diameter=None) is None
    larger = ExtractSettings(box=378, max_defocus=20000, resolution=3)
    assert box_warning(larger, pixel_size=1.1, diameter=150) is None
    for wrong in ({"ctf_box": 64}, {"ctf": "flip", "ctf_box": 65}, {"white_dust": -1}):
        with pytest.raises(ValidationError):
            ExtractSettings(**wrong)
    with pytest.raises(SettingsError, match="at least the box"):
        extract(np.zeros((99, 99)), [9.0], [9.0], CTF, box=64, ctf="flip", ctf_box=32)


@pytest.mark.parametrize(("defocus", "resolution"), [(2e4, 3.0), (8e3, 4.0)])
def test_the_advised_box_holds_the_signal_that_a_wave_calculation_finds(defocus, resolution):
    advice = advise_box(120.0, defocus, resolution)
    _, imaged, pixel = delocalised(advice)
    kept = kept_fraction(imaged, pixel, np.array([120.0, 0.75 * advice.minimum, advice.minimum]))
    assert kept[2] > 0.98
    assert kept[1] < 0.9
    assert kept[0] < kept[1]


# ---- the command


def optics(number=1, pixel=PIXEL):
    return OpticsGroup(300.0, 2.7, 0.1, pixel, pixel, number, f"opticsGroup{number}")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two micrographs of different sizes and pixel sizes, with coordinates."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    Path("mics").mkdir()
    rows = []
    for i, (name, shape, pixel) in enumerate((("a", (300, 340), 1.5), ("b", (200, 260), 2.0)), 1):
        write_mrc(f"mics/{name}.mrc", rng.normal(0, 1, shape).astype(np.float32), pixel)
        columns = {"rlnCoordinateX": [100.5, 150.0], "rlnCoordinateY": [90.25, 120.0],
                   "rlnHelicalTubeID": [i, i], "myColumn": ["u", "v"]}  # fmt: skip
        write_star(f"{name}_picks.star", {"": StarTable(columns)})
        rows.append({"rlnMicrographName": f"mics/{name}.mrc", "rlnOpticsGroup": i,
                     "rlnDefocusU": 15000.0, "rlnDefocusV": 14000.0,
                     "rlnDefocusAngle": 20.0})  # fmt: skip
    groups = optics_table([optics(1), optics(2, 2.0)])
    write_star("ctf.star", {"optics": groups, "micrographs": StarTable.from_rows(rows)})
    pairs = [(f"mics/{n}.mrc", f"{n}_picks.star") for n in "ab"]
    write_star("picks.star", coordinate_files(pairs))
    return tmp_path


def test_mixed_sizes_and_pixel_sizes_and_unknown_columns(project):
    result = run(
        "ctf.star", "--picks", "picks.star", "--box", 64, "--small-bin-to", 6, "--out", "ex"
    )
    assert result.exit_code == 0, result.output
    blocks = read_star("ex/particles.star")
    assert blocks["optics"]["rlnImagePixelSize"].tolist() == [1.5, 2.0]
    assert blocks["particles"]["rlnHelicalTubeID"].tolist() == [1, 1, 2, 2]
    assert blocks["particles"]["myColumn"].tolist() == ["u", "v"] * 2
    small = read_star("ex/particles_small.star")
    assert small["optics"]["rlnImageSize"].tolist() == [16, 22]
    assert small["particles"]["rlnImageName"][2] == "000001@ex/Particles/b_small.mrcs"
    assert read_mrc("ex/Particles/a_small.mrcs")[0].shape == (2, 16, 16)


def test_a_missing_micrograph_is_recorded_and_the_rest_goes_on(project):
    Path("mics/a.mrc").unlink()
    for source in (("ctf.star", "--picks", "picks.star"), ("picks.star",)):
        result = run(*source, "--box", 64, "--out", "ex")
        assert result.exit_code == 1
        assert "1 of 2 failed; the others are done" in result.output
        assert Path("ex/failed.txt").read_text().startswith("a: ")
        assert "mics/a.mrc" in Path("ex/failed.txt").read_text()
        assert len(read_star("ex/particles.star")["particles"]) == 2
    write_mrc("mics/a.mrc", np.ones((300, 340), np.float32), 1.5)
    assert run("picks.star", "--box", 64, "--out", "ex").exit_code == 0
    assert not Path("ex/failed.txt").exists()


def test_a_particle_larger_than_the_micrograph_and_one_of_nan(project):
    write_mrc("mics/b.mrc", np.full((200, 260), np.nan, np.float32), 2.0)
    result = run("ctf.star", "--picks", "picks.star", "--diameter", 2000, "--out", "ex", catch=True)
    assert result.exit_code == 1
    assert "a: error: A box of" in result.output
    assert "NaN" in Path("ex/failed.txt").read_text()


def test_premultiplied_particles_are_said_to_be_so(project):
    run(
        "ctf.star", "--picks", "picks.star", "--box", 64, "--ctf-correct", "multiply", "--out", "ex"
    )
    blocks = read_star("ex/particles.star")
    assert blocks["optics"]["rlnCtfDataAreCtfPremultiplied"].tolist() == [1, 1]
    assert "rlnCtfDataAreCtfPremultiplied" not in blocks["particles"]
    result = run("ctf.star", "--picks", "picks.star", "--box", 64, "--ctf-correct", "flip",
                 "--out", "ex")  # fmt: skip
    assert "--ctf_phase_flipped" in result.output


def test_extracting_again_recentred_uses_the_origins_up(project):
    run("ctf.star", "--picks", "picks.star", "--box", 64, "--out", "ex")
    blocks = read_star("ex/particles.star")
    table = blocks["particles"]
    true = table["rlnCoordinateX"] - table["rlnOriginXAngst"] / np.array([1.5, 1.5, 2.0, 2.0])
    # As after a refinement: found elsewhere, each with a defocus of its own.
    table.columns["rlnOriginXAngst"] = table["rlnOriginXAngst"] + 7.2
    table.columns["rlnDefocusU"] = np.array([11.0, 12.0, 13.0, 14.0]) * 1000
    write_star("refined.star", blocks)
    for extra in ((), ("--ctf", "ctf.star")):
        result = run("refined.star", "--recentre", "--box", 48, "--out", "again", *extra)
        assert result.exit_code == 0, result.output
        again = read_star("again/particles.star")["particles"]
        shift = 7.2 / np.array([1.5, 1.5, 2.0, 2.0])
        place = again["rlnCoordinateX"] - again["rlnOriginXAngst"] / np.array([1.5, 1.5, 2, 2])
        np.testing.assert_allclose(place, true - shift, atol=1e-4)
        assert (np.abs(again["rlnOriginXAngst"]) < 2.0).all()
        assert again["rlnDefocusU"].tolist() == [11000, 12000, 13000, 14000]
        assert again["myColumn"].tolist() == ["u", "v"] * 2
    # Without recentring the windows stay, and so do the origins.
    run("refined.star", "--box", 48, "--out", "kept")
    kept = read_star("kept/particles.star")["particles"]
    np.testing.assert_allclose(kept["rlnCoordinateX"], table["rlnCoordinateX"])
    np.testing.assert_allclose(kept["rlnOriginXAngst"], table["rlnOriginXAngst"], atol=1e-5)
    with pytest.raises(SettingsError, match="only picks"):
        run("picks.star", "--recentre", "--box", 48, "--out", "no")
    del table.columns["rlnOriginXAngst"]
    write_star("no.star", blocks)
    with pytest.raises(StarColumnError, match="rlnOriginXAngst"):
        run("no.star", "--recentre", "--box", 48, "--out", "no")


def test_results_do_not_depend_on_the_number_of_threads(project):
    for n in (1, 2):
        run("ctf.star", "--picks", "picks.star", "--box", 64, "--bin-to", 3, "--threads", n,
            "--out", f"t{n}")  # fmt: skip
    for name in "ab":
        one, two = (Path(f"t{n}/Particles/{name}.mrcs").read_bytes() for n in (1, 2))
        assert one == two


@pytest.mark.skipif(shutil.which("relion_preprocess") is None, reason="RELION is not installed")
def test_premultiplied_particles_equal_relions(tmp_path, monkeypatch):
    """In a larger window, inside and where window, box, or both reach over the border."""
    monkeypatch.chdir(tmp_path)
    Path("mics").mkdir()
    image = np.random.default_rng(1).normal(10, 1, (400, 420)).astype(np.float32)
    write_mrc("mics/m.mrc", image, PIXEL)
    columns = {"rlnCoordinateX": [150.0, 250.7, 60.0, 10.0, 410.0, 200.0],
               "rlnCoordinateY": [200.2, 180.0, 200.0, 390.5, 5.0, 20.0]}  # fmt: skip
    write_star("mics/m_picks.star", {"": StarTable(columns)})
    row = {"rlnMicrographName": "mics/m.mrc", "rlnOpticsGroup": 1, "rlnDefocusU": 15000.0,
           "rlnDefocusV": 13000.0, "rlnDefocusAngle": 25.0}  # fmt: skip
    write_star("ctf.star", {"optics": optics_table([optics()]),
                            "micrographs": StarTable.from_rows([row])})  # fmt: skip
    write_star("picks.star", coordinate_files([("mics/m.mrc", "mics/m_picks.star")]))
    for mode, flag in (("multiply", "--premultiply_ctf"), ("flip", "--phase_flip")):
        done = subprocess.run(
            ["relion_preprocess", "--i", "ctf.star", "--coord_dir", "./", "--coord_suffix",
             "_picks.star", "--part_star", "RP/p.star", "--part_dir", "RP/", "--extract",
             "--extract_size", "96", flag, "--premultiply_extract_size", "160", "--norm",
             "--bg_radius", "36", "--invert_contrast"], capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0
        run("ctf.star", "--picks", "picks.star", "--box", 96, "--ctf-correct", mode, "--ctf-box",
            160, "--background-diameter", 72 * PIXEL, "--out", "ex")  # fmt: skip
        theirs, ours = read_mrc("RP/mics/m.mrcs")[0], read_mrc("ex/Particles/m.mrcs")[0]
        for a, b in zip(theirs, ours, strict=True):
            assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9995
