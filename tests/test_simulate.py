"""The simulator against closed formulae and independent programs."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.transform import Rotation

from icefloe import fourier
from icefloe.errors import InputError, SettingsError
from icefloe.optics import CtfParameters, critical_dose, ctf_1d
from icefloe.scoring import estimate_shift
from icefloe.simulate import (
    MovieTruth,
    SimulationSettings,
    noise_free_frames,
    simulate_micrograph,
    simulate_movie,
)
from icefloe.simulate.detector import transfer
from icefloe.simulate.loops import pack_discs, poisson_counts
from icefloe.simulate.motion import make_field
from icefloe.simulate.specimen import (
    euler_matrices,
    load_particle,
    phase_of_particle,
    phase_of_water,
    scattering_factor,
)

QUIET = {
    "n_hot": 0,
    "n_dead": 0,
    "gain_strength": 0.0,
    "illumination": 0.0,
    "background": 0.0,
    "debris": 0.0,
    "ice_strength": 0.0,
    "faint_fraction": 0.0,
}
STILL = {"drift": 0.0, "doming": 0.0, "jitter": 0.0}


def settings(**values) -> SimulationSettings:
    return SimulationSettings.make(**({"shape": (256, 256), "n_frames": 4} | values))


@pytest.fixture(scope="session")
def small_movie():
    return simulate_movie(
        settings(shape=(256, 320), n_frames=6, pixel_size=1.5, n_dead_columns=1), "small"
    )


def power(
    image: np.ndarray, pixel_size: float, bins: int = 65, *, window: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return frequency, 1/A, and power per area, A^2; with a Hann window not to scale."""
    if window:
        image = (image - image.mean()) * np.outer(*(np.hanning(n) for n in image.shape))
    spectrum = np.abs(fourier.rfft2(image.astype(np.float64))) ** 2
    k, ring = fourier.rotational_average(spectrum, image.shape, bins)
    return k / pixel_size, ring * pixel_size**2 / image.size


# counting


@pytest.mark.parametrize("mean", [0.05, 1.2, 7.0, 19.9, 45.0, 800.0])
def test_counts_follow_poisson(mean):
    counts = np.empty((200, 300), np.uint16)
    poisson_counts(np.full(counts.shape, mean, np.float32), 5, counts)
    law = scipy.stats.poisson(np.float32(mean))
    edges = np.arange(law.ppf(1e-2), law.ppf(1 - 1e-2) + 1)
    seen = np.array([np.sum(counts == n) for n in edges])
    seen = np.append(seen, counts.size - seen.sum())
    expected = law.pmf(edges) * counts.size
    expected = np.append(expected, counts.size - expected.sum())
    assert scipy.stats.chisquare(seen, expected).pvalue > 1e-3


def test_counts_of_neighbouring_rows_and_pixels_are_independent():
    counts = np.empty((400, 400), np.uint16)
    poisson_counts(np.full(counts.shape, 1.0, np.float32), 11, counts)
    c = counts - 1.0
    for other in (np.roll(c, 1, 0), np.roll(c, 1, 1), np.roll(c, (1, 1), (0, 1))):
        assert abs(np.mean(c * other)) < 4 / 400


@pytest.mark.parametrize("super_resolution", [False, True])
def test_mean_counts_are_dose_times_pixel_area(super_resolution):
    movie = simulate_movie(
        settings(empty=True, pixel_size=1.4, dose_per_frame=0.9, super_resolution=super_resolution),
        "flat",
    )
    factor = 2 if super_resolution else 1
    assert movie.frames.shape == (4, 256 * factor, 256 * factor)
    good = ~movie.defects
    expected = 0.9 * (1.4 / factor) ** 2
    counted = movie.frames[:, good].mean()
    assert counted == pytest.approx(expected, rel=0.01)


def test_the_gain_is_what_flat_counts_say():
    s = settings(empty=True, n_frames=30, dose_per_frame=10.0, n_hot=0, **STILL, illumination=0.0)
    movie = simulate_movie(
        s.model_copy(update={"background": 0.0, "debris": 0.0, "ice_strength": 0.0}), "flat"
    )
    good = movie.gain > 0
    inverse = movie.frames.mean(axis=0)[good]
    # Counts have the variance 1 / (n mean) relative to the mean, gains theirs.
    spread = np.var(1 / movie.gain[good])
    expected = np.sqrt(spread / (spread + 1 / 300))
    assert np.corrcoef(inverse, 1 / movie.gain[good])[0, 1] == pytest.approx(expected, abs=0.01)
    corrected = (movie.frames.mean(axis=0) * movie.gain)[good]
    assert corrected.mean() == pytest.approx(10.0, rel=0.01)
    assert np.all(movie.frames[:, ~good] == 0)


def test_defects_are_hot_or_dead(small_movie):
    mean = small_movie.frames.mean(axis=0)
    assert 20 <= small_movie.defects.sum() <= 20 + 256
    assert np.all((mean == 0) | (mean > 5 * np.median(mean)), where=small_movie.defects)
    assert not np.any(mean[~small_movie.defects] > 5 * np.median(mean))
    assert np.array_equal(small_movie.gain == 0, small_movie.defects & (mean == 0))


def test_the_transfer_is_as_stated_at_nyquist():
    s = settings(mtf_nyquist=0.3, pixel_size=2.0)
    assert transfer(np.array([0.0, 0.25]), s) == pytest.approx([1.0, 0.3])
    assert transfer(np.array([0.25]), s.model_copy(update={"super_resolution": True})) == (
        pytest.approx([0.3])
    )


def test_the_transfer_acts_on_the_signal_and_not_on_the_noise():
    base = settings(n_frames=1, **(STILL | QUIET), n_particles=3, dose_per_frame=1.0)
    sharp = noise_free_frames(base.model_copy(update={"mtf_nyquist": 1.0}))[0]
    blunt = noise_free_frames(base.model_copy(update={"mtf_nyquist": 0.3}))[0]
    k, a = power(sharp, 1.0, window=True)
    _, b = power(blunt, 1.0, window=True)
    inside = (k > 0.05) & (k < 0.4)
    np.testing.assert_allclose(
        np.sqrt(b[inside] / a[inside]), 0.3 ** (2 * k[inside]) ** 2, rtol=0.06
    )
    flat = simulate_movie(settings(n_frames=1, **(STILL | QUIET), empty=True, mtf_nyquist=0.3))
    noise = flat.frames[0] - flat.frames.mean()
    k, white = power(noise, 1.0)
    assert np.polyfit(k[3:], white[3:] / white[3:].mean(), 1)[0] == pytest.approx(0, abs=0.15)


# motion


def test_the_first_frame_is_the_origin_and_the_centre_moves_with_the_frame():
    s = settings(shape=(300, 400), n_frames=12)
    field = make_field(s, "m")
    y, x = np.mgrid[0:300:30, 0:400:40]
    assert np.all(field.displacement(0, y, x) == 0)
    centre = field.displacement(np.arange(12), 149.5, 199.5)
    np.testing.assert_allclose(centre, field.global_shifts, atol=1e-12)
    assert field.local_rms() == pytest.approx(1.5)
    assert np.hypot(*field.global_shifts[-1]) == pytest.approx(8.0, abs=0.3)
    assert field.displacement(np.arange(12)[:, None, None], y, x).shape == (12, 10, 10, 2)


def test_the_inverse_of_the_motion_undoes_it():
    field = make_field(settings(n_frames=8, doming=4.0), "m")
    y, x = np.mgrid[0:256:16, 0:256:16].astype(float)
    d = field.displacement(7, y, x)
    back = field.inverse(7, y + d[..., 0], x + d[..., 1])
    np.testing.assert_allclose(back, -d, atol=1e-4)


def test_frames_show_the_specimen_at_position_plus_displacement():
    s = settings(
        shape=(512, 512), n_frames=5, pixel_size=2.0, **QUIET, drift=6.0, doming=3.0, jitter=0.4,
        packing=0.5, dose_per_frame=0.01,
    )  # fmt: skip
    frames = noise_free_frames(s, "moving")
    field = make_field(s, "moving")
    for y0, x0 in ((64, 64), (64, 320), (320, 192)):
        window = np.outer(np.hanning(128), np.hanning(128))
        first = frames[0, y0 : y0 + 128, x0 : x0 + 128] * window
        last = frames[-1, y0 : y0 + 128, x0 : x0 + 128] * window
        expected = field.displacement(4, y0 + 63.5, x0 + 63.5)
        # The window stays, so a shifted content is a little pulled back: 5 %.
        assert estimate_shift(last, first) == pytest.approx(tuple(expected), abs=0.4)


def test_a_moved_frame_is_the_first_one_resampled():
    s = settings(n_frames=2, pixel_size=2.0, **QUIET, drift=3.3, doming=0.0, jitter=0.0,
                 dose_per_frame=1e-6, mtf_nyquist=0.2)  # fmt: skip
    a, b = noise_free_frames(s, "moving")
    shift = make_field(s, "moving").global_shifts[1]
    # Undo the shift in Fourier space and leave out the border, where new specimen came in.
    back = fourier.irfft2(fourier.shift_phases(fourier.rfft2(b), b.shape, -shift), b.shape)
    # Both frames were blurred by half the step between them, alike.
    inner = (slice(16, -16), slice(16, -16))
    error = np.std((back - a)[inner]) / np.std(a[inner])
    assert error < 0.02


# optics, damage, specimen


def test_thon_rings_are_those_of_the_ctf():
    s = settings(
        shape=(1024, 1024), pixel_size=1.5, astigmatism=0.0, defocus=12000.0, thickness=20.0,
        dose_per_frame=1e-6, n_frames=1, **(QUIET | {"debris": 0.02}), empty=True,
    )  # fmt: skip
    k, ring = power(noise_free_frames(s, "rings")[0], 1.5, 513)
    truth = ctf_1d(CtfParameters(12000.0, 12000.0, amplitude_contrast=0.1), k) ** 2
    zeros = [
        i for i in range(1, 512)
        if 0.05 < k[i] < 0.15 and truth[i] < truth[i - 1] and truth[i] <= truth[i + 1]
    ]  # fmt: skip
    assert len(zeros) >= 4
    for i in zeros:
        near = slice(i - 5, i + 6)
        assert abs(int(np.argmin(ring[near])) - 5) <= 1


def test_damage_follows_grant_and_grigorieff():
    s = settings(n_frames=2, n_particles=4, dose_per_frame=10.0, pre_exposure=3.0,
                 **(STILL | QUIET))  # fmt: skip
    first, last = noise_free_frames(s, "damage")
    k, a = power(first, 1.0, window=True)
    _, b = power(last, 1.0, window=True)
    inside = (k > 0.03) & (k < 0.3)
    expected = np.exp(-10.0 / (2 * critical_dose(k[inside])))
    np.testing.assert_allclose(np.sqrt(b / a)[inside], expected, rtol=0.03)


def test_a_particle_scatters_what_its_atoms_do():
    """The sum over one particle's image is 2 phi(0) CTF(0), by hand."""
    s = settings(shape=(512, 512), n_particles=1, amplitude_contrast=0.1, contrast=0.8, **QUIET,
                 pixel_size=1.3)  # fmt: skip
    micrograph = simulate_micrograph(s, "one")
    particle = load_particle("cage")
    atoms = float(particle.weights.sum())
    # lambda gamma at 300 kV, and carbon's and hydrogen's forward scattering, from tables.
    phase = 0.019687 * 1.58708
    volume = 133 / 7.45
    carbon, hydrogen, oxygen = 2.5089, 0.5288, 1.9834
    water = 0.94 / 18.015 * 0.60221 * (oxygen + 2 * hydrogen)
    net = carbon + 7.8 / 7.45 * hydrogen - volume * water
    expected = -2 * phase * net * atoms * 0.1 * 0.8
    y, x = micrograph.truth.y[0], micrograph.truth.x[0]
    assert 100 < y < 412, "another name is needed: the particle hangs over an edge"
    assert 100 < x < 412, "another name is needed: the particle hangs over an edge"
    found = micrograph.truth.clean.sum(dtype=np.float64) * 1.3**2
    assert found == pytest.approx(expected, rel=0.01)


def test_the_particle_is_where_the_truth_says():
    s = settings(n_particles=3, pixel_size=2.0, **QUIET, defocus=3000.0, astigmatism=0.0)
    truth = simulate_micrograph(s, "places").truth
    assert len(truth.y) == 3
    for y, x in truth.yx:
        if not (40 < y < 215 and 40 < x < 215):
            continue
        part = -truth.clean[round(y) - 32 : round(y) + 33, round(x) - 32 : round(x) + 33]
        smooth = fourier.apply_filter(part, fourier.gaussian_low_pass(part.shape, 2.0, 30.0))
        smooth -= np.median(smooth)
        yy, xx = np.mgrid[-32:33, -32:33]
        weight = np.where(np.hypot(yy, xx) < 31, np.maximum(smooth, 0), 0)
        assert np.sum(weight * yy) / weight.sum() == pytest.approx(y - round(y), abs=1.0)
        assert np.sum(weight * xx) / weight.sum() == pytest.approx(x - round(x), abs=1.0)


def test_euler_angles_are_relions():
    angles = np.random.default_rng(1).uniform(-180, 180, (20, 3))
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    np.testing.assert_allclose(euler_matrices(angles), expected, atol=1e-12)


@pytest.mark.skipif(shutil.which("relion_project") is None, reason="needs RELION's relion_project")
def test_orientations_are_those_relion_projects(tmp_path):
    import mrcfile

    n, angles = 48, (35.0, 60.0, -110.0)
    points = np.array([[9.0, 0, 0], [0, 13.0, 0], [0, 0, 6.0], [-5, -8, 10]])
    z, y, x = np.mgrid[:n, :n, :n] - n // 2
    volume = sum(
        (i + 1) * np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2 + (z - p[2]) ** 2) / 8)
        for i, p in enumerate(points)
    )
    with mrcfile.new(tmp_path / "volume.mrc") as file:
        file.set_data(volume.astype(np.float32))
        file.voxel_size = 1.0
    rot, tilt, psi = (str(a) for a in angles)
    subprocess.run(
        ["relion_project", "--i", "volume.mrc", "--o", "image.mrc", "--angpix", "1",
         "--rot", rot, "--tilt", tilt, "--psi", psi],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    with mrcfile.open(tmp_path / "image.mrc") as file:
        projected = np.squeeze(file.data).astype(float)
    seen = points @ euler_matrices(angles).T
    yy, xx = np.mgrid[:n, :n] - n // 2
    ours = sum(
        (i + 1) * np.exp(-((xx - p[0]) ** 2 + (yy - p[1]) ** 2) / 8) for i, p in enumerate(seen)
    )
    assert np.corrcoef(ours.ravel(), projected.ravel())[0, 1] > 0.99


def test_water_noise_has_the_power_of_its_molecules():
    s = settings(shape=(512, 512), thickness=300.0, n_frames=1, dose_per_frame=1e-4, contrast=1.0,
                 mtf_nyquist=1.0, envelope_bfactor=0.0, empty=True,
                 **(STILL | QUIET | {"ice_strength": 1.0}))  # fmt: skip
    image = noise_free_frames(s, "water", water=True)[0]
    k, found = power(image, 1.0)
    band = (k > 0.2) & (k < 0.35)
    # Where rings are fine the mean of 4 sin^2(chi) is 2.
    expected = 2 * phase_of_water(k[band], 300.0, 300.0)
    assert found[band].mean() == pytest.approx(expected.mean(), rel=0.05)
    assert k[10:][np.argmax(found[10:])] == pytest.approx(1 / 3.7, abs=0.02)


def test_water_forgets_fast_at_high_frequency_and_slowly_at_low():
    s = settings(shape=(256, 256), n_frames=8, dose_per_frame=1.5, empty=True, pixel_size=1.3,
                 **(STILL | QUIET | {"ice_strength": 1.0}))  # fmt: skip
    frames = noise_free_frames(s, "water", water=True)
    first, last = fourier.rfft2(frames[0]), fourier.rfft2(frames[4])
    sums = np.stack([(first * last.conj()).real, np.abs(first) ** 2, np.abs(last) ** 2])
    k, (cross, a, b) = fourier.rotational_average(sums, (256, 256), 33)
    memory = cross / np.sqrt(a * b)
    k = k / 1.3
    # Four exposures apart: exp(-x (4 - 1)) times the averages over both, x the rate times 1.5.
    x = 2 * np.pi**2 / 3 * k[3:] ** 2 * 1.5
    expected = np.exp(-3 * x) * (1 - np.exp(-x)) ** 2 / (2 * (x - 1 + np.exp(-x)))
    np.testing.assert_allclose(memory[3:], expected, atol=0.08)
    assert memory[-1] < 0.1
    assert memory[5] > 0.8
    still = s.model_copy(update={"ice_static_fraction": 1.0})
    a, b = noise_free_frames(still, "water", water=True)[[0, 4]]
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.999


def test_scattering_factors_are_those_of_the_tables():
    # International Tables C, 4.3.1.1: carbon and oxygen at s = 0, A.
    assert scattering_factor("C", 0.0) == pytest.approx(2.509, abs=0.003)
    assert scattering_factor("O", 0.0) == pytest.approx(1.983, abs=0.003)
    # Mott and Bethe: from the X-ray factors of another table.
    import gemmi

    for element in ("C", "N", "O"):
        entry = gemmi.Element(element)
        for s in (0.1, 0.25):
            bethe = 0.0239337 * (entry.atomic_number - entry.it92.calculate_sf(s * s)) / s**2
            assert scattering_factor(element, 2 * s) == pytest.approx(bethe, rel=0.02)
    # Protein scatters more than the water it replaces, by some 40 % of itself.
    net = phase_of_particle(0.0, 300.0) / (0.019687 * 1.58708)
    assert 0.3 < net / (2.509 + 7.8 / 7.45 * 0.529) < 0.6


def test_tilt_changes_the_defocus_across_its_axis():
    s = settings(shape=(400, 300), n_particles=20, min_spacing=40.0, tilt=20.0, tilt_axis=0.0,
                 thickness=130.0, pixel_size=2.0, **QUIET)  # fmt: skip
    truth = simulate_micrograph(s, "tilted").truth
    expected = s.defocus + np.tan(np.deg2rad(20)) * 2.0 * (truth.y - 199.5)
    np.testing.assert_allclose(truth.defocus, expected, atol=6)
    turned = s.model_copy(update={"tilt_axis": 90.0})
    truth = simulate_micrograph(turned, "tilted").truth
    expected = s.defocus - np.tan(np.deg2rad(20)) * 2.0 * (truth.x - 149.5)
    np.testing.assert_allclose(truth.defocus, expected, atol=6)


def test_tilted_ice_has_thon_rings_of_the_local_defocus():
    s = settings(shape=(1024, 256), tilt=45.0, pixel_size=2.0, defocus=15000.0, astigmatism=0.0,
                 thickness=20.0, dose_per_frame=1e-6, n_frames=1, empty=True,
                 **(QUIET | STILL | {"debris": 0.02}))  # fmt: skip
    image = noise_free_frames(s, "tilted")[0]
    centre = CtfParameters(15000.0, 15000.0, amplitude_contrast=0.1)
    agree = []
    for y0 in (0, 768):
        k, ring = power(image[y0 : y0 + 256], 2.0, 129, window=True)
        band = (k > 0.03) & (k < 0.16)
        ring = ring[band] / np.exp(np.polyval(np.polyfit(k[band], np.log(ring[band]), 3), k[band]))
        height = 2.0 * (y0 + 127.5 - 511.5)
        agree.append([
            np.corrcoef(ring, ctf_1d(centre.shifted(h), k[band]) ** 2)[0, 1]
            for h in (height, -height)
        ])  # fmt: skip
    for right, wrong in agree:
        assert right > 0.6
        assert right > wrong + 0.3


# placing, contamination


def test_particles_keep_their_distance():
    points = np.random.default_rng(2).uniform(0, 100, (4000, 2))
    taken = np.zeros(4000, bool)
    count = pack_discs(points, 7.0, 10_000, taken)
    accepted = points[taken]
    gaps = np.hypot(*(accepted[:, None] - accepted).T) + 1e9 * np.eye(count)
    assert gaps.min() >= 7.0
    # Random sequential packing ends near 0.547 of the area; this is not far from it.
    assert count * np.pi * 3.5**2 / 100**2 > 0.45


def test_number_of_particles_and_empty_fields():
    assert len(simulate_micrograph(settings(n_particles=2, pixel_size=2.0), "a").truth.y) == 2
    truth = simulate_micrograph(settings(empty=True, pixel_size=2.0, debris=0.0), "a").truth
    assert len(truth.y) == 0
    assert np.all(truth.clean == 0)


def test_contamination_is_known_and_holds_no_particles():
    s = settings(shape=(512, 512), pixel_size=3.0, crystals=2, carbon_edge=True, aggregates=1)
    truth = simulate_micrograph(s, "dirty").truth
    assert 0.1 < truth.junk.mean() < 0.9
    assert not truth.junk[np.rint(truth.y).astype(int), np.rint(truth.x).astype(int)].any()


def test_a_ruined_movie_moves_too_far_to_be_of_use():
    field = make_field(settings(n_frames=10, drift_ruined=True), "ruined")
    steps = np.diff(field.global_shifts, axis=0)
    assert np.hypot(*field.global_shifts[-1]) > 80
    assert np.hypot(steps[:, 0], steps[:, 1]).mean() > 8


# models


def test_a_model_file_is_read(tmp_path):
    import gzip

    line = (
        "ATOM  {i:5d}  {name:<3s} ALA A{i:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {e}"
    )
    rng = np.random.default_rng(0)
    places = rng.uniform(-20, 20, (50, 3))
    text = "\n".join(
        line.format(i=i + 1, name="CA" if i % 2 else "N", x=x, y=y, z=z, e="C" if i % 2 else "N")
        for i, (x, y, z) in enumerate(places)
    )
    path = tmp_path / "model.pdb.gz"
    path.write_bytes(gzip.compress((text + "\nEND\n").encode()))
    particle = load_particle(str(path))
    assert len(particle.atoms) == 50
    weights = np.where(np.arange(50) % 2, 1.0, 2.2110 / 2.5088)
    np.testing.assert_allclose(particle.weights, weights, rtol=2e-3)
    centre = np.average(np.round(places, 3), axis=0, weights=weights)
    np.testing.assert_allclose(particle.atoms, np.round(places, 3) - centre, atol=1e-3)
    only = tmp_path / "trace.pdb"
    only.write_text("\n".join(r for r in text.splitlines() if " CA " in r) + "\nEND\n")
    trace = load_particle(str(only))
    assert len(trace.atoms) == 25 * 8
    assert trace.weights.sum() == pytest.approx(25 * 7.45)


@pytest.mark.parametrize(("name", "text"), [("none.pdb", None), ("empty.pdb", "END\n")])
def test_models_that_cannot_be_used(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        load_particle(str(tmp_path / name))


def test_the_built_in_cage_has_octahedral_symmetry():
    particle = load_particle("cage")
    assert particle.diameter == 120.0
    assert len(particle.atoms) == 24 * 170 * 8
    inner = np.linalg.norm(particle.atoms, axis=1)
    assert np.percentile(inner, 1) > 30
    assert np.percentile(inner, 99) < 66


# repeatability, settings, truth


def digest(movie) -> str:
    parts = [movie.frames, movie.gain, movie.truth.clean, movie.truth.yx]
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


def test_bytes_do_not_depend_on_the_number_of_threads(small_movie):
    s = small_movie.truth.settings
    try:
        fourier.set_threads(1)
        assert digest(simulate_movie(s, "small")) == digest(small_movie)
    finally:
        fourier.set_threads(0)
    other = simulate_movie(s.model_copy(update={"seed": 1}), "small")
    assert digest(other) != digest(small_movie)
    assert digest(simulate_movie(s, "another")) != digest(small_movie)


def test_movies_of_a_session_share_the_camera(small_movie):
    another = simulate_movie(small_movie.truth.settings, "another")
    assert np.array_equal(another.gain, small_movie.gain)
    assert not np.array_equal(another.truth.yx, small_movie.truth.yx)


def test_truth_survives_a_file(tmp_path, small_movie):
    small_movie.truth.save(tmp_path / "t.npz")
    again = MovieTruth.load(tmp_path / "t.npz")
    truth = small_movie.truth
    assert again.settings == truth.settings
    assert again.ctf == truth.ctf
    assert (again.name, again.diameter) == (truth.name, truth.diameter)
    for name in ("y", "x", "defocus", "angles", "clean", "gain", "defects", "junk"):
        np.testing.assert_array_equal(getattr(again, name), getattr(truth, name))
    y, x = np.mgrid[0:256:50, 0:320:50]
    np.testing.assert_array_equal(
        again.field.displacement(3, y, x), truth.field.displacement(3, y, x)
    )
    first = (tmp_path / "t.npz").read_bytes()
    again.save(tmp_path / "t.npz")
    assert (tmp_path / "t.npz").read_bytes() == first
    rotations = truth.rotation_matrices()
    np.testing.assert_allclose(
        rotations @ np.swapaxes(rotations, 1, 2), np.tile(np.eye(3), (len(rotations), 1, 1)),
        atol=1e-12,
    )  # fmt: skip


def test_what_is_not_a_truth_file_is_refused(tmp_path):
    (tmp_path / "t.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "u.npz", x=np.zeros(3))
    for name in ("t.npz", "u.npz", "missing.npz"):
        with pytest.raises(InputError, match=name):
            MovieTruth.load(tmp_path / name)


@pytest.mark.parametrize(
    "wrong", [{"n_frames": 0}, {"pixel_size": -1}, {"dose_per_frame": 0}, {"nothing": 3}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        SimulationSettings.make(**wrong)


def test_every_setting_is_described():
    fields = SimulationSettings.model_fields
    assert all(f.description for f in fields.values())


def test_every_setting_is_in_the_documentation():
    text = (Path(__file__).resolve().parents[1] / "docs" / "simulator.md").read_text()
    for name, field in SimulationSettings.model_fields.items():
        assert f"| `{name}` |" in text
        assert field.description in text
