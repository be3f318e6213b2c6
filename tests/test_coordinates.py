"""Coordinates between programs, consensus, duplicates and the way up."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial import cKDTree

from icefloe.cli.coordinates import command
from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.extraction.consensus import best, consensus, distinct
from icefloe.extraction.flip import combined_evidence, flip_evidence
from icefloe.formats import (
    Coordinates,
    StarTable,
    read_coordinates,
    read_cs,
    read_image,
    read_star,
    write_coordinates,
    write_cs,
    write_mrc,
    write_star,
)
from icefloe.interop.coordinate_sets import FORMATS, KnownMicrograph, read_sets, write_sets

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
SHAPE = (300, 500)


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def picks(seed, n=20):
    rng = np.random.default_rng(seed)
    return Coordinates(rng.uniform(0, 299, n), rng.uniform(0, 499, n), rng.uniform(0, 1, n))


@pytest.fixture
def sets():
    return {"a_01.2": picks(1), "b": picks(2)}


KNOWN = {n: KnownMicrograph(f"mics/{n}.mrc", SHAPE) for n in ("a_01.2", "b")}


# ---- formats


@pytest.mark.parametrize("form", FORMATS)
def test_a_set_survives_each_format(tmp_path, sets, form):
    files = write_sets(tmp_path, sets, form, micrographs=KNOWN, box=64)
    one = [f for f in files if f.name in ("picks.star", "coordinates.star")]
    again = read_sets(one or files)
    assert list(again) == list(sets)
    atol = 0.5 if form in ("topaz", "eman") else 1e-3
    for name, place in sets.items():
        np.testing.assert_allclose(again[name].y, place.y, atol=atol)
        np.testing.assert_allclose(again[name].x, place.x, atol=atol)
        if form != "eman":
            np.testing.assert_allclose(again[name].score, place.score, atol=1e-5)


def test_cryosparc_counts_from_the_lower_left_corner(tmp_path):
    """A particle in the first rows of the file is near the top there: a fraction close to 1."""
    place = Coordinates(np.array([30.0]), np.array([50.0]))
    write_sets(tmp_path, {"b": place}, "cryosparc", micrographs=KNOWN)
    table = read_cs(tmp_path / "coordinates.cs")
    assert table["location/center_x_frac"][0] == pytest.approx(0.1)
    assert table["location/center_y_frac"][0] == pytest.approx(0.9)
    assert table["location/micrograph_shape"].tolist() == [[300, 500]]
    assert table["location/micrograph_path"].tolist() == ["mics/b.mrc"]


def test_cryosparcs_own_prefix_of_a_micrograph_is_taken_off(tmp_path):
    write_cs(
        tmp_path / "p.cs",
        {
            "location/micrograph_path": np.array(["J1/000090334788266266069_x_DW.mrc"]),
            "location/micrograph_shape": np.array([[300, 500]], dtype=np.uint32),
            "location/center_x_frac": np.array([0.5], dtype=np.float32),
            "location/center_y_frac": np.array([0.25], dtype=np.float32),
        },
    )
    found = read_sets([tmp_path / "p.cs"])
    assert list(found) == ["x_DW"]
    assert (found["x_DW"].y[0], found["x_DW"].x[0]) == (225.0, 250.0)


def test_topaz_has_one_table_with_names_without_suffix(tmp_path, sets):
    write_sets(tmp_path, sets, "topaz")
    lines = (tmp_path / "coordinates.txt").read_text().splitlines()
    assert lines[0] == "image_name\tx_coord\ty_coord\tscore"
    assert lines[1].startswith("a_01.2\t")


def test_unknown_columns_of_star_and_csv_are_kept(tmp_path):
    columns = {"rlnCoordinateX": [1.0, 2.0], "rlnCoordinateY": [3.0, 4.0], "rlnNew": [7, 8],
               "otherText": ["p", "q"]}  # fmt: skip
    write_star(tmp_path / "m_picks.star", {"": StarTable(columns)})
    assert run("convert", tmp_path / "m_picks.star", "--out", tmp_path / "o").exit_code == 0
    again = read_star(tmp_path / "o" / "m_picks.star")[""]
    assert again["rlnNew"].tolist() == [7, 8]
    assert again["otherText"].tolist() == ["p", "q"]
    run("convert", tmp_path / "m_picks.star", "--to", "csv", "--out", tmp_path / "c")
    csv = read_coordinates(tmp_path / "c" / "m.csv")
    assert csv.columns["otherText"].tolist() == ["p", "q"]
    assert csv.columns["rlnNew"].tolist() == [7, 8]


def test_one_star_with_many_micrographs_is_taken_apart(tmp_path):
    columns = {"rlnMicrographName": ["d/a.mrc", "d/b.mrc", "d/a.mrc"],
               "rlnCoordinateX": [1.0, 2.0, 3.0], "rlnCoordinateY": [4.0, 5.0, 6.0]}  # fmt: skip
    write_star(tmp_path / "particles.star", {"particles": StarTable(columns)})
    found = read_sets([tmp_path / "particles.star"])
    assert {n: p.x.tolist() for n, p in found.items()} == {"a": [1.0, 3.0], "b": [2.0]}


def test_reduced_coordinates_are_scaled(tmp_path):
    (tmp_path / "t.txt").write_text("image_name\tx_coord\ty_coord\tscore\nm\t10\t20\t1.5\n")
    run("convert", tmp_path / "t.txt", "--scale", 4, "--to", "csv", "--out", tmp_path)
    place = read_coordinates(tmp_path / "m.csv")
    assert (place.x[0], place.y[0], place.score[0]) == (40, 80, 1.5)


def test_what_is_missing_or_wrong_is_said(tmp_path, sets):
    with pytest.raises(MissingMetadataError, match="box"):
        write_sets(tmp_path, sets, "eman")
    with pytest.raises(MissingMetadataError, match="size of a_01"):
        write_sets(tmp_path, sets, "cryosparc")
    (tmp_path / "t.txt").write_text("image_name\tx_coord\ty_coord\nm\t10\n")
    with pytest.raises(InputError, match="Line 2"):
        read_sets([tmp_path / "t.txt"])
    write_coordinates(tmp_path / "m.csv", picks(0))
    with pytest.raises(InputError, match="another file"):
        read_sets([tmp_path / "m.csv", tmp_path / "m.csv"])
    with pytest.raises(MissingMetadataError, match="height"):
        run("convert", tmp_path / "m.csv", "--flip-y", "yes", "--out", tmp_path / "o")
    write_cs(tmp_path / "n.cs", {"uid": np.arange(3)})
    with pytest.raises(InputError, match="location"):
        read_sets([tmp_path / "n.cs"])


# ---- the way up


def test_a_flip_is_seen_and_undone(tmp_path):
    rng = np.random.default_rng(5)
    y, x = rng.uniform(20, 280, 40), rng.uniform(20, 480, 40)
    image = rng.normal(0, 1, SHAPE)
    yy, xx = np.mgrid[:300, :500]
    for cy, cx in zip(y, x, strict=True):
        image -= 1.0 * ((yy - cy) ** 2 + (xx - cx) ** 2 < 8**2)
    write_mrc(tmp_path / "m.mrc", image.astype(np.float32), 1.0)
    write_coordinates(tmp_path / "m.csv", Coordinates(299 - y, x))
    arguments = ["--micrographs", tmp_path / "m.mrc", "--diameter", 16, "--to", "csv"]
    result = run("convert", tmp_path / "m.csv", "--flip-y", "auto", "--out", tmp_path / "o",
                 *arguments)  # fmt: skip
    assert "upside down" in result.output
    np.testing.assert_allclose(read_coordinates(tmp_path / "o" / "m.csv").y, y, atol=1e-3)
    result = run("convert", tmp_path / "o" / "m.csv", "--flip-y", "auto", "--out", tmp_path / "p",
                 *arguments)  # fmt: skip
    assert "right way round" in result.output
    np.testing.assert_allclose(read_coordinates(tmp_path / "p" / "m.csv").y, y, atol=1e-3)
    # Coordinates that have nothing to do with the image decide nothing.
    write_coordinates(tmp_path / "m.csv", Coordinates(rng.uniform(0, 299, 40), x))
    with pytest.raises(InputError, match="yes or no"):
        run("convert", tmp_path / "m.csv", "--flip-y", "auto", "--out", tmp_path / "q", *arguments)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")
def test_the_way_up_of_real_coordinates_is_found():
    """Coordinates of beta-galactosidase circulate in both ways; each micrograph must tell."""
    evidence = []
    for path in sorted((DATA / "betagal-10017").glob("*.jpg"))[:3]:
        image = read_image(path).data
        place = read_coordinates(path.with_name(f"{path.stem}.particles.csv"))
        turned = place.flipped(image.shape[0])
        evidence.append(flip_evidence(image, turned.y, turned.x, 108))
        assert evidence[-1][0] < -20
        assert flip_evidence(image, place.y, place.x, 108)[0] > 20
    assert combined_evidence(evidence) < -40


# ---- consensus and duplicates


def test_consensus_counts_each_set_once_and_averages_positions():
    first = (np.array([10.0, 50.0, 90.0]), np.array([10.0, 50.0, 90.0]), np.array([3.0, 2.0, 1.0]))
    second = (np.array([12.0, 52.0]), np.array([10.0, 50.0]), np.array([0.2, 0.9]))
    third = (np.array([11.0, 11.5]), np.array([10.0, 10.0]), None)  # both near the first
    found = consensus([first, second, third], 5.0, 2)
    assert found.votes.tolist() == [3, 2]
    np.testing.assert_allclose(found.y, [11.0, 51.0])
    np.testing.assert_allclose(found.score, [(1 + 1 / 2 + 1 / 2) / 3, (2 / 3 + 1) / 3])
    assert found.members[0].tolist() == [0, 0, 0]
    assert len(consensus([first, second, third], 5.0, 3)) == 1
    assert len(consensus([first, second, third], 5.0, 1)) == 4
    assert len(consensus([first, (np.zeros(0), np.zeros(0), None)], 5.0, 2)) == 0
    for votes, distance in ((4, 5.0), (0, 5.0), (2, 0.0)):
        with pytest.raises(SettingsError):
            consensus([first, second, third], distance, votes)


def test_consensus_of_noisy_pickers_is_more_precise_than_each():
    rng = np.random.default_rng(2)
    true = rng.uniform(0, 4000, (300, 2))
    sets = []
    for _ in range(3):
        found = true[rng.random(300) < 0.9] + rng.normal(0, 2, (1, 2))
        junk = rng.uniform(0, 4000, (150, 2))
        place = np.concatenate([found, junk])
        sets.append((place[:, 0], place[:, 1], None))
    agreed = consensus(sets, 15.0, 2)
    distance = np.hypot(agreed.y[:, None] - true[:, 0], agreed.x[:, None] - true[:, 1]).min(axis=1)
    assert (distance < 15).mean() > 0.97  # of each picker 64 %
    assert (distance < 15).sum() > 0.95 * 300


def test_of_close_particles_the_better_stays():
    y, x = np.array([0.0, 3.0, 6.0, 50.0]), np.zeros(4)
    assert distinct(y, x, np.array([1.0, 3.0, 2.0, 0.0]), 4.0).tolist() == [1, 3]
    # The best first: 0 and 2 stay, although both are close to 1.
    assert distinct(y, x, np.array([3.0, 1.0, 2.0, 0.0]), 4.0).tolist() == [0, 2, 3]
    assert distinct(y, x, None, 4.0).tolist() == [0, 2, 3]
    assert distinct(y, x, None, 3.0).tolist() == [0, 1, 2, 3]
    assert distinct(np.zeros(0), np.zeros(0), None, 3.0).tolist() == []
    assert best(np.array([1.0, np.nan, 5.0, 3.0]), 4, 2).tolist() == [2, 3]
    assert best(None, 4, 3).tolist() == [0, 1, 2]


def test_a_hundred_thousand_particles_are_thinned_as_by_all_pairs():
    rng = np.random.default_rng(0)
    y, x, score = rng.uniform(0, 200, 400), rng.uniform(0, 200, 400), rng.normal(size=400)
    kept = distinct(y, x, score, 9.0)
    apart = np.hypot(y[:, None] - y, x[:, None] - x)
    among = apart[np.ix_(kept, kept)] + 99 * np.eye(len(kept))
    assert among.min() >= 9
    gone = np.setdiff1d(np.arange(400), kept)
    nearer = (apart[np.ix_(gone, kept)] < 9) & (score[kept][None, :] > score[gone][:, None])
    assert nearer.any(axis=1).all()
    many = rng.uniform(0, 2e4, (2, 100_000))
    chosen = many[:, distinct(*many, None, 50.0)].T
    assert not cKDTree(chosen).query_pairs(np.nextafter(50.0, 0))


def test_the_commands_for_sets(tmp_path):
    write_coordinates(tmp_path / "m.csv", Coordinates(np.array([10.0, 99.0]), np.array([10.0, 9.0]),
                                                      np.array([1.0, 2.0])))  # fmt: skip
    write_coordinates(tmp_path / "m_picks.star",
                      Coordinates(np.array([12.0]), np.array([10.0]), np.array([5.0])))  # fmt: skip
    files = (tmp_path / "m.csv", tmp_path / "m_picks.star")
    result = run("consensus", *files, "--distance", 5, "--out", tmp_path / "o")
    assert "m: 2 + 1 picks, 1 with 2 votes" in result.output
    table = read_star(tmp_path / "o" / "m_picks.star")[""]
    assert (table["rlnCoordinateY"][0], table["icefloeVotes"][0]) == (11.0, 2)
    run("duplicates", *files, "--distance", 5, "--to", "csv", "--out", tmp_path / "d")
    assert read_coordinates(tmp_path / "d" / "m.csv").y.tolist() == [99.0, 12.0]
    run("duplicates", *files, "--distance", 5, "--max-picks", 1, "--to", "csv",
        "--out", tmp_path / "d")  # fmt: skip
    assert read_coordinates(tmp_path / "d" / "m.csv").y.tolist() == [12.0]


def test_duplicates_after_recentring(tmp_path):
    columns = {"rlnMicrographName": ["m.mrc"] * 2, "rlnCoordinateX": [10, 30],
               "rlnCoordinateY": [50, 50], "rlnOriginXAngst": [-15.0, 13.5],
               "rlnOriginYAngst": [0.0, 0.0]}  # fmt: skip
    write_star(tmp_path / "particles.star", {"particles": StarTable(columns)})
    arguments = ("--distance", 5, "--to", "csv", "--out", tmp_path)
    run("duplicates", tmp_path / "particles.star", *arguments)
    assert read_coordinates(tmp_path / "m.csv").x.tolist() == [10, 30]
    run("duplicates", tmp_path / "particles.star", "--pixel-size", 1.5, *arguments)
    assert read_coordinates(tmp_path / "m.csv").x.tolist() == [20]  # 20 and 21 are one
