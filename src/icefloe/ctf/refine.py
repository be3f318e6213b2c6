"""The refinement: least squares of the log power over all pixels.

``log P = b(k, azimuth) + E(k) m(k, azimuth; U, V, angle, phase)`` with ``m = 2 CTF^2 - 1``. The
defocus varies as ``D + a cos 2t + b sin 2t``, in which the problem is smooth also at zero
astigmatism. Gauss-Newton steps alternate with new estimates of the envelope E (ring by ring,
smoothed over a Thon ring), of the weights, and of the background b (a spline in k with a
two-fold anisotropy), which is also projected out of the derivatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.samples import Optics, Samples
from icefloe.ctf.search import Candidate
from icefloe.ctf.settings import CtfSettings
from icefloe.ctf.sums import DATA, ONE, SLOPES, WAVE, RingSums, column, weighted_fit
from icefloe.optics import CtfParameters, wavelength

__all__ = ["Fit", "refine"]

_ROUNDS = 5
_STEPS = 4
# A and degrees: the longest step of one iteration, short against a Thon ring.
_MAX_STEP = 300.0
_MAX_PHASE_STEP = 15.0


@dataclass(frozen=True)
class Fit:
    """A refined CTF and what the data say about it.

    Attributes
    ----------
    parameters
        The optics found.
    covariance
        (4, 4), from the curvature of the sum of squares: of the mean defocus, of a and b (A; the
        astigmatism is ``2 |(a, b)|``), and of the phase shift (radians); 0 for what was not free.
    snr
        Signal to noise of all Thon rings together: the square root of the fall of chi^2.
    band_snr
        (3,), the same for thirds of the rings, counted by their phase from low to high frequency;
        negative where the model makes chi^2 rise.
    direction
        Modulus of the mean of ``exp(2 i azimuth)`` weighted by the fall of chi^2: near 0 for
        rings all round, 1 for rings in one direction only.
    phase_offset, phase_offset_error
        Phase shift, degrees, by which the rings would fit better, to first order; 0 if it is free.
    envelope
        (r,), modulation E of the log power by Thon rings.
    background
        (r,), rotationally symmetric part of the background.
    cost
        Robust sum of squares left, per pixel in units of the noise.
    """

    parameters: CtfParameters
    covariance: FloatArray
    snr: float
    band_snr: tuple[float, float, float]
    direction: float
    phase_offset: float
    phase_offset_error: float
    envelope: FloatArray
    background: FloatArray
    cost: float


def refine(
    samples: Samples,
    optics: Optics,
    start: Candidate,
    settings: CtfSettings,
    rounds: int = _ROUNDS,
) -> Fit:
    """Return the least-squares CTF nearest to `start`; 3 rounds do where the start is a fit."""
    half = 0.5 * start.astigmatism
    p = np.array(
        [
            start.defocus,
            half * math.cos(2 * start.angle),
            half * math.sin(2 * start.angle),
            math.radians(start.phase_shift),
        ]
    )
    n_free = 4 if settings.phase_shift else 3
    state = _State(samples, optics, settings, p)
    for _ in range(rounds):
        state.update()
        for _ in range(_STEPS):
            step = state.step(p, n_free)
            p = p + step
            state.move(p)
            if abs(step[0]) < 0.1 and abs(step[3]) < 1e-4:
                break
    state.update()
    return state.result(p, n_free)


class _State:
    """Envelope, background and weights around the current parameters."""

    def __init__(
        self, samples: Samples, optics: Optics, settings: CtfSettings, p: FloatArray
    ) -> None:
        defocus = float(p[0])
        self.samples, self.optics, self.settings = samples, optics, settings
        self.lam = wavelength(optics.voltage)
        self.count = np.maximum(samples.ring_sum(np.ones_like(samples.k2)), 1e-9)
        self.slope = 2 * math.pi * self.lam * samples.k2
        n_rings = self.lam * abs(defocus) * (samples.ring_k[-1] ** 2 - samples.ring_k[0] ** 2)
        self.basis = _spline_basis(samples.ring_k, int(np.clip(n_rings / 2, 2, 8)))
        self.two_fold = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(samples.ring_k)), 3)
        self.damping = samples.damping(defocus, self.lam)
        self.smoother = _ring_smoother(samples, defocus, self.lam)
        self.weight = np.ones_like(samples.ring_k)
        self.sigma2 = 1.0
        self.envelope = np.exp(-0.5 * 100.0 * samples.ring_k**2)
        self.symmetric = np.zeros_like(samples.ring_k)
        self.first = True
        self.sums = RingSums(samples)
        self.move(p)

    def move(self, p: FloatArray) -> None:
        """Go to other parameters."""
        m, dm = self.wave(p)
        self.sums.put_wave(m, 2 * dm, dm * self.slope)

    def wave(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return m and its derivative by the phase 2 chi, (m,)."""
        s = self.samples
        defocus = p[0] + p[1] * s.cos2 + p[2] * s.sin2
        phase = self.optics.double_phase(s.k2, defocus) + 2 * p[3]
        fade = self.damping[s.ring]
        return -np.cos(phase) * fade, np.sin(phase) * fade

    def background(self, moments: FloatArray) -> FloatArray:
        """Return the background (..., r, 3) of values with these sums (..., r, 3) over rings.

        A factor for each of 1, cos 2t and sin 2t; the isotropic part is fitted first.
        """
        w = self.weight * self.count
        out = np.empty_like(moments)
        out[..., 0] = weighted_fit(self.basis, w, moments[..., 0] / self.count)
        for i in (1, 2):
            rest = moments[..., i] - out[..., 0] * self.sums.products[:, ONE, i]
            out[..., i] = weighted_fit(self.two_fold, w, 2 * rest / self.count)
        return out

    def project(self, values: FloatArray) -> FloatArray:
        """Return values (..., r, 9) without what the background could describe."""
        out = values.copy()
        out[..., :3] -= self.background(self.sums.moments(values))
        return out

    def pixels(self, values: FloatArray) -> FloatArray:
        """Return the pixels (m,) of values (r, 9)."""
        return np.asarray(np.einsum("mi,mi->m", self.sums.columns, values[self.samples.ring]))

    def update(self) -> None:
        """Estimate background, envelope and weights at the parameters."""
        sums, ones = self.sums, np.ones_like(self.envelope)
        data, wave = column(DATA, ones), column(WAVE, ones)
        for _ in range(2 if self.first else 1):
            if self.first:  # the scale of the first envelope is not known yet
                y, f = self.project(data), self.project(self.envelope[:, None] * wave)
                top, bottom = float(np.sum(sums.inner(y, f))), float(np.sum(sums.inner(f, f)))
                self.envelope = self.envelope * max(top / max(bottom, 1e-12), 1e-3)
                self.first = False
            background = self.background(sums.moments(data - self.envelope[:, None] * wave))
            self.symmetric = background[:, 0]
            y = data.copy()
            y[:, :3] -= background
            strength = self.smoother @ sums.inner(y, wave)
            norm = self.smoother @ sums.inner(wave, wave)
            self.envelope = np.maximum(strength / np.maximum(norm, 1e-9), 0.0)
        residual = y - self.envelope[:, None] * wave
        pixels = len(self.samples.k2)
        self.sigma2 = max(float(np.sum(sums.inner(residual, residual))) / pixels, 1e-12)
        # A ring whose mean misfits, for instance at a peak of the particle's form factor, has an
        # error that its many pixels share; it counts for less.
        misfit = np.square(sums.moments(residual)[:, 0] / self.count) - self.sigma2 / self.count
        shared = np.convolve(np.pad(np.maximum(misfit, 0), 2, mode="edge"), np.ones(5) / 5, "valid")
        self.weight = 1 / (self.sigma2 + self.count * shared)

    def normal(self, p: FloatArray, n_free: int) -> tuple[FloatArray, FloatArray]:
        """Return the normal matrix and the gradient of half the chi^2, prior included."""
        ones = np.ones_like(self.envelope)
        columns = [column(i, self.envelope) for i in SLOPES[:n_free]]
        rest = column(DATA, ones) - column(WAVE, self.envelope)
        projected = self.project(np.stack([*columns, rest]))
        # Not as products of matrices, whose last digits depend on the number of threads.
        products = np.einsum(
            "irk,rkl,r->irl", projected[:-1], self.sums.products, self.weight, optimize=False
        )
        both = np.einsum("irl,jrl->ij", products, projected, optimize=False)
        matrix, gradient = both[:, :-1].copy(), both[:, -1].copy()
        if self.settings.astigmatism_prior > 0:
            # (U - V) / sd is 2 |(a, b)| / sd.
            stiff = (2 / self.settings.astigmatism_prior) ** 2
            matrix[1, 1] += stiff
            matrix[2, 2] += stiff
            gradient[1:3] -= stiff * p[1:3]
        return matrix, gradient

    def step(self, p: FloatArray, n_free: int) -> FloatArray:
        """Return a damped Gauss-Newton step, zero for what is not free."""
        matrix, gradient = self.normal(p, n_free)
        matrix = matrix + np.diag(1e-3 * np.diag(matrix) + 1e-20)
        move = np.zeros(4)
        move[:n_free] = np.linalg.solve(matrix, gradient)
        longest = max(
            np.max(np.abs(move[:3])) / _MAX_STEP, abs(math.degrees(move[3])) / _MAX_PHASE_STEP
        )
        return np.asarray(move / max(1.0, longest))

    def result(self, p: FloatArray, n_free: int) -> Fit:
        s = self.samples
        fitted = self.pixels(self.project(column(WAVE, self.envelope)))
        y = self.pixels(self.project(column(DATA, np.ones_like(self.envelope))))
        fall = self.weight[s.ring] * (2 * y * fitted - fitted * fitted)
        gain = float(np.sum(fall))
        rest = y - fitted
        matrix, gradient = self.normal(p, 4)
        covariance = np.zeros((4, 4))
        covariance[:n_free, :n_free] = _inverse(matrix[:n_free, :n_free])
        offset, offset_error = 0.0, 0.0
        if n_free == 3:
            whole = _inverse(matrix)
            offset_error = math.degrees(math.sqrt(whole[3, 3]))
            if math.isfinite(offset_error):
                offset = math.degrees(float(np.einsum("i,i", whole[3], gradient)))
        astigmatism = 2 * math.hypot(p[1], p[2])
        angle = 0.5 * math.degrees(math.atan2(p[2], p[1]))
        phase = math.degrees(p[3]) if self.settings.phase_shift else 0.0
        parameters = self.optics.parameters(
            float(p[0] + 0.5 * astigmatism), float(p[0] - 0.5 * astigmatism), angle, phase
        )
        variance = float(np.median(np.abs(rest))) / 0.6745
        towards = math.hypot(float(np.sum(fall * s.cos2)), float(np.sum(fall * s.sin2)))
        return Fit(
            parameters,
            covariance,
            math.sqrt(max(gain, 0.0)),
            self.bands(s.ring_sum(fall), float(p[0])),
            min(towards / max(gain, 1e-12), 1.0),
            offset,
            offset_error,
            self.envelope,
            self.symmetric,
            float(np.mean(rest**2)) / max(variance**2, 1e-12),
        )

    def bands(self, fall: FloatArray, defocus: float) -> tuple[float, float, float]:
        """Return the signal to noise of thirds of the phase, for the fall of chi^2 by rings."""
        k2 = np.square(self.samples.ring_k)
        turns = k2 * abs(defocus - 0.5 * self.lam**2 * self.optics.cs * 1e7 * k2)
        share = np.cumsum(np.abs(np.gradient(turns)))
        third = np.minimum((3 * share / share[-1]).astype(np.intp), 2)
        sums = np.bincount(third, fall, minlength=3)
        low, middle, high = np.sign(sums) * np.sqrt(np.abs(sums))
        return float(low), float(middle), float(high)


def _inverse(matrix: FloatArray) -> FloatArray:
    """Return the inverse of a normal matrix; infinite variances where it has none."""
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        inverse = np.diag(np.full(len(matrix), math.inf))
    if not np.all(np.diag(inverse) >= 0):
        inverse = np.diag(np.full(len(matrix), math.inf))
    return np.asarray(inverse)


def _spline_basis(k: FloatArray, intervals: int) -> FloatArray:
    """Return cubic B-splines (r, intervals + 3) over the fitted range.

    Their knots lie two or more Thon rings apart, so that they cannot imitate one.
    """
    from scipy.interpolate import BSpline  # slow to import

    inner = np.linspace(k[0], k[-1] * (1 + 1e-9), intervals + 1)
    knots = np.r_[[inner[0]] * 3, inner, [inner[-1]] * 3]
    return np.asarray(BSpline.design_matrix(k, knots, 3).toarray())


def _ring_smoother(samples: Samples, defocus: float, lam: float) -> FloatArray:
    """Return a matrix (r, r) that averages over about one local period of the Thon rings."""
    k, step = samples.ring_k, samples.step
    period = 1 / np.maximum(2 * lam * abs(defocus) * k * step, 1e-3)
    width = np.clip(period, 4.0, 25.0)[:, None]
    index = np.arange(len(k))
    return np.asarray(np.exp(-0.5 * ((index[None, :] - index[:, None]) / width) ** 2))
