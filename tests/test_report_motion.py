"""Pictures of motion correction: the gain in Thon rings is that of the motion put in."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import fake_session
from icefloe.engine.motion_view import motion_view, ring_gain
from icefloe.optics import CtfParameters, ctf_2d
from icefloe.project import Failure
from icefloe.report import build_report, figures
from icefloe.report.remarks import flag_counts
from icefloe.report.summary import Row

SVG = "{http://www.w3.org/2000/svg}"
FRAMES, SIZE, STEP = 10, 1024, (0.0, 1.0)


def texts(svg: bytes) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def moving_movie(step, noise, binning=1):
    """Frames of a specimen with Thon rings that moves by whole pixels, and their true sum."""
    rng = np.random.default_rng(3)
    ctf = ctf_2d(CtfParameters(12000.0, 12000.0, 0.0), (SIZE, SIZE), 1.0)
    specimen = np.fft.irfft2(np.fft.rfft2(rng.normal(0, 1, (SIZE, SIZE))) * ctf, s=(SIZE, SIZE))
    frames = np.empty((FRAMES, SIZE, SIZE), np.float32)
    total = np.zeros((SIZE, SIZE))
    for i, frame in enumerate(frames):
        move = tuple(round(i * s) for s in step)
        frame[:] = 20 + np.roll(specimen, move, (0, 1)) + rng.normal(0, noise, (SIZE, SIZE))
        total += np.roll(frame, (-move[0], -move[1]), (0, 1))
    side = SIZE // binning
    small = total.reshape(side, binning, side, binning).mean(axis=(1, 3)).astype(np.float32)
    facts = {
        "first_frame": 1,
        "n_frames": FRAMES,
        "movie_pixel_size": 1.0,
        "movie_shape": [SIZE, SIZE],
        "frames_left_out": [],
    }
    result = SimpleNamespace(
        facts=facts, micrograph=small, plain=small, pixel_size=float(binning), hot_pixels=[]
    )
    return frames, result


@pytest.fixture(scope="module")
def moved():
    frames, result = moving_movie(STEP, 3.0)
    return frames, result, motion_view(frames, result)


def envelope(k):
    """Mean over azimuths of what the motion leaves of the power at k (1/A, that is 1/px)."""
    angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    phase = 2 * np.pi * k[:, None] * (np.sin(angle) * STEP[0] + np.cos(angle) * STEP[1])
    waves = np.exp(1j * phase[..., None] * np.arange(FRAMES)).mean(axis=-1)
    return np.mean(np.abs(waves) ** 2, axis=-1)


def test_the_gain_in_rings_is_that_of_the_motion(moved):
    view = moved[2]
    gains = {g["from"]: g["gain"] for g in view.numbers["ring_gains"]}
    for low, high in ((20.0, 8.0), (8.0, 4.0)):
        expected = 1 / envelope(np.linspace(1 / low, 1 / high, 200)).mean()
        assert expected > 2
        assert gains[low] == pytest.approx(expected, rel=0.25)


def test_a_movie_that_stands_still_gains_nothing():
    view = motion_view(*moving_movie((0, 0), 3.0))
    assert [g["gain"] for g in view.numbers["ring_gains"]] == pytest.approx([1.0, 1.0], abs=1e-3)
    halves = view.spectra.astype(float)
    assert np.allclose(halves, halves[::-1, ::-1], atol=2)


def test_binning_changes_neither_level_nor_gain(moved):
    binned = motion_view(*moving_movie(STEP, 3.0, binning=2)).numbers
    full = moved[2].numbers
    # Averaging blocks damps what is near the new Nyquist frequency.
    assert binned["ring_gains"][0]["gain"] == pytest.approx(full["ring_gains"][0]["gain"], rel=0.15)
    early = slice(0, 20)
    ratio = np.array(binned["before"][early]) / np.array(full["before"][early])
    assert np.median(ratio) == pytest.approx(1, abs=0.2)


def test_bad_pixels_and_gain_enter_the_sum_before(moved):
    frames, result, view = moved
    frames = frames.copy()
    frames[:, 500, 500] = 1e5
    hot = SimpleNamespace(**{**vars(result), "hot_pixels": [[500, 500]]})
    assert motion_view(frames, hot).numbers["before"] == pytest.approx(
        view.numbers["before"], rel=1e-3
    )
    mask = np.zeros((SIZE, SIZE), bool)
    mask[500, 500] = True
    masked = motion_view(frames, result, defects=mask)
    assert masked.numbers["before"] == pytest.approx(view.numbers["before"], rel=1e-3)
    gain = np.ones((SIZE, SIZE), np.float32)
    gain[500, 500] = 0
    blind = motion_view(frames, result, gain=gain)
    assert blind.numbers["before"] == pytest.approx(view.numbers["before"], rel=1e-3)
    assert motion_view(frames, result).numbers["before"] != pytest.approx(
        view.numbers["before"], rel=0.1
    )


def test_frames_are_shown_where_they_are(moved):
    frames, _, view = moved
    assert view.frames.shape == (512, 512)
    assert view.frame == FRAMES // 2 + 1
    middle = slice(SIZE // 2 - 128, SIZE // 2 + 128)
    counts = frames[FRAMES // 2][middle, middle]
    assert np.corrcoef(view.frames[256:, :256].ravel(), counts.ravel())[0, 1] > 0.98
    json.dumps(view.numbers, allow_nan=False)


@pytest.mark.parametrize(
    ("shape", "pixel_size"),
    [((64, 80), 1.0), ((300, 90), 0.3), ((96, 96), 15)],
)
def test_odd_movies_have_pictures(shape, pixel_size):
    frames = np.random.default_rng(0).poisson(1.0, (2, *shape)).astype(np.uint8)
    facts = {
        "first_frame": 2,
        "n_frames": 1,
        "movie_pixel_size": pixel_size,
        "movie_shape": shape,
        "frames_left_out": [],
    }
    image = frames[1].astype(np.float32)
    result = SimpleNamespace(
        facts=facts, micrograph=image, plain=image, pixel_size=pixel_size, hot_pixels=[]
    )
    view = motion_view(frames, result)
    assert view.frame == 2
    assert view.frames.shape == (512, 512)
    assert view.spectra.shape == (256, 256)
    json.dumps(view.numbers, allow_nan=False)
    assert b"nan" not in figures.ring_curves(view.numbers)


def test_ring_gain_of_known_curves():
    k = np.linspace(0.05, 0.25, 200)
    rings, slope = np.sin(900 * k**2), np.exp(-8 * k)
    full = slope * (1 + 0.2 * rings)
    assert ring_gain(k, slope * (1 + 0.05 * rings), full, (8, 4)) == pytest.approx(4, rel=0.02)
    assert ring_gain(k, slope, full, (8, 4)) == pytest.approx(50)
    noise = slope * np.exp(np.random.default_rng(1).normal(0, 0.1, len(k)))
    assert ring_gain(k, full, noise, (8, 4)) is None
    assert ring_gain(k[:10], full[:10], full[:10], (20, 4)) is None


def test_the_curves_state_the_gain(moved):
    numbers = moved[2].numbers
    gain = numbers["ring_gains"][0]["gain"]
    svg = figures.ring_curves(numbers)
    assert any(f"× {gain:.2f} at 20–8 Å" in text for text in texts(svg))
    bands = [{"from": 20, "to": 8, "gain": None}, {"from": 8, "to": 4, "gain": 50.0}]
    assert figures.ring_text({"ring_gains": bands}) == (
        "Thon rings: none at 20–8 Å, × > 50 at 8–4 Å"
    )
    for unusable in ({}, {"frequency": [1, 2]}, {**numbers, "after": None}):
        assert "no spectra measured" in texts(figures.ring_curves(unusable))


def test_tracks_stand_on_the_micrograph_with_their_magnifications():
    numbers = fake_session.motion_numbers(np.random.default_rng(1))
    image = figures.to_webp(np.full((60, 58), 128, np.uint8))
    svg = figures.tracks_on_micrograph(image, numbers)
    (text,) = [t for t in texts(svg) if t.startswith("whole frame × ")]
    whole, local = (float(part.split("× ")[1]) for part in text.split(", "))
    paths = [
        n.get("d", "") for n in ET.fromstring(svg).iter(f"{SVG}path") if n.get("stroke") == "#fff"
    ]
    tracks = [
        np.array([float(v) for v in d.replace("M", "").replace("L", " ").replace(",", " ").split()])
        for d in paths
    ]
    fit = 512 / max(numbers["movie_shape"])
    shifts = np.array(numbers["global_shifts"])
    drawn = tracks[0].reshape(-1, 2)[:, ::-1]
    np.testing.assert_allclose(
        drawn[-1] - drawn[0], (shifts[-1] - shifts[0]) * fit * whole, atol=0.2
    )
    move = (np.array(numbers["patch_shifts"][0]) - shifts)[-1] * fit * local
    drawn = tracks[1].reshape(-1, 2)[:, ::-1]
    np.testing.assert_allclose(drawn[0], np.array(numbers["patch_centres"][0]) * fit, atol=0.1)
    np.testing.assert_allclose(drawn[-1] - drawn[0], move, atol=0.2)
    assert "no motion measured" in texts(figures.tracks_on_micrograph(image, {}))


def test_a_drift_hides_no_local_motion():
    numbers = fake_session.motion_numbers(np.random.default_rng(1))
    drift = np.linspace(0, 300, len(numbers["global_shifts"]))[:, None] * np.ones(2)
    drifting = {
        **numbers,
        "global_shifts": (np.array(numbers["global_shifts"]) + drift).tolist(),
        "patch_shifts": (np.array(numbers["patch_shifts"]) + drift).tolist(),
    }
    assert figures.patch_tracks(drifting) == figures.patch_tracks(numbers)
    del drifting["global_shifts"]
    assert "Local and whole-frame motion" in texts(figures.patch_tracks(drifting))


def test_one_wild_exposure_among_few_does_not_squeeze_the_histogram():
    values = [18.0, 21.0, 19.0, 24.0, 22.0, 20.0, 23.0, 25.0, 321.0]
    svg = figures.histogram(values, label="Total motion", unit="Å")
    assert "off the scale: 1 above" in texts(svg)
    bars = [n for n in ET.fromstring(svg).iter(f"{SVG}path") if n.get("class") == "bar"]
    assert len(bars) >= 3  # all in one otherwise


def row(name: str, *flags: str) -> Row:
    failure: Failure | None = None
    return Row(name, "", "movie", "done", failure, flags, {}, {})


def test_remarks_that_differ_in_numbers_are_one():
    rows = [
        row("a", "large motion: 321 A", "no Thon rings"),
        row("b", "large motion: 1210 A"),
        row("c", "two frames: whole-frame motion only"),
    ]
    assert flag_counts(rows) == [
        ("large motion: 321 to 1210 A", ["a", "b"]),
        ("no Thon rings", ["a"]),
        ("two frames: whole-frame motion only", ["c"]),
    ]


def test_the_panel_shows_what_the_session_keeps(tmp_path, moved):
    project = fake_session.make_session(tmp_path / "s", 2, micrograph_only=False, preview=64)
    before = build_report(project)
    assert "aligned sum" not in before
    path = project.sidecar("movie_0001", "motion")
    sidecar = json.loads(path.read_text())
    sidecar["numbers"]["view"] = moved[2].numbers
    path.write_text(json.dumps(sidecar))
    page = build_report(project)
    assert page.count("right the aligned sum") == 1
    assert page.count("no picture</div>") == 2  # the pictures were not copied along
    Image.fromarray(moved[2].frames).save(project.exposures / "movie_0001" / "motion.png")
    Image.fromarray(moved[2].spectra).save(project.exposures / "movie_0001" / "motion_ps.png")
    page = build_report(project)
    assert "no picture</div>" not in page
    assert "Thon rings: × " in page
