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

from icefloe._types import AnyArray, FloatArray
from icefloe.ctf.samples import Optics, Samples
from icefloe.ctf.settings import CtfSettings
from icefloe.optics import wavelength

__all__ = ["Candidate", "search", "sector_means"]

_SECTORS = 24
# Degree of the background, a polynomial in k within each sector.
_DEGREE = 5
# A^2. Rings fade towards high frequency; the search weighs them by exp(-B k^2 / 2), and the
# refinement then measures how fast they really do.
_BFACTOR = 100.0
_ASTIGMATISM_STEP = 200.0
# A divisor of the number of sectors.
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
        best = []
        for phase in np.radians(degrees):
            dot, norm2 = table.at_phase(phase)
            best.append(np.max(_scores(table, dot.sum(axis=0), norm2.sum(axis=0), settings)))
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


def sector_means(samples: Samples, sectors: int) -> tuple[FloatArray, AnyArray]:
    """Return the mean log power of rings in sectors of half a turn, and how many pixels it is of.

    Both (sectors, r); 0 where there is none.
    """
    rings = len(samples.ring_k)
    azimuth = 0.5 * np.arctan2(samples.sin2, samples.cos2) % np.pi
    sector = np.minimum((azimuth * (sectors / np.pi)).astype(np.intp), sectors - 1)
    flat = sector * rings + samples.ring
    count = np.bincount(flat, minlength=sectors * rings).reshape(sectors, rings)
    total = np.bincount(flat, samples.log_power, minlength=sectors * rings)
    return total.reshape(sectors, rings) / np.maximum(count, 1), count


def _tabulate(samples: Samples, optics: Optics, settings: CtfSettings) -> _Table:
    rings = len(samples.ring_k)
    data, count = sector_means(samples, _SECTORS)

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
    weight = np.sqrt(count)
    q = np.linalg.qr(basis * weight[:, :, None])[0]
    values = weight * data
    values -= np.einsum("srj,sj->sr", q, np.einsum("srj,sr->sj", q, values))
    # Sums over the rings of all sectors and defoci at once, (2, sectors, defoci).
    dot = np.swapaxes(waves @ (weight * values).T, 1, 2)
    background = waves @ np.swapaxes(q * weight[:, :, None], 0, 1).reshape(rings, -1)
    c, n = background.reshape(2, len(defoci), _SECTORS, _DEGREE + 1)
    gram = np.stack(
        [
            count @ (a * b).T - np.einsum("dsj,dsj->sd", aq, bq)
            for a, b, aq, bq in (
                (waves[0], waves[0], c, c),
                (waves[0], waves[1], c, n),
                (waves[1], waves[1], n, n),
            )
        ]
    )
    return _Table(defoci, dot, gram, float(np.sum(values**2)), _SECTORS * rings)


def _scores(table: _Table, dot: FloatArray, norm2: FloatArray, settings: CtfSettings) -> FloatArray:
    """Return the correlation (..., defoci) for sums over sectors; -1 outside the search."""
    mean = table.defoci
    wanted = (mean >= settings.defocus_min) & (mean <= settings.defocus_max)
    norm = np.sqrt(np.maximum(norm2, 1e-12) * max(table.energy, 1e-12))
    return np.asarray(np.where(wanted, dot / norm, -1.0))


def _path_scores(table: _Table, phase: float, settings: CtfSettings) -> FloatArray:
    """Return the scores (astigmatisms, axes, defoci) of all paths at a phase shift (radians)."""
    step, n = settings.defocus_step, len(table.defoci)
    amounts = np.arange(math.floor(settings.max_astigmatism / _ASTIGMATISM_STEP) + 1)
    reach = math.ceil(0.5 * settings.max_astigmatism / step) + 1
    padded = np.zeros((_SECTORS, 2, n + 2 * reach))
    padded[:, :, reach : reach + n] = np.stack(table.at_phase(phase), axis=1)
    # Axes lie on borders of sectors, so a path shifts the two sectors at equal distance from its
    # axis alike, and those of all axes: (pairs, 2, axes, defoci) are shifted as whole rows.
    axis = np.arange(_ANGLES) * (_SECTORS // _ANGLES)
    pair = np.arange(_SECTORS // 2)[:, None]
    pairs = padded[(axis + pair) % _SECTORS] + padded[(axis - 1 - pair) % _SECTORS]
    pairs = np.ascontiguousarray(np.swapaxes(pairs, 1, 2))
    cosine = np.cos((2 * pair[:, 0] + 1) * np.pi / _SECTORS)
    index = np.arange(n)
    out = np.empty((len(amounts), _ANGLES, n))
    for i, astigmatism in enumerate(amounts * _ASTIGMATISM_STEP):
        shift = np.rint(0.5 * astigmatism * cosine / step).astype(np.intp)
        total = np.zeros((2, _ANGLES, n))
        for rows, first in zip(pairs, (shift + reach).tolist(), strict=True):
            total += rows[:, :, first : first + n]
        score = _scores(table, total[0], total[1], settings)
        if settings.astigmatism_prior > 0:
            # A Gaussian prior on a correlation of N values, to first order.
            score -= (astigmatism / settings.astigmatism_prior) ** 2 / (2 * table.n_values)
        inside = (index + shift.min() >= 0) & (index + shift.max() < n)
        out[i] = np.where(inside, score, -1.0)
    return out


def _search_phase(table: _Table, phase: float, settings: CtfSettings) -> list[Candidate]:
    scores = _path_scores(table, phase, settings)
    scores = scores.reshape(-1, scores.shape[-1])
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
            float(best[i] // _ANGLES) * _ASTIGMATISM_STEP,
            float(best[i] % _ANGLES) * math.pi / _ANGLES,
            math.degrees(phase),
            float(top[i]),
        )
        for i in peaks
    ]
