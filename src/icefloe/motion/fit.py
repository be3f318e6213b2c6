"""One smooth motion field fitted to all patches and frames together.

Fisher scoring on the summed correlation of every patch and frame with the sum of the other
frames. The correlation is scaled to a log-likelihood by the noise found in its own gradient, so
that the priors, in angstrom, weigh as they should: where there is signal the data decide, and a
patch without signal costs nothing. The weights of frequencies (`weights`) and the strength of the
priors (`evidence`) come from the movie, where it has signal enough to tell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.fourier import is_tensor, to_numpy
from icefloe.kernels.correlate import correlation_gradients, correlation_gradients_torch
from icefloe.motion.basis import space_basis, time_basis, track_prior
from icefloe.motion.evidence import Expectation, LinearSystem, tune
from icefloe.motion.field import N_TERMS, MotionField
from icefloe.motion.patches import PatchSpectra
from icefloe.motion.quality import patch_residuals, predicted_error
from icefloe.motion.weights import likelihood_weight
from icefloe.motion.whole_frame import alignment_filter

__all__ = ["FieldFit", "fit_field"]

# Factors on the B-factor in the first rounds.
_SCHEDULE = (4.0, 2.0)
# After them, weights and priors are made from the movie in so many rounds, and then stay.
_TUNED = 2
_MAX_ROUNDS = 16
# A summed correlation of so many standard deviations tells its own weights.
_CLEAR = 12.0
# Middle of the prior on jitter, A.
_JITTER = 0.05


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
    predicted_error
        Error that the field should have, unbinned pixels RMS; see `quality.predicted_error`.
    patch_residuals
        (P,), motion left in each patch, unbinned pixels; see `quality.patch_residuals`.
    """

    field: MotionField
    mean_correlation: float
    significance: float
    converged: bool
    predicted_error: float
    patch_residuals: FloatArray


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
    clock: FloatArray | None = None,
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
    clock
        (F,), accumulated dose in the middle of each frame, e/A^2, where something is left out
        between them.
    """
    n = len(shifts)
    expected = Expectation(acceleration, _JITTER, local_motion)
    centres = patches.centres * factor + 0.5 * (factor - 1)
    basis, to_terms, degrees = space_basis(shape, centres, grid)
    moment = np.cumsum(doses) - 0.5 * doses if clock is None else clock
    times, bends = time_basis(moment, local_knots if len(degrees) else 0)
    n_local = basis.shape[1] * times.shape[1]

    def prior_of(sizes: Expectation) -> FloatArray:
        return track_prior(doses, moment, bends, degrees, pixel_size=pixel_size, **asdict(sizes))

    prior, unit = prior_of(expected), prior_of(Expectation(1.0, 0.0, 1.0))
    theta = np.zeros((2, n + n_local))
    theta[:, :n] = shifts.T
    rounds = 0
    converged = clear = False
    pixel = pixel_size * factor
    base = alignment_filter(patches.shape, pixel, 0.0)
    weight: FloatArray = base
    tuned = len(_SCHEDULE) + _TUNED
    while True:
        sharp = _SCHEDULE[rounds] if rounds < len(_SCHEDULE) else 1.0
        whole = theta[:, None, :n] + _local(basis, times, theta[:, n:])
        displacement = np.moveaxis(whole, 0, -1) / factor - patches.offsets
        if rounds < tuned:
            if clear:
                weight = np.asarray(base * likelihood_weight(patches, displacement), np.float32)
            else:
                weight = alignment_filter(patches.shape, pixel, bfactor * sharp)
        gradient, moments = _gradients(patches, weight, displacement)
        significance = _significance(moments)
        clear = rounds >= len(_SCHEDULE) - 1 and significance > _CLEAR
        systems = [
            _system(gradient[..., a], moments, a, basis, times, factor, patches.redundancy)
            for a in (0, 1)
        ]
        if n > 3 and len(_SCHEDULE) <= rounds < tuned:
            pairs = [(s, t) for s, t in zip(systems, theta, strict=True) if s is not None]
            found, places = [s for s, _ in pairs], [t for _, t in pairs]
            settled = tune(found, places, unit, expected, n_frames=n, pixel_size=pixel_size)
            prior = prior_of(settled)
        step = np.zeros_like(theta)
        for a, system in enumerate(systems):
            if system is not None:  # at no maximum the prior alone must not decide
                step[a] = np.linalg.solve(system[0] + prior, system[1] - prior @ theta[a])
        # Where the specimen stands on average is nothing that frames could tell.
        step[:, :n] -= step[:, :n].mean(axis=1, keepdims=True)
        # Beyond the width of the correlation's peak the parabola is no guide.
        reach = np.sqrt(bfactor * sharp + 50.0) / pixel_size
        step *= min(1.0, 0.5 * reach / max(np.abs(step[:, :n]).max(), 1e-12))
        theta += step
        theta[:, :n] -= theta[:, :1]
        converged = rounds >= tuned and bool(np.abs(step).max() < 0.01 * factor)
        rounds += 1
        if converged or rounds >= _MAX_ROUNDS:
            break
    field = _field(shape, theta, times, to_terms)
    norm = np.sqrt(moments[..., 5] * moments[..., 6])
    correlation = float(np.mean(moments[..., 4] / np.maximum(norm, 1e-30)))
    return FieldFit(
        field,
        correlation,
        _significance(moments),
        converged,
        predicted_error(systems, prior, times),
        patch_residuals(gradient, moments, factor, patches.redundancy),
    )


def _significance(moments: FloatArray) -> float:
    return float(moments[..., 4].sum() / np.sqrt(max(moments[..., 7].sum(), 1e-30)))


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


def _system(
    gradient: FloatArray,
    moments: FloatArray,
    axis: int,
    basis: FloatArray,
    times: FloatArray,
    factor: int,
    redundancy: float,
) -> LinearSystem | None:
    # Information and slope of the log-likelihood of one axis; None at no maximum.
    n = len(times)
    # Scale of a log-likelihood: there the variance of the gradient equals the curvature.
    curvature, variance = moments[..., axis], moments[..., 2 + axis]
    scale = float(curvature.sum()) / max(redundancy * float(variance.sum()), 1e-300)
    if scale <= 0:
        return None
    slope = scale * gradient / factor
    # Frames of a patch share their curvature; each by itself is mostly noise. A patch on an edge
    # of noise gets a tenth of the mean at least, so that the steps stay bounded.
    patch = curvature.mean(axis=1)
    patch = np.maximum(patch, 0.1 * float(patch.mean()))
    # The reference moves with its frames: only differences between frames are seen.
    frames = (np.eye(n) - 1 / n) * (n / (n - 1))
    information = scale * patch / factor**2
    size = n + basis.shape[1] * times.shape[1]
    matrix, right = np.zeros((size, size)), np.zeros(size)
    right[:n] = slope.sum(axis=0)
    matrix[:n, :n] = frames * information.sum()
    if size > n:
        right[n:] = (basis.T @ slope @ times).ravel()
        seen = frames @ times
        mixed = np.einsum("s,fj->fsj", information @ basis, seen).reshape(n, -1)
        matrix[:n, n:] = mixed
        matrix[n:, :n] = mixed.T
        second = basis.T @ (information[:, None] * basis)
        matrix[n:, n:] = np.kron(second, times.T @ seen)
    return matrix, right


def _field(
    shape: tuple[int, int], theta: FloatArray, times: FloatArray, to_terms: FloatArray
) -> MotionField:
    n = len(times)
    local = np.zeros((n, 2, N_TERMS))
    if times.shape[1]:
        curves = np.einsum("asj,fj->fas", theta[:, n:].reshape(2, len(to_terms), -1), times)
        local = curves @ to_terms
    return MotionField(shape, theta[:, :n].T.copy(), local).relative_to_first()
