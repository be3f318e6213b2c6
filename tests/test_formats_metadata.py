"""Coordinates, cryoSPARC tables, EPU and SerialEM metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icefloe.errors import InputError, StarColumnError, UnsupportedFormatError
from icefloe.formats import (
    Coordinates,
    read_coordinates,
    read_cs,
    read_epu,
    read_mdoc,
    read_star,
    write_coordinates,
    write_cs,
)

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")

PICKS = Coordinates(
    y=np.array([10.0, 250.5, 99.0]),
    x=np.array([20.0, 30.25, 400.0]),
    score=np.array([0.9, 0.1, 0.5]),
    diameter=np.array([64.0, 64.0, 64.0]),
)


# ---- coordinates


@pytest.mark.parametrize(
    ("suffix", "precision", "kept"),
    [
        (".star", 1e-6, {"score"}),
        (".csv", 1e-3, {"score", "diameter"}),
        (".cbox", 1e-6, {"score", "diameter"}),
        (".box", 0.5, {"diameter"}),
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_positions_survive_each_format(tmp_path, suffix, precision, kept, flip):
    path = tmp_path / f"a{suffix}"
    options = {"flip_y": True, "height": 512} if flip else {}
    write_coordinates(path, PICKS, **options)
    again = read_coordinates(path, **options)
    np.testing.assert_allclose(again.y, PICKS.y, atol=precision)
    np.testing.assert_allclose(again.x, PICKS.x, atol=precision)
    for name in ("score", "diameter"):
        if name in kept:
            np.testing.assert_allclose(getattr(again, name), getattr(PICKS, name), atol=1e-6)
        else:
            assert getattr(again, name) is None
    if flip:
        plain = read_coordinates(path)
        np.testing.assert_allclose(plain.y, 511 - PICKS.y, atol=precision)


def test_a_box_is_a_corner_and_a_size(tmp_path):
    (tmp_path / "a.box").write_text("100 200 64 64\n10\t20\t30\t30\t-3\n")
    read = read_coordinates(tmp_path / "a.box")
    assert read.x.tolist() == [132, 25]
    assert read.y.tolist() == [232, 35]
    assert read.diameter is not None
    assert read.diameter.tolist() == [64, 30]
    write_coordinates(tmp_path / "b.box", Coordinates(read.y, read.x), box=64)
    assert (tmp_path / "b.box").read_text().splitlines()[0].split() == ["100", "200", "64", "64"]


def test_csv_with_and_without_a_header(tmp_path):
    for text in ("x,y\n718.0,131.0\n", "y, x\n131,718\n", "718,131\n", "# c\n718,131,0.5\n"):
        (tmp_path / "a.csv").write_text(text)
        read = read_coordinates(tmp_path / "a.csv")
        assert (read.x[0], read.y[0]) == (718, 131)
    assert read.score is not None
    assert read.score[0] == 0.5


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.csv", "", InputError),
        ("a.csv", "x,y\n1,two\n", InputError),
        ("a.csv", "x,y\n1\n", InputError),
        ("a.box", "1 2 3\n", InputError),
        ("a.star", "data_\nloop_\n_rlnVoltage\n300\n", StarColumnError),
        ("a.cbox", "data_other\n_a 1\n", StarColumnError),
        ("a.json", "{}", UnsupportedFormatError),
    ],
)
def test_coordinates_that_cannot_be_read(tmp_path, name, text, error):
    (tmp_path / name).write_text(text)
    with pytest.raises(error):
        read_coordinates(tmp_path / name)


def test_flipping_needs_a_height_and_boxes_a_size(tmp_path):
    with pytest.raises(InputError, match="height"):
        write_coordinates(tmp_path / "a.star", PICKS, flip_y=True)
    with pytest.raises(InputError, match="box"):
        write_coordinates(tmp_path / "a.box", Coordinates(PICKS.y, PICKS.x))


def test_no_particles(tmp_path):
    nothing = Coordinates(np.zeros(0), np.zeros(0))
    for suffix in (".star", ".box", ".cbox"):
        write_coordinates(tmp_path / f"a{suffix}", nothing, box=10)
        assert len(read_coordinates(tmp_path / f"a{suffix}")) == 0


@needs_data
def test_real_coordinates_of_cryolo():
    cbox = read_coordinates(DATA / "formats" / "cryolo" / "TcdA1-0018_frames_sum.cbox")
    assert len(cbox) == 120
    assert cbox.x[0] == pytest.approx(3700.3671875 + 110)
    assert cbox.y[0] == pytest.approx(3874.455551147461 + 110)
    assert cbox.score is not None
    assert cbox.score[0] == pytest.approx(0.6578449010848999)
    assert len(read_coordinates(DATA / "formats" / "cryolo" / "test_1.box")) == 3
    csv = next((DATA / "betagal-10017").glob("*14_33_35*.csv"))
    assert len(read_coordinates(csv)) > 600


# ---- cryoSPARC


@needs_data
def test_cs_and_star_of_the_same_particles_agree():
    folder = DATA / "formats" / "cryosparc"
    columns = read_cs(folder / "empiar_10076_7.cs")
    star = read_star(folder / "empiar_10076_7.star")[""]
    np.testing.assert_allclose(columns["ctf/df1_A"], star["rlnDefocusU"], rtol=1e-6)
    np.testing.assert_allclose(
        np.rad2deg(columns["ctf/df_angle_rad"]), star["rlnDefocusAngle"], rtol=1e-5
    )
    assert columns["ctf/accel_kv"].tolist() == [300.0] * 7
    assert str(columns["blob/path"][0]).endswith(".mrc")
    assert columns["blob/shape"].shape == (7, 2)


@needs_data
@pytest.mark.parametrize("name", ["cryosparc_J2_particles_exported", "empiar_10076_7"])
def test_a_cs_table_survives_a_round_trip(tmp_path, name):
    columns = read_cs(DATA / "formats" / "cryosparc" / f"{name}.cs")
    write_cs(tmp_path / "a.cs", columns)
    again = read_cs(tmp_path / "a.cs")
    assert list(again) == list(columns)
    for field, values in columns.items():
        assert again[field].dtype == values.dtype
        np.testing.assert_array_equal(again[field], values)


def test_pickled_objects_are_never_loaded(tmp_path):
    with (tmp_path / "a.cs").open("wb") as handle:
        np.save(handle, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        read_cs(tmp_path / "a.cs")


def test_what_is_not_a_cs_table(tmp_path):
    (tmp_path / "a.cs").write_bytes(b"hello")
    with pytest.raises(UnsupportedFormatError):
        read_cs(tmp_path / "a.cs")
    with (tmp_path / "a.cs").open("wb") as handle:
        np.save(handle, np.zeros(3))
    with pytest.raises(UnsupportedFormatError, match="no table"):
        read_cs(tmp_path / "a.cs")
    write_cs(tmp_path / "a.cs", {"uid": np.arange(50, dtype=np.uint64)})
    (tmp_path / "a.cs").write_bytes((tmp_path / "a.cs").read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        read_cs(tmp_path / "a.cs")
    with pytest.raises(InputError, match="unequal"):
        write_cs(tmp_path / "a.cs", {"a": np.zeros(2), "b": np.zeros(3)})


def test_many_fields_and_text(tmp_path):
    columns: dict[str, np.ndarray] = {f"some/long_field_{i}": np.arange(3.0) for i in range(600)}
    columns["blob/path"] = np.array(["a.mrc", "", "ä/b.mrc"], dtype=object)
    columns["ctf/shift_A"] = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_cs(tmp_path / "a.cs", columns)
    again = read_cs(tmp_path / "a.cs")
    assert again["blob/path"].tolist() == ["a.mrc", "", "ä/b.mrc"]
    np.testing.assert_array_equal(again["ctf/shift_A"], columns["ctf/shift_A"])
    assert len(again) == 602


# ---- SerialEM


@needs_data
def test_a_real_frame_set():
    mdoc = read_mdoc(DATA / "formats" / "serialem" / "frame_set_single.mdoc")
    assert mdoc.voltage == 300
    assert mdoc.titles[0].startswith("SerialEM: UMass_Krios")
    (section,) = mdoc.sections
    assert (section.kind, section.name) == ("FrameSet", "0")
    assert section.pixel_size == 1.2827
    assert section.dose == 7.65892
    assert section.frame_count == 12
    assert section.frame_doses == [0.63824] * 12
    assert sum(section.frame_doses) == pytest.approx(section.dose, rel=1e-4)
    assert section.defocus == 45000
    assert section.tilt == 32.984
    assert section.exposure_time == 1.07856
    assert section.movie == "s_mmm_00993_33.0_Oct08_07.39.05.tif"
    assert section.gain_reference == "SuperRef_s_mmm_00000_-15.0_Oct08_01.59.24.dm4"
    assert section.defect_file is None
    assert section.numbers("StagePosition") == [-142.82, -457.442]
    many = read_mdoc(DATA / "formats" / "serialem" / "frame_set_multiple.mdoc")
    assert len(many.sections) == 21


def test_mdoc_details(tmp_path):
    (tmp_path / "a.mdoc").write_text(
        "PixelSpacing = 2.4\n\n[T = a title]\n[ZValue = 0]\nVoltage = 200\n"
        "SubFramePath = X:\\frames\\ts1.mrc\nFrameDosesAndNumber = 0.4 2 0.42 1\n"
        "DefectFile = defects_K3.txt\nNote = a = b\n"
    )
    mdoc = read_mdoc(tmp_path / "a.mdoc")
    assert mdoc.header.pixel_size == 2.4
    assert mdoc.titles == ["a title"]
    assert mdoc.voltage == 200
    assert mdoc.sections[0].frame_doses == [0.4, 0.4, 0.42]
    assert mdoc.sections[0].movie == "ts1.mrc"
    assert mdoc.sections[0].defect_file == "defects_K3.txt"
    assert mdoc.sections[0].values["Note"] == "a = b"
    assert mdoc.sections[0].pixel_size is None
    (tmp_path / "a.mdoc").write_text("no equals sign\n")
    with pytest.raises(UnsupportedFormatError, match="Line 1"):
        read_mdoc(tmp_path / "a.mdoc")


# ---- EPU


@needs_data
def test_a_real_fractions_file():
    path = next((DATA / "formats" / "epu").glob("*338286_20200206_170725*.xml"))
    epu = read_epu(path)
    assert epu.fractions == 22
    assert epu.camera_frames == 22 * 59
    assert epu.exposure_time == pytest.approx(22 * 1.47045708)
    assert epu.acquired == "2020-02-06T17:07:29.810+01:00"
    assert epu.detector == "Falcon-3"
    assert epu.pixel_size is None


EPU = """<MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects"
 xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
<CustomData xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">
<a:KeyValueOfstringanyType><a:Key>AppliedDefocus</a:Key><a:Value>-1.8E-06</a:Value>
</a:KeyValueOfstringanyType>
<a:KeyValueOfstringanyType><a:Key>Dose</a:Key><a:Value>4.2E+21</a:Value>
</a:KeyValueOfstringanyType>
<a:KeyValueOfstringanyType><a:Key>PhasePlateUsed</a:Key><a:Value>false</a:Value>
</a:KeyValueOfstringanyType></CustomData>
<microscopeData>
<acquisition><acquisitionDateTime>2020-02-06T17:07:29.8+01:00</acquisitionDateTime>
<camera><ExposureTime>2.5</ExposureTime><Name>BM-Falcon</Name></camera></acquisition>
<gun><AccelerationVoltage>300000</AccelerationVoltage></gun>
<optics><BeamShift xmlns:a="x"><a:_x>-0.01</a:_x><a:_y>0.02</a:_y></BeamShift>
<Defocus>-2.1E-06</Defocus>
<ImageShift xmlns:a="x"><a:_x>0</a:_x><a:_y>0.5</a:_y></ImageShift></optics>
<stage><Position><A>0.5235987756</A><B>0</B><X>1.25E-05</X><Y>-2E-06</Y><Z>3E-07</Z></Position>
</stage></microscopeData>
<SpatialScale><pixelSize><x><numericValue>8.85E-11</numericValue></x></pixelSize></SpatialScale>
</MicroscopeImage>"""


def test_an_exposure_in_our_units(tmp_path):
    (tmp_path / "a.xml").write_text(EPU)
    epu = read_epu(tmp_path / "a.xml")
    assert epu.pixel_size == pytest.approx(0.885)
    assert epu.voltage == 300
    assert epu.dose == pytest.approx(42)
    assert epu.beam_shift == (-0.01, 0.02)
    assert epu.image_shift == (0, 0.5)
    assert epu.stage_position == pytest.approx((12.5, -2, 0.3))
    assert epu.tilt == pytest.approx(30)
    assert epu.defocus == pytest.approx(18000)
    assert epu.exposure_time == 2.5
    assert epu.acquired == "2020-02-06T17:07:29.8+01:00"
    assert epu.detector == "BM-Falcon"
    (tmp_path / "b.xml").write_text("<MicroscopeImage/>")
    assert all(value is None for value in vars(read_epu(tmp_path / "b.xml")).values())


@pytest.mark.parametrize("text", ["", "<a>", "<other/>", "<!DOCTYPE x []><MicroscopeImage/>"])
def test_xml_that_is_not_of_epu(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(UnsupportedFormatError):
        read_epu(tmp_path / "a.xml")
