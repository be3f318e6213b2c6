"""Metadata that EPU and SerialEM write beside movies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from icefloe.engine import Session, SessionSettings
from icefloe.errors import UnsupportedFormatError
from icefloe.formats.acquisition import Acquisition, metadata_files, read_acquisition
from icefloe.project import Project
from icefloe.project.acquisition import load_acquisition, record_acquisition

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")

# By the public description of EPU's format: m, V, electrons per m^2.
EPU = """<MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects"
 xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
<CustomData xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">
<a:KeyValueOfstringanyType><a:Key>Dose</a:Key><a:Value>{dose}</a:Value>
</a:KeyValueOfstringanyType></CustomData>
<microscopeData><acquisition><acquisitionDateTime>2026-11-24T01:02:03</acquisitionDateTime>
</acquisition><gun><AccelerationVoltage>300000</AccelerationVoltage></gun>
<optics><BeamShift xmlns:a="http://schemas.datacontract.org/2004/07/Fei.Types">
<a:_x>{x}</a:_x><a:_y>{y}</a:_y></BeamShift></optics>
<stage><Position><A>0</A><B>0</B><X>0.0001</X><Y>-0.0002</Y><Z>1E-05</Z></Position></stage>
</microscopeData>
<SpatialScale><pixelSize><x><numericValue>8.3E-11</numericValue></x></pixelSize></SpatialScale>
</MicroscopeImage>
"""
MDOC = """T = SerialEM
Voltage = 200

[FrameSet = 0]
PixelSpacing = 0.65
ExposureDose = 50
ImageShift = 2.7 -0.3
GainReference = CountRef_a.mrc
DefectFile = X:\\frames\\defects_a.txt
StagePosition = 12 13
StageZ = 5
FrameDosesAndNumber = 1.2 40
SubFramePath = X:\\frames\\{movie}
"""


def epu(dose=4.2e21, x=0.01, y=-0.02) -> str:
    return EPU.format(dose=dose, x=x, y=y)


def test_the_xml_of_an_exposure_beside_its_fractions(tmp_path):
    movie = tmp_path / "FoilHole_1_Data_2_3_20261124_010203_Fractions.tiff"
    (tmp_path / "FoilHole_1_Data_2_3_20261124_010203.xml").write_text(epu())
    (found, *_) = [p for p in metadata_files(movie) if p.exists()]
    assert read_acquisition(found, movie) == Acquisition(
        program="EPU",
        pixel_size=0.83,
        voltage=300,
        dose=42,
        stage_position=(100.0, -200.0, 10.0),
        shift=(0.01, -0.02),
        tilt=0.0,
        acquired="2026-11-24T01:02:03",
    )
    found.write_text(epu(dose=0))
    assert read_acquisition(found, movie).dose is None


@pytest.mark.parametrize("name", ["a_fractions.tiff", "a_EER.eer", "a_Fractions.mrc.gz"])
def test_other_names_of_epu(tmp_path, name):
    assert tmp_path / "a.xml" in metadata_files(tmp_path / name)


@needs_data
def test_real_fractions_hold_no_beam_shift():
    folder = DATA / "formats" / "epu"
    path = next(folder.glob("*170725_Fractions.xml"))
    movie = path.with_suffix(".tiff")
    assert path in metadata_files(movie)
    found = read_acquisition(path, movie)
    assert found.shift is None
    assert found.acquired == "2020-02-06T17:07:29.810+01:00"


@needs_data
def test_a_real_frame_set(tmp_path):
    movie = tmp_path / "s_mmm_00993_33.0_Oct08_07.39.05.tif"
    path = tmp_path / f"{movie.name}.mdoc"
    shutil.copy(DATA / "formats" / "serialem" / "frame_set_single.mdoc", path)
    assert path in metadata_files(movie)
    found = read_acquisition(path, movie)
    assert found.dose == pytest.approx(12 * 0.63824)
    assert (found.pixel_size, found.voltage, found.tilt) == (1.2827, 300, 32.984)
    assert found.shift == (2.69654, -0.304661)
    assert found.stage_position == (-142.82, -457.442, -13.7196)
    assert found.gain == "SuperRef_s_mmm_00000_-15.0_Oct08_01.59.24.dm4"


def test_an_mdoc_of_several_movies_gives_the_right_one(tmp_path):
    path = tmp_path / "all.mdoc"
    first, second = MDOC.format(movie="a.tif"), MDOC.format(movie="b.tif").split("\n\n", 1)[1]
    path.write_text(first + "\n" + second.replace("0.65", "0.7"))
    assert read_acquisition(path, tmp_path / "a.tif").pixel_size == 0.65
    found = read_acquisition(path, tmp_path / "b.tif")
    assert (found.pixel_size, found.dose, found.voltage) == (0.7, 48, 200)
    assert (found.gain, found.defects) == ("CountRef_a.mrc", "defects_a.txt")
    assert (found.gain_file, found.defects_file) == (None, None)
    (tmp_path / "CountRef_a.mrc").touch()
    found = read_acquisition(path, tmp_path / "b.tif")
    assert found.gain_file == str(tmp_path / "CountRef_a.mrc")
    with pytest.raises(UnsupportedFormatError, match=r"none of them about c\.tif"):
        read_acquisition(path, tmp_path / "c.tif")


def test_metadata_are_recorded_once_and_stay(tmp_path):
    project = Project.create(tmp_path / "s")
    movie = tmp_path / "a_Fractions.tiff"
    assert record_acquisition(project, "a", movie) == (None, None)
    assert load_acquisition(project, "a") is None
    (tmp_path / "a.xml").write_text("<half")
    found, problem = record_acquisition(project, "a", movie)
    assert found is None
    assert "not whole XML" in str(problem)
    (tmp_path / "a.xml").write_text(epu())
    found, problem = record_acquisition(project, "a", movie)
    assert problem is None
    assert load_acquisition(project, "a") == found
    record = project.exposures / "a" / "acquisition.json"
    stamp = record.stat().st_mtime_ns
    record_acquisition(project, "a", movie)
    assert record.stat().st_mtime_ns == stamp
    (tmp_path / "a.xml").write_text(epu(x=0.25))
    changed, _ = record_acquisition(project, "a", movie)
    assert changed is not None
    assert changed.shift == (0.25, -0.02)
    (tmp_path / "a.xml").unlink()
    assert record_acquisition(project, "a", movie) == (changed, None)
    record.write_text("{}")
    assert load_acquisition(project, "a") is None


def test_a_dose_of_its_own_for_each_movie_does_not_fill_the_memory(tmp_path):
    session = Session(Project.create(tmp_path / "s"), SessionSettings())
    for index in range(200):
        movie = tmp_path / f"m{index}_Fractions.tiff"
        (tmp_path / f"m{index}.xml").write_text(epu(dose=4e21 + 1e18 * index))
        record_acquisition(session.project, movie.stem, movie)
        view = session.view(movie.stem, str(movie))
        assert view.settings.data.total_dose == pytest.approx(40 + 0.01 * index)
        assert session.view(movie.stem, str(movie)) is view
    assert len(session._views) < 100
