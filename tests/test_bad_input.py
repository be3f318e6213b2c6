"""What a user types wrong on the command line: one clear line, and the other files go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

FACTS = ["--pixel-size", "1.2", "--dose-per-frame", "1"]


def icefloe(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "icefloe", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(1.0, (4, 128, 160)).astype(np.uint8)


@pytest.fixture
def movie(tmp_path: Path, counts: np.ndarray) -> Path:
    path = tmp_path / "movie.tiff"
    tifffile.imwrite(path, counts, compression="lzw", photometric="minisblack")
    return path


def test_no_dose(movie, tmp_path):
    refused(
        icefloe("motion", movie, "--out", tmp_path / "o", "--pixel-size", 1), "--dose-per-frame"
    )


def test_no_pixel_size(movie, tmp_path):
    refused(
        icefloe("motion", movie, "--out", tmp_path / "o", "--dose-per-frame", 1), "--pixel-size"
    )


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_pixel_size_that_is_none(movie, tmp_path, value):
    words = ["motion", movie, "--out", tmp_path / "o", "--dose-per-frame", 1]
    refused(icefloe(*words, "--pixel-size", value), "pixel")


def test_a_bad_movie_fails_and_the_others_go_on(movie, tmp_path, counts):
    truncated = tmp_path / "truncated.tiff"
    truncated.write_bytes(movie.read_bytes()[: movie.stat().st_size // 2])
    empty = tmp_path / "empty.tiff"
    empty.touch()
    uneven = tmp_path / "uneven.tiff"
    with tifffile.TiffWriter(uneven) as tif:
        tif.write(counts[0], photometric="minisblack")
        tif.write(counts[1][:100], photometric="minisblack")
    out = tmp_path / "o"
    done = icefloe("motion", truncated, empty, uneven, movie, "--out", out, *FACTS)
    refused(done, "truncated.tiff", "empty.tiff", "uneven.tiff", "3 of 4 failed")
    assert (out / "movie.mrc").is_file()
    listed = (out / "corrected_micrographs.star").read_text()
    assert "movie.mrc" in listed
    assert "truncated" not in listed
    assert not [p for p in out.iterdir() if p.name.startswith(".partial")]


def gain(path: Path, values: np.ndarray) -> Path:
    mrcfile.write(path, values.astype(np.float32), overwrite=True)
    return path


def test_gains_that_do_not_fit(movie, tmp_path):
    words = ["motion", movie, "--out", tmp_path / "o", *FACTS, "--gain"]
    turned = gain(tmp_path / "turned.mrc", np.ones((160, 128)))
    refused(icefloe(*words, turned), "160", "128", "rotat")
    refused(icefloe(*words, gain(tmp_path / "odd.mrc", np.ones((100, 100)))), "100")
    hole = np.ones((128, 160))
    hole[3, 4] = np.nan
    refused(icefloe(*words, gain(tmp_path / "nan.mrc", hole)), "NaN")


def test_a_gain_of_twice_the_size_is_rescaled_and_said_so(movie, tmp_path):
    large = gain(tmp_path / "large.mrc", np.ones((256, 320)))
    done = icefloe("motion", movie, "--out", tmp_path / "o", *FACTS, "--gain", large)
    assert done.returncode == 0, done.stderr
    assert "256" in done.stderr
    assert "gain" in done.stderr.lower()


def test_a_star_without_optics(tmp_path):
    star = tmp_path / "old.star"
    star.write_text("\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\na.mrc\n")
    refused(icefloe("ctf", star, "--out", tmp_path / "o"), "data_optics", "old.star")


def test_a_star_of_something_else(tmp_path):
    star = tmp_path / "other.star"
    star.write_text("\ndata_particles\n\nloop_\n_rlnImageName #1\n000001@a.mrcs\n")
    refused(icefloe("ctf", star, "--out", tmp_path / "o"), "data_micrographs")


def test_a_truncated_micrograph_fails_alone(tmp_path):
    rng = np.random.default_rng(2)
    good, cut = tmp_path / "good.mrc", tmp_path / "cut.mrc"
    mrcfile.write(good, rng.normal(size=(200, 200)).astype(np.float32), voxel_size=2.0)
    cut.write_bytes(good.read_bytes()[:5000])
    done = icefloe("pick", "blob", cut, good, "--diameter", 60, "--out", tmp_path / "o")
    refused(done, "cut.mrc", "1 of 2 failed; the others are done")
    assert (tmp_path / "o" / "good_picks.star").is_file()


def test_text_that_is_no_star(tmp_path):
    star = tmp_path / "letter.star"
    star.write_text("Dear microscope,\nthank you.\n")
    refused(icefloe("ctf", star, "--out", tmp_path / "o"), "letter.star")


def test_an_output_that_cannot_be_written(movie):
    refused(icefloe("motion", movie, "--out", movie / "inside", *FACTS), "cannot be written")


def test_an_unknown_device(movie, tmp_path):
    words = ["motion", movie, "--out", tmp_path / "o", *FACTS, "--device"]
    refused(icefloe(*words, "gpu"), "auto, cpu or cuda:N")


def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    try:
        rng = np.random.default_rng(1)
        paths = []
        for name in "ab":
            paths.append(tmp_path / f"{name}.mrc")
            mrcfile.write(paths[-1], rng.normal(size=(300, 320)).astype(np.float32), voxel_size=2.0)
        picture = tmp_path / "c.png"
        from PIL import Image

        Image.fromarray((rng.random((600, 600)) * 60000).astype(np.uint16)).save(picture)
        # A run looks for free space before it begins; here the disk is to be really filled.
        no_look = ("--set", "output.min_free_gb=0")
        done = icefloe("run", *paths, picture, "--project", disk / "s", "--pixel-size", 2, *no_look)
        refused(done, "disk is full")
        assert not list(disk.rglob(".partial*"))
        status = icefloe("status", disk / "s")
        assert status.returncode == 0, status.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)
