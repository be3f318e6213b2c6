"""What the benchmark of motion correction measures, against cases with a known answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icefloe import fourier
from icefloe.scoring import spectral_snr


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))


def noisy_pair(shape=(480, 512), strength=0.7):
    rng = np.random.default_rng(5)
    k = fourier.frequency_grid(shape, 1.0)
    spectrum = fourier.rfft2(rng.normal(size=shape)) * np.exp(-60 * k**2)
    clean = np.asarray(fourier.irfft2(spectrum, shape))
    clean *= strength / clean.std()
    return clean, [clean + rng.normal(size=shape) for _ in range(2)]


def filtered(image, weight):
    k = fourier.frequency_grid(image.shape, 1.0)
    return np.asarray(fourier.irfft2(fourier.rfft2(image) * weight(k), image.shape))


def test_shells_agree_with_the_librarys_score():
    from motion_snr import compare_shells

    clean, (noisy, _) = noisy_pair()
    shells = compare_shells([noisy], clean, 1.5, n_shells=24)
    k, snr = spectral_snr(noisy, clean, 1.5, n_shells=24)
    assert np.allclose(shells.frequency, k[1:])
    assert np.allclose(np.clip(shells.snr[0], 0, None), snr[1:], rtol=1e-6)


def test_dose_weights_do_not_change_the_snr():
    # The weights of Grant & Grigorieff's sum, not normalised and normalised to white noise as
    # RELION's, differ by a filter of frequency alone.
    from motion_snr import compare_shells

    clean, (noisy, _) = noisy_pair()
    dose = 1.2 * np.arange(1, 21)

    def weights(k):
        critical = 0.24499 * np.maximum(k, 1e-3) ** -1.6649 + 2.8141
        return np.exp(-0.5 * dose[:, None, None] / critical)

    images = [
        filtered(noisy, lambda k: weights(k).mean(0)),
        filtered(noisy, lambda k: weights(k).sum(0) / np.sqrt((weights(k) ** 2).sum(0))),
    ]
    plain = compare_shells([noisy], clean, 1.0)
    both = compare_shells(images, clean, 1.0)
    seen = plain.significance[0] > 5
    assert np.count_nonzero(seen) > 8
    for snr in both.snr:
        assert np.allclose(snr[seen], plain.snr[0][seen], rtol=0.02)
    assert np.allclose(both.ratio[seen], 1, atol=0.02)


def test_errors_are_those_of_repeated_noise():
    from motion_snr import compare_shells

    clean, _ = noisy_pair(shape=(256, 256))
    rng = np.random.default_rng(9)
    found = [
        compare_shells([clean + rng.normal(size=clean.shape)], clean, 1.0, n_shells=16)
        for _ in range(24)
    ]
    snr = np.stack([f.snr[0] for f in found])
    error = np.stack([f.error[0] for f in found])
    # Shells with signal; 24 trials know a spread to 15 %, a jackknife of 32 groups to 13 %.
    use = slice(1, 5)
    assert np.allclose(snr.std(0)[use] / error.mean(0)[use], 1, atol=0.45)
    # Beyond half of Nyquist there is none, and two standard errors are exceeded by chance only.
    beyond = np.concatenate([f.significance[0][9:] for f in found])
    assert abs(beyond.mean()) < 0.5
    assert beyond.std() == pytest.approx(1, abs=0.25)


def test_a_blurred_sum_is_behind_and_an_equal_one_is_not():
    from motion_snr import compare_shells, snr_table

    clean, (first, second) = noisy_pair()
    # Noise that a filter cannot undo: the second has a quarter more of it.
    worse = first + 0.5 * (second - clean)
    shells = compare_shells([first, worse], clean, 1.0)
    seen = np.all(shells.significance > 5, axis=0)
    assert np.count_nonzero(seen) > 5
    gap = (shells.ratio[seen] - 1.25) / shells.ratio_error[seen]
    assert np.abs(gap).max() < 4
    assert np.all(shells.ratio_error[seen] < shells.error[0][seen] / shells.snr[0][seen] * 1.5)
    text = snr_table(shells, ["icefloe", "relion"], "sum")
    assert text.count("no signal") > 5
    assert "relion in 0" in text
    assert "relion in 0" not in snr_table(
        compare_shells([worse, first], clean, 1.0), ["icefloe", "relion"], "sum"
    )


def test_exponents_of_known_laws():
    from motion_scaling import exponent

    sizes = [10, 20, 40, 80]
    slope, error = exponent(sizes, [1.5 + 0.2 * n for n in sizes], 1.5)
    assert slope == pytest.approx(1)
    assert error == pytest.approx(0, abs=1e-9)
    assert exponent(sizes, [2 + 1e-3 * n**1.5 for n in sizes], 2)[0] == pytest.approx(1.5)
    # A part that does not grow, beyond the start, makes it less than 1.
    assert exponent(sizes, [1.5 + 3 + 0.2 * n for n in sizes], 1.5)[0] < 0.8
    assert np.isnan(exponent(sizes, [1.0] * 4, 1.5)[0])


def test_tiles_fill_frames_of_any_size():
    from motion_programs import Tiles

    frames = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    tiles = Tiles(frames, 2, (7, 6))
    assert len(tiles) == 2
    assert tiles[1].shape == (7, 6)
    assert np.array_equal(tiles[1][3:6, :4], frames[1])
    assert np.array_equal(tiles[1][:3, 4:], frames[1][:, :2])
    with pytest.raises(ValueError, match="3 frames of 2"):
        Tiles(frames, 3, (3, 4))
