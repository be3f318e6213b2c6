"""Particles as cryoSPARC's table, against tables that cryoSPARC wrote."""

import numpy as np
import pytest

from icefloe.errors import InputError, StarColumnError
from icefloe.formats import StarTable, read_star, write_mrc
from icefloe.formats.cryosparc import read_cs
from icefloe.interop.cryosparc_group import path_in_group
from icefloe.interop.cryosparc_particles import cryosparc_particles, write_cryosparc_particles
from icefloe.interop.cryosparc_picks import read_cryosparc


def blocks_of(table, *, pixel_size, side, micrograph_pixel_size=None):
    """Return RELION 3.1's blocks from a single one of RELION 3.0."""
    optics = {
        "rlnOpticsGroup": [1],
        "rlnImagePixelSize": [pixel_size],
        "rlnImageSize": [side],
        **{
            name: [float(table[name][0])]
            for name in ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
        },
    }
    if micrograph_pixel_size:
        optics["rlnMicrographPixelSize"] = [micrograph_pixel_size]
    columns = dict(table.columns) | {"rlnOpticsGroup": np.ones(len(table), dtype=np.int64)}
    return {"optics": StarTable(optics), "particles": StarTable(columns)}


def test_the_table_equals_the_one_that_cryosparc_made_of_the_same_star(real_data):
    folder = real_data / "formats" / "cryosparc"
    theirs = read_cs(folder / "empiar_10076_7.cs")
    star = next(iter(read_star(folder / "empiar_10076_7.star").values()))
    ours = cryosparc_particles(blocks_of(star, pixel_size=1.31, side=320))
    identifiers = {"uid", "blob/import_sig", "ctf/exp_group_id"}
    assert set(ours) == set(theirs)
    for name in set(theirs) - identifiers:
        assert ours[name].dtype == theirs[name].dtype, name
        assert ours[name].shape == theirs[name].shape, name
        if theirs[name].dtype == object:
            assert ours[name].tolist() == theirs[name].tolist(), name
        else:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-6, err_msg=name)
    assert len(set(ours["uid"].tolist())) == 7
    assert ours["uid"].dtype == np.uint64


def test_places_are_fractions_from_the_lower_left_corner_of_where_the_particle_is(tmp_path):
    table = StarTable(
        {
            "rlnImageName": ["000001@a.mrcs", "000002@a.mrcs", "000001@b.mrcs"],
            "rlnMicrographName": ["m/a.mrc", "m/a.mrc", "m/b.mrc"],
            "rlnCoordinateX": [100.0, 50.0, 10.0],
            "rlnCoordinateY": [200.0, 60.0, 20.0],
            "rlnOriginXAngst": [-1.5, 0.0, 0.75],
            "rlnOriginYAngst": [0.0, 3.0, 0.0],
            "rlnVoltage": [300.0] * 3,
            "rlnSphericalAberration": [2.7] * 3,
            "rlnAmplitudeContrast": [0.1] * 3,
        }
    )
    blocks = blocks_of(table, pixel_size=6.0, side=64, micrograph_pixel_size=1.5)
    shapes = {"m/a.mrc": (400, 500), "m/b.mrc": (40, 50)}
    write_cryosparc_particles(tmp_path / "p.cs", blocks, shapes)
    written = read_cs(tmp_path / "p.cs")
    np.testing.assert_allclose(written["location/center_x_frac"], [101 / 500, 0.1, 9.5 / 50])
    np.testing.assert_allclose(written["location/center_y_frac"], [0.5, 1 - 58 / 400, 0.5])
    assert written["blob/idx"].tolist() == [0, 1, 0]
    assert written["location/micrograph_shape"].tolist() == [[400, 500], [400, 500], [40, 50]]
    back = read_cryosparc(tmp_path / "p.cs")
    np.testing.assert_allclose(back["m/a.mrc"].y, [200, 58], atol=1e-4)
    np.testing.assert_allclose(back["m/b.mrc"].x, [9.5], atol=1e-4)


def test_what_is_missing_is_said():
    table = StarTable({"rlnImageName": ["a.mrcs"], "rlnVoltage": [300.0],
                       "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
                       "rlnCoordinateX": [1.0], "rlnCoordinateY": [1.0],
                       "rlnMicrographName": ["m.mrc"]})  # fmt: skip
    blocks = blocks_of(table, pixel_size=1.0, side=8, micrograph_pixel_size=1.0)
    with pytest.raises(InputError, match="not in a stack"):
        cryosparc_particles(blocks)
    named = StarTable(blocks["particles"].columns | {"rlnImageName": ["1@a.mrcs"]})
    with pytest.raises(InputError, match=r"size of m\.mrc"):
        cryosparc_particles({**blocks, "particles": named}, {})
    with pytest.raises(StarColumnError, match="data_optics"):
        cryosparc_particles({"particles": named})
    with pytest.raises(StarColumnError, match="rlnImageSize"):
        cryosparc_particles({"particles": named, "optics": StarTable({"rlnOpticsGroup": [1]})})


def test_cryosparcs_own_library_reads_table_and_stacks(tmp_path, monkeypatch):
    """cryosparc-tools, cryoSPARC's published library, is the independent reader."""
    from cryosparc import mrc
    from cryosparc.dataset import Dataset

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "extract"
    (folder / "Particles").mkdir(parents=True)
    images = np.random.default_rng(3).normal(size=(2, 8, 8)).astype(np.float32)
    write_mrc(folder / "Particles" / "a.mrcs", images, 3.0)
    write_mrc(folder / "Particles" / "b.mrcs", images[:1].astype(np.float16), 3.0)
    table = StarTable(
        {
            "rlnImageName": [f"{i}@extract/Particles/{n}.mrcs" for i, n in ((1, "a"), (2, "a"))]
            + [f"1@{folder}/Particles/b.mrcs"],
            "rlnMicrographName": ["m/a.mrc", "m/a.mrc", "m/b.mrc"],
            "rlnCoordinateX": [100.0, 50.0, 10.0],
            "rlnCoordinateY": [200.0, 60.0, 20.0],
            "rlnDefocusU": [10000.0, 11000.0, 12000.0],
            "rlnDefocusV": [9000.0, 10000.0, 11000.0],
            "rlnDefocusAngle": [0.0, 90.0, 45.0],
            "rlnVoltage": [300.0] * 3,
            "rlnSphericalAberration": [2.7] * 3,
            "rlnAmplitudeContrast": [0.1] * 3,
        }
    )
    blocks = blocks_of(table, pixel_size=3.0, side=8, micrograph_pixel_size=1.5)
    shapes = {"m/a.mrc": (400, 500), "m/b.mrc": (40, 50)}
    group = write_cryosparc_particles(folder / "particles.cs", blocks, shapes)
    read = Dataset.load(folder / "particles.cs")
    assert len(read) == 3
    assert len(set(read["uid"].tolist())) == 3
    assert set(read.prefixes()) == {"blob", "ctf", "location"}
    assert read["blob/path"].tolist() == [f">Particles/{n}.mrcs" for n in "aab"]
    np.testing.assert_allclose(read["ctf/df_angle_rad"], [0, np.pi / 2, np.pi / 4], rtol=1e-6)
    for i, (path, index) in enumerate(zip(read["blob/path"], read["blob/idx"], strict=True)):
        header, stack = mrc.read(folder / path[1:])
        assert header.xlen / header.nx == pytest.approx(3.0)
        np.testing.assert_allclose(stack[index], images[(0, 1, 0)[i]], atol=1e-3)
    assert group == folder / "particles.csg"
    lines = group.read_text().splitlines()
    assert lines[1:8] == [
        "group:",
        "  description: Made by Icefloe",
        "  name: particles",
        "  title: Particles from Icefloe",
        "  type: particle",
        "results:",
        "  blob:",
    ]
    assert lines[8:11] == [
        "    metafile: '>particles.cs'",
        "    num_items: 3",
        "    type: particle.blob",
    ]
    assert [line for line in lines if line.startswith("    type")] == [
        f"    type: particle.{name}" for name in ("blob", "ctf", "location")
    ]


def test_stacks_elsewhere_keep_their_whole_path(tmp_path):
    assert path_in_group("p/a.mrcs", tmp_path, root=tmp_path) == ">p/a.mrcs"
    elsewhere = tmp_path / "other"
    assert path_in_group("p/a.mrcs", elsewhere, root=tmp_path) == str(tmp_path / "p/a.mrcs")
