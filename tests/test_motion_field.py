"""The cubic motion field: its terms, its resampling, and the fit of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from icefloe.kernels.warp import bad_pixel_rows, warp_accumulate
from icefloe.motion import MotionField, fit_polynomial
from icefloe.motion.basis import space_basis, time_basis, track_prior
from icefloe.motion.field import N_TERMS, spatial_terms

SHAPE = (150, 203)


@pytest.fixture(scope="module")
def resampled():
    """A frame, a cubic field, and the frame read along it by SciPy's quintic spline."""
    rng = np.random.default_rng(0)
    frame = rng.poisson(3.0, (1, *SHAPE)).astype(np.uint8)
    field = rng.normal(0, 0.4, (1, 2, N_TERMS))
    field[:, :, 0] = 2.3, -3.6
    # Its extrema lie within rows, so that the rows a band needs are decided by them.
    field[:, 0, 6], field[:, 0, 1] = 5.0, -0.6
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    dy, dx = np.moveaxis(np.einsum("at,yxt->yxa", field[0], spatial_terms(SHAPE, y, x)), -1, 0)
    places = [y + dy, x + dx]
    moved = map_coordinates(
        frame[0].astype(float), places, order=5, prefilter=False, mode="nearest"
    )
    return frame, field, moved


def test_frames_are_resampled_along_a_cubic_field(resampled):
    frame, field, expected = resampled
    sums = np.zeros((1, *SHAPE), np.float32)
    gain = np.ones(SHAPE, np.float32)
    starts, columns = bad_pixel_rows(gain == 0)
    one = np.ones((1, 1), np.float32)
    warp_accumulate(frame, np.arange(1), gain, starts, columns, one[0], 1, field, one, sums, 0)
    assert np.abs(sums[0] - expected).max() < 0.06 * expected.std()


def test_accelerator_resamples_alike(resampled):
    torch = pytest.importorskip("torch")
    from icefloe.kernels.warp_torch import TorchAccumulator

    frame, field, expected = resampled
    sums = torch.zeros((1, *SHAPE))
    gain = torch.ones(SHAPE)
    one = np.ones((1, 1), np.float32)
    bad = np.zeros(SHAPE, bool)
    TorchAccumulator(torch.from_numpy(frame), gain, bad, one[0], 1, field, one, sums, 0)(
        np.arange(1)
    )
    assert np.abs(sums[0].numpy() - expected).max() < 0.06 * expected.std()


def test_terms_of_the_fit_are_orthogonal_and_what_the_grid_resolves():
    y, x = np.meshgrid(*((np.arange(60) + 0.5) / 60 * n for n in SHAPE), indexing="ij")
    places = np.stack([y.ravel(), x.ravel()], axis=-1)
    basis, to_terms, degrees = space_basis(SHAPE, places, (4, 4))
    assert np.allclose(basis.T @ basis / len(basis), np.eye(9), atol=0.01)
    assert np.allclose(basis.mean(0), 0, atol=1e-3)
    assert np.allclose(basis, spatial_terms(SHAPE, places[:, 0], places[:, 1]) @ to_terms.T)
    assert degrees.tolist() == [1, 1, 2, 2, 2, 3, 3, 3, 3]
    for grid, count in {(1, 1): 0, (2, 1): 1, (2, 2): 3, (3, 3): 7, (3, 4): 8}.items():
        assert len(space_basis(SHAPE, places, grid)[2]) == count


def test_straight_tracks_of_the_expected_length_cost_as_much_as_expected():
    # One standard deviation from first to last frame, straight on the splines' clock.
    doses = np.full(24, 1.2)
    moments = np.cumsum(doses) - 0.6
    splines, bends = time_basis(moments, 7)
    assert np.allclose(splines.sum(1), 1)
    assert np.allclose(splines[[0, -1]], np.eye(7)[[0, -1]])
    prior = track_prior(
        doses, moments, bends, np.array([1, 3]), pixel_size=2.0, acceleration=0.1, local_motion=0.8
    )
    # Positions of a clamped cubic's control points on its clock.
    straight = np.array([0, 1 / 12, 3 / 12, 6 / 12, 9 / 12, 11 / 12, 1.0])
    for block, length in ((slice(24, 31), 0.4), (slice(31, 38), 0.1)):
        track = straight * length
        assert track @ prior[block, block] @ track == pytest.approx(1, rel=1e-3)


def test_exported_polynomial_is_nearest_in_space_too():
    # v^3 alone: what a quadratic can follow of it is 3/20 v.
    z = np.arange(12.0)
    local = np.zeros((12, 2, N_TERMS))
    local[:, 0, 9] = z
    found, misfit = fit_polynomial(MotionField(SHAPE, np.zeros((12, 2)), local))
    coefficients = found.reshape(2, 6, 3)
    assert coefficients[0, 3, 0] == pytest.approx(0.15, rel=0.02)
    rest = np.sqrt(np.mean(z**2) * (1 / 448 - 9 / 4800))
    assert misfit == pytest.approx(rest, rel=0.05)
