"""Picking where carbon, crystals and clumps cover much of the micrograph."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from icefloe.picking import BlobSettings, pick_blobs, whole_mask
from icefloe.picking.diameter import find_size
from icefloe.picking.junk import JunkSearch, junk_mask
from icefloe.picking.templates import blob_template
from icefloe.picking.threshold import split_particles, split_scores

PIXEL = 4.0


def field(diameter, hollow, count, seed, *, side=900, strength=1.0, carbon=True):
    """Return an image, the particles' places in clear ice, and what is dirt.

    Carbon, darker and rougher than the ice, covers two fifths; crystals of 150 to 300 A in radius
    are far darker than any particle.
    """
    rng = np.random.default_rng(seed)
    width = diameter / PIXEL
    y, x = np.mgrid[:side, :side]
    edge = 0.6 * side + gaussian_filter(rng.standard_normal(side), 60) * 200
    dirt = (x > edge[:, None]) if carbon else np.zeros((side, side), bool)
    image = rng.standard_normal((side, side))
    image -= dirt * (3.0 + 15 * gaussian_filter(rng.standard_normal((side, side)), 5))
    for _ in range(4 if carbon else 0):
        cy, cx = rng.uniform(0.1, 0.9, 2) * side
        body = np.hypot(y - cy, x - cx) < rng.uniform(150, 300) / PIXEL
        image -= 12.0 * gaussian_filter(body.astype(float), 4)
        dirt = dirt | body
    places = []
    for _ in range(200 * count):
        place = rng.uniform(0.6 * width, side - 0.6 * width, 2)
        at = tuple(np.rint(place).astype(int))
        far = all(np.hypot(*(place - other)) > 1.1 * width for other in places)
        if far and not dirt[at]:
            places.append(place)
        if len(places) == count:
            break
    kernel = blob_template(width, "ring" if hollow else "disc", (side, side))
    spots = np.zeros((side, side))
    spots[tuple(np.rint(places).astype(int).T)] = 1
    shape = np.fft.irfft2(np.fft.rfft2(spots) * np.conj(kernel), (side, side))
    image -= strength * shape / shape.max() * 3
    return image.astype(np.float32), np.array(places), dirt


def covered(image, dirt, diameter, **options):
    """Return the part of the dirt, and of the ice, that the mask of junk covers."""
    mask = whole_mask(image, diameter / PIXEL, **options)
    index = ((np.arange(len(mask)) + 0.5) / len(mask) * len(dirt)).astype(int)
    dirt = dirt[np.ix_(index, index)]
    return mask[dirt].mean(), mask[~dirt].mean()


@pytest.mark.parametrize(("diameter", "count", "side"), [(60, 200, 640), (150, 30, 900)])
def test_carbon_on_nearly_half_of_the_area_is_masked(diameter, count, side):
    # It is then as usual as the ice: neither its level nor its texture is an outlier.
    image, _, dirt = field(diameter, False, count, 1, side=side, strength=0.6)
    assert 0.35 < dirt.mean() < 0.6
    found, lost = covered(image, dirt, diameter)
    assert found > 0.9
    assert lost < 0.25


def test_a_search_that_serves_many_diameters_finds_what_one_of_its_own_finds():
    for carbon in (True, False):
        image, _, _ = field(150, False, 20, 2, side=500, carbon=carbon)
        search = JunkSearch(image, 120 / PIXEL)
        for diameter in (450, 120, 250):
            alone = junk_mask(image, diameter / PIXEL, 120 / PIXEL)
            np.testing.assert_array_equal(search.mask(diameter / PIXEL), alone)


def test_corners_of_crystals_and_carbon_are_no_evidence_of_a_size():
    # At 230 A they stand out by 5.7, these faint particles of 60 A by 6 to 7.
    images = [field(60, False, 250, seed, side=640, strength=0.4)[0] for seed in (1, 2)]
    found = find_size(images, pixel_size=PIXEL)
    assert 45 < found.visible < 65
    assert len(found.candidates()) == 1


def test_a_few_large_lumps_in_each_micrograph_are_no_evidence_of_a_size():
    images = []
    for seed in (1, 2, 3):
        image, _, _ = field(150, False, 20, seed, side=700, strength=0.15, carbon=False)
        y, x = np.mgrid[:700, :700]
        for cy, cx in [(150, 170), (150, 500), (350, 330), (520, 160), (530, 360), (520, 550)]:
            r2 = ((y - cy - 5 * seed) ** 2 + (x - cx) ** 2) / (240 / PIXEL) ** 2
            image = image - 0.5 * np.sqrt(np.maximum(0, 1 - r2))
        images.append(image)
    found = find_size(images, pixel_size=PIXEL)
    assert 100 < found.visible < 200
    assert found.evidence[-1] == 0


def test_carbon_is_masked_and_large_particles_are_not():
    dirty, places, dirt = field(300, True, 30, 3, strength=0.8)
    clean, _, _ = field(300, True, 14, 4, strength=0.8, carbon=False)
    assert covered(dirty, dirt, 300, pixel_size=PIXEL)[0] > 0.75
    mask = whole_mask(dirty, 300 / PIXEL, pixel_size=PIXEL)
    at = (places / len(dirt) * len(mask)).astype(int)
    assert mask[tuple(at.T)].mean() < 0.15
    assert not whole_mask(clean, 300 / PIXEL, pixel_size=PIXEL).any()


def test_a_few_peaks_far_above_all_others_are_not_the_particles():
    rng = np.random.default_rng(5)
    scores = np.concatenate([rng.normal(1.5, 0.6, 90), rng.normal(5, 0.6, 30), [17.0, 18.0]])
    alone = split_scores(scores)
    assert not alone.clear
    split = split_particles(scores)
    assert split.clear
    assert 2.5 < split.threshold < 4
    assert split.ceiling == pytest.approx(17.0)
    noise = np.concatenate([np.abs(rng.normal(1.5, 0.6, 90)), [17.0, 18.0]])
    assert split_particles(noise).ceiling == np.inf


CRYSTALS = [(420, 480, 130), (600, 620, 150), (880, 420, 140)]  # y, x, radius in A


def clusters(seed, crystals, depth=8.0):
    """Return an image of hollow particles of 300 A, some of which touch, and its crystals."""
    rng = np.random.default_rng(seed)
    side, width = 1000, 300 / PIXEL
    y, x = np.mgrid[:side, :side]
    groups = [
        (150, 150, 2),
        (150, 700, 3),
        (420, 200, 1),
        (450, 800, 1),
        (700, 150, 3),
        (800, 750, 2),
    ]
    places = [(cy, cx + 1.02 * width * i) for cy, cx, n in groups for i in range(n)]
    spots = np.zeros((side, side))
    spots[tuple(np.rint(places).astype(int).T)] = 1
    kernel = np.conj(blob_template(width, "ring", (side, side)))
    shape = np.fft.irfft2(np.fft.rfft2(spots) * kernel, (side, side))
    # As defocus shows them: what is smooth is weak.
    shape -= 0.9 * gaussian_filter(shape, 100 / PIXEL)
    image = rng.standard_normal((side, side)) - 3.0 * shape / shape.max()
    dirt = np.zeros((side, side), bool)
    for cy, cx, radius in crystals:
        body = np.hypot(y - cy, x - cx) < radius / PIXEL
        image -= depth * gaussian_filter(body.astype(float), 3)
        dirt |= body
    return image.astype(np.float32), np.array(places), dirt


def test_particles_that_touch_are_not_junk_and_small_crystals_are():
    clean, _, _ = clusters(1, [])
    assert not whole_mask(clean, 300 / PIXEL, pixel_size=PIXEL).any()
    image, places, dirt = clusters(2, CRYSTALS)
    mask = whole_mask(image, 300 / PIXEL, pixel_size=PIXEL)
    at = (places / len(dirt) * len(mask)).astype(int)
    assert not mask[tuple(at.T)].any()
    assert covered(image, dirt, 300, pixel_size=PIXEL)[0] > 0.8


def test_blobs_of_large_particles_are_not_picked_on_small_crystals():
    # Blurred over a particle they are no darker than one.
    image, places, dirt = clusters(3, CRYSTALS, depth=1.5)
    picks = pick_blobs(image, pixel_size=PIXEL, settings=BlobSettings(diameter=300))
    found = np.stack([picks.y, picks.x], axis=1)
    assert not dirt[tuple(np.rint(found).astype(int).T)].any()
    gaps = np.hypot(*(places[:, None] - found[None]).transpose(2, 0, 1))
    assert (gaps.min(axis=1) < 0.3 * 300 / PIXEL).all()
