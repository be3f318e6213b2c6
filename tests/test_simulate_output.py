"""Simulated movies as files: read back by Icefloe's own readers and by independent ones."""

from __future__ import annotations

import numpy as np
import pytest

from icefloe.errors import SettingsError, TruncatedFileError
from icefloe.formats.defects import read_defects
from icefloe.formats.gain import orient_gain, read_gain
from icefloe.formats.movie import open_movie
from icefloe.simulate import (
    MovieTruth,
    SimulationSettings,
    simulate_micrograph,
    simulate_movie,
    simulate_session,
    write_micrograph,
    write_movie,
)
from icefloe.simulate.eer_output import encode_events, write_eer
from icefloe.simulate.output import disorient_gain


@pytest.fixture(scope="session")
def movie():
    return simulate_movie(
        SimulationSettings(
            shape=(96, 128), n_frames=3, pixel_size=2.0, gain_rotate=1, gain_flip=1,
            n_dead_columns=1, n_hot=3, n_dead=2, n_particles=2,
        ),
        "tiny",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["mrc", "tiff"])
def test_a_movie_reads_back_as_it_was(tmp_path, movie, kind):
    files = write_movie(movie, tmp_path, kind)
    with open_movie(files.movie) as opened:
        assert opened.shape == (96, 128)
        assert opened.pixel_size == pytest.approx(2.0, rel=1e-4)
        frames = np.stack(list(opened))
    np.testing.assert_array_equal(frames, movie.frames)
    again = MovieTruth.load(files.truth)
    np.testing.assert_array_equal(again.gain, movie.gain)
    np.testing.assert_array_equal(read_defects(files.defects, (96, 128)), movie.defects)
    stored = read_gain(files.gain)
    assert stored.shape == (128, 96)
    np.testing.assert_array_equal(orient_gain(stored, 1, 1), movie.gain)
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write_movie(movie, tmp_path, kind)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == first


@pytest.mark.parametrize("rotate", range(4))
@pytest.mark.parametrize("flip", range(3))
def test_the_gain_is_stored_as_the_declared_turn_undoes_it(rotate, flip):
    gain = np.random.default_rng(0).uniform(0.5, 2, (5, 7)).astype(np.float32)
    np.testing.assert_array_equal(
        orient_gain(disorient_gain(gain, rotate, flip), rotate, flip), gain
    )


def test_an_eer_movie_decodes_to_the_frames(tmp_path, movie):
    files = write_movie(movie, tmp_path, "eer", raw_per_frame=24)
    with open_movie(files.movie, eer_frames_per_fraction=24) as opened:
        assert len(opened) == 3
        frames = np.stack(list(opened))
    np.testing.assert_array_equal(frames, np.minimum(movie.frames, 24))
    stored = read_gain(files.gain, for_eer=True)
    np.testing.assert_array_equal(orient_gain(stored, 1, 1), movie.gain)


# imagecodecs reads no sub-pixel bits after the longest run of 65000, RELION and we do; at 0.5
# electrons a pixel there is no such run.
@pytest.mark.parametrize(
    ("compression", "bits", "mean"),
    [(65001, 7, 0.0), (65001, 7, 0.002), (65001, 7, 0.5), (65000, 8, 0.5)],
)
def test_eer_streams_decode_in_an_independent_decoder(compression, bits, mean):
    imagecodecs = pytest.importorskip("imagecodecs")
    frame = np.random.default_rng(3).poisson(mean, (64, 96)).astype(np.uint8)
    frame[-1, -1] = 1  # an electron in the very last pixel
    streams = encode_events(frame, 12, compression, 7)
    assert len(streams) == 12
    decoded = [
        imagecodecs.eer_decode(data, (64, 96), skipbits=bits, horzbits=2, vertbits=2)
        for data in streams
    ]
    assert max(d.max() for d in decoded) == 1
    np.testing.assert_array_equal(np.sum(decoded, axis=0), frame)


@pytest.mark.parametrize("compression", [65000, 65001])
def test_sparse_eer_frames_survive(tmp_path, compression):
    frames = np.random.default_rng(5).poisson(0.01, (2, 128, 128)).astype(np.uint8)
    write_eer(tmp_path / "m.eer", frames, raw_per_frame=10, compression=compression)
    with open_movie(tmp_path / "m.eer", eer_frames_per_fraction=10) as opened:
        np.testing.assert_array_equal(np.stack(list(opened)), frames)


@pytest.mark.parametrize("compression", [65000, 65001])
def test_sub_pixels_of_eer_are_spread_evenly(tmp_path, compression):
    frames = np.random.default_rng(4).poisson(1.0, (2, 64, 64)).astype(np.uint8)
    write_eer(tmp_path / "m.eer", frames, raw_per_frame=10, compression=compression)
    with open_movie(tmp_path / "m.eer", eer_upsampling=4, eer_frames_per_fraction=10) as opened:
        fine = np.stack(list(opened)).astype(int)
    assert fine.shape == (2, 256, 256)
    binned = fine.reshape(2, 64, 4, 64, 4).sum((2, 4))
    np.testing.assert_array_equal(binned, frames)
    share = fine.reshape(2, 64, 4, 64, 4).sum((0, 1, 3)) / frames.sum()
    np.testing.assert_allclose(share, 1 / 16, atol=0.01)


def test_what_eer_cannot_be_is_refused(tmp_path):
    frames = np.ones((1, 8, 8), np.uint8)
    with pytest.raises(SettingsError, match="65002"):
        write_eer(tmp_path / "m.eer", frames, compression=65002)
    with pytest.raises(SettingsError, match="camera frames"):
        write_eer(tmp_path / "m.eer", frames, raw_per_frame=65)
    assert not list(tmp_path.iterdir())


def test_a_micrograph_reads_back(tmp_path):
    made = simulate_micrograph(SimulationSettings(shape=(64, 80), n_particles=0), "flat")
    files = write_micrograph(made, tmp_path)
    with open_movie(files.movie) as opened:
        np.testing.assert_array_equal(opened[0], made.image)
    assert made.image.mean() == pytest.approx(1.2 * 20, rel=0.02)
    truth = MovieTruth.load(files.truth)
    assert truth.field is None
    assert truth.gain is None


@pytest.mark.parametrize("unusable", ["drift", "truncated"])
def test_a_session_has_shared_gain_and_one_bad_movie(tmp_path, unusable):
    settings = SimulationSettings(
        shape=(128, 128), n_frames=3, pixel_size=3.0, gain_rotate=3, gain_flip=2
    )
    seen = []
    session = simulate_session(
        tmp_path,
        4,
        settings=settings,
        unusable=unusable,
        report=lambda f, s: seen.append(s.defocus),
    )
    assert len(session.movies) == 4
    assert session.unusable == session.movies[2].movie
    assert sorted(seen) == [9750.0, 13250.0, 16750.0, 20250.0]
    gain = orient_gain(read_gain(session.gain), 3, 2)
    for number, files in enumerate(session.movies):
        truth = MovieTruth.load(files.truth)
        np.testing.assert_array_equal(truth.gain, gain)
        assert truth.ctf.defocus == pytest.approx(seen[number])
        assert truth.settings.drift_ruined == (number == 2 and unusable == "drift")
        if number == 2 and unusable == "truncated":
            with pytest.raises(TruncatedFileError), open_movie(files.movie) as opened:
                list(opened)
        else:
            with open_movie(files.movie) as opened:
                assert len(list(opened)) == 3
    assert len(list((tmp_path / "truth").glob("*_truth.npz"))) == 4


def run(*arguments: str):
    from click.testing import CliRunner

    from icefloe.cli.main import cli

    return CliRunner().invoke(cli, ["simulate", *arguments])


def test_command_line(tmp_path):
    result = run(
        "--out", str(tmp_path), "--movies", "2", "--size", "96", "--frames", "2", "--format", "eer",
        "--set", "n_particles=1", "--set", "super_resolution=true", "--gain-rotate", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 movies of 2 frames, 192 x 192 pixels of 0.5 A" in result.output
    assert "--gain-rotate 1" in result.output
    assert sorted(p.name for p in (tmp_path / "movies").iterdir()) == [
        "movie_001.eer", "movie_002.eer",
    ]  # fmt: skip
    with open_movie(tmp_path / "movies" / "movie_001.eer", eer_frames_per_fraction=40) as opened:
        assert len(opened) == 2


def test_command_line_aligned(tmp_path):
    result = run("--out", str(tmp_path), "--movies", "1", "--size", "96", "--aligned")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "micrographs" / "micrograph_001.mrc").is_file()
    assert (tmp_path / "truth" / "micrograph_001_truth.npz").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "nothing=3"),
        ("--set", "tilt"),
        ("--set", "tilt=100"),
        ("--movies", "1", "--unusable", "drift"),
        ("--particle", "absent.pdb"),
    ],
)
def test_command_line_refuses(tmp_path, arguments):
    from icefloe.errors import IcefloeError

    result = run("--out", str(tmp_path), "--size", "64", "--frames", "1", *arguments)
    assert isinstance(result.exception, IcefloeError)
    assert not list(tmp_path.glob("movies/*"))
