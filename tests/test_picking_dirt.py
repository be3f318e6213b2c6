"""`pick auto` where carbon, crystals and clumps cover much of the micrograph."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from icefloe.picking import bootstrap_bank, pick_templates, whole_mask
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


CASES = {
    "small and crowded": {
        "diameter": 60,
        "hollow": False,
        "count": 250,
        "side": 640,
        "strength": 1.0,
    },
    "large and hollow": {"diameter": 300, "hollow": True, "count": 30, "strength": 0.8},
}


@pytest.mark.parametrize("case", list(CASES))
def test_particles_are_picked_among_carbon_and_crystals(case):
    made = [field(**CASES[case], seed=seed) for seed in (1, 2)]
    found = bootstrap_bank([image for image, _, _ in made], pixel_size=PIXEL)
    size = CASES[case]["diameter"]
    assert 0.75 * size < found.bank.diameter < 1.25 * size
    picks = [pick_templates(image, found.bank, pixel_size=PIXEL) for image, _, _ in made]
    junk = [
        dirt[tuple(np.rint([p.y, p.x]).astype(int))]
        for p, (_, _, dirt) in zip(picks, made, strict=True)
    ]
    assert np.concatenate(junk).mean() < 0.2
    wanted = found_of = 0
    for p, (_, places, dirt) in zip(picks, made, strict=True):
        # Those that dirt touches count neither way.
        clear = distance_transform_edt(~dirt)[tuple(np.rint(places).astype(int).T)]
        places = places[clear > 0.5 * size / PIXEL]
        gaps = np.hypot(*(places[:, None] - np.stack([p.y, p.x], 1)[None]).transpose(2, 0, 1))
        wanted += len(places)
        found_of += int((gaps.min(axis=1) < 0.3 * size / PIXEL).sum())
    assert found_of > 0.85 * wanted


def test_carbon_is_masked_and_large_particles_are_not():
    dirty, places, dirt = field(300, True, 30, 3, strength=0.8)
    clean, _, _ = field(300, True, 14, 4, strength=0.8, carbon=False)
    mask = whole_mask(dirty, 300 / PIXEL, pixel_size=PIXEL)
    index = (np.arange(len(mask)) + 0.5) / len(mask) * len(dirt)
    covered = mask & dirt[np.ix_(index.astype(int), index.astype(int))]
    assert covered.sum() > 0.75 * dirt.mean() * mask.size
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
