"""The STAR of `icefloe motion` in the hands of others: readers of their own, against the truth."""

from __future__ import annotations

import dataclasses
import shutil

import gemmi
import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.cli.motion import command
from icefloe.formats.star import write_star
from icefloe.interop.optics import OpticsGroup
from icefloe.interop.relion_motion import motion_star
from icefloe.motion import MotionField, MotionSettings, correct_motion
from icefloe.motion.field import spatial_terms
from icefloe.simulate import SimulationSettings, simulate_movie
from icefloe.simulate.output import write_movie
from relion_polishing import starting_tracks

SHAPE, FRAMES, DOSE = (640, 768), 20, 2.0


@pytest.fixture(scope="module")
def movie():
    settings = SimulationSettings(
        shape=SHAPE, n_frames=FRAMES, dose_per_frame=DOSE, doming=2.0, drift=10.0, contrast=1.0,
        packing=0.5, gain_strength=0.02,
    )  # fmt: skip
    return simulate_movie(settings, name="m")


@pytest.fixture(scope="module")
def correct(movie, tmp_path_factory):
    """Run the command on the movie in a format; return the folder of the results."""
    done = {}

    def corrected(kind, *options):
        if (kind, *options) not in done:
            folder = tmp_path_factory.mktemp(kind)
            files = write_movie(movie, folder, kind, raw_per_frame=5, truth=False)
            out = folder / "out"
            arguments = [
                files.movie, "--gain", files.gain, "--out", out, "--pixel-size", "1", *options,
                "--patches", "5x4", "--device", "cpu", "--no-pictures",
            ]  # fmt: skip
            CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
            done[kind, *options] = out
        return done[kind, *options]

    return corrected


class OwnReader:
    """A metadata STAR by gemmi's parser and RELION's formula, without this program's code."""

    def __init__(self, path):
        document = gemmi.cif.read(str(path))
        # A block of single values in one, loops in the others.
        general = {item.pair[0][4:]: item.pair[1] for item in document["general"] if item.pair}
        self.general = general
        self.width, self.height = int(general["ImageSizeX"]), int(general["ImageSizeY"])
        self.start = int(general["MicrographStartFrame"])
        columns = ["FrameNumber", "ShiftX", "ShiftY"]
        table = document["global_shift"].find("_rlnMicrograph", columns)
        self.shift = {int(row[0]): (float(row[1]), float(row[2])) for row in table}
        table = document["local_motion_model"].find("_rlnMotionModel", ["CoeffsIdx", "Coeff"])
        self.c = {int(row[0]): float(row[1]) for row in table}

    def used(self):
        return [i for i, (sx, _) in self.shift.items() if sx > -9000]

    def displacement(self, i, y, x, z_offset=0.0, scale=1.0):
        """(dy, dx) of the specimen at frame i, counted from 1, and an unbinned pixel (y, x).

        For each axis, with c from index 0 for x and from 18 for y,

            (c0  z + c1  z^2 + c2  z^3)       + (c3  z + c4  z^2 + c5  z^3) u
          + (c6  z + c7  z^2 + c8  z^3) u^2   + (c9  z + c10 z^2 + c11 z^3) v
          + (c12 z + c13 z^2 + c14 z^3) v^2   + (c15 z + c16 z^2 + c17 z^3) u v

        u = x / width - 1/2, v = y / height - 1/2, z = i - start frame. What is stored is what
        brings the specimen back, hence the sign.
        """
        z = i - self.start + z_offset
        u, v = scale * x / self.width - 0.5, scale * y / self.height - 0.5
        back = []
        for axis, first in ((1, 18), (0, 0)):
            c = [self.c[first + k] for k in range(18)]
            local = (
                (c[0] * z + c[1] * z**2 + c[2] * z**3)
                + (c[3] * z + c[4] * z**2 + c[5] * z**3) * u
                + (c[6] * z + c[7] * z**2 + c[8] * z**3) * u**2
                + (c[9] * z + c[10] * z**2 + c[11] * z**3) * v
                + (c[12] * z + c[13] * z**2 + c[14] * z**3) * v**2
                + (c[15] * z + c[16] * z**2 + c[17] * z**3) * u * v
            )
            back.append(self.shift[i][axis] + local)
        return -np.stack(back, axis=-1)


def error(reader, truth, frame_offset=0, sign=1.0, flip=False, **changes):
    """RMS over frames and field, pixels, relative to the first used frame at the centre."""
    y, x = np.meshgrid(*((np.arange(7) + 0.5) * n / 7 for n in SHAPE), indexing="ij")
    used = [i for i in reader.used() if 1 <= i + frame_offset <= FRAMES]
    first = truth.displacement(used[0] - 1 + frame_offset, y, x)
    squares = []
    for i in used:
        found = sign * reader.displacement(i, y, x, **changes)
        found = found[..., ::-1] if flip else found
        expected = truth.displacement(i - 1 + frame_offset, y, x) - first
        squares.append(np.sum((found - expected) ** 2, axis=-1))
    return float(np.sqrt(np.mean(squares)))


TIFF_DOSE = ("--dose-per-frame", DOSE)
EER_DOSE = ("--total-dose", DOSE * FRAMES, "--eer-grouping", 5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("tiff", TIFF_DOSE),
        ("tiff", (*TIFF_DOSE, "--frames", "3-20", "--bin", 2, "--float16")),
        ("eer", (*EER_DOSE, "--frames", "3-18")),
    ],
    ids=["plain", "frames 3-20, binned, float16", "EER, frames 3-18"],
)
def test_an_independent_reader_finds_the_true_motion(correct, movie, kind, options):
    reader = OwnReader(correct(kind, *options) / "m.star")
    first, last = (3, 18 if kind == "eer" else 20) if "--frames" in options else (1, 20)
    if kind == "eer":
        assert reader.general["EERGrouping"] == "5"
    assert reader.used() == list(range(first, last + 1))
    assert list(reader.shift) == list(range(1, FRAMES + 1))
    assert float(reader.general["MicrographBinning"]) == (2 if "--bin" in options else 1)
    truth = movie.truth.field
    right = error(reader, truth)
    assert right < 0.6
    # Any other convention is farther from the truth.
    wrong = {
        "sign": error(reader, truth, sign=-1.0),
        "axes": error(reader, truth, flip=True),
        "next frame": error(reader, truth, frame_offset=1),
        "binned pixels": error(reader, truth, scale=0.5),
        "super-resolution pixels": error(reader, truth, scale=2.0),
    }
    for name, value in wrong.items():
        assert value > 1.5 * right, name


def known_motion(frame, y, x):
    """(dy, dx): a cubic in time, quadratic in space, as RELION's model can hold it exactly."""
    t, v, u = frame / 10, y / SHAPE[0] - 0.5, x / SHAPE[1] - 0.5
    dy = 4 * t - t**2 + (3 * t - t**2) * u + (t**3 - 2 * t) * v * v + 2 * t * u * v
    dx = -5 * t + (4 * t**2 - t**3) * v + 3 * t * u * u - (t**2 + t) * u
    return np.stack(np.broadcast_arrays(dy, dx), axis=-1)


def test_frames_lie_at_integers_of_z_and_places_are_unbinned(tmp_path):
    settings = MotionSettings(first_frame=3, binning=2.0, patches=(2, 2))
    frames = np.random.default_rng(0).poisson(1.0, (FRAMES, *SHAPE)).astype(np.uint8)
    result = correct_motion(frames, pixel_size=1.0, dose_per_frame=DOSE, settings=settings)
    y, x = np.meshgrid(*((np.arange(12) + 0.5) * n / 12 for n in SHAPE), indexing="ij")
    f = np.arange(FRAMES - 2)
    motion = known_motion(f[:, None, None], y, x)
    terms = spatial_terms(SHAPE, y, x).reshape(y.size, -1)
    flat = np.moveaxis(motion, -1, 1).reshape(-1, y.size)
    local = np.linalg.lstsq(terms, flat.T, rcond=None)[0].T.reshape(len(f), 2, -1)
    field = MotionField(SHAPE, np.zeros((len(f), 2)), local)
    numbers = dataclasses.replace(result, field=field).numbers()
    write_star(tmp_path / "m.star", motion_star(numbers, movie_name="m.tiff"))
    reader = OwnReader(tmp_path / "m.star")

    def worst(**changes):
        found = np.stack([reader.displacement(3 + i, y, x, **changes) for i in f])
        return np.abs(found - motion).max()

    assert worst() < 2e-3
    assert worst(z_offset=0.5) > 0.2
    assert worst(z_offset=1.0) > 0.5
    assert worst(scale=0.5) > 1


@pytest.mark.skipif(shutil.which("relion_motion_refine") is None, reason="RELION is not installed")
def test_relion_reads_the_same_from_a_binned_movie(correct, tmp_path):
    # Of the places of particles in the binned micrograph RELION makes unbinned ones.
    out = correct("tiff", *TIFF_DOSE, "--frames", "3-20", "--bin", 2)
    reader = OwnReader(out / "m.star")
    optics = OpticsGroup(300.0, 2.7, 0.1, 1.0, 2.0)
    y, x = np.array([60.0, 150.0, 250.0]), np.array([330.0, 80.0, 190.0])
    tracks = starting_tracks(
        tmp_path, out / "corrected_micrographs.star", out / "m.mrc", optics, y, x, (3, 20)
    )
    for track, py, px in zip(tracks, y, x, strict=True):
        # The centre of a binned pixel lies between unbinned ones, which is less than is seen here.
        expected = np.stack([reader.displacement(i, 2 * py, 2 * px) for i in range(3, 21)])
        assert np.abs(expected).max() > 2
        assert np.allclose(track - track[0], expected, atol=0.02)
