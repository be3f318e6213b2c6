"""Peaks of a map, and where the scores of noise end."""

import numpy as np
import pytest

from icefloe.fourier import irfft2, rfft2
from icefloe.kernels.peaks import find_peaks
from icefloe.picking.templates import RING_HOLLOW, blob_template
from icefloe.picking.threshold import split_as, split_scores


def slow_peaks(score, distance, minimum):
    """The definition, written as plainly as possible."""
    ny, nx = score.shape
    maxima = []
    for y in range(ny):
        for x in range(nx):
            near = score[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            if score[y, x] >= minimum and score[y, x] == near.max():
                maxima.append((-score[y, x], y, x))
    kept = []
    for _, y, x in sorted(maxima):
        if all((y - v) ** 2 + (x - u) ** 2 >= distance**2 for v, u in kept):
            kept.append((y, x))
    return kept


@pytest.mark.parametrize("distance", [0.5, 3.0, 5.7, 40.0])
def test_peaks_are_those_of_the_definition(distance):
    score = np.random.default_rng(3).normal(size=(37, 52)).astype(np.float32)
    positions, values = find_peaks(score, distance, 0.3)
    assert [tuple(p) for p in np.rint(positions).astype(int)] == slow_peaks(score, distance, 0.3)
    assert np.all(np.diff(values) <= 0)


def test_a_plateau_is_one_peak():
    score = np.zeros((9, 9), np.float32)
    score[3:5, 3:6] = 1
    positions, _ = find_peaks(score, 1.0, 0.5)
    assert len(positions) == 1


def test_peaks_outside_the_allowed_region_suppress_nothing():
    score = np.zeros((20, 20), np.float32)
    score[10, 8], score[10, 12] = 2.0, 1.0
    allowed = np.ones(score.shape, bool)
    allowed[10, 8] = False
    positions, values = find_peaks(score, 8, 0.5, allowed)
    assert values.tolist() == [1.0]
    assert positions.tolist() == [[10.0, 12.0]]


def test_a_paraboloid_has_its_vertex_found():
    y, x = np.mgrid[:15, :15]
    score = (5 - (y - 7.3) ** 2 - 0.5 * (x - 6.6) ** 2).astype(np.float32)
    positions, _ = find_peaks(score, 3, 0)
    np.testing.assert_allclose(positions[0], (7.3, 6.6), atol=1e-4)


def test_nan_is_no_peak():
    score = np.zeros((8, 8), np.float32)
    score[2, 2], score[5, 5] = np.nan, 1
    assert find_peaks(score, 1, 0.5)[1].tolist() == [1.0]


def test_two_populations_are_split_where_they_are_equally_likely():
    rng = np.random.default_rng(0)
    low, high, width, n_low, n_high = 1.5, 5.0, 0.6, 6000, 2000
    scores = np.concatenate([rng.normal(low, width, n_low), rng.normal(high, width, n_high)])
    split = split_scores(scores[scores > 0])
    expected = 0.5 * (low + high) + width**2 / (high - low) * np.log(n_low / n_high)
    assert split.clear
    assert split.threshold == pytest.approx(expected, abs=0.06)
    assert split.separation == pytest.approx((high - low) / width, rel=0.03)


def test_a_few_particles_among_much_noise_are_found():
    rng = np.random.default_rng(1)
    noise = np.abs(rng.normal(1.6, 0.5, 800))
    split = split_scores(np.concatenate([noise, rng.normal(8, 0.5, 6)]))
    assert split.clear
    assert noise.max() < split.threshold < 6.5


def test_one_population_is_not_split():
    rng = np.random.default_rng(2)
    scores = np.abs(rng.normal(1.6, 0.5, 1000))
    split = split_scores(scores)
    assert not split.clear
    assert split.threshold > np.quantile(scores, 0.998)
    assert not split_scores(scores[:5]).clear


@pytest.mark.parametrize("shape", ["disc", "ring"])
def test_a_template_finds_its_own_pattern_at_its_place(shape):
    size = (96, 80)
    y, x = np.mgrid[: size[0], : size[1]]
    r2 = (y - 40.0) ** 2 + (x - 33.0) ** 2
    # Thickness of a ball along the beam, a hollow one for the ring.
    pattern = np.sqrt(np.maximum(12.0**2 - r2, 0))
    if shape == "ring":
        pattern -= np.sqrt(np.maximum((RING_HOLLOW * 12.0) ** 2 - r2, 0))
    pattern += 3.0  # a constant must not matter
    other = "ring" if shape == "disc" else "disc"
    peak = {}
    for name in (shape, other):
        template = blob_template(24.0, name, size)
        assert abs(template[0, 0]) < 1e-3
        response = irfft2(rfft2(pattern.astype(np.float32)) * template, size)
        peak[name] = response.max()
        if name == shape:
            assert np.unravel_index(response.argmax(), size) == (40, 33)
            # Unit energy: the best response is close to the pattern's own deviation.
            inside = pattern[r2 <= (1.24 * 12 + 0.5) ** 2]
            energy = np.sqrt(np.sum((inside - inside.mean()) ** 2))
            assert 0.9 * energy < response.max() <= 1.001 * energy
    assert peak[shape] > peak[other]


def test_a_low_cut_is_believed_where_a_valley_parts_the_heights():
    """Crowded particles widen the image's own deviation, in which heights are counted."""
    rng = np.random.default_rng(5)
    noise, particles = rng.normal(1.2, 0.6, 1000), rng.normal(3.2, 0.62, 1600)
    heights = np.concatenate([noise, particles])
    split = split_scores(heights[heights > 0])
    assert split.clear
    assert 1.9 < split.threshold < 2.2
    # One skewed hill is fitted by two normal distributions, too, but has no valley.
    skewed = rng.weibull(2.2, 2600) * 1.3
    alone = split_scores(skewed)
    assert alone.high > alone.low
    assert not alone.clear


def test_scores_as_in_other_micrographs_part_particles_from_noise():
    rng = np.random.default_rng(6)
    parts = (0.14, 0.38, 0.07)
    for share in (0.15, 0.85):
        n = 160
        many = int(share * n)
        heights = np.concatenate([rng.normal(0.38, 0.07, many), rng.normal(0.14, 0.07, n - many)])
        found = split_as(heights, parts)
        assert found.share == pytest.approx(share, abs=0.06)
        expected = 0.26 + 0.07**2 / 0.24 * np.log((1 - share) / share)
        assert found.threshold == pytest.approx(expected, abs=0.012)
    # Noise alone, the usual and a stronger one.
    for level, width in ((0.14, 0.06), (0.2, 0.05), (0.26, 0.08)):
        assert split_as(rng.normal(level, width, 160), parts) is None
    assert split_as(np.full(5, 0.4), parts) is None
