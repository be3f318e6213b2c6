"""2D classes: the harmonics, the scores, what is found in particles of known truth, bad input."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from class_particles import DIAMETER, PIXEL, particles, purity, shapes, turned
from icefloe.classes import (
    ClassifySettings,
    classify_particles,
    rank_classes,
    select_templates,
    templates_from_picks,
    templates_of,
)
from icefloe.classes.assign import balanced_classes
from icefloe.classes.averages import fourier_ring_correlation, resolution_at
from icefloe.classes.basis import Harmonics, soft_mask
from icefloe.classes.basis import turned as turned_harmonics
from icefloe.classes.border import windows_over_border
from icefloe.classes.geometry import middle_of, shift_grid, turn_shifts
from icefloe.classes.prepare import prepare_particles, ring_transfer
from icefloe.classes.scoring import best_scores
from icefloe.classes.update import make_templates
from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.fourier import get_threads, rotational_average, set_threads
from icefloe.optics import CtfParameters, ctf_2d
from icefloe.picking import pick_templates
from icefloe.scoring import score_picks

SETTINGS = ClassifySettings(classes=6, diameter=DIAMETER, iterations=10)


@pytest.fixture(scope="module")
def truth():
    return particles()


@pytest.fixture(scope="module")
def result(truth):
    return classify_particles(truth.images, truth.ctf, pixel_size=PIXEL, settings=SETTINGS)


# -- the parts ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def basis():
    return Harmonics.make(40, 28.0, 0.33)


def test_harmonics_keep_images_and_products(basis):
    images = (gaussian_filter(shapes(), (0, 1, 1)) * soft_mask(40, 26, 2)).astype(np.float32)
    a = basis.project(images)
    back = basis.image(a)
    for image, again in zip(images, back, strict=True):
        assert np.corrcoef(image.ravel(), again.ravel())[0, 1] > 0.99
    products = np.einsum("imcr,jmcr->ij", a, a)
    expected = np.einsum("iyx,jyx->ij", images, images)
    # Rings are sampled just as densely as needed, which leaves some percent.
    np.testing.assert_allclose(products, expected, rtol=0.15)


def test_harmonics_turn_as_images_do(basis):
    image = gaussian_filter(shapes()[0], 1.0).astype(np.float32)
    for psi in (90.0, 37.0):
        other = basis.project(turned(image, psi, (0, 0)).astype(np.float32))
        ours = turned_harmonics(basis.project(image)[None], np.array([psi]))[0]
        assert np.corrcoef(ours.ravel(), other.ravel())[0, 1] > 0.995


def test_the_score_is_that_of_every_angle_and_shift_one_by_one(basis):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, 40, 40)).astype(np.float32)
    classes = shapes().astype(np.float32)
    grid = shift_grid(2.0, 1.0)
    noise = np.full(basis.n_rings, 1.7, np.float32)
    templates = make_templates(basis, basis.project(classes), grid, noise)
    transfer = rng.uniform(0.2, 1, (3, basis.n_rings)).astype(np.float32)
    y = basis.project(images)
    score, index = best_scores(y, transfer, templates, basis.angle_matrix(24))
    for i in range(3):
        for k in range(3):
            power = np.square(basis.project(classes[k : k + 1])[0]).sum(axis=(0, 1)) / noise
            norm = np.sqrt((transfer[i] * power).sum())
            each = []
            for s in range(len(grid)):
                turns = turned_harmonics(
                    np.repeat(templates.rows[k, s][None], 24, 0), 15.0 * np.arange(24)
                )
                each.append((turns * y[i]).sum(axis=(1, 2, 3)).max() / norm)
            assert score[i, k] == pytest.approx(max(each), rel=1e-4)
            assert index[i, k] == int(np.argmax(each))


def test_the_accelerators_path_gives_the_same_scores(basis):
    pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    y = basis.project(rng.standard_normal((50, 40, 40)).astype(np.float32))
    templates = make_templates(
        basis, basis.project(shapes().astype(np.float32)), shift_grid(2, 1),
        np.ones(basis.n_rings, np.float32),
    )  # fmt: skip
    transfer = np.ones((50, basis.n_rings), np.float32)
    usual = best_scores(y, transfer, templates, basis.angle_matrix(48))
    other = best_scores(y, transfer, templates, basis.angle_matrix(48), "torch-cpu")
    np.testing.assert_allclose(usual[0], other[0], rtol=1e-4)
    assert np.mean(usual[1] == other[1]) > 0.99


def test_no_class_is_larger_than_it_may_be():
    rng = np.random.default_rng(0)
    score = rng.normal(size=(500, 10)).astype(np.float32)
    score[:, 3] += 2.0  # what a class with less noise does to the others
    free = balanced_classes(score, 500)
    assert np.bincount(free).max() > 300
    bound = balanced_classes(score, 100)
    assert np.bincount(bound).max() <= 101
    # Those that stay are those that lose most by leaving.
    rest = np.delete(score, 3, axis=1).max(axis=1)
    margin = score[:, 3] - rest
    assert margin[bound == 3].min() >= margin[bound != 3].max() - 0.1


def test_rings_of_the_squared_ctf():
    lens = CtfParameters(21000, 18000, 20.0, phase_shift=30.0)
    square = ctf_2d(lens, (256, 256), 2.0).astype(np.float64) ** 2
    k, mean = rotational_average(square, (256, 256))
    ours = ring_transfer([lens], k[10:80] / 2.0, 1 / 512)[0]
    assert np.abs(ours - mean[10:80]).max() < 0.05


def test_shifts_turn_from_x_towards_y():
    out = turn_shifts(np.array([[0.0, 1.0]]), np.array([90.0]))
    np.testing.assert_allclose(out, [[1.0, 0.0]], atol=1e-12)


def test_a_neighbour_does_not_pull_the_middle():
    y, x = np.mgrid[-32:32, -32:32]
    one = (np.hypot(y - 1, x + 2) < 10).astype(float)
    two = one + 1.2 * (np.hypot(y - 1, x - 22) < 10)
    for image in (one, two):
        # As in the iterations: a part of the way each time.
        total = np.zeros(2)
        for _ in range(6):
            total += middle_of(shift(image, -total, order=1), 20.0)
        np.testing.assert_allclose(total, [1, -2], atol=0.4)


def test_resolution_from_a_curve():
    curve = np.array([1, 1, 1, 0.9, 0.1, 0.9, 0.143, 0.05, 0.0])
    # The one low ring between two high ones is noise.
    assert resolution_at(curve, 2.0) == pytest.approx(2 * 2.0 * 8 / 6, rel=0.01)
    a = np.random.default_rng(0).normal(size=(32, 32))
    np.testing.assert_allclose(fourier_ring_correlation(a, a), 1, atol=1e-6)


# -- particles of known truth ---------------------------------------------------------------------


def test_views_are_separated(truth, result):
    assert purity(result.classes, truth.view) > 0.97
    assert {truth.view[result.classes == k][0] for k in range(len(result))} == {0, 1, 2}
    assert result.counts.max() < 0.5 * len(truth.view)
    assert result.counts.min() > 0


def test_angles_and_places_are_right_up_to_the_classes_own(truth, result):
    angles, places = [], []
    for k in range(len(result)):
        members = np.flatnonzero(result.classes == k)
        main = np.bincount(truth.view[members]).argmax()
        members = members[truth.view[members] == main]
        d = np.exp(1j * np.radians(result.psi[members] - truth.psi[members]))
        angles.append(np.degrees(np.abs(np.angle(d * np.conj(d.mean())))))
        own = turn_shifts(result.place[members] - truth.place[members], -result.psi[members])
        places.append(np.hypot(*(own - np.median(own, axis=0)).T))
    assert np.median(np.concatenate(angles)) < 2.5
    assert np.median(np.concatenate(places)) < 0.5 * PIXEL


def test_averages_show_the_shapes_right_way_round(truth, result):
    # A picture of the particle, not its mirror image, and without the CTF.
    mask = soft_mask(40, 28, 2) > 0.5
    models = gaussian_filter(shapes(), (0, 1, 1))
    for k in np.flatnonzero(result.counts > 60):
        main = np.bincount(truth.view[result.classes == k]).argmax()
        best = []
        for model in (models[main], models[main][:, ::-1]):
            turns = [turned(model, psi, (0, 0)) for psi in range(0, 360, 6)]
            best.append(max(np.corrcoef(result.images[k][mask], t[mask])[0, 1] for t in turns))
        assert best[0] > 0.8
        assert best[0] > best[1] + 0.03


def test_averages_are_in_the_middle(result):
    assert all(rank.offset < 0.08 for rank in result.ranks)


def test_what_is_written_is_what_another_program_would_average(truth, result):
    """Turning each image back by psi and place, with SciPy, gives the average."""
    k = int(np.argmax(result.counts))
    members = np.flatnonzero(result.classes == k)
    back = []
    for i in members:
        c, s = np.cos(np.radians(result.psi[i])), np.sin(np.radians(result.psi[i]))
        y, x = -result.place[i] / PIXEL
        # First moved to the middle, then turned: the move is turned too.
        move = np.array([c * y - s * x, s * y + c * x])
        back.append(turned(truth.images[i], -result.psi[i], move))
    plain = gaussian_filter(np.mean(back, axis=0), 1.0)
    mask = soft_mask(40, 24, 2) > 0.5
    ours = gaussian_filter(result.images[k], 1.0)
    assert np.corrcoef(plain[mask], ours[mask])[0, 1] > 0.8


def test_same_seed_same_bytes_on_any_number_of_threads(truth):
    short = ClassifySettings(classes=4, diameter=DIAMETER, iterations=4)
    before = get_threads()
    found = []
    for threads in (1, 3):
        set_threads(threads)
        found.append(
            classify_particles(truth.images[:200], truth.ctf[:200], pixel_size=PIXEL,
                               settings=short)
        )  # fmt: skip
    set_threads(before)
    for name in ("images", "classes", "psi", "place", "score"):
        assert getattr(found[0], name).tobytes() == getattr(found[1], name).tobytes(), name


def test_noise_alone_claims_no_fine_detail():
    noise = np.random.default_rng(3).standard_normal((500, 40, 40)).astype(np.float32)
    found = classify_particles(
        noise, None, pixel_size=PIXEL,
        settings=ClassifySettings(classes=5, diameter=DIAMETER, iterations=10),
    )  # fmt: skip
    # Below 20 A both halves are compared with one reference, which may be noise too.
    assert np.median(found.resolution) > 17


def test_junk_gets_its_own_classes_and_a_low_score(truth):
    rng = np.random.default_rng(5)
    junk = np.empty((80, 40, 40), np.float32)
    for i in range(80):
        y, x = np.mgrid[-20:20, -20:20]
        angle = rng.uniform(0, 7)
        edge = np.cos(angle) * x + np.sin(angle) * y > rng.uniform(-4, 4)
        junk[i] = 0.7 * edge + 0.6 * rng.standard_normal((40, 40))
    images = np.concatenate([truth.images, junk])
    found = classify_particles(
        images, [*truth.ctf, *truth.ctf[:80]], pixel_size=PIXEL,
        settings=ClassifySettings(classes=9, diameter=DIAMETER, iterations=10),
    )  # fmt: skip
    is_junk = np.arange(len(images)) >= len(truth.images)
    share = np.array([is_junk[found.classes == k].mean() for k in range(len(found))])
    own = share > 0.7
    assert np.mean(own[found.classes[is_junk]]) > 0.8
    good = max(r.score for r, bad in zip(found.ranks, own, strict=True) if bad)
    assert good < min(r.score for r, s in zip(found.ranks, share, strict=True) if s < 0.1)


def test_the_ctf_may_be_in_the_images_already(truth):
    from icefloe.fourier import irfft2, rfft2

    times = np.stack([
        irfft2(rfft2(x) * -ctf_2d(c, (40, 40), PIXEL), (40, 40))
        for x, c in zip(truth.images, truth.ctf, strict=True)
    ])  # fmt: skip
    prepared = [
        prepare_particles(x, truth.ctf, pixel_size=PIXEL, premultiplied=flag, settings=SETTINGS)
        for x, flag in ((truth.images, False), (times, True))
    ]
    # All but the Nyquist row and column, whose phase a real image does not keep.
    a, b = (np.delete(p.spectra[..., :20], 20, axis=1) for p in prepared)
    assert np.abs(a - b).max() < 0.02 * np.abs(a).max()
    ratio = prepared[1].noise[2:16] / prepared[0].noise[2:16]
    assert 0.7 < np.median(ratio) < 1.4


# -- ranking and templates ------------------------------------------------------------------------


def test_ranking_says_what_is_wrong_with_an_average():
    good = gaussian_filter(shapes()[0], 1.0)
    rng = np.random.default_rng(0)
    off = np.roll(good, 9, axis=1)
    tiny = np.zeros((40, 40))
    tiny[19:22, 19:22] = 1
    stripe = np.cos(np.arange(40) / 2)[None] * np.ones((40, 1))
    noise = gaussian_filter(rng.standard_normal((40, 40)), 1.5)
    images = np.stack([good, turned(good, 50, (0, 0)), off, gaussian_filter(tiny, 0.8), stripe,
                       noise, np.zeros((40, 40))])  # fmt: skip
    ranks = rank_classes(
        images, counts=np.array([100, 90, 100, 100, 100, 100, 0]),
        resolution=np.array([12.0, 12, 12, 12, 12, 60, np.inf]), pixel_size=PIXEL, diameter=90.0,
    )  # fmt: skip
    assert ranks[0].score > 0.85
    assert ranks[1].duplicate_of == 0
    assert ranks[0].duplicate_of == -1
    assert ranks[2].parts["centred"] < 0.3
    assert ranks[3].parts["size"] < 0.2
    assert all(r.score < 0.5 for r in ranks[2:])
    assert ranks[6].score == 0


def test_windows_over_the_border_are_known_and_rank_lower():
    from icefloe.extraction import ExtractSettings, extract_particles

    rng = np.random.default_rng(5)
    image = gaussian_filter(rng.standard_normal((300, 400)), 0.7)
    y = np.array([150.0, 150, 10, 290, 150, 150, 10, 31])
    x = np.array([200.0, 60, 200, 200, 12, 388, 12, 200])
    settings = ExtractSettings(box=64, bin_to=3.0)
    found = extract_particles(image, y, x, pixel_size=2.0, settings=settings)
    beyond = [False, False, True, True, True, True, True, False]
    assert windows_over_border(found.images).tolist() == beyond
    # Windows behind a round mask are no such windows.
    c = np.arange(found.images.shape[-1]) - found.images.shape[-1] // 2
    masked = found.images * (np.hypot(c[:, None], c[None]) < 0.8 * len(c) / 2)
    assert not windows_over_border(masked[:2]).any()
    good = gaussian_filter(shapes()[0], 1.0)
    ranks = rank_classes(
        np.stack([good] * 3), counts=np.array([100] * 3), resolution=np.array([12.0] * 3),
        pixel_size=PIXEL, diameter=90.0, borders=np.array([0.1, 0.3, 0.5]),
    )  # fmt: skip
    assert [r.border for r in ranks] == [0.1, 0.3, 0.5]
    assert ranks[0].parts["border"] == 1.0
    assert ranks[0].score > ranks[1].score > 0.5 > ranks[2].score


def test_templates_are_the_best_that_differ(result):
    chosen = select_templates(result)
    assert len(chosen) >= 3
    assert all(result.ranks[k].duplicate_of < 0 for k in chosen) or len(chosen) == 3
    assert len(select_templates(result, threshold=1.0, at_least=3)) == 3
    assert len(select_templates(result, at_most=1)) == 1
    bank = templates_of(result, chosen)
    assert len(bank.images) == len(chosen)
    assert bank.diameter == DIAMETER
    with pytest.raises(SettingsError, match="99"):
        templates_of(result, [98])


def test_templates_come_from_first_picks():
    rng = np.random.default_rng(2)
    models, micrographs, picks, places = shapes(), [], [], []
    for _ in range(2):
        image = rng.normal(0, 1.5, (600, 600))
        grid = np.stack(np.meshgrid(np.arange(30, 580, 45), np.arange(30, 580, 45)), -1)
        grid = grid.reshape(-1, 2)
        for y, x in grid:
            model = turned(models[rng.integers(3)], rng.uniform(0, 360), (0, 0))
            image[y - 20 : y + 20, x - 20 : x + 20] -= model
        jitter = rng.integers(-2, 3, grid.shape)
        micrographs.append(image.astype(np.float32))
        picks.append((grid[:, 0] + jitter[:, 0], grid[:, 1] + jitter[:, 1]))
        places.append(grid)
    found = templates_from_picks(micrographs, picks, None, PIXEL, DIAMETER)
    assert 3 <= len(found.bank.images) <= len(found.classification)
    again = pick_templates(micrographs[0], found.bank, pixel_size=PIXEL)
    score = score_picks(np.stack([again.y, again.x], 1), again.score, places[0], 0.3 * 25)
    assert score.best_f1 > 0.95
    with pytest.raises(InputError, match="lists of picks"):
        templates_from_picks(micrographs, picks[:1], None, PIXEL, DIAMETER)


# -- bad input ------------------------------------------------------------------------------------


def test_particles_that_cannot_be_used_are_counted(truth):
    images = truth.images[:200].copy()
    images[3, 5, 5] = np.nan
    images[7] = 1.0
    images[9, 0, 0] = np.inf
    short = ClassifySettings(classes=50, diameter=DIAMETER, iterations=3)
    found = classify_particles(images, None, pixel_size=PIXEL, settings=short)
    text = "; ".join(found.flags)
    assert "2 particles with NaN" in text
    assert "1 particles without contrast" in text
    assert "no CTF" in text
    assert "19 classes instead of 50 for 197 particles" in text
    assert np.flatnonzero(found.classes < 0).tolist() == [3, 7, 9]
    assert np.isfinite(found.images).all()
    assert found.numbers()["n_left_out"] == 3


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"images": np.zeros((19, 40, 40))}, InputError, "20 or more"),
        ({"images": np.ones((30, 40, 40))}, InputError, "without contrast"),
        ({"images": np.ones((30, 40, 42))}, InputError, "square"),
        ({"images": np.ones((30, 41, 41))}, InputError, "even box"),
        ({"pixel_size": 0.0}, MissingMetadataError, "pixel size"),
        ({"ctf": [CtfParameters(1e4, 1e4)]}, InputError, "one for each"),
        ({"settings": ClassifySettings(diameter=900)}, SettingsError, "box"),
    ],
)
def test_one_clear_message(change, error, text):
    rng = np.random.default_rng(0)
    given = {"images": rng.standard_normal((30, 40, 40)), "ctf": None, "pixel_size": PIXEL}
    given |= change
    with pytest.raises(error, match=text):
        classify_particles(given.pop("images"), given.pop("ctf"), **given)
