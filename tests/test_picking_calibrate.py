"""One threshold for micrographs of different defocus."""

import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.cli.pick import command
from icefloe.errors import InputError
from icefloe.formats import StarTable, read_star, write_mrc, write_star
from icefloe.interop.optics import OpticsGroup, optics_table
from icefloe.picking import BlobSettings, calibrate_scores, pick_blobs
from icefloe.scoring import pool_picks
from icefloe.simulate import SimulationSettings, simulate_micrograph

PIXEL, DIAMETER, SIZE = 1.5, 120.0, 620
DEFOCUS = np.linspace(6000, 30000, 6)


@pytest.fixture(scope="module")
def session():
    """Micrographs of little dose from 0.6 to 3 um of defocus."""
    return [
        simulate_micrograph(
            SimulationSettings.make(
                shape=(SIZE, SIZE), pixel_size=PIXEL, n_frames=8, defocus=float(z), seed=i
            ),
            f"calibration{i}",
        )
        for i, z in enumerate(DEFOCUS)
    ]


def test_one_threshold_on_calibrated_scores_beats_one_on_raw_scores(session):
    def pick(threshold):
        settings = BlobSettings(diameter=DIAMETER, threshold=threshold)
        return [pick_blobs(m.image, pixel_size=PIXEL, settings=settings) for m in session]

    own, low = pick(None), pick(0.5)
    line = calibrate_scores([p.score for p in own], DEFOCUS)
    assert line.slope > 0
    margin = 0.35 * DIAMETER / PIXEL

    def sets(picks, scores):
        out = []
        for m, p, s in zip(session, picks, scores, strict=True):
            yx, t = np.stack([p.y, p.x], 1), m.truth.yx
            near = ((yx > margin - 8) & (yx < SIZE + 7 - margin)).all(axis=1)
            inside = ((t > margin) & (t < SIZE - 1 - margin)).all(axis=1)
            out.append((yx[near], s[near], t[inside]))
        return pool_picks(out, 0.3 * DIAMETER / PIXEL)

    raw = sets(low, [p.score for p in low])
    relative = sets(low, [line.relative(p.score, z) for p, z in zip(low, DEFOCUS, strict=True)])
    each = sets(own, [p.score for p in own])
    assert relative.best_f1 >= raw.best_f1
    assert relative.best_f1 >= each.f1 - 0.005
    assert relative.best_f1 > 0.96


def test_the_line_is_found_among_outliers():
    rng = np.random.default_rng(0)
    z = rng.uniform(6000, 30000, 40)
    medians = 5 + 2e-4 * (z - 18000)
    scores = [m + rng.normal(0, 0.8, 80) for m in medians]
    for bad in (3, 11, 20, 31):
        scores[bad] = rng.normal(30, 1, 60)
    scores[5] = np.zeros(0)
    scores[6] = np.array([50.0])
    line = calibrate_scores(scores, z)
    assert line.slope == pytest.approx(2e-4, rel=0.1)
    np.testing.assert_allclose(line.expected(18000), 5, atol=0.2)
    assert np.median(line.relative(scores[0], z[0])) == pytest.approx(1, abs=0.1)
    assert line.absolute(1.0, 18000.0) == pytest.approx(float(line.expected(18000.0)))
    assert line.expected(-1e6) > 0


def test_few_micrographs_or_one_defocus_give_a_level_only():
    scores = [np.full(20, 4.0), np.full(20, 6.0), np.full(20, 5.0)]
    for z in ([1e4, 2e4, 3e4], [np.nan] * 3):
        line = calibrate_scores(scores, z)
        assert (line.slope, line.level) == (0.0, 5.0)
    assert calibrate_scores(scores * 3, [15000 + i for i in range(9)]).slope == 0.0
    with pytest.raises(InputError, match="one for each"):
        calibrate_scores(scores, [1e4])
    with pytest.raises(InputError, match="picks"):
        calibrate_scores([[], []], [1e4, 2e4])


def shell():
    """Return a template: a hollow ball in projection, as the simulator's particle is."""
    y, x = np.mgrid[-45:46, -45:46]
    r2 = (y**2 + x**2) * (PIXEL / DIAMETER) ** 2
    thickness = [np.sqrt(np.maximum(0, limit - r2)) for limit in (0.25, 0.14)]
    return (thickness[0] - thickness[1])[None].astype(np.float32)


def write_session(session, folder):
    """Write micrographs and their STAR with defocus; return their names."""
    names = [str(folder / f"m{i}.mrc") for i in range(len(session))]
    for name, m in zip(names, session, strict=True):
        write_mrc(name, m.image, PIXEL)
    columns = {
        "rlnMicrographName": names,
        "rlnOpticsGroup": [1] * len(names),
        "rlnDefocusU": list(DEFOCUS[: len(names)] + 100),
        "rlnDefocusV": list(DEFOCUS[: len(names)] - 100),
    }
    optics = optics_table([OpticsGroup(300.0, 2.7, 0.1, PIXEL, PIXEL)])
    micrographs = StarTable(columns)
    write_star(folder / "micrographs_ctf.star", {"optics": optics, "micrographs": micrographs})
    return names


@pytest.mark.parametrize("kind", ["blob", "auto", "template"])
def test_commands_write_relative_scores_of_the_same_picks(session, tmp_path, kind):
    names = write_session(session, tmp_path)
    options = {"blob": ["--diameter", "120"], "auto": ["--device", "cpu"]}.get(kind)
    if options is None:
        write_mrc(tmp_path / "shell.mrcs", shell(), PIXEL)
        options = ["--templates", str(tmp_path / "shell.mrcs"), "--diameter", "120"]
        options += ["--angle-step", "180", "--no-ctf", "--device", "cpu"]

    def pick(*more):
        out = tmp_path / f"out{len(more)}"
        call = [kind, str(tmp_path / "micrographs_ctf.star"), *options, "--out", str(out), *more]
        result = CliRunner().invoke(command, call)
        assert result.exit_code == 0, result.output
        tables = [read_star(out / f"m{i}_picks.star")[""] for i in range(len(names))]
        scores = [t["rlnAutopickFigureOfMerit"].astype(float) for t in tables]
        places = [t["rlnCoordinateX"].astype(float) for t in tables]
        return np.array([np.median(v) for v in scores]), np.concatenate(places), result.output

    raw, before, text = pick()
    assert "per um of defocus" not in text
    relative, after, text = pick("--calibrate")
    assert "per um of defocus" in text
    np.testing.assert_array_equal(before, after)
    assert np.median(relative) == pytest.approx(1, abs=0.05)
    assert np.ptp(relative) / relative.mean() < 0.7 * np.ptp(raw) / raw.mean()


def test_unknown_ctfs_are_counted_in_one_line(session, tmp_path):
    write_session(session[:2], tmp_path)
    write_mrc(tmp_path / "shell.mrcs", shell(), PIXEL)
    micrographs = [str(tmp_path / "m0.mrc"), str(tmp_path / "m1.mrc")]
    options = ["--templates", str(tmp_path / "shell.mrcs"), "--diameter", "120"]
    options += ["--angle-step", "180", "--device", "cpu", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, ["template", *micrographs, *options])
    assert result.exit_code == 0, result.output
    assert result.output.count("is not known") == 1
    assert "The CTF of 2 of 2 micrographs is not known" in result.output
    assert (tmp_path / "out" / "m1_picks.star").is_file()
    result = CliRunner().invoke(command, ["template", *micrographs, *options, "--no-ctf"])
    assert result.exit_code == 0, result.output
    assert "is not known" not in result.output
    # Scores cannot be related to a defocus that nobody knows.
    result = CliRunner().invoke(command, ["template", *micrographs, *options, "--calibrate"])
    assert result.exit_code != 0
    assert "Run `icefloe ctf` first" in str(result.output) + str(result.exception)
