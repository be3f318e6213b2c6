"""RELION's motion STAR files: sign, units, order, and RELION's own programs."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from icefloe.errors import StarColumnError
from icefloe.formats.mrc import read_mrc, write_mrc
from icefloe.formats.star import read_star, write_star
from icefloe.interop.optics import OpticsGroup
from icefloe.interop.relion_motion import corrected_micrographs, motion_star, read_motion_star
from icefloe.motion import MotionSettings, correct_motion
from icefloe.scoring import residual_motion
from icefloe.simulate import SimulationSettings, simulate_movie
from relion_polishing import starting_tracks


@pytest.fixture(scope="module")
def movie():
    settings = SimulationSettings(shape=(640, 672), n_frames=12, doming=3.0)
    return simulate_movie(settings, name="relion-motion")


@pytest.fixture(scope="module")
def result(movie):
    return correct_motion(
        movie.frames, pixel_size=1.0, dose_per_frame=1.2, gain=movie.gain,
        settings=MotionSettings(first_frame=2, last_frame=11, patches=(4, 4)),
    )  # fmt: skip


def relion_shift(numbers, frame, y, x):
    """The field at a used frame, from RELION's definition, in its sign."""
    ny, nx = numbers["movie_shape"]
    u, v, z = x / nx - 0.5, y / ny - 0.5, frame
    local = numbers["local_coefficients"]
    shift = []
    for axis, key in enumerate("yx"):
        c = [-value for value in local[key]]
        powers = [z, z**2, z**3]
        terms = [1, u, u**2, v, v**2, u * v]
        model = sum(c[3 * s + p] * terms[s] * powers[p] for s in range(6) for p in range(3))
        shift.append(-numbers["global_shifts"][frame][axis] + model)
    return shift


def test_round_trip_through_the_file(result, tmp_path):
    numbers = result.numbers()
    write_star(tmp_path / "m.star", motion_star(numbers, movie_name="m.tiff", gain_name="g.mrc"))
    found = read_motion_star(tmp_path / "m.star")
    assert (len(found), found.first_frame, found.shape) == (10, 2, (640, 672))
    for frame, y, x in ((0, 10, 20), (4, 300, 600), (9, 639, 3)):
        expected = -np.array(relion_shift(numbers, frame, y, x))
        assert np.allclose(found.displacement(frame, y, x), expected, atol=2e-3)
    # And what RELION can hold of it is our field, up to the stated misfit.
    misfit = residual_motion(result.field, found, (640, 672), 10)
    assert misfit.total < 1.5 * numbers["polynomial_misfit"] + 0.01


def test_blocks_and_labels_are_relions(result, tmp_path):
    numbers = result.numbers()
    write_star(tmp_path / "m.star", motion_star(numbers, movie_name="m.eer",
               eer={"upsampling": 1, "grouping": 40}))  # fmt: skip
    blocks = read_star(tmp_path / "m.star")
    assert list(blocks) == [
        "general", "global_shift", "local_motion_model", "hot_pixels", "local_shift",
    ]  # fmt: skip
    general = next(blocks["general"].rows())
    assert general["rlnImageSizeX"] == 672
    assert general["rlnImageSizeY"] == 640
    assert general["rlnImageSizeZ"] == 12
    assert general["rlnMicrographStartFrame"] == 2
    assert general["rlnMotionModelVersion"] == 1
    assert general["rlnEERGrouping"] == 40
    shift = blocks["global_shift"]
    assert list(shift["rlnMicrographFrameNumber"]) == list(range(1, 13))
    # Frames that were not used.
    assert shift["rlnMicrographShiftX"][0] == -9999
    assert shift["rlnMicrographShiftX"][11] == -9999
    assert shift["rlnMicrographShiftY"][5] == pytest.approx(-result.global_shifts[4, 0], abs=1e-3)
    assert list(blocks["local_motion_model"]["rlnMotionModelCoeffsIdx"]) == list(range(36))
    hot = {(int(x), int(y)) for x, y in zip(*(blocks["hot_pixels"][f"rlnCoordinate{a}"]
           for a in "XY"), strict=True)}  # fmt: skip
    assert hot == {(int(x), int(y)) for y, x in result.hot_pixels}


def test_whole_frame_motion_has_no_model(movie, tmp_path):
    found = correct_motion(
        movie.frames, pixel_size=1.0, dose_per_frame=1.2,
        settings=MotionSettings(patches=(1, 1)),
    )  # fmt: skip
    blocks = motion_star(found.numbers(), movie_name="m.mrc")
    assert "local_motion_model" not in blocks
    assert blocks["general"].value("rlnMotionModelVersion") == 0
    write_star(tmp_path / "m.star", blocks)
    y = np.array([1.0, 2.0])
    assert read_motion_star(tmp_path / "m.star").displacement(3, y, y).shape == (2, 2)


def test_list_of_micrographs(result, tmp_path):
    optics = OpticsGroup(300.0, 2.7, 0.1, 0.5, 1.0)
    numbers = result.numbers() | {"movie_pixel_size": 0.5}
    row = {"micrograph": "a.mrc", "metadata": "a.star", "numbers": numbers}
    both = [row | {"no_dw": "a_noDW.mrc"}, row | {"micrograph": "b.mrc"}]
    blocks = corrected_micrographs(both, [optics])
    # Not every row has the sum without dose weighting.
    assert list(blocks["micrographs"].columns) == [
        "rlnMicrographName", "rlnMicrographMetadata", "rlnOpticsGroup",
        "rlnAccumMotionTotal", "rlnAccumMotionEarly", "rlnAccumMotionLate",
    ]  # fmt: skip
    # In movie pixels, as RELION does.
    total = blocks["micrographs"]["rlnAccumMotionTotal"][0]
    assert total == pytest.approx(numbers["motion_total"] / 0.5)
    assert blocks["optics"]["rlnMicrographOriginalPixelSize"][0] == 0.5
    assert blocks["optics"]["rlnMicrographPixelSize"][0] == 1.0


def test_reader_says_what_is_missing(tmp_path):
    (tmp_path / "x.star").write_text(
        "data_global_shift\n\nloop_\n_rlnMicrographFrameNumber #1\n1\n"
    )
    with pytest.raises(StarColumnError, match="data_general"):
        read_motion_star(tmp_path / "x.star")


@pytest.mark.skipif(shutil.which("relion_run_motioncorr") is None, reason="RELION is not installed")
def test_relion_finds_the_same_motion_and_the_same_micrograph(movie, tmp_path):
    # RELION reads mode 6 and its own convention of signs; both programs see one file.
    write_mrc(tmp_path / "movie.mrcs", movie.frames.astype(np.int8), 1.0)
    write_mrc(tmp_path / "gain.mrc", movie.gain, 1.0)
    subprocess.run(
        ["relion_run_motioncorr", "--use_own", "--i", "movie.mrcs", "--o", "out", "--j", "2",
         "--gainref", "gain.mrc", "--angpix", "1", "--voltage", "300", "--dose_per_frame", "1.2",
         "--dose_weighting", "--save_noDW", "--patch_x", "1", "--patch_y", "1",
         "--grouping_for_ps", "3", "--ps_size", "256"],
        cwd=tmp_path, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    ours = correct_motion(
        movie.frames, pixel_size=1.0, dose_per_frame=1.2, gain=movie.gain,
        settings=MotionSettings(patches=(1, 1), power_spectrum_size=256),
    )  # fmt: skip
    theirs = read_motion_star(tmp_path / "out" / "movie.star")
    difference = residual_motion(ours.field, theirs, (640, 672), 12)
    assert difference.input_motion > 2
    assert difference.total < 0.8
    # The same blocks and labels, in the same order, but for the gain's and the movie's names.
    written = motion_star(ours.numbers(), movie_name="movie.mrcs", gain_name="gain.mrc")
    blocks = read_star(tmp_path / "out" / "movie.star")
    assert list(written["general"].columns) == list(blocks["general"].columns)
    assert list(written["global_shift"].columns) == list(blocks["global_shift"].columns)
    # The micrographs correlate at low resolution, in the orientation they have.
    image, _ = read_mrc(tmp_path / "out" / "movie_noDW.mrc")
    image = np.asarray(image, dtype=np.float64).reshape(640, 672)

    def smooth(a):
        return a[:640, :672].reshape(80, 8, 84, 8).mean((1, 3)).ravel()

    assert np.corrcoef(smooth(image), smooth(ours.plain))[0, 1] > 0.9
    for flipped in (image[::-1], image[:, ::-1], image[::-1, ::-1]):
        assert np.corrcoef(smooth(flipped), smooth(ours.plain))[0, 1] < 0.5
    # The power spectrum lies as RELION's does: same size, centre and symmetry.
    spectrum, _ = read_mrc(tmp_path / "out" / "movie_PS.mrc")
    spectrum = np.asarray(spectrum).reshape(256, 256)
    for amplitude in (spectrum, ours.power_spectrum):
        brightest = np.unravel_index(np.argmax(amplitude), (256, 256))
        assert max(abs(i - 128) for i in brightest) <= 2
        # Friedel's law holds about pixel (N / 2, N / 2) and about no other.
        a = np.log(amplitude)
        mirrored = a[:0:-1, :0:-1]
        assert np.corrcoef(a[1:, 1:].ravel(), mirrored.ravel())[0, 1] > 0.95
        assert np.corrcoef(a[:-1, :-1].ravel(), mirrored.ravel())[0, 1] < 0.8


@pytest.mark.skipif(shutil.which("relion_motion_refine") is None, reason="RELION is not installed")
def test_polishing_reads_the_tracks_that_were_written(movie, result, tmp_path):
    write_star(
        tmp_path / "m.star",
        motion_star(result.numbers(), movie_name="m.mrcs", gain_name="gain.mrc"),
    )
    write_mrc(tmp_path / "m.mrcs", movie.frames.astype(np.int8), 1.0)
    write_mrc(tmp_path / "m.mrc", result.micrograph, 1.0)
    write_mrc(tmp_path / "gain.mrc", movie.gain, 1.0)
    optics = OpticsGroup(300.0, 2.7, 0.1, 1.0, 1.0)
    row = {"micrograph": "m.mrc", "metadata": "m.star", "numbers": result.numbers()}
    write_star(tmp_path / "corrected_micrographs.star", corrected_micrographs([row], [optics]))
    y, x = np.array([100.0, 300.0, 550.0]), np.array([90.0, 600.0, 333.0])
    tracks = starting_tracks(tmp_path, "corrected_micrographs.star", "m.mrc", optics, y, x, (2, 11))
    ours = read_motion_star(tmp_path / "m.star")
    for track, py, px in zip(tracks, y, x, strict=True):
        expected = ours.displacement(np.arange(10), py, px)
        assert np.abs(expected).max() > 1
        assert np.allclose(track - track[0], expected, atol=2e-3)
