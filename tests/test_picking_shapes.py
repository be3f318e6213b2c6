"""Elongated particles, other blob filters, sizes found in the data, thresholds that explain."""

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from icefloe.cli.pick import command
from icefloe.errors import InputError, MissingMetadataError
from icefloe.formats import read_star, write_mrc
from icefloe.fourier import crop_rfft, irfft2, resize, rfft2
from icefloe.picking import (
    BlobSettings,
    MatchSettings,
    bootstrap_bank,
    find_size,
    pick_blobs,
    pick_templates,
    split_scores,
)
from icefloe.picking.templates import scale_template
from icefloe.scoring import match_picks, score_picks
from icefloe.simulate import SimulationSettings, simulate_micrograph

PIXEL, LONG = 1.5, 150.0


def drawn(aspect, contrast=0.4, seed=3):
    """Noise with dark ellipsoids: the image, their places and the angles of their long axes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:640, :720]
    image = rng.normal(100, 1, y.shape)
    grid = np.stack(np.meshgrid(np.arange(90, 560, 115), np.arange(90, 660, 115)), -1)
    places = grid.reshape(-1, 2) + rng.uniform(-12, 12, (grid.shape[0] * grid.shape[1], 2))
    angles = rng.uniform(0, 180, len(places))
    a = 0.5 * LONG / PIXEL
    for (cy, cx), angle in zip(places, np.radians(angles), strict=True):
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        image -= contrast * np.sqrt(
            np.maximum(1 - (along / a) ** 2 - (across * aspect / a) ** 2, 0)
        )
    return image.astype(np.float32), places, angles


def found(image, **choices):
    settings = BlobSettings(diameter=LONG, **choices)
    return pick_blobs(image, pixel_size=PIXEL, settings=settings)


def judge(picks, places):
    return score_picks(np.stack([picks.y, picks.x], 1), picks.score, places, 0.2 * LONG / PIXEL)


def test_elongated_particles_are_found_better_as_ellipses_and_their_angles_are_right():
    image, places, angles = drawn(aspect=3.0)
    round_ones = found(image)
    picks = found(image, shape="ellipse", aspect=3.0)
    result = judge(picks, places)
    assert picks.shape == "ellipse"
    assert result.f1 > 0.97
    assert picks.separation > 1.2 * round_ones.separation
    match = match_picks(np.stack([picks.y, picks.x], 1), picks.score, places, 20)
    # RELION's psi turns against the image's y axis, which points down.
    away = (-picks.psi - angles[match] + 90) % 180 - 90
    assert np.median(np.abs(away[match >= 0])) < 10


def test_the_aspect_matters():
    image, places, _ = drawn(aspect=3.0, contrast=0.3)
    right, wrong = (found(image, shape="ellipse", aspect=a) for a in (3.0, 1.2))
    assert right.separation > wrong.separation
    assert judge(right, places).f1 >= judge(wrong, places).f1


@pytest.mark.parametrize("method", ["log", "dog"])
def test_laplacian_and_difference_of_gaussians_find_discs(method):
    image, places, _ = drawn(aspect=1.0)
    picks = found(image, method=method)
    assert judge(picks, places).f1 > 0.95
    assert picks.score[0] != found(image).score[0]


def test_the_filters_respond_most_at_the_size_of_a_disc():
    size = (128, 128)
    y, x = np.mgrid[:128, :128] - 64
    disc = (np.hypot(y, x) <= 20).astype(np.float32)
    widths = np.arange(24, 60, 2)
    for method in ("log", "dog"):
        heights = [
            irfft2(rfft2(disc) * scale_template(float(w), method, size), size)[64, 64]
            for w in widths
        ]
        assert abs(widths[int(np.argmax(heights))] - 40) <= 2


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"shape": "ellipse"}, "needs an aspect"),
        ({"aspect": 2.0}, "belongs to the shape ellipse"),
        ({"method": "log", "shape": "ring"}, "finds discs only"),
    ],
)
def test_choices_without_effect_are_refused(choices, message):
    with pytest.raises(ValidationError, match=message):
        BlobSettings(diameter=100, **choices)


def test_the_size_is_found_with_its_evidence():
    image, _, _ = drawn(aspect=1.0, contrast=0.6)
    size = find_size([image], pixel_size=PIXEL)
    assert size.visible == pytest.approx(LONG, rel=0.25)
    assert size.diameter > size.visible
    assert size.evidence.max() == max(size.disc.max(), size.ring.max())
    assert f"{size.visible:.0f} A" in size.reason()
    noise = np.random.default_rng(0).normal(size=(640, 640)).astype(np.float32)
    with pytest.raises(InputError, match="stand out"):
        find_size([noise], pixel_size=PIXEL)
    with pytest.raises(InputError, match="No micrograph"):
        find_size([], pixel_size=PIXEL)
    with pytest.raises(MissingMetadataError, match="pixel size"):
        find_size([image], pixel_size=0.0)


def test_a_threshold_says_why_and_its_curves_fit_the_histogram():
    rng = np.random.default_rng(1)
    scores = np.abs(np.concatenate([rng.normal(2, 0.7, 3000), rng.normal(6, 0.7, 600)]))
    split = split_scores(scores)
    assert split.clear
    assert split.low == pytest.approx(2, abs=0.1)
    assert split.high == pytest.approx(6, abs=0.1)
    assert split.share == pytest.approx(1 / 6, abs=0.02)
    assert f"{split.threshold:.2f}" in split.reason
    noise, particles = split.curves(np.array([split.threshold]))
    assert noise[0] == pytest.approx(particles[0], rel=1e-3)
    middles = 0.5 * (split.edges[1:] + split.edges[:-1])
    both = np.sum(split.curves(middles), axis=0)
    assert both.sum() == pytest.approx(split.counts.sum(), rel=0.01)
    assert np.corrcoef(both, split.counts)[0, 1] > 0.9
    assert "do not stand out" in split_scores(np.abs(rng.normal(2, 0.7, 3000))).reason
    assert "only 3 peaks" in split_scores(np.ones(3)).reason


def test_large_crystals_do_not_hide_the_particles():
    images = [
        simulate_micrograph(
            SimulationSettings.make(
                shape=(900, 900), pixel_size=PIXEL, n_frames=30, seed=seed, crystals=2,
                defocus=9000.0 + 5000 * seed,
            ),
            f"crystals {seed}",
        )
        for seed in (0, 1)
    ]  # fmt: skip
    bank = bootstrap_bank([m.image for m in images], pixel_size=PIXEL).bank
    for m in images:
        picks = pick_templates(m.image, bank, pixel_size=PIXEL, settings=MatchSettings())
        yx = np.rint(np.stack([picks.y, picks.x])).astype(int).clip(0, 899)
        assert m.truth.junk[yx[0], yx[1]].mean() < 0.2
        assert (
            score_picks(np.stack([picks.y, picks.x], 1), picks.score, m.truth.yx, 24).recall > 0.5
        )


@pytest.mark.parametrize("shape", [(64, 70), (65, 71), (64, 71)])
@pytest.mark.parametrize("new", [(20, 22), (21, 23), (20, 80), (63, 23)])
def test_shrinking_is_fourier_cropping(shape, new):
    image = np.random.default_rng(2).normal(size=shape)
    expected = irfft2(crop_rfft(rfft2(image), shape, new), new)
    np.testing.assert_allclose(resize(image, new), expected, atol=1e-12)


def test_the_command_finds_the_diameter_and_takes_shapes(tmp_path):
    image, places, _ = drawn(aspect=1.0, contrast=0.3)
    path = tmp_path / "a.mrc"
    write_mrc(path, image, PIXEL)

    def run(*options):
        arguments = ["blob", str(path), "--out", str(tmp_path / "out"), *options]
        result = CliRunner().invoke(command, arguments)
        return result.exit_code, result.output + str(result.exception or "")

    code, text = run()
    assert code == 0
    assert "No diameter was given" in text
    table = read_star(tmp_path / "out" / "a_picks.star")[""]
    assert len(table["rlnCoordinateX"]) == len(places)
    code, text = run("--diameter", "150", "--shape", "ellipse", "--aspect", "1.5")
    assert (code, "picks above" in text, "ellipse of" in text) == (0, True, True), text
    code, text = run("--diameter", "150", "--method", "log", "--shape", "ring")
    assert (code, "discs only" in text) == (1, True)
    code, text = run("--diameter", "150", "--calibrate")
    assert (code, "rlnDefocusU" in text) == (1, True)
