"""One smooth motion field fitted to all patches and frames together.

Fisher scoring on the summed correlation of every patch and frame with the sum of the other
frames. The correlation is scaled to a log-likelihood by the noise found in its own gradient, so
that the priors, in angstrom, weigh as they should: where there is signal the data decide, and a
patch without signal costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.fourier import is_tensor, to_numpy
from icefloe.kernels.correlate import correlation_gradients, correlation_gradients_torch
from icefloe.motion.basis import space_basis, time_basis, track_prior
from icefloe.motion.field import N_TERMS, MotionField
from icefloe.motion.patches import PatchSpectra
from icefloe.motion.whole_frame import alignment_filter

__all__ = ["FieldFit", "fit_field"]

_SCHEDULE = (4.0, 4.0, 2.0, 2.0)
_MAX_ROUNDS = 16


@dataclass(frozen=True)
class FieldFit:
    """A fitted field and how well it is supported.

    Attributes
    ----------
    field
        The motion, unbinned pixels.
    mean_correlation
        Mean normalised correlation of a frame's patches with the sum of the others.
    significance
        Summed correlation over its standard deviation from noise alone.
    converged
        Whether the last round moved nothing by more than a hundredth of a binned pixel.
    """

    field: MotionField
    mean_correlation: float
    significance: float
    converged: bool


def fit_field(
    patches: PatchSpectra,
    *,
    shape: tuple[int, int],
    factor: int,
    shifts: FloatArray,
    grid: tuple[int, int],
    pixel_size: float,
    doses: FloatArray,
    bfactor: float,
    acceleration: float,
    local_motion: float,
    local_knots: int,
) -> FieldFit:
    """Fit the motion field.

    Parameters
    ----------
    patches
        Spectra of patches of binned frames.
    shape, factor
        Size of the unbinned frames, and unbinned pixels in a binned one.
    shifts
        (F, 2), whole-frame displacement to start from, unbinned pixels.
    grid
        Patches in y and x. Terms that so few patches cannot tell apart are left out; with (1, 1)
        only whole-frame motion is fitted.
    pixel_size
        Of the unbinned frames, A.
    doses
        (F,), dose of each frame, e/A^2.
    bfactor, acceleration, local_motion, local_knots
        As in `MotionSettings`.
    """
    n = len(shifts)
    centres = patches.centres * factor + 0.5 * (factor - 1)
    basis, to_terms, degrees = space_basis(shape, centres, grid)
    times, bends = time_basis(doses, local_knots if len(degrees) else 0)
    n_local = basis.shape[1] * times.shape[1]
    prior = track_prior(
        doses,
        bends,
        degrees,
        pixel_size=pixel_size,
        acceleration=acceleration,
        local_motion=local_motion,
    )
    theta = np.zeros((2, n + n_local))
    theta[:, :n] = shifts.T
    rounds = 0
    converged = False
    pixel = pixel_size * factor
    while True:
        sharp = _SCHEDULE[rounds] if rounds < len(_SCHEDULE) else 1.0
        weight = alignment_filter(patches.shape, pixel, bfactor * sharp)
        whole = theta[:, None, :n] + _local(basis, times, theta[:, n:])
        displacement = np.moveaxis(whole, 0, -1) / factor - patches.offsets
        gradient, moments = _gradients(patches, weight, displacement)
        if rounds >= len(_SCHEDULE) and (converged or rounds >= _MAX_ROUNDS):
            break
        step = np.stack(
            [
                _step(gradient[..., a], moments, a, basis, times, prior, theta[a], factor)
                for a in (0, 1)
            ]
        )
        # Beyond the width of the correlation's peak the parabola is no guide.
        reach = np.sqrt(bfactor * sharp + 50.0) / pixel_size
        size = np.abs(step[:, :n] - step[:, :n].mean(axis=1, keepdims=True)).max()
        step *= min(1.0, 0.5 * reach / max(size, 1e-12))
        theta += step
        theta[:, :n] -= theta[:, :1]
        converged = rounds >= len(_SCHEDULE) and bool(np.abs(step).max() < 0.01 * factor)
        rounds += 1
    field = _field(shape, theta, times, to_terms)
    norm = np.sqrt(moments[..., 5] * moments[..., 6])
    correlation = float(np.mean(moments[..., 4] / np.maximum(norm, 1e-30)))
    significance = float(moments[..., 4].sum() / np.sqrt(max(moments[..., 7].sum(), 1e-30)))
    return FieldFit(field, correlation, significance, converged)


def _local(basis: FloatArray, times: FloatArray, theta: FloatArray) -> FloatArray:
    # (2, P, F) local displacement from the coefficients (2, S J).
    coefficients = theta.reshape(2, basis.shape[1], times.shape[1])
    return np.asarray(np.einsum("asj,ps,fj->apf", coefficients, basis, times))


def _gradients(
    patches: PatchSpectra, weight: FloatArray, displacement: FloatArray
) -> tuple[FloatArray, FloatArray]:
    if is_tensor(patches.spectra):
        import torch

        device = patches.spectra.device
        arguments = [
            torch.from_numpy(np.ascontiguousarray(a)).to(device)
            for a in (patches.ky, patches.kx, weight, displacement)
        ]
        found = correlation_gradients_torch(patches.spectra, *arguments)
        return np.asarray(to_numpy(found[0])), np.asarray(to_numpy(found[1]))
    result: tuple[FloatArray, FloatArray] = correlation_gradients(
        patches.spectra, patches.ky, patches.kx, weight, displacement
    )
    return result


def _step(
    gradient: FloatArray,
    moments: FloatArray,
    axis: int,
    basis: FloatArray,
    times: FloatArray,
    prior: FloatArray,
    theta: FloatArray,
    factor: int,
) -> FloatArray:
    n = len(times)
    # Scale of a log-likelihood: there the variance of the gradient equals the curvature.
    curvature, variance = moments[..., axis], moments[..., 2 + axis]
    scale = float(curvature.sum()) / max(float(variance.sum()), 1e-300)
    if scale <= 0:  # at no maximum: nothing is known, and the prior alone must not decide
        return np.zeros_like(theta)
    slope = scale * gradient / factor
    # Frames of a patch share their curvature; each by itself is mostly noise. A patch on an edge
    # of noise gets a tenth of the mean at least, so that the steps stay bounded.
    patch = curvature.mean(axis=1)
    patch = np.maximum(patch, 0.1 * float(patch.mean()))
    # The reference moves with its frames, which bends the correlation by n / (n - 1) more.
    information = scale * patch / factor**2 * (n / (n - 1))
    matrix = prior.copy()
    right = -np.sum(prior * theta, axis=1)
    right[:n] += slope.sum(axis=0)
    matrix[np.arange(n), np.arange(n)] += information.sum()
    if times.shape[1]:
        right[n:] += np.einsum("pf,ps,fj->sj", slope, basis, times).ravel()
        first = np.einsum("p,ps->s", information, basis)
        mixed = np.einsum("s,fj->fsj", first, times).reshape(n, -1)
        matrix[:n, n:] += mixed
        matrix[n:, :n] += mixed.T
        second = np.einsum("p,ps,pr->sr", information, basis, basis)
        matrix[n:, n:] += np.kron(second, np.einsum("fj,fk->jk", times, times))
    return np.asarray(np.linalg.solve(matrix, right))


def _field(
    shape: tuple[int, int], theta: FloatArray, times: FloatArray, to_terms: FloatArray
) -> MotionField:
    n = len(times)
    local = np.zeros((n, 2, N_TERMS))
    if times.shape[1]:
        curves = np.einsum("asj,fj->fas", theta[:, n:].reshape(2, len(to_terms), -1), times)
        local = curves @ to_terms
    return MotionField(shape, theta[:, :n].T.copy(), local).relative_to_first()
