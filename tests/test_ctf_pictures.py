"""What the pictures of a CTF fit show is measured against the truth or read back from the SVG."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import fake_session
from ctf_micrographs import thon_micrograph
from icefloe._types import FloatArray
from icefloe.cli.ctf import command
from icefloe.cli.ctf_pictures import ctf_picture
from icefloe.ctf import CtfResult, CtfSettings, estimate_ctf, power_spectrum
from icefloe.ctf.diagnostic import visible_part
from icefloe.ctf.samples import take_samples
from icefloe.ctf.view import ctf_view, defocus_scores, ice_curve
from icefloe.formats import write_mrc
from icefloe.optics import CtfParameters, ctf_2d
from icefloe.report import build_report, figures
from icefloe.report.figures.ctf_score import next_peak

SVG = "{http://www.w3.org/2000/svg}"
TRUTH = CtfParameters(17000, 15600, 35, 300, 2.7, 0.1)


@pytest.fixture(scope="module")
def image() -> FloatArray:
    return thon_micrograph(TRUTH, shape=(900, 960), pixel_size=1.3, seed=31)


@pytest.fixture(scope="module")
def result(image: FloatArray) -> CtfResult:
    return estimate_ctf(image, pixel_size=1.3)


@pytest.fixture(scope="module")
def noise() -> FloatArray:
    return np.random.default_rng(5).standard_normal((900, 960)).astype(np.float32)


def texts(svg: bytes) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def numbers_of(svg: bytes, role: str) -> list[list[float]]:
    nodes = [n for n in ET.fromstring(svg).iter(f"{SVG}path") if n.get("class") == role]
    return [[float(v) for v in re.findall(r"-?\d+\.?\d*", n.get("d", ""))] for n in nodes]


def test_the_score_is_highest_at_the_true_defocus(image: FloatArray) -> None:
    samples = take_samples(power_spectrum(image, 1.3, 512), 30, 5)
    defoci = np.arange(5000, 50001, 100.0)
    score, level = defocus_scores(samples, TRUTH, defoci)
    assert defoci[np.argmax(score)] == pytest.approx(TRUTH.defocus, abs=150)
    other = next_peak(score)
    assert other is not None
    assert score.max() > 5 * max(level, score[other])
    # The astigmatism counts: turned by 90 degrees the rings of the sectors disagree.
    turned = replace(TRUTH, defocus_angle=TRUTH.defocus_angle - 90)
    assert defocus_scores(samples, turned, defoci)[0].max() < 0.8 * score.max()


def test_the_score_of_noise_stays_at_the_stated_level(noise: FloatArray) -> None:
    samples = take_samples(power_spectrum(noise, 1.3, 512), 30, 5)
    score, level = defocus_scores(samples, TRUTH, np.arange(5000, 50001, 100.0))
    assert 0.6 < 3 * score.std() / level < 1.5
    assert np.mean(score > level) < 0.05


def test_the_ring_of_ice_rises_where_its_wavelength_is(noise: FloatArray) -> None:
    rng = np.random.default_rng(6)
    f = np.fft.rfft2(rng.standard_normal(noise.shape))
    k = np.hypot(np.fft.fftfreq(900, 1.3)[:, None], np.fft.rfftfreq(960, 1.3)[None, :])
    ring = np.fft.irfft2(f * (np.abs(k - 1 / 3.7) < 0.004), s=noise.shape)
    frequency, amplitude = ice_curve(power_spectrum(noise + 3 * ring, 1.3, 512))
    assert 1 / frequency[np.argmax(amplitude)] == pytest.approx(3.7, abs=0.06)
    assert amplitude.max() > 2 * np.median(amplitude)
    plain = ice_curve(power_spectrum(noise, 1.3, 512))[1]
    assert plain == pytest.approx(np.ones(len(plain)), abs=0.1)
    assert 1 / frequency[-1] == pytest.approx(3.0, abs=0.02)
    assert len(ice_curve(power_spectrum(noise, 2.5, 512))[0]) == 0


def test_iciness_is_the_curve_over_its_band(image: FloatArray, result: CtfResult) -> None:
    frequency, amplitude = ice_curve(power_spectrum(image, 1.3, 512))
    band = (frequency > 1 / 3.9) & (frequency < 1 / 3.5)
    assert np.mean(amplitude[band]) ** 2 == pytest.approx(result.iciness, rel=0.02)


def measured_against_truth(image: FloatArray, low: float, high: float) -> float:
    found = estimate_ctf(image, pixel_size=1.3)
    n, size = 512, found.spectrum_pixel_size
    truth = np.fft.fftshift(ctf_2d(TRUTH, (n, n), size, real=False)) ** 2
    y, x = np.mgrid[:n, :n] - n // 2
    k = np.hypot(y, x) / (n * size)
    part = (k > 1 / low) & (k < 1 / high) & (x > 3)
    return float(np.corrcoef(found.diagnostic[part], truth[part])[0, 1])


def test_measured_rings_can_be_seen_and_noise_has_none(
    image: FloatArray, noise: FloatArray
) -> None:
    assert measured_against_truth(image, 15, 6) > 0.7
    assert abs(measured_against_truth(noise, 15, 6)) < 0.2


def test_the_visible_part_keeps_the_middle_and_tells_its_edge() -> None:
    spot = np.zeros((512, 512), dtype=np.float32)
    spot[256, 256] = 1
    # 4 A lies at 512 * 1.4 / 4 = 179.2 pixels.
    part, edge = visible_part(spot, 1.4, 4.0)
    middle = len(part) // 2
    assert part[middle, middle] == 1
    assert edge * 4.0 == pytest.approx(middle / 179.2)
    assert 1.1 < edge * 4.0 < 1.2
    assert visible_part(spot, 1.4, math.inf)[1] == pytest.approx(1.15 / 4.5, rel=0.01)
    assert visible_part(spot, 2.5, 3.0)[0].shape == (512, 512)


def search_numbers(peak: float = 20000.0) -> dict[str, Any]:
    defocus = np.arange(5000, 50001, 100.0)
    score = 0.5 * np.exp(-0.5 * ((defocus - peak) / 500) ** 2)
    score += 0.2 * np.exp(-0.5 * ((defocus - 31000) / 500) ** 2)
    search = {"defocus": defocus.tolist(), "score": score.tolist(), "noise": 0.05}
    return {
        "defocus_u": peak + 300,
        "defocus_v": peak - 300,
        "defocus_error": 25.4,
        "view": {"search": search, "range": [30.0, 5.0]},
    }


def test_the_score_marks_the_defocus_and_names_the_runner_up() -> None:
    svg = figures.defocus_score(search_numbers())
    assert "D = 20000 ± 25 Å" in texts(svg)
    assert "next peak 40 % as high, at 3.10 µm" in texts(svg)
    curve = np.array(numbers_of(svg, "data")[0]).reshape(-1, 2)
    top = curve[np.argmin(curve[:, 1]), 0]
    assert numbers_of(svg, "mark")[0][0] == pytest.approx(top, abs=0.2)
    # 2 um is a third of the way from 0.5 to 5.
    assert (top - curve[0, 0]) / np.ptp(curve[:, 0]) == pytest.approx(1 / 3, abs=0.003)
    failed = figures.defocus_score({**search_numbers(), "defocus_u": None})
    assert not numbers_of(failed, "mark")
    assert not any("±" in t for t in texts(failed))


def test_a_single_peak_has_no_runner_up() -> None:
    x = np.linspace(-3, 3, 61)
    assert next_peak(np.exp(-(x**2))) is None
    assert next_peak(np.exp(-(x**2)) + 0.5 * np.exp(-30 * (x - 2) ** 2)) == 50


@pytest.mark.parametrize("unusable", [{}, {"view": None}, {"view": {"search": 3, "ice": [1]}}])
def test_figures_without_numbers_say_so(unusable: dict[str, object]) -> None:
    assert texts(figures.defocus_score(unusable)) == ["no search recorded"]
    assert texts(figures.ice_ring(unusable)) == ["the ring of ice is not measured"]
    assert texts(figures.ctf_rings(None, unusable)) == ["no spectrum measured"]
    far = figures.ice_ring({**unusable, "spectrum_pixel_size": 2.5})
    assert texts(far) == ["the ring of ice is not measured (Nyquist is 5.0 Å)"]


@pytest.mark.parametrize("grid", [None, [], [[1.0, None]], [[1.0], [1.0, 2.0]], "text"])
def test_without_a_surface_there_is_one_defocus(grid: object) -> None:
    assert texts(figures.defocus_surface(grid)) == ["one defocus for the micrograph"]


def test_a_surface_is_drawn_where_it_is() -> None:
    # 1 A a pixel down, 0.5 A a pixel to the right: smallest in the corner at the top left.
    grid = figures.surface_grid(lambda y, x: 15000 + y + 0.5 * x, (1000, 2000), cells=20)
    assert np.shape(grid) == (10, 20)
    assert grid[0][0] == pytest.approx(15000 + 49.5 + 0.5 * 49.5, abs=0.06)
    assert grid[-1][-1] == pytest.approx(15000 + 949.5 + 0.5 * 1949.5, abs=0.06)
    svg = figures.defocus_surface(grid, note="tilt 12°")
    assert "defocus over the micrograph: 1850 Å, in µm" in texts(svg)
    assert {"1.507", "1.692", "tilt 12°"} <= set(texts(svg))
    fills = [n for n in ET.fromstring(svg).iter(f"{SVG}path") if n.get("class") is None]
    first, last = (
        [float(v) for v in re.findall(r"[\d.]+", n.get("d", ""))] for n in (fills[0], fills[-1])
    )
    assert first[:2] == [8, 44]  # blue, from the top left corner
    assert last[0] > 8 + 180
    assert last[1] > 44 + 80


def test_limits_are_circles_of_their_frequency() -> None:
    grey = figures.to_webp(np.full((64, 64), 128, np.uint8))
    numbers = {"fit_resolution": 4.0, "view": {"range": [30.0, 5.0]}}
    svg = figures.ctf_rings(grey, numbers, 0.3125)
    radii = {float(n.get("r", "0")) for n in ET.fromstring(svg).iter(f"{SVG}circle")}
    assert sorted(radii) == pytest.approx([256 * 0.2 / 0.3125, 256 * 0.25 / 0.3125], abs=0.06)
    assert "fit to 4 Å" in texts(svg)
    assert "measured" in texts(svg)
    assert "measured" not in texts(figures.ctf_rings(grey, numbers, 0.3125, small=True))
    # Without an edge the spectrum's Nyquist is the edge; beyond it there is no circle.
    wide = figures.ctf_rings(grey, {"fit_resolution": 4.0, "spectrum_pixel_size": 2.5})
    assert not list(ET.fromstring(wide).iter(f"{SVG}circle"))


def test_the_curves_show_the_fitted_range_and_every_limit(result: CtfResult) -> None:
    numbers = {**result.numbers(), "view": {"range": [30.0, 5.0]}}
    numbers |= {"fit_resolution": 4.0, "fit_resolution_03": 3.5, "aliasing_resolution": 3.2}
    svg = figures.spectrum_curves(numbers)
    assert {
        "fit to 4 Å",
        "correlation 0.3 at 3.5 Å",
        "rings too narrow for the box from 3.2 Å",
        "fitted 30–5 Å",
        "1/Å",
        "0.1",
    } <= set(texts(svg))
    bar, mark = numbers_of(svg, "scale")[0], numbers_of(svg, "mark")[0]
    # All on one scale of frequency: the bar from 1/30 to 1/5, the mark at 1/4.
    per = (bar[2] - bar[0]) / (1 / 5 - 1 / 30)
    assert (mark[0] - bar[2]) / per == pytest.approx(1 / 4 - 1 / 5, abs=1e-3)


def test_numbers_are_told_with_their_errors() -> None:
    numbers = {
        "defocus_u": 19833.0, "defocus_v": 19033.0, "defocus_error": 25.2, "astigmatism": 800.0,
        "astigmatism_error": 60.0, "defocus_angle": -56.2, "defocus_angle_error": 2.4,
        "phase_shift": 0.0, "fit_resolution": 4.25, "figure_of_merit": 0.0712,
    }  # fmt: skip
    assert figures.ctf_facts(numbers) == (
        "D = 19433 ± 25 Å, astigmatism 800 ± 60 Å at −56.2 ± 2.4°, rings to 4.25 Å, merit 0.071"
    )
    assert "phase shift 90 ± 3°" in figures.ctf_facts(
        {**numbers, "phase_shift": 90.0, "phase_shift_error": 3.0}
    )
    assert figures.ctf_facts({**numbers, "defocus_u": None}) == ""


def test_the_picture_of_a_fit_holds_it_all(image: FloatArray, result: CtfResult) -> None:
    settings = CtfSettings()
    grid = figures.surface_grid(lambda y, x: 16000 + 0 * y + x, (900, 960))
    svg = ctf_picture("mic_1 <a>", result, settings, grid=grid, note="tilt 5°")
    assert svg == ctf_picture("mic_1 <a>", result, settings, grid=grid, note="tilt 5°")
    found = texts(svg)
    assert found[0] == "mic_1 <a>"
    assert found[1].startswith(f"D = {result.parameters.defocus:.0f} ± {result.defocus_error:.0f}")
    assert {"fitted CTF²", "mean defocus (µm)", "resolution (Å)", "tilt 5°"} <= set(found)
    assert any(t.startswith("defocus over the micrograph") for t in found)
    plain = texts(ctf_picture("a", result, settings))
    assert not any("over the micrograph" in t for t in plain)
    advised = replace(result, flags=("doubtful",), advice=("Widen the range of defocus",))
    assert {"doubtful", "Widen the range of defocus"} <= set(
        texts(ctf_picture("a", advised, settings))
    )


def test_a_view_is_json_of_the_search(image: FloatArray, result: CtfResult) -> None:
    settings = CtfSettings(defocus_min=8000, defocus_max=30000, defocus_step=200)
    view = ctf_view(power_spectrum(image, 1.3, 512), result.parameters, settings)
    assert view["search"]["defocus"][0] == 8000
    assert view["search"]["defocus"][-1] == 30000
    assert len(view["search"]["score"]) == 111
    assert view["range"] == [30, 5]
    assert len(view["ice"]["frequency"]) == len(view["ice"]["amplitude"])


def test_the_command_writes_pictures_also_of_failures(
    image: FloatArray, noise: FloatArray, tmp_path: Path
) -> None:
    write_mrc(tmp_path / "good.mrc", image, 1.3)
    write_mrc(tmp_path / "noise.mrc", noise, 1.3)
    files = [str(tmp_path / f"{n}.mrc") for n in ("good", "noise")]
    out = tmp_path / "out"
    done = CliRunner().invoke(command, [*files, "--out", str(out)])
    assert done.exit_code == 1
    assert texts((out / "good_ctf.svg").read_bytes())[1].startswith("D = 16")
    shown = texts((out / "noise_ctf.svg").read_bytes())
    assert "no Thon rings" in shown
    assert not any("±" in t for t in shown)
    CliRunner().invoke(command, [files[0], "--out", str(tmp_path / "none"), "--no-pictures"])
    assert (tmp_path / "none" / "good.ctf").exists()
    assert not (tmp_path / "none" / "good_ctf.svg").exists()


def test_a_panel_shows_search_ice_surface_and_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fake_session.ctf_numbers
    frequency = np.linspace(0.22, 0.33, 40).tolist()

    def with_view(*args: Any, **options: Any) -> dict[str, Any]:
        view = {
            **search_numbers()["view"],
            "ice": {"frequency": frequency, "amplitude": [1.0 + f for f in frequency]},
            "edge": 0.3,
        }
        # Half the longer side is 1000 A: 100 A down and 50 A to the right of defocus, each way.
        surface = {"coefficients": [15000, 100, 50], "shape": [2000, 2000], "pixel_size": 1.0}
        local = {"used": True, "surface": surface, "tilt_angle": 6.4, "tilt_axis": -27.0}
        errors = {"defocus_u_error": 31.0, "defocus_angle_error": 1.5}
        return {
            **plain(*args, **options),
            **errors,
            "view": view,
            "local": local,
            "advice": ["Widen <the> range"],
        }

    without = build_report(fake_session.make_session(tmp_path / "a", 2, micrograph_only=False))
    monkeypatch.setattr(fake_session, "ctf_numbers", with_view)
    page = build_report(fake_session.make_session(tmp_path / "b", 2, micrograph_only=False))
    for text in (
        "Score of the CTF fit against defocus",
        "Spectrum about the ring of ice",
        # The middles of 24 cells a side.
        f"defocus over the micrograph: {300 * 23 / 24:.0f} Å, in µm",
        "tilt 6.4°, axis at −27°",
        "Widen &lt;the&gt; range",
    ):
        assert page.count(text) == 2
        assert text not in without
    assert re.search(r"<dt>Defocus U</dt><dd>\d+ ± 31 Å</dd>", page)
    assert re.search(r"<dt>Azimuth of U</dt><dd>−?[\d.]+ ± 1.5°</dd>", page)
    assert len(re.findall("2-D power spectrum with the fitted CTF", page)) == 2


@pytest.mark.parametrize(
    "local",
    [
        None,
        {"used": False, "surface": {"coefficients": [1, 2, 3]}},
        {"used": True, "surface": None},
        {"used": True, "surface": {"coefficients": [1.0], "shape": [9, 9], "pixel_size": 1.0}},
        {"used": True, "surface": {"coefficients": [1, 2, 3], "shape": [9], "pixel_size": 1.0}},
        {"used": True, "surface": {"coefficients": [1, 2, 3], "shape": [9, 9]}},
        {"used": True, "surface": {"coefficients": [1, 0, 0], "shape": [9, 9], "pixel_size": 1}},
    ],
)
def test_a_surface_that_is_not_used_is_not_drawn(local: object) -> None:
    assert figures.recorded_surface({"local": local}) == (None, "")
