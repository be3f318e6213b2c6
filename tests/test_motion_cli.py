"""`icefloe motion` and `icefloe gain` on files."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.cli.gain import command as gain_command
from icefloe.cli.motion import command as motion_command
from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.formats.gain import orient_gain, read_gain
from icefloe.formats.mrc import read_mrc, write_mrc
from icefloe.formats.star import read_star
from icefloe.formats.tiff import write_tiff_movie
from icefloe.interop.relion_motion import read_motion_star
from icefloe.motion import MotionSettings, correct_motion
from icefloe.simulate import SimulationSettings, simulate_movie
from icefloe.simulate.output import write_movie


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("movies")
    movie = simulate_movie(SimulationSettings(shape=(448, 512), n_frames=8), name="cli")
    write_tiff_movie(folder / "a.tiff", movie.frames, 1.0)
    write_mrc(folder / "b.mrc", movie.frames.astype(np.int8), 1.0)
    # The gain as a detector might store it: a quarter turn away.
    write_mrc(folder / "gain.mrc", np.ascontiguousarray(orient_gain(movie.gain, 3)), 1.0)
    return folder, movie


def run(command, *arguments):
    # Errors reach the caller, as they reach the main program, which prints them.
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def error_of(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments]).exception


def test_writes_what_relion_needs(files, tmp_path):
    folder, movie = files
    out = tmp_path / "out"
    done = run(
        motion_command, folder / "a.tiff", folder / "b.mrc", "--out", out,
        "--dose-per-frame", 1.2, "--gain", folder / "gain.mrc", "--gain-rotate", 1,
        "--device", "cpu", "--even-odd", "--patches", "3x2", "--frames", "2-",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    names = {p.name for p in out.iterdir()}
    parts = ["{}.mrc", "{}_noDW.mrc", "{}_PS.mrc", "{}.star", "{}_EVN.mrc", "{}_ODD.mrc"]
    parts.append("{}_motion.svg")
    expected = {part.format(n) for part in parts for n in "ab"}
    assert names == expected | {"corrected_micrographs.star", "gain.mrc"}
    picture = ET.fromstring((out / "a_motion.svg").read_bytes())
    words = ["".join(node.itertext()) for node in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "a" in words
    # Frames 2 to 8 are used, and the middle one of them is shown.
    assert "frame 5, as counted" in words
    assert any(word.startswith("Thon rings: ") for word in words)
    direct = correct_motion(
        movie.frames, pixel_size=1.0, dose_per_frame=1.2, gain=orient_gain(movie.gain),
        settings=MotionSettings(patches=(2, 3), first_frame=2, even_odd=True), name="a",
    )  # fmt: skip
    image, pixel_size = read_mrc(out / "a.mrc")
    assert np.array_equal(image.reshape(448, 512), direct.micrograph)
    assert pixel_size == pytest.approx(1.0)
    # The gain that polishing will apply is in the movie's orientation.
    assert np.array_equal(read_mrc(out / "gain.mrc")[0].reshape(448, 512), movie.gain)
    blocks = read_star(out / "corrected_micrographs.star")
    assert [str(n) for n in blocks["micrographs"]["rlnMicrographName"]] == [
        str(out / "a.mrc"), str(out / "b.mrc"),
    ]  # fmt: skip
    star = read_motion_star(out / "b.star")
    assert len(star) == 7
    assert star.general["rlnMicrographGainName"] == str(out / "gain.mrc")


def test_binned_half_precision(files, tmp_path):
    folder, _ = files
    done = run(
        motion_command, folder / "b.mrc", "--out", tmp_path, "--total-dose", 9.6, "--bin", 2,
        "--float16", "--no-dose-weighting", "--device", "cpu", "--patches", "1x1", "--no-pictures",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    image, pixel_size = read_mrc(tmp_path / "b.mrc")
    assert image.dtype == np.float16
    assert image.shape[-2:] == (224, 256)
    assert pixel_size == pytest.approx(2.0)
    assert not (tmp_path / "b_noDW.mrc").exists()
    assert not (tmp_path / "b_motion.svg").exists()
    assert read_mrc(tmp_path / "b_PS.mrc")[0].dtype == np.float32
    star = read_motion_star(tmp_path / "b.star")
    assert star.general["rlnMicrographDoseRate"] == pytest.approx(1.2)
    assert star.general["rlnMicrographBinning"] == pytest.approx(2.0)


def test_bad_movie_is_reported_and_the_rest_goes_on(files, tmp_path):
    folder, _ = files
    broken = tmp_path / "broken.mrc"
    broken.write_bytes((folder / "b.mrc").read_bytes()[:100_000])
    empty = tmp_path / "empty.mrc"
    write_mrc(empty, np.zeros((4, 64, 64), np.uint8), 1.0)
    out = tmp_path / "out"
    done = run(
        motion_command, broken, folder / "b.mrc", empty, "--out", out,
        "--dose-per-frame", 1.2, "--device", "cpu", "--patches", "1x1",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "broken.mrc" in done.output
    assert "empty.mrc" in done.output
    blocks = read_star(out / "corrected_micrographs.star")
    assert len(blocks["micrographs"]) == 1


def test_facts_that_are_missing(files, tmp_path):
    folder, movie = files
    movie_file = folder / "b.mrc"
    assert isinstance(error_of(motion_command, movie_file, "--out", tmp_path), MissingMetadataError)
    plain = tmp_path / "plain.mrc"
    write_mrc(plain, movie.frames[:2].astype(np.int8), None)
    done = run(motion_command, plain, "--out", tmp_path, "--dose-per-frame", 1, "--device", "cpu")
    assert done.exit_code == 1
    assert "--pixel-size" in done.output
    for option, value in (
        ("--pixel-size", 0), ("--dose-per-frame", -1), ("--patches", "5"), ("--frames", "a-b"),
        ("--bin", 0.5),
    ):  # fmt: skip
        arguments = [movie_file, "--out", tmp_path, "--dose-per-frame", 1.2, option, value]
        assert isinstance(error_of(motion_command, *arguments), SettingsError), option


def test_eer_with_a_shorter_last_fraction(tmp_path):
    settings = SimulationSettings(shape=(256, 256), n_frames=5)
    movie = simulate_movie(settings, name="e")
    write_movie(movie, tmp_path, "eer", raw_per_frame=6)
    out = tmp_path / "out"
    done = run(
        motion_command, tmp_path / "e.eer", "--out", out, "--pixel-size", 1, "--total-dose", 6,
        "--eer-grouping", 8, "--gain", tmp_path / "gain.gain", "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    # 30 camera frames: three fractions of 8 and one of 6, which RELION does not render.
    star = read_motion_star(out / "e.star")
    assert star.general["rlnImageSizeZ"] == 3
    assert len(star) == 3
    assert star.general["rlnEERGrouping"] == 8
    assert star.general["rlnMicrographDoseRate"] == pytest.approx(1.6)
    # The MRC gain of an EER movie divides.
    divisor = read_mrc(out / "gain.mrc")[0].reshape(256, 256)
    used = read_gain(tmp_path / "gain.gain", for_eer=True)
    good = used > 0
    assert np.allclose(divisor[good] * used[good], 1, rtol=1e-5)
    assert np.allclose(read_mrc(out / "e.mrc")[0].mean(), (movie.frames.sum(0) * used)[good].mean(),
                       rtol=0.02)  # fmt: skip


def test_fine_eer_fractions_are_aligned_in_groups_and_written_one_by_one(tmp_path):
    movie = simulate_movie(
        SimulationSettings(shape=(256, 256), n_frames=12, dose_per_frame=0.4), name="e"
    )
    write_movie(movie, tmp_path, "eer", raw_per_frame=6)
    out = tmp_path / "out"
    done = run(
        motion_command, tmp_path / "e.eer", "--out", out, "--pixel-size", 1, "--total-dose", 4.8,
        "--eer-dose-per-fraction", 0.2, "--gain", tmp_path / "gain.gain", "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    # 72 camera frames: 24 fractions of 3, aligned in 8 groups, and RELION renders all 24.
    star = read_motion_star(out / "e.star")
    assert star.general["rlnEERGrouping"] == 3
    assert star.general["rlnImageSizeZ"] == len(star) == 24
    assert star.general["rlnMicrographDoseRate"] == pytest.approx(0.2)


def test_two_movies_of_one_name(files, tmp_path):
    folder, _ = files
    other = tmp_path / "b.mrcs"
    other.write_bytes((folder / "b.mrc").read_bytes())
    error = error_of(
        motion_command, folder / "b.mrc", other, "--out", tmp_path, "--dose-per-frame", 1
    )
    assert isinstance(error, InputError)


def test_gain_estimate_and_apply(tmp_path):
    rng = np.random.default_rng(0)
    gain = rng.uniform(0.8, 1.2, (64, 80)).astype(np.float32)
    for i in range(3):
        frames = rng.poisson(30 / gain, (10, 64, 80)).astype(np.uint16)
        write_mrc(tmp_path / f"m{i}.mrc", frames, 1.0)
    movies = [tmp_path / f"m{i}.mrc" for i in range(3)]
    done = run(gain_command, "estimate", *movies, "--out", tmp_path / "gain.mrc")
    assert done.exit_code == 0, done.output
    found = read_mrc(tmp_path / "gain.mrc")[0].reshape(64, 80)
    assert np.corrcoef(found.ravel(), gain.ravel())[0, 1] > 0.95

    turned = np.ascontiguousarray(orient_gain(found, 3))
    write_mrc(tmp_path / "turned.mrc", turned, 1.0)
    done = run(
        gain_command, "apply", movies[0], "--gain", tmp_path / "turned.mrc", "--rotate", 1,
        "--out", tmp_path / "flat.mrcs",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    flat = read_mrc(tmp_path / "flat.mrcs")[0]
    assert np.allclose(flat, read_mrc(movies[0])[0] * found, rtol=1e-6)


def test_gain_estimate_warns_of_few_counts(tmp_path):
    write_mrc(tmp_path / "m.mrc", np.ones((2, 32, 32), np.uint8), 1.0)
    done = run(gain_command, "estimate", tmp_path / "m.mrc", "--out", tmp_path / "g.mrc")
    assert "more movies" in done.output
