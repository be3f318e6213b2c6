"""The exhaustive search: all defoci, astigmatisms and phase shifts, without a start value.

The spectrum is averaged in sectors. In each, the correlation of the log power with ``cos 2 chi``
is tabulated for every defocus, a smooth background being projected out of both, so that it need
not be known. An astigmatic defocus is then a path through that table, whose sum costs a look-up;
so strong astigmatism, which erases the rings of a rotational average, is found as well as none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.samples import Optics, Samples
from icefloe.ctf.settings import CtfSettings
from icefloe.optics import wavelength

__all__ = ["Candidate", "search"]

_SECTORS = 24
# Degree of the background, a polynomial in k within each sector.
_DEGREE = 5
# A^2. Rings fade towards high frequency; the search weighs them by exp(-B k^2 / 2), and the
# refinement then measures how fast they really do.
_BFACTOR = 100.0
_ASTIGMATISM_STEP = 200.0
_ANGLES = 12


@dataclass(frozen=True)
class Candidate:
    """A start for the refinement.

    Attributes
    ----------
    defocus, astigmatism
        Mean and difference, A.
    angle
        Azimuth of the larger defocus, radians.
    phase_shift
        Degrees.
    score
        Correlation coefficient with the sector averages, background removed.
    """

    defocus: float
    astigmatism: float
    angle: float
    phase_shift: float
    score: float


@dataclass(frozen=True)
class _Table:
    """Sums per sector and defocus, for the cosine and the sine of twice the phase.

    `dot` is (2, sectors, defoci); `gram` (3, sectors, defoci) holds cos cos, cos sin, sin sin.
    """

    defoci: FloatArray
    dot: FloatArray
    gram: FloatArray
    energy: float
    n_values: int

    def at_phase(self, phase_shift: float) -> tuple[FloatArray, FloatArray]:
        """Return the product with the data and the squared norm, (sectors, defoci)."""
        c, s = math.cos(2 * phase_shift), math.sin(2 * phase_shift)
        dot = c * self.dot[0] - s * self.dot[1]
        norm2 = c * c * self.gram[0] - 2 * c * s * self.gram[1] + s * s * self.gram[2]
        return dot, norm2


def search(samples: Samples, optics: Optics, settings: CtfSettings) -> list[Candidate]:
    """Return the best few distinct candidates, best first."""
    table = _tabulate(samples, optics, settings)
    phases = [0.0]
    if settings.phase_shift:
        span = settings.phase_shift_max - settings.phase_shift_min
        steps = max(1, math.ceil(span / settings.phase_shift_step))
        degrees = settings.phase_shift_min + span * np.arange(steps + 1) / steps
        best = [np.max(_combine(table, d, 0.0, 0.0, settings)) for d in np.radians(degrees)]
        # The full search over astigmatism runs for the few best phases only.
        phases = [math.radians(degrees[i]) for i in np.argsort(best)[::-1][:4]]
    found: list[Candidate] = []
    for phase in phases:
        found += _search_phase(table, phase, settings)
    found.sort(key=lambda c: -c.score)
    kept: list[Candidate] = []
    for candidate in found:
        near = (abs(candidate.defocus - c.defocus) < 1500 for c in kept)
        if not any(near):
            kept.append(candidate)
    return kept[:3]


def _tabulate(samples: Samples, optics: Optics, settings: CtfSettings) -> _Table:
    rings = len(samples.ring_k)
    azimuth = 0.5 * np.arctan2(samples.sin2, samples.cos2) % np.pi
    sector = np.minimum((azimuth * (_SECTORS / np.pi)).astype(np.intp), _SECTORS - 1)
    flat = sector * rings + samples.ring
    count = np.bincount(flat, minlength=_SECTORS * rings).reshape(_SECTORS, rings)
    total = np.bincount(flat, samples.log_power, minlength=_SECTORS * rings)
    data = total.reshape(_SECTORS, rings) / np.maximum(count, 1)

    margin = 0.5 * settings.max_astigmatism
    low, high = settings.defocus_min - margin, settings.defocus_max + margin
    step = settings.defocus_step
    defoci = low + step * np.arange(math.ceil((high - low) / step) + 1)
    k2 = np.square(samples.ring_k)
    lam = wavelength(optics.voltage)
    phase = optics.double_phase(k2[None, :], defoci[:, None])
    fade = np.exp(-0.5 * _BFACTOR * k2) * samples.damping(defoci[:, None], lam)
    waves = np.stack([-np.cos(phase) * fade, -np.sin(phase) * fade])

    x = np.linspace(-1, 1, rings)
    basis = np.polynomial.legendre.legvander(x, _DEGREE)
    dot = np.empty((2, _SECTORS, len(defoci)))
    gram = np.empty((3, _SECTORS, len(defoci)))
    energy = 0.0
    for s in range(_SECTORS):
        weight = np.sqrt(count[s])
        q = np.linalg.qr(basis * weight[:, None])[0]
        values = weight * data[s]
        values = values - q @ (q.T @ values)
        energy += float(values @ values)
        c, n = waves * weight
        dot[0, s], dot[1, s] = c @ values, n @ values
        cq, nq = c @ q, n @ q
        for i, (a, b, aq, bq) in enumerate(((c, c, cq, cq), (c, n, cq, nq), (n, n, nq, nq))):
            gram[i, s] = np.einsum("dk,dk->d", a, b) - np.einsum("dk,dk->d", aq, bq)
    return _Table(defoci, dot, gram, energy, _SECTORS * rings)


def _combine(
    table: _Table, phase: float, astigmatism: float, angle: float, settings: CtfSettings
) -> FloatArray:
    """Return the score of every mean defocus at one astigmatism (A, radians) and phase."""
    dot, norm2 = table.at_phase(phase)
    return _paths(dot, norm2, table, astigmatism, angle, settings)


def _paths(
    dot: FloatArray,
    norm2: FloatArray,
    table: _Table,
    astigmatism: float,
    angle: float,
    settings: CtfSettings,
) -> FloatArray:
    centre = (np.arange(_SECTORS) + 0.5) * np.pi / _SECTORS
    offset = 0.5 * astigmatism * np.cos(2 * (centre - angle)) / settings.defocus_step
    n = len(table.defoci)
    index = np.arange(n)[None, :] + np.rint(offset).astype(np.intp)[:, None]
    inside = np.all((index >= 0) & (index < n), axis=0)
    mean = table.defoci
    inside &= (mean >= settings.defocus_min) & (mean <= settings.defocus_max)
    index = np.clip(index, 0, n - 1)
    rows = np.arange(_SECTORS)[:, None]
    norm = np.sqrt(np.maximum(norm2[rows, index].sum(axis=0), 1e-12) * max(table.energy, 1e-12))
    score = dot[rows, index].sum(axis=0) / norm
    if settings.astigmatism_prior > 0:
        # A Gaussian prior on a correlation of N values, to first order.
        score = score - (astigmatism / settings.astigmatism_prior) ** 2 / (2 * table.n_values)
    return np.asarray(np.where(inside, score, -1.0))


def _search_phase(table: _Table, phase: float, settings: CtfSettings) -> list[Candidate]:
    dot, norm2 = table.at_phase(phase)
    steps = math.floor(settings.max_astigmatism / _ASTIGMATISM_STEP)
    grid = [(0.0, 0.0)] + [
        (a * _ASTIGMATISM_STEP, j * math.pi / _ANGLES)
        for a in range(1, steps + 1)
        for j in range(_ANGLES)
    ]
    scores = np.stack([_paths(dot, norm2, table, a, t, settings) for a, t in grid])
    best = np.argmax(scores, axis=0)
    top = scores[best, np.arange(scores.shape[1])]
    peaks: list[int] = []
    for i in np.argsort(top)[::-1][:50]:
        if top[i] <= -1.0 or any(abs(i - j) * settings.defocus_step < 1500 for j in peaks):
            continue
        peaks.append(int(i))
        if len(peaks) == 3:
            break
    return [
        Candidate(
            float(table.defoci[i]),
            grid[best[i]][0],
            grid[best[i]][1],
            math.degrees(phase),
            float(top[i]),
        )
        for i in peaks
    ]
