"""`icefloe header` on every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from eer_writer import random_electrons, write_eer
from icefloe.cli.header import command
from icefloe.formats import (
    Coordinates,
    StarTable,
    write_coordinates,
    write_cs,
    write_mrc,
    write_star,
    write_tiff_movie,
)

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "formats"


def header(*paths: Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(command, [str(path) for path in paths])
    return result.exit_code, " ".join(result.stdout.split()), result.stderr


def test_every_format_says_what_matters(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.poisson(2, (3, 10, 14)).astype(np.uint8)
    write_tiff_movie(tmp_path / "movie.tif", frames, 1.5)
    write_mrc(tmp_path / "movie.mrc", frames, 1.5)
    write_eer(tmp_path / "m.eer", [random_electrons(rng, (8, 8), 9)] * 5, (8, 8))
    gain = np.ones((4, 5), np.float32)
    gain[0, 0] = 0
    write_mrc(tmp_path / "gain.mrc", gain, None)
    PIL.Image.fromarray(frames[0]).save(tmp_path / "a.png")
    write_star(tmp_path / "a.star", {"optics": StarTable({"rlnVoltage": np.array([300.0, 200.0])})})
    write_cs(tmp_path / "a.cs", {"uid": np.arange(7)})
    write_coordinates(tmp_path / "a.csv", Coordinates(np.arange(4.0), np.arange(4.0)))
    (tmp_path / "a.mdoc").write_text("Voltage = 300\n[FrameSet = 0]\nPixelSpacing = 0.8\n")
    (tmp_path / "a.xml").write_text(
        "<Acquisition><Info><Detector>F</Detector></Info></Acquisition>"
    )
    (tmp_path / "d.txt").write_text("1 2 3 4\n")
    (tmp_path / "s.txt").write_text("CameraSizeX 8\nCameraSizeY 6\nBadRows 1\n")
    for name, expected in {
        "movie.tif": ("TIFF", "lzw", "14 x 10", "frames 3", "uint8", "1.5 A"),
        "movie.mrc": ("MRC", "mode 6", "14 x 10", "frames 3", "uint16", "1.5 A"),
        "m.eer": ("EER", "65001", "8 x 8", "camera frames 5", "fractions 5"),
        "gain.mrc": ("mode 2", "dead pixels 1", "range 0 to 1", "mean 0.95", "not in the file"),
        "a.png": ("PNG", "14 x 10", "uint8"),
        "a.star": ("STAR", "data_optics 2 rows", "rlnVoltage"),
        "a.cs": ("cryoSPARC", "rows 7", "uid"),
        "a.csv": ("particles 4",),
        "a.mdoc": ("mdoc", "300 kV", "0.8 A"),
        "a.xml": ("EPU", "detector F"),
        "d.txt": ("defect list", "boxes 1"),
        "s.txt": ("SerialEM", "CameraSizeX 8"),
    }.items():
        code, text, error = header(tmp_path / name)
        assert (code, error) == (0, ""), (name, error)
        for words in expected:
            assert words in text, (name, words, text)


def test_a_bad_file_does_not_keep_the_others_from_being_shown(tmp_path):
    write_mrc(tmp_path / "good.mrc", np.ones((4, 4)), 1.0)
    (tmp_path / "bad.mrc").write_bytes((tmp_path / "good.mrc").read_bytes()[:-1])
    (tmp_path / "odd.bin").write_bytes(b"\1\2\3" * 9)
    code, text, error = header(
        tmp_path / "bad.mrc", tmp_path / "odd.bin", tmp_path / "none", tmp_path / "good.mrc"
    )
    assert code == 1
    assert "good.mrc" in text
    assert [line.split(":")[0] for line in error.splitlines()] == ["error"] * 3


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")
def test_real_files_of_every_kind():
    files = [path for path in DATA.glob("*/*") if path.suffix not in ("", ".txt", ".log")]
    code, text, error = header(*files)
    assert (code, error) == (0, "")
    for path in files:
        assert path.name in text
