"""STAR: the dialect of RELION, without guessing at names."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.errors import InputError, StarColumnError, StarFormatError
from icefloe.formats import StarTable, read_star, require_block, write_star

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "formats"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")


def written(tmp_path: Path, blocks: dict[str, StarTable]) -> str:
    write_star(tmp_path / "out.star", blocks)
    return (tmp_path / "out.star").read_text()


def parsed(tmp_path: Path, text: str) -> dict[str, StarTable]:
    (tmp_path / "in.star").write_text(text)
    return read_star(tmp_path / "in.star")


# ---- reading


@needs_data
@pytest.mark.parametrize("path", sorted(DATA.glob("*/*.star")), ids=lambda path: path.stem)
def test_real_files_are_read_and_survive_a_round_trip(tmp_path, path):
    blocks = read_star(path)
    write_star(tmp_path / "again.star", blocks)
    again = read_star(tmp_path / "again.star")
    assert list(again) == list(blocks)
    for name, table in blocks.items():
        assert list(again[name].columns) == list(table.columns)
        assert again[name].loop == table.loop
        for label, column in table.columns.items():
            other = again[name][label]
            if column.dtype == object:
                assert other.tolist() == column.tolist()
            else:
                np.testing.assert_allclose(other, column, rtol=2e-5, atol=5.1e-6)


@needs_data
@pytest.mark.parametrize(
    ("name", "block", "label", "value"),
    [
        ("two_basic_blocks", "block_1", "col2", "B"),
        ("two_single_line_loop_blocks", "block_0", "val3", 3.0),
        ("postprocess", "general", "rlnMaskName", "mask.mrc"),
        ("default_pipeline", "pipeline_general", "rlnPipeLineJobCounter", 32),
        ("rln3.1_data_style", "block_2", "rlnImageName", "000001@0001_sum_particles.mrcs"),
        ("one_loop", "", "rlnCtfMaxResolution", 7.4),
        ("basic_single_quote", "", "quote_string", "quote string"),
        ("basic_double_quote", "", "whitespace_string", " "),
        ("loop_double_quote", "", "empty_string", ""),
        ("loop_single_quote", "", "number", 6.0),
    ],
)
def test_values_in_the_corner_cases(name, block, label, value):
    assert read_star(DATA / "star" / f"{name}.star")[block].value(label) == value


@needs_data
def test_the_empty_loop_has_its_column():
    table = read_star(DATA / "star" / "empty_loop.star")[""]
    assert list(table.columns) == ["rlnCoordinateX"]
    assert len(table) == 0
    with pytest.raises(StarColumnError, match="empty"):
        table.value("rlnCoordinateX")


def test_names_stay_text_and_numbers_become_numbers(tmp_path):
    text = (
        "data_x\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n_rlnDefocusU #3\n_other\n"
        "1e5 1 10000 1_000\n0007 2 1.5e4 3\n"
    )
    table = parsed(tmp_path, text)["x"]
    assert table["rlnMicrographName"].tolist() == ["1e5", "0007"]
    assert table["rlnOpticsGroup"].dtype == np.int64
    assert table["rlnDefocusU"].dtype == np.float64
    assert table["other"].tolist() == ["1_000", "3"]


def test_comments_line_ends_and_rows_that_look_like_blocks(tmp_path):
    text = (
        "# a comment\r\ndata_a # named so\r\nloop_ \r\n_rlnMicrographName #1 \r\n_n #2\r\n"
        "# between\r\ndata_1.mrc 1 # after\r\na#b.mrc 2\r\n\r\ndata_b\r\n_rlnVoltage 300\r\n"
    )
    blocks = parsed(tmp_path, text)
    assert blocks["a"]["rlnMicrographName"].tolist() == ["data_1.mrc", "a#b.mrc"]
    assert blocks["a"]["n"].tolist() == [1, 2]
    assert blocks["b"].value("rlnVoltage") == 300
    assert not blocks["b"].loop


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line that begins with data_"),
        ("hello\ndata_x\n", "before any data_ block"),
        ("data_x\nloop_\n_a\n_b\n1 2\n3\n", "A row of 1 values at line 6"),
        ("data_x\nloop_\n_a\n_b\n_c\n1 2\n3 4\n5 6\n", "A row of 2 values"),
        ("data_x\nloop_\n_a\n_a\n1 2\n", "twice"),
        ("data_x\nloop_\n1 2\n", "without columns"),
        ("data_x\n_a 1\n_a 2\n", "twice at line 3"),
        ("data_x\nvalue\n", "'value' at line 2"),
        ("data_x\n_a 1\nloop_\n_b\n1\n", "loop_ in a block of single values"),
        ("data_x\nloop_\n_a\n1\nloop_\n_b\n1\n", "second loop_"),
        ("data_x\n_a 1\ndata_x\n_a 2\n", "two blocks"),
        ("data_x\nloop_\n_a\n;text\n;\n", "several lines"),
    ],
)
def test_what_is_not_star_is_told_with_its_line(tmp_path, text, message):
    with pytest.raises(StarFormatError, match=message):
        parsed(tmp_path, text)


def test_a_binary_and_a_missing_file(tmp_path):
    (tmp_path / "a.star").write_bytes(bytes(2000))
    with pytest.raises(StarFormatError, match="binary"):
        read_star(tmp_path / "a.star")
    with pytest.raises(InputError, match="cannot be read"):
        read_star(tmp_path / "absent.star")


def test_missing_blocks_and_columns_say_what_is_there(tmp_path):
    blocks = parsed(tmp_path, "data_optics\n_rlnVoltage 300\n")
    with pytest.raises(StarColumnError, match="data_optics"):
        require_block(blocks, "particles")
    with pytest.raises(StarColumnError, match="rlnVoltage"):
        require_block(blocks, "optics", ["rlnImagePixelSize"])
    assert require_block(blocks, "optics", ["rlnVoltage"]).value("rlnVoltage") == 300


# ---- writing


def test_the_text_is_what_relion_writes(tmp_path):
    # The expected text is RELION 3.1.3's own output, but for the last two rows, which follow
    # its rule for numbers: six decimals, five for negatives, an exponent when small or large.
    optics = StarTable.from_rows(
        [
            {
                "rlnOpticsGroupName": "og1",
                "rlnOpticsGroup": 1,
                "rlnMicrographOriginalPixelSize": 1.0,
                "rlnVoltage": 300.0,
            }
        ]
    )
    shifts = StarTable(
        {
            "rlnMicrographFrameNumber": np.array([1, 2, 3]),
            "rlnMicrographShiftX": np.array([0.0, -0.57042, -0.00070440]),
            "rlnMicrographShiftY": np.array([0.244631, 854671.4, 100000.0]),
        }
    )
    general = StarTable.from_values(
        {"rlnImageSizeX": 192, "rlnMicrographMovieName": "m/a.tif", "rlnVoltage": 300.0}
    )
    assert written(tmp_path, {"optics": optics, "general": general, "global_shift": shifts}) == (
        "\n# version 30001\n\ndata_optics\n\nloop_ \n_rlnOpticsGroupName #1 \n_rlnOpticsGroup #2 \n"
        "_rlnMicrographOriginalPixelSize #3 \n_rlnVoltage #4 \n"
        "       og1            1     1.000000   300.000000 \n \n"
        "\n# version 30001\n\ndata_general\n\n"
        "_rlnImageSizeX                              192\n"
        "_rlnMicrographMovieName            m/a.tif\n"
        "_rlnVoltage                          300.000000\n \n"
        "\n# version 30001\n\ndata_global_shift\n\nloop_ \n_rlnMicrographFrameNumber #1 \n"
        "_rlnMicrographShiftX #2 \n_rlnMicrographShiftY #3 \n"
        "           1     0.000000     0.244631 \n"
        "           2     -0.57042 8.546714e+05 \n"
        "           3 -7.04400e-04 100000.000000 \n \n"
    )


@needs_data
@pytest.mark.parametrize(
    "name", ["relion_motion_correction_output", "relion_ctf_estimation_output"]
)
def test_a_table_of_relion_is_reproduced_byte_for_byte(tmp_path, name):
    source = DATA / "relion" / f"{name}.star"
    blocks = read_star(source)
    # RELION ends the lines of a table with a blank and its blocks with an almost empty line.
    assert written(tmp_path, blocks).split() == source.read_text().split()
    assert written(tmp_path, blocks).strip() == source.read_text().strip()


@given(
    st.lists(
        st.floats(allow_nan=True, allow_infinity=True, width=64)
        | st.floats(-2e5, 2e5)
        | st.integers(-(10**9), 10**9).map(lambda i: i / 1e6 + 5e-7),
        min_size=1,
        max_size=30,
    )
)
def test_numbers_are_printed_as_printf_does(values):
    from icefloe.formats._star_numbers import format_floats

    for value, text in zip(values, format_floats(np.array(values)), strict=True):
        kind = "e" if 0 < abs(value) < 0.001 or abs(value) > 100000 else "f"
        if np.isinf(value):
            kind = "f"
        expected = ("%12.5" if value < 0 else "%12.6") + kind
        assert text.replace("-0.000000", " 0.000000") == (expected % value).replace(
            "-0.000000", " 0.000000"
        )


_TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="'\"\x85\u2028\u2029"),
    max_size=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["rlnImageName", "rlnMicrographName", "rlnCtfImage", "rlnGroupName"]),
        st.lists(_TEXT, min_size=3, max_size=3),
        min_size=1,
    )
)
def test_any_text_survives(tmp_path_factory, columns):
    path = tmp_path_factory.mktemp("star") / "t.star"
    write_star(path, {"x": StarTable({name: np.array(v, object) for name, v in columns.items()})})
    table = read_star(path)["x"]
    assert {name: table[name].tolist() for name in table.columns} == columns


@given(
    st.lists(st.integers(1 - 2**63, 2**63 - 1), min_size=1, max_size=20),
    st.sampled_from([" ", "\t", "   "]),
)
def test_integers_are_exact(values, gap):
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        rows = "".join(f"{gap}{value}{gap}{index}\n" for index, value in enumerate(values))
        table = parsed(Path(directory), f"data_x\nloop_\n_a\n_b\n{rows}")["x"]
    assert table["a"].dtype == np.int64
    assert table["a"].tolist() == values


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_floats_are_read_as_python_reads_them(values):
    import tempfile

    texts = [f(value) for value in values for f in (repr, "{:.6f}".format, "{:.4g}".format)]
    with tempfile.TemporaryDirectory() as directory:
        table = parsed(Path(directory), "data_x\nloop_\n_a\n_b\n" + " x\n".join(texts) + " x\n")
    np.testing.assert_array_equal(
        table["x"]["a"].astype(np.float64), [float(text) for text in texts]
    )


def test_quotes_where_they_are_needed(tmp_path):
    values = ["a b", "", "#1", "data_x", "loop_", "_y", "it's", 'a "b" c', "'q'"]
    table = StarTable({"rlnName": np.array(values, object)})
    assert parsed(tmp_path, written(tmp_path, {"x": table}))["x"]["rlnName"].tolist() == values
    with pytest.raises(StarFormatError, match="several lines"):
        written(tmp_path, {"x": StarTable({"rlnName": np.array(["a\nb"], object)})})


def test_unequal_columns_and_unequal_rows():
    with pytest.raises(StarFormatError, match="unequal"):
        StarTable({"a": np.arange(2), "b": np.arange(3)})
    with pytest.raises(StarColumnError, match="no value for b"):
        StarTable.from_rows([{"a": 1, "b": 2}, {"a": 1}])
    with pytest.raises(StarFormatError, match="one row"):
        StarTable({"a": np.arange(2)}, loop=False)
    assert list(StarTable.from_rows([], ["a", "b"]).columns) == ["a", "b"]


def test_a_table_without_columns_survives(tmp_path):
    blocks = parsed(tmp_path, written(tmp_path, {"a": StarTable(), "b": StarTable()}))
    assert [len(blocks[name].columns) for name in ("a", "b")] == [0, 0]


def test_rows_are_plain_values():
    table = StarTable({"n": np.array([1, 2]), "s": np.array(["a", "b"], object)})
    assert list(table.rows()) == [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]
    assert type(next(table.rows())["n"]) is int
    assert "n" in table
    assert "m" not in table
    assert len(table) == 2


def test_a_large_table_takes_no_time_a_value(tmp_path):
    count = 100_000
    rng = np.random.default_rng(0)
    columns = {f"rlnNumber{i}": rng.normal(size=count) * 1000 for i in range(9)}
    names = [f"{i:06d}@Extract/job012/Movies/mic.mrcs" for i in range(count)]
    columns["rlnImageName"] = np.array(names, object)
    columns["rlnMicrographName"] = np.array(["MotionCorr/job002/Movies/mic.mrc"] * count, object)
    columns["rlnOpticsGroup"] = np.ones(count, np.int64)
    started = time.process_time()
    write_star(tmp_path / "p.star", {"particles": StarTable(columns)})
    middle = time.process_time()
    table = read_star(tmp_path / "p.star")["particles"]
    ended = time.process_time()
    assert table["rlnImageName"].tolist() == names
    np.testing.assert_allclose(table["rlnNumber3"], columns["rlnNumber3"], atol=5.1e-6)
    # 0.5 s each on one slow core; five times that means that a loop over values crept in.
    print(f"write {middle - started:.2f} s, read {ended - middle:.2f} s")
    assert middle - started < 2.5
    assert ended - middle < 2.5
