"""Matching through angular components against matching with every template; angles; limits."""

import subprocess
from dataclasses import fields, replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter

from icefloe.cli.pick import command
from icefloe.errors import InputError, SettingsError
from icefloe.extraction import ExtractSettings, extract_particles
from icefloe.formats import read_mrc, read_star, write_mrc, write_star
from icefloe.formats.star import StarTable
from icefloe.interop.score_maps import load_maps, save_maps
from icefloe.optics import CtfParameters
from icefloe.picking import (
    MatchSettings,
    pick_templates,
    picks_from_maps,
    score_maps,
    template_bank,
)
from icefloe.picking.angular_basis import angular_basis
from icefloe.picking.match import match_templates
from icefloe.picking.scored import scores_elsewhere
from icefloe.picking.turned import turned_templates

PIXEL = 3.0


def hook(angle, n=65, at=(0.0, 0.0)):
    """Return a bar with a knob beside one end: it is unlike its mirror image."""
    half = n // 2
    y, x = np.mgrid[-half : n - half, -half : n - half].astype(float)
    y, x = y - at[0], x - at[1]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    u, v = c * x + s * y, -s * x + c * y
    body = ((np.abs(u) < 16) & (np.abs(v) < 5)) + 0.8 * ((u - 11) ** 2 + (v - 9) ** 2 < 36)
    return gaussian_filter(body.astype(float), 1.5)


@pytest.fixture(scope="module")
def hooks():
    """Noise with hooks at places and angles between pixels and steps."""
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (520, 560))
    places, angles = [], []
    for row in range(60, 470, 90):
        for column in range(60, 510, 90):
            y, x = np.array([row, column]) + rng.uniform(-5, 5, 2)
            i, j = round(y), round(x)
            angles.append(rng.uniform(0, 360))
            shape = hook(angles[-1], 65, (y - i, x - j))
            image[i - 32 : i + 33, j - 32 : j + 33] -= 1.5 * shape
            places.append((y, x))
    return image.astype(np.float32), np.array(places), np.array(angles)


@pytest.fixture(scope="module")
def bank():
    return template_bank(hook(0), pixel_size=PIXEL, diameter=120)


@pytest.fixture(scope="module")
def maps(hooks, bank):
    return score_maps(hooks[0], bank, pixel_size=PIXEL, settings=MatchSettings(junk=False))


def nearest(picks, places):
    distance = np.hypot(picks.y[:, None] - places[:, 0], picks.x[:, None] - places[:, 1])
    return distance.argmin(axis=1), distance.min(axis=1)


def blobs(k, n=31, seed=0):
    """Return k unlike, smooth images."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-(n // 2) : n // 2 + 1, -(n // 2) : n // 2 + 1]
    fall = np.exp(-(y**2 + x**2) / (0.2 * n) ** 2)
    return (gaussian_filter(rng.normal(size=(k, n, n)), (0, 2, 2)) * 12 + 1.5) * fall


def noise_field(shape=(150, 170), seed=1):
    rng = np.random.default_rng(seed)
    image = gaussian_filter(rng.normal(size=shape), 1.0)
    inside = np.zeros(shape, bool)
    inside[9:-9, 11:-11] = True
    return (image / image.std()).astype(np.float32), inside


def angle_between(a, b):
    return np.abs((a - b + 180) % 360 - 180)


@pytest.mark.parametrize("turns", [72, 45, 3])
def test_components_make_up_every_template_at_every_angle(turns):
    stack = turned_templates(blobs(5).astype(np.float32), turns)
    basis = angular_basis(stack, 0.01)
    error = np.sqrt(((basis.templates() - stack) ** 2).sum(axis=(2, 3)))
    assert error.max() < 0.02
    assert basis.residual <= 0.01
    exact = angular_basis(stack, 0.0)
    np.testing.assert_allclose(exact.templates(), stack, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"angle_step": 8.0},
        {"ctf": CtfParameters(22000, 18000, 40)},
        {"whiten": True, "low_pass": 30.0},
    ],
)
def test_components_give_what_every_template_gives(given):
    image, inside = noise_field()
    templates = template_bank(blobs(6), pixel_size=10.0, diameter=180)
    quick = match_templates(image, inside, templates, **given)
    every = match_templates(image, inside, templates, exact=True, **given)
    assert quick.components < every.components / 3
    difference = (quick.score - every.score)[inside]
    assert np.abs(difference).max() < 0.006
    assert difference.std() < 0.0012
    same = (quick.template == every.template)[inside]
    assert same.mean() > 0.97
    assert np.median(angle_between(quick.angle, every.angle)[inside]) < 0.4
    assert not quick.score[~inside].any()


def test_an_accelerator_gives_what_the_cpu_gives():
    pytest.importorskip("torch")
    image, inside = noise_field()
    for k, step in ((6, 5.0), (2, 40.0)):
        templates = template_bank(blobs(k), pixel_size=10.0, diameter=180)
        host, other = (
            match_templates(image, inside, templates, angle_step=step, device=device)
            for device in ("cpu", "torch-cpu")
        )
        np.testing.assert_allclose(other.score, host.score, atol=2e-5 if k == 6 else 2e-3)
        assert (other.template == host.template).mean() > 0.99
        assert np.quantile(angle_between(other.angle, host.angle), 0.98) < 0.5


def test_picks_on_an_accelerator_are_those_of_the_cpu(hooks, bank):
    pytest.importorskip("torch")
    host, other = (
        pick_templates(hooks[0], bank, pixel_size=PIXEL, device=device)
        for device in ("cpu", "torch-cpu")
    )
    assert len(host) == len(other)
    order = nearest(other, np.stack([host.y, host.x], 1))[0]
    np.testing.assert_allclose(other.y, host.y[order], atol=0.1)
    np.testing.assert_allclose(other.x, host.x[order], atol=0.1)
    assert np.median(angle_between(other.psi, host.psi[order])) < 0.5


def test_psi_is_the_particles_angle_and_centres_are_exact(hooks, maps):
    _, places, angles = hooks
    picks = picks_from_maps(maps, MatchSettings(junk=False))
    which, distance = nearest(picks, places)
    assert len(picks) == len(places) == len(set(which))
    # A pixel of the search is 2.9 pixels of the micrograph.
    assert np.median(distance) < 0.8
    assert distance.max() < 3
    # RELION turns from +x towards -y of the image as it lies in memory.
    assert np.median(angle_between(picks.psi, -angles[which])) < 3
    assert angle_between(picks.psi, -angles[which]).max() < 10


def test_relion_turns_particles_by_psi_into_the_template(hooks, maps, tmp_path, monkeypatch):
    picks = picks_from_maps(maps, MatchSettings(junk=False))
    box = ExtractSettings(box=64)
    stack = extract_particles(hooks[0], picks.y, picks.x, pixel_size=PIXEL, settings=box)
    n = len(stack.images)
    assert n == len(picks)
    write_mrc(tmp_path / "p.mrcs", stack.images.astype(np.float32), PIXEL)
    optics = {
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["one"], "rlnImagePixelSize": [PIXEL],
        "rlnImageSize": [64], "rlnImageDimensionality": [2], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
    }  # fmt: skip
    particles = {
        "rlnImageName": [f"{i + 1:06d}@p.mrcs" for i in range(n)], "rlnAnglePsi": picks.psi,
        "rlnOriginXAngst": np.zeros(n), "rlnOriginYAngst": np.zeros(n),
        "rlnOpticsGroup": np.ones(n, int),
    }  # fmt: skip
    tables = {"optics": optics, "particles": particles}
    write_star(
        tmp_path / "p.star",
        {
            name: StarTable({c: np.asarray(v) for c, v in columns.items()})
            for name, columns in tables.items()
        },
    )
    monkeypatch.chdir(tmp_path)
    call = ["relion_stack_create", "--i", "p.star", "--o", "turned", "--apply_transformation"]
    try:
        subprocess.run(call, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("RELION is not installed")
    turned, _ = read_mrc(tmp_path / "turned.mrcs")

    def alike(image):
        return np.corrcoef(image.ravel(), hook(0, 64).ravel())[0, 1]

    # The particles are bright in an extracted stack.
    assert alike(turned.mean(axis=0)) > 0.9
    assert alike(stack.images.mean(axis=0)) < 0.7
    assert alike(turned.mean(axis=0)[::-1]) < 0.85


def test_the_number_of_a_template_is_its_place_in_what_was_given(hooks):
    image, places, _ = hooks
    stack = np.stack([np.zeros((65, 65)), hook(0)[:, ::-1], hook(0)])
    given = template_bank(stack, pixel_size=PIXEL, diameter=120)
    assert given.numbers == (2, 3)
    settings = MatchSettings(junk=False)
    picks = pick_templates(image, given, pixel_size=PIXEL, settings=settings)
    assert np.mean(picks.template == 3) > 0.9
    named = template_bank(stack, pixel_size=PIXEL, diameter=120, numbers=[4, 9, 25])
    again = pick_templates(image, named, pixel_size=PIXEL, settings=settings)
    assert set(again.template) <= {9, 25}
    assert len(picks) >= len(places)


def test_limits_of_score_and_power_leave_out_what_they_say(maps):
    every = picks_from_maps(maps, MatchSettings(junk=False, threshold=0.1))
    score, power = float(np.median(every.score)), float(np.quantile(every.power, 0.7))
    kept = {
        "max_score": every.score <= score,
        "min_power": every.power >= power,
        "max_power": every.power <= power,
    }
    for name, chosen in kept.items():
        limit = score if name == "max_score" else power
        values = {"junk": False, "threshold": 0.1, name: limit}
        some = picks_from_maps(maps, MatchSettings.model_validate(values))
        assert 0 < len(some) < len(every)
        np.testing.assert_array_equal(some.score, every.score[chosen])
    assert np.median(every.power) == pytest.approx(1.0)


def test_maps_on_disk_give_the_same_picks(maps, tmp_path):
    junk = np.zeros((20, 20), bool)
    junk[:, :10] = True
    for kept in (maps, replace(maps, junk=junk, flags=("one", "two"), usual=(0.1, 0.4, 0.06))):
        save_maps(tmp_path, "m", kept)
        read = load_maps(tmp_path, "m")
        for field in fields(kept):
            a, b = getattr(kept, field.name), getattr(read, field.name)
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=field.name)
        before, after = picks_from_maps(kept), picks_from_maps(read)
        assert before.numbers() == after.numbers()
    score, size = read_mrc(tmp_path / "m_score.mrc")
    np.testing.assert_array_equal(score, maps.score)
    assert size == pytest.approx(PIXEL / maps.scale[0], rel=1e-5)


def test_maps_that_are_not_there_or_broken_are_one_error(tmp_path):
    with pytest.raises(InputError, match="--save-maps"):
        load_maps(tmp_path, "m")
    (tmp_path / "m_maps.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(InputError, match="cannot be read"):
        load_maps(tmp_path, "m")


def test_whitening_flattens_the_noise():
    image, inside = noise_field()
    from icefloe.fourier import rfft2, rotational_average
    from icefloe.picking.match import _whitened

    flat, transfer = _whitened(np.where(inside, image, 0).astype(np.float32), inside, (64, 64))
    assert transfer.shape == (64, 33)
    for each, low, high in ((image, 20, 1e9), (flat, 0.3, 3)):
        _, power = rotational_average(np.abs(rfft2(each)) ** 2, each.shape, 20)
        assert low < power[2:5].mean() / power[12:15].mean() < high


def test_commands_choose_again_from_maps(hooks, tmp_path):
    image, places, angles = hooks
    write_mrc(tmp_path / "one.mrc", image, PIXEL)
    write_mrc(tmp_path / "averages.mrcs", hook(0)[None].astype(np.float32), PIXEL)
    call = ["template", str(tmp_path / "one.mrc"), "--device", "cpu", "--diameter", "120"]
    first = [*call, "--templates", str(tmp_path / "averages.mrcs"), "--out", str(tmp_path / "a")]
    maps = str(tmp_path / "maps")
    done = CliRunner().invoke(command, [*first, "--save-maps", maps], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = read_star(tmp_path / "a" / "one_picks.star")[""]
    y, x, psi = (
        np.asarray(table[c], float) for c in ("rlnCoordinateY", "rlnCoordinateX", "rlnAnglePsi")
    )
    assert set(np.asarray(table["rlnClassNumber"], int)) == {1}
    distance = np.hypot(y[:, None] - places[:, 0], x[:, None] - places[:, 1])
    close = distance.min(axis=1) < 4
    assert close.mean() > 0.95
    assert np.median(angle_between(psi, -angles[distance.argmin(axis=1)])[close]) < 3
    again = [*call, "--from-maps", maps, "--out", str(tmp_path / "b")]
    done = CliRunner().invoke(command, again, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    files = [(tmp_path / d / "one_picks.star").read_bytes() for d in "ab"]
    assert files[0] == files[1]
    done = CliRunner().invoke(command, [*again, "--threshold", "0.9"], catch_exceptions=False)
    assert "0 picks" in done.output
    done = CliRunner().invoke(command, [*call, "--out", str(tmp_path / "c")])
    assert isinstance(done.exception, SettingsError)


def test_what_does_not_fit_is_one_error(hooks, bank):
    image = hooks[0]
    with pytest.raises(SettingsError, match="2000 A in a micrograph"):
        pick_templates(image, bank, pixel_size=PIXEL, settings=MatchSettings(diameter=2000))
    with pytest.raises(InputError, match="--template-pixel-size"):
        template_bank(hook(0), pixel_size=0.3, diameter=120)
    with pytest.raises(InputError, match="NaN"):
        template_bank(np.full((2, 32, 32), np.nan), pixel_size=PIXEL)
    with pytest.raises(InputError, match="square"):
        template_bank(np.ones((2, 32, 30)), pixel_size=PIXEL)
    with pytest.raises(SettingsError, match="--edge"):
        pick_templates(image, bank, pixel_size=PIXEL, settings=MatchSettings(edge=8))


def test_the_level_outside_a_mask_does_not_matter():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-32:32, -32:32]
    r = np.hypot(y, x)
    shape = hook(20, 64) + 0.02 * rng.normal(size=(64, 64))
    soft = np.clip((29 - r) / 3, 0, 1)
    plain, shifted = (
        template_bank(soft * (shape + level), pixel_size=PIXEL, diameter=120).images[0]
        for level in (0.0, 0.25)
    )
    inner = np.hypot(*np.mgrid[-32:33, -32:33]) < 26
    assert np.abs(shifted - plain)[inner].max() < 0.05
    assert np.abs(shifted[~inner]).max() < 0.15


def packed_maps(maps, heights, n=14, step=17):
    """Return maps in which particles of some heights touch, on a faint background."""
    rng = np.random.default_rng(8)
    side = n * step
    score = gaussian_filter(rng.standard_normal((side, side)), 3) * 0.15
    y, x = np.mgrid[:side, :side]
    for k, height in enumerate(heights):
        cy, cx = (np.array(divmod(k, n)) + 0.5) * step
        bump = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 4.5**2))
        score = np.maximum(score, height * bump)
    empty = np.ones((side, side))
    return replace(
        maps, score=score.astype(np.float32), angle=0 * empty, template=empty.astype(np.int32),
        level=empty, power=empty, junk=None, covered=(0, 0, side, side), scale=(1.0, 1.0),
        origin=(0, 0), full=(side, side), diameter=maps.pixel_size * step * 1.05,
    )  # fmt: skip


def test_where_all_peaks_are_particles_the_scores_of_other_micrographs_tell_them(maps):
    heights = np.random.default_rng(4).normal(0.38, 0.07, 196)
    crowded = packed_maps(maps, heights)
    alone = picks_from_maps(crowded)
    assert not alone.split.clear
    assert len(alone) < 20
    usual = (0.12, 0.38, 0.07)
    found = picks_from_maps(replace(crowded, usual=usual))
    assert 0.12 <= found.threshold < 0.25
    assert len(found) > 180
    assert found.split.share > 0.9
    assert found.split.reason in found.flags
    # They are learned from micrographs that can be split, whatever was known before.
    half = packed_maps(maps, heights[:90])
    learned = scores_elsewhere(
        [half, crowded, replace(half, usual=(9.0, 10.0, 1.0))], MatchSettings()
    )
    assert learned is not None
    assert learned[1] == pytest.approx(0.38, abs=0.04)
    again = picks_from_maps(replace(crowded, usual=learned))
    assert len(again) > 180
    assert scores_elsewhere([crowded], MatchSettings()) is None
    np.testing.assert_array_equal(
        picks_from_maps(replace(half, usual=learned)).score, picks_from_maps(half).score
    )
    # Peaks of noise do not pass for particles so.
    noise = packed_maps(maps, [])
    empty = picks_from_maps(replace(noise, usual=usual))
    assert "only the strongest" in " ".join(empty.flags)
    assert len(empty) < 5
