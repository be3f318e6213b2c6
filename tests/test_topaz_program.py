"""`icefloe pick topaz` with a program that behaves like Topaz."""

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.cli.pick_topaz import topaz
from icefloe.errors import InputError, MissingMetadataError
from icefloe.formats import read_mrc, read_star, write_mrc
from icefloe.interop.relion_picks import read_picks
from icefloe.interop.topaz_program import find_topaz, topaz_plan, write_reduced

# Marks the brightest pixel of each image; fails where an image of it is named "bad".
FAKE = """
    import sys
    from pathlib import Path
    import numpy as np
    import mrcfile
    words = sys.argv[1:]
    value = {w: words[i + 1] for i, w in enumerate(words[:-1]) if w.startswith("-")}
    files = [Path(w) for w in words if w.endswith(".mrc")]
    if any("bad" in f.stem for f in files):
        print("Traceback", file=sys.stderr)
        sys.exit("RuntimeError: out of memory")
    Path("calls.txt").open("a").write(" ".join(w for w in words if "/" not in w) + "\\n")
    if words[0] == "normalize":
        for f in files:
            image = mrcfile.read(f)
            even = (image - image.mean()) / image.std()
            mrcfile.write(value["-o"] + f.name, even, overwrite=True)
    else:
        rows = ["image_name\\tx_coord\\ty_coord\\tscore"]
        for f in files:
            image = mrcfile.read(f)
            if image.max() > 5 * image.std():
                y, x = np.unravel_index(image.argmax(), image.shape)
                rows.append(f"{f.stem}\\t{x}\\t{y}\\t3.5")
        Path(value["-o"]).write_text("\\n".join(rows) + "\\n")
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "topaz"
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(FAKE)}")
    path.chmod(0o755)
    return str(path)


def write_spot(path, y, x, shape=(300, 420)):
    gy, gx = np.ogrid[: shape[0], : shape[1]]
    image = np.exp(-((gy - y) ** 2 + (gx - x) ** 2) / 200).astype(np.float32)
    write_mrc(path, image, 1.5)


def run(*arguments):
    return CliRunner().invoke(topaz, [str(a) for a in arguments], catch_exceptions=False)


def test_scale_and_radius_follow_from_diameter_and_pixel_size():
    assert (topaz_plan(120, 1.5).scale, topaz_plan(120, 1.5).radius) == (2, 20)
    assert (topaz_plan(190, 1.77).scale, topaz_plan(190, 1.77).radius) == (3, 18)
    assert topaz_plan(60, 3.0).scale == 1
    assert topaz_plan(120, 1.5, scale=4).radius == 10
    assert topaz_plan(120, 1.5, radius=7).radius == 7
    with pytest.raises(MissingMetadataError, match="pixel size"):
        topaz_plan(120, 0)


def test_picks_come_back_in_pixels_of_the_micrograph(program, tmp_path):
    write_spot("a.mrc", 101, 333)
    write_spot("b.mrc", 40, 50)
    write_mrc("none.mrc", np.random.default_rng(0).normal(size=(300, 420)).astype(np.float32), 1.5)
    result = run("a.mrc", "b.mrc", "none.mrc", "--diameter", 200, "--executable", program,
                 "--out", "picks", "--threshold", -2)  # fmt: skip
    assert result.exit_code == 0, result.output
    for name, y, x in (("a", 101, 333), ("b", 40, 50)):
        found = read_picks(f"picks/{name}_picks.star")
        assert abs(found.y[0] - y) <= 2.5
        assert abs(found.x[0] - x) <= 2.5
        assert found.score.tolist() == [3.5]
    assert len(read_picks("picks/none_picks.star").y) == 0
    assert len(read_star("picks/picks.star")["coordinate_files"]) == 3
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    # 200 A are 133 pixels: reduced by 4, a radius of 17.
    assert calls == ["normalize -d -1 -o", "extract -d -1 -m resnet8_u32 -r 17 -t -2.0 -o"]


def test_the_image_is_reduced_without_a_shift(tmp_path):
    write_spot(tmp_path / "s.mrc", 120, 240)
    image = read_mrc(tmp_path / "s.mrc")[0]
    factors = write_reduced(tmp_path / "r.mrc", image.reshape(300, 420), topaz_plan(200, 1.5), 1.5)
    small = read_mrc(tmp_path / "r.mrc")[0].reshape(76, 104)
    weight = np.clip(small, 0.05, None) - 0.05
    y, x = np.mgrid[:76, :104]
    assert np.sum(y * weight) / weight.sum() * factors[0] == pytest.approx(120, abs=0.3)
    assert np.sum(x * weight) / weight.sum() * factors[1] == pytest.approx(240, abs=0.3)


def test_a_micrograph_that_cannot_be_read_is_left_out(program):
    write_spot("a.mrc", 101, 333)
    whole = Path("a.mrc").read_bytes()
    Path("broken.mrc").write_bytes(whole[:5000])
    result = run("a.mrc", "broken.mrc", "--diameter", 200, "--pixel-size", 1.5, "--executable",
                 program, "--out", "picks")  # fmt: skip
    assert result.exit_code == 1
    assert "broken: error:" in result.output
    assert "1 of 2 failed; the others are done" in result.output
    assert len(read_star("picks/picks.star")["coordinate_files"]) == 1


def test_topazs_own_failure_is_told_in_a_line(program):
    write_spot("bad.mrc", 10, 10)
    with pytest.raises(InputError, match="status 1: RuntimeError: out of memory"):
        run("bad.mrc", "--diameter", 200, "--executable", program, "--out", "picks")


def test_a_missing_topaz_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"no program topaz on the PATH.*pip install topaz-em"):
        find_topaz()
    with pytest.raises(InputError, match=r"env/bin/topaz.*--python ENV"):
        find_topaz(environment=tmp_path / "env")
    (tmp_path / "python3").touch()
    assert find_topaz(environment=tmp_path / "python3")[1:] == ["-m", "topaz.main"]
