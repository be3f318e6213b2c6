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
    defocus_error
        Standard error of the mean defocus, A, from the curvature of the sum of squares.
    snr
        Signal to noise of all Thon rings together: the square root of the fall of chi^2.
    envelope
        (r,), modulation E of the log power by Thon rings.
    background
        (r,), rotationally symmetric part of the background.
    cost
        Robust sum of squares left, per pixel in units of the noise.
    """

    parameters: CtfParameters
    defocus_error: float
    snr: float
    envelope: FloatArray
    background: FloatArray
    cost: float


def refine(samples: Samples, optics: Optics, start: Candidate, settings: CtfSettings) -> Fit:
    """Return the least-squares CTF nearest to `start`."""
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
    state = _State(samples, optics, settings, p[0])
    for _ in range(_ROUNDS):
        state.update(p)
        for _ in range(_STEPS):
            step = state.step(p, n_free)
            p = p + step
            if abs(step[0]) < 0.1 and abs(step[3]) < 1e-4:
                break
    state.update(p)
    return state.result(p, n_free)


class _State:
    """Envelope, background and weights around the current parameters."""

    def __init__(
        self, samples: Samples, optics: Optics, settings: CtfSettings, defocus: float
    ) -> None:
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
        self.background = np.zeros_like(samples.k2)
        self.symmetric = np.zeros_like(samples.ring_k)
        self.first = True

    def wave(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return m and its derivative by the phase 2 chi, (m,)."""
        s = self.samples
        defocus = p[0] + p[1] * s.cos2 + p[2] * s.sin2
        phase = self.optics.double_phase(s.k2, defocus) + 2 * p[3]
        fade = self.damping[s.ring]
        return -np.cos(phase) * fade, np.sin(phase) * fade

    def project(self, values: FloatArray) -> FloatArray:
        """Return values (m,) without what the background could describe."""
        return values - self._smooth(values)[0]

    def _smooth(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the background of values (m,) and its symmetric part (r,)."""
        s = self.samples
        w = self.weight * self.count
        symmetric = _fit(self.basis, w, s.ring_sum(values) / self.count)
        rest = values - symmetric[s.ring]
        out = symmetric[s.ring]
        for wave in (s.cos2, s.sin2):
            part = _fit(self.two_fold, w, 2 * s.ring_sum(rest * wave) / self.count)
            out = out + part[s.ring] * wave
        return out, symmetric

    def update(self, p: FloatArray) -> None:
        """Estimate background, envelope and weights at the parameters."""
        s = self.samples
        m, _ = self.wave(p)
        for _ in range(2 if self.first else 1):
            fitted = self.envelope[s.ring] * m
            if self.first:  # the scale of the first envelope is not known yet
                y, f = self.project(s.log_power), self.project(fitted)
                self.envelope = self.envelope * max(
                    float(np.sum(y * f)) / max(float(np.sum(f * f)), 1e-12), 1e-3
                )
                fitted = self.envelope[s.ring] * m
                self.first = False
            self.background, self.symmetric = self._smooth(s.log_power - fitted)
            y = s.log_power - self.background
            top = self.smoother @ s.ring_sum(y * m)
            bottom = self.smoother @ s.ring_sum(m * m)
            self.envelope = np.maximum(top / np.maximum(bottom, 1e-9), 0.0)
        residual = y - self.envelope[s.ring] * m
        self.sigma2 = max(float(np.mean(residual**2)), 1e-12)
        # A ring whose mean misfits, for instance at a peak of the particle's form factor, has an
        # error that its many pixels share; it counts for less.
        misfit = np.square(s.ring_sum(residual) / self.count) - self.sigma2 / self.count
        shared = np.convolve(np.pad(np.maximum(misfit, 0), 2, mode="edge"), np.ones(5) / 5, "valid")
        self.weight = 1 / (self.sigma2 + self.count * shared)

    def normal(self, p: FloatArray, n_free: int) -> tuple[FloatArray, FloatArray]:
        """Return the normal matrix and the gradient of half the chi^2, prior included."""
        s = self.samples
        m, dm = self.wave(p)
        e = self.envelope[s.ring]
        residual = self.project(s.log_power - e * m)
        base = e * dm
        columns = [base * self.slope]
        columns += [columns[0] * s.cos2, columns[0] * s.sin2]
        if n_free == 4:
            columns.append(2 * base)
        jacobian = np.stack([self.project(c) for c in columns])
        weighted = jacobian * self.weight[s.ring]
        # Not as products of matrices, whose last digits depend on the number of threads.
        matrix = np.einsum("im,jm->ij", weighted, jacobian, optimize=False)
        gradient = np.einsum("im,m->i", weighted, residual, optimize=False)
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
        m, _ = self.wave(p)
        fitted = self.project(self.envelope[s.ring] * m)
        y = self.project(s.log_power)
        w = self.weight[s.ring]
        gain = float(np.sum(w * (2 * y * fitted - fitted * fitted)))
        rest = y - fitted
        matrix, _ = self.normal(p, n_free)
        try:
            error = math.sqrt(max(float(np.linalg.inv(matrix)[0, 0]), 0.0))
        except np.linalg.LinAlgError:
            error = math.inf
        astigmatism = 2 * math.hypot(p[1], p[2])
        angle = 0.5 * math.degrees(math.atan2(p[2], p[1]))
        phase = math.degrees(p[3]) if self.settings.phase_shift else 0.0
        parameters = self.optics.parameters(
            float(p[0] + 0.5 * astigmatism), float(p[0] - 0.5 * astigmatism), angle, phase
        )
        variance = float(np.median(np.abs(rest))) / 0.6745
        return Fit(
            parameters,
            error,
            math.sqrt(max(gain, 0.0)),
            self.envelope,
            self.symmetric,
            float(np.mean(rest**2)) / max(variance**2, 1e-12),
        )


def _spline_basis(k: FloatArray, intervals: int) -> FloatArray:
    """Return cubic B-splines (r, intervals + 3) over the fitted range.

    Their knots lie two or more Thon rings apart, so that they cannot imitate one.
    """
    from scipy.interpolate import BSpline  # slow to import

    inner = np.linspace(k[0], k[-1] * (1 + 1e-9), intervals + 1)
    knots = np.r_[[inner[0]] * 3, inner, [inner[-1]] * 3]
    return np.asarray(BSpline.design_matrix(k, knots, 3).toarray())


def _fit(basis: FloatArray, weight: FloatArray, values: FloatArray) -> FloatArray:
    """Return the weighted least-squares fit of `values` (r,) by the columns of `basis`."""
    weighted = basis * weight[:, None]
    matrix = weighted.T @ basis
    matrix += np.eye(len(matrix)) * (1e-10 * np.trace(matrix) / len(matrix))
    return np.asarray(basis @ np.linalg.solve(matrix, weighted.T @ values))


def _ring_smoother(samples: Samples, defocus: float, lam: float) -> FloatArray:
    """Return a matrix (r, r) that averages over about one local period of the Thon rings."""
    k, step = samples.ring_k, samples.step
    period = 1 / np.maximum(2 * lam * abs(defocus) * k * step, 1e-3)
    width = np.clip(period, 4.0, 25.0)[:, None]
    index = np.arange(len(k))
    return np.asarray(np.exp(-0.5 * ((index[None, :] - index[:, None]) / width) ** 2))
