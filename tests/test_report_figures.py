"""Figures say what the numbers say: lengths, places and counts are read back from the SVG."""

from __future__ import annotations

import io
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

import fake_session
from icefloe.report import figures
from icefloe.report.figures.svg import frame_colour, nice_step, ticks

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: bytes) -> ET.Element:
    return ET.fromstring(svg)


def texts(svg: bytes) -> list[str]:
    return ["".join(node.itertext()) for node in parse(svg).iter(f"{SVG}text")]


def paths(svg: bytes, role: str) -> list[str]:
    found = [n for n in parse(svg).iter(f"{SVG}path") if n.get("class", "").split()[:1] == [role]]
    return [node.get("d", "") for node in found]


def numbers_of(d: str) -> list[float]:
    return [float(v) for v in re.findall(r"-?\d+\.?\d*", d)]


def strokes(svg: bytes, width: str) -> list[str]:
    """Path data of the coloured strokes of one width, in the order of time."""
    found = [n for n in parse(svg).iter(f"{SVG}path") if n.get("stroke-width") == width]
    return [n.get("d", "") for n in found if n.get("class") is None]


def track_points(svg: bytes, width: str) -> np.ndarray:
    """All vertices (x, y) of these strokes."""
    return np.array([v for d in strokes(svg, width) for v in numbers_of(d)]).reshape(-1, 2)


@pytest.fixture(scope="module")
def motion() -> dict:
    return fake_session.motion_numbers(np.random.default_rng(1))


@pytest.fixture(scope="module")
def ctf() -> dict:
    return fake_session.ctf_numbers(np.random.default_rng(2), 15000.0)


def grey_webp(tmp_path, shape=(120, 100)) -> bytes:
    path = tmp_path / "grey.png"
    Image.fromarray(np.full(shape, 128, np.uint8)).save(path)
    data = figures.web_image(path, 512)
    assert data is not None
    return data


@pytest.mark.parametrize("unusable", [{}, {"curves": None}, {"curves": {"frequency": [None] * 9}}])
def test_a_spectrum_without_numbers_says_so(unusable):
    assert "no spectrum measured" in texts(figures.spectrum_curves(unusable))


@pytest.mark.parametrize(
    "unusable",
    [
        {},
        {"global_shifts": None, "patch_shifts": None, "patch_centres": None},
        {"global_shifts": [[0, 0]], "patch_shifts": [], "movie_shape": [10, 10]},
        {"global_shifts": [[None, None]] * 3, "patch_shifts": [[1, 2], [3]]},
        {"global_shifts": "text", "movie_shape": [0, 5]},
    ],
)
def test_tracks_without_numbers_say_so(unusable):
    assert "no motion measured" in texts(figures.frame_track(unusable))
    assert "no local motion measured" in texts(figures.patch_tracks(unusable))
    assert len(texts(figures.trajectories(unusable))) == 4


def test_a_gap_in_the_shifts_leaves_the_rest(motion):
    shifts = [*motion["global_shifts"]]
    shifts[7] = [None, None]
    svg = figures.frame_track({**motion, "global_shifts": shifts})
    whole = len(track_points(figures.frame_track(motion), "2.6"))
    assert whole - 5 < len(track_points(svg, "2.6")) < whole


def test_the_scale_bar_measures_the_whole_frame_track():
    pixel_size = 0.82
    numbers = {"global_shifts": [[0, 0], [3, 4]], "movie_pixel_size": pixel_size}
    svg = figures.frame_track(numbers)
    (x0, y0), (x1, y1) = track_points(svg, "2.6")
    assert (y1 - y0) / (x1 - x0) == pytest.approx(3 / 4, abs=0.01)  # y points down, as rows do
    bar = numbers_of(paths(svg, "scale")[0])
    (label,) = [t for t in texts(svg) if re.fullmatch(r"[\d.]+ Å", t)]
    per_angstrom = (bar[2] - bar[0]) / float(label.split()[0])
    assert math.hypot(x1 - x0, y1 - y0) == pytest.approx(5 * pixel_size * per_angstrom, rel=0.01)
    assert "path 4.1 Å" in texts(svg)  # 5 px of 0.82 A


def test_without_a_pixel_size_motion_is_in_pixels():
    svg = figures.frame_track({"global_shifts": [[0, 0], [3, 4]]})
    assert "path 5 px" in texts(svg)


def test_patch_tracks_stand_at_their_places_with_the_stated_magnification(motion):
    svg = figures.patch_tracks(motion)
    (label,) = [t for t in texts(svg) if t.startswith("× ")]
    magnification = float(label.split()[-1])
    assert magnification > 1
    frame = numbers_of(paths(svg, "frame")[0])  # x y width height ...
    ny, nx = motion["movie_shape"]
    fit = frame[2] / nx
    assert fit == pytest.approx(frame[3] / ny, rel=0.01)
    starts = np.array(numbers_of(paths(svg, "start")[0])).reshape(-1, 3)[:, :2]
    centres = np.array(motion["patch_centres"])[:, ::-1] * fit + np.array(frame[:2])
    np.testing.assert_allclose(starts, centres, atol=0.1)
    shifts = np.array(motion["patch_shifts"]) - np.array(motion["global_shifts"])
    assert "Local motion" in texts(svg)
    move = (shifts[0, -1] - shifts[0, 0])[::-1] * fit * magnification
    first_patch = strokes(svg, "1.6")[-1].split("M")[1]
    np.testing.assert_allclose(numbers_of(first_patch)[-2:] - starts[0], move, atol=0.3)


def test_many_frames_cost_no_more_strokes(motion):
    t = np.linspace(0, 1, 900)[:, None] * np.array([[3.0, 5.0]])
    svg = figures.frame_track({**motion, "global_shifts": t.tolist()})
    assert len(strokes(svg, "2.6")) <= 40
    assert len(svg) < 20_000


def test_a_specimen_that_does_not_move_is_drawn_as_such():
    still = {"global_shifts": [[0, 0]] * 5, "movie_pixel_size": 1.0}
    still |= {"movie_shape": [100, 100], "patch_centres": [[50, 50]]}
    still |= {"patch_shifts": [[[0, 0]] * 5]}
    assert "path 0 Å" in texts(figures.frame_track(still))
    assert "× 1" in texts(figures.patch_tracks(still))


def test_the_fit_resolution_is_marked_at_its_frequency(ctf):
    svg = figures.spectrum_curves({**ctf, "fit_resolution": 4.0})
    assert "fit to 4 Å" in texts(svg)
    mark = numbers_of(paths(svg, "mark")[0])[0]
    data = np.array(numbers_of(paths(svg, "data")[0])).reshape(-1, 2)[:, 0]
    low, high = data[0], data[-1]
    last = ctf["curves"]["frequency"][-1]
    assert (mark - low) / (high - low) == pytest.approx(0.25 / last, abs=0.002)
    tick = next(n for n in parse(svg).iter(f"{SVG}text") if n.text == "4")
    assert float(tick.get("x", "0")) == pytest.approx(mark, abs=0.2)


def test_resolution_ticks_do_not_overlap(ctf):
    svg = figures.spectrum_curves(ctf)
    axis = [n for n in parse(svg).iter(f"{SVG}text") if n.get("y") == "241"]
    places = [float(n.get("x", "0")) for n in axis]
    assert len(places) >= 6
    assert min(np.diff(places)) >= 30


def test_curves_in_any_unit_fill_the_plot(ctf):
    curves = {**ctf["curves"]}
    for key in ("experimental", "equiphase"):
        curves[key] = [v * 1e4 for v in curves[key]]
    svg = figures.spectrum_curves({**ctf, "curves": curves})
    height = np.array(numbers_of(paths(svg, "data")[0])).reshape(-1, 2)[:, 1]
    assert np.ptp(height) > 60  # of 196
    assert np.mean(height <= 30) < 0.1  # not clipped at the top


def test_missing_curves_leave_the_others(ctf):
    curves = {k: ctf["curves"][k] for k in ("frequency", "equiphase")}
    svg = figures.spectrum_curves({"curves": curves, "fit_resolution": None})
    assert paths(svg, "data")
    assert not paths(svg, "model")
    assert not paths(svg, "mark")


def test_a_histogram_counts_every_value():
    values = [1.0, 1.1, 1.2, 2.4, 2.5, None, float("nan"), 3.9]
    svg = figures.histogram(values, label="Defocus", unit="µm")
    bars = [numbers_of(d) for d in paths(svg, "bar")]  # x y width height ...
    heights = np.array([b[3] for b in bars])
    unit = heights.max() / round(heights.max() / heights.min())
    assert np.round(heights / unit).sum() == 6
    assert "median 1.8" in texts(svg)
    assert "6 of 8 measured" in texts(svg)
    assert "Defocus (µm)" in texts(svg)


def test_wild_values_do_not_flatten_a_histogram():
    values = [*np.linspace(3, 5, 40).tolist(), 400.0, 900.0]
    svg = figures.histogram(values, label="Fit resolution", unit="Å")
    assert "off the scale: 2 above" in texts(svg)
    assert len(paths(svg, "bar")) >= 4


@pytest.mark.parametrize("values", [[], [None, None], [7.0], [5.0] * 30, [0.0, 0.0], [-1e-9, 1e9]])
def test_odd_collections_are_drawn(values):
    for svg in (figures.histogram(values, label="x"), figures.series(values, label="x")):
        parse(svg)
        assert b"nan" not in svg
        assert b"inf" not in svg.replace(b"inferno", b"")


def test_a_series_shows_every_exposure_and_the_failed_ones():
    values = [1.0, None, 2.0, 3.0]
    svg = figures.series(values, label="x", failed=[False, True, False, False], names=list("abcd"))
    assert paths(svg, "dot")[0].count("M") == 3
    assert len(paths(svg, "badline")) == 1
    titles = [n.text for n in parse(svg).iter(f"{SVG}title")]
    assert titles == ["a: 1", "c: 2", "d: 3"]


def test_names_are_escaped():
    hostile = '<script>"&'
    svg = figures.series([1.0, 2.0], label=hostile, names=[hostile, "b"])
    assert b"<script" not in svg
    assert parse(svg).get("aria-label", "").startswith(hostile)


def test_picks_are_circles_of_their_diameter_at_their_places(tmp_path):
    picks = {"y": [100.0, 900.0], "x": [200.0, 50.0], "diameter": [120.0, 240.0]}
    svg = figures.micrograph(grey_webp(tmp_path), (1200, 1000), 1.5, picks)
    fit = 512 / 1000
    parts = [numbers_of(p) for p in paths(svg, "picks")[0].split("M")[1:]]
    for part, y, x, diameter in zip(parts, picks["y"], picks["x"], picks["diameter"], strict=True):
        radius = diameter / 2 / 1.5 * fit
        assert part[2] == pytest.approx(radius, abs=0.06)
        assert part[0] + radius == pytest.approx(x * fit, abs=0.11)
        assert part[1] == pytest.approx(y * fit, abs=0.06)


def test_the_micrographs_scale_bar_is_right(tmp_path):
    svg = figures.micrograph(grey_webp(tmp_path), (1200, 1000), 1.5)
    (label,) = texts(svg)
    bar = next(n for n in parse(svg).iter(f"{SVG}path") if n.get("stroke") == "#fff")
    drawn = numbers_of(bar.get("d", ""))[2]
    assert drawn == pytest.approx(float(label.split()[0]) * 10 / 1.5 * 512 / 1000, abs=0.1)


def test_a_micrograph_without_picture_or_numbers_is_still_a_figure(tmp_path):
    assert "no picture" in texts(figures.micrograph(None, None, None))
    parse(figures.micrograph(None, (100, 100), None, {"x": [1], "y": [2], "diameter": [None]}))
    parse(figures.micrograph(grey_webp(tmp_path), None, None, {"x": [1, 2], "y": [2]}))


def test_an_unreadable_picture_is_none(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert figures.web_image(tmp_path / "bad.png", 64) is None
    assert figures.web_image(tmp_path / "missing.png", 64) is None


def test_pictures_are_scaled_down_only(tmp_path):
    Image.fromarray(np.zeros((600, 300), np.uint8)).save(tmp_path / "x.png")
    for size, expected in ((100, (50, 100)), (2000, (300, 600))):
        data = figures.web_image(tmp_path / "x.png", size)
        assert data is not None
        assert Image.open(io.BytesIO(data)).size == expected


def test_same_numbers_same_bytes(motion, ctf):
    for draw, numbers in (
        (figures.trajectories, motion),
        (figures.frame_track, motion),
        (figures.patch_tracks, motion),
        (figures.spectrum_curves, ctf),
    ):
        assert draw(numbers) == draw(dict(numbers))
        parse(draw(numbers))


def test_round_steps_and_ticks():
    assert [nice_step(s) for s in (1, 4.9, 33, 0.007)] == [0.2, 1, 10, 0.002]
    assert ticks(0.4, 3.1, 3) == [1, 2, 3]
    assert len({frame_colour(i / 9) for i in range(10)}) == 10
