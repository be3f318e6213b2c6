"""The joint fit of all tiles: one surface of defocus, one astigmatism, one envelope.

The relative power of tile t in bin m is ``E(k) c + h(k) + noise`` with ``c = -cos 2 chi`` at the
defocus ``D_t + a cos 2t + b sin 2t``, where ``D_t`` is the surface at the tile's centre; what a
tile's background could describe is projected out of data and model. The log likelihood is the sum
over tiles, so that no tile needs rings that it could be fitted by alone. ``h`` stands for peaks
that all tiles share, such as those of the particle's form factor, which would hold the rings of
all tiles at the same place: a random number for every ring, of a variance that the residual
tells, over which the likelihood is integrated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from icefloe._types import FloatArray
from icefloe.ctf.samples import Optics
from icefloe.ctf.surface import DefocusSurface
from icefloe.ctf.tiles import Tiles
from icefloe.optics import wavelength

__all__ = ["JointFit", "Start", "fit_surface"]

Start = tuple[tuple[float, ...], tuple[float, float]]

_ROUNDS = 4
_STEPS = 4
# A: the longest step at any tile, short against a Thon ring.
_MAX_STEP = 300.0
# Standard deviation of each coefficient of curvature, A at the edge of the longer side.
_CURVATURE = 200.0


@dataclass(frozen=True, eq=False)
class JointFit:
    """A fitted surface.

    Attributes
    ----------
    surface
        Mean defocus over the micrograph.
    astigmatism
        ``(a, b)``, A: the defocus is the surface's plus ``a cos 2t + b sin 2t``.
    covariance
        Of the surface's coefficients, then a and b; A^2.
    gain
        Fall of chi^2 by the rings, correlations of the noise allowed for.
    scatter
        (t,), variance of the residual of each tile relative to all.
    """

    surface: DefocusSurface
    astigmatism: tuple[float, float]
    covariance: FloatArray
    gain: float
    scatter: FloatArray

    @property
    def snr(self) -> float:
        """Signal to noise of all rings together."""
        return math.sqrt(max(self.gain, 0.0))


def fit_surface(
    tiles: Tiles,
    optics: Optics,
    starts: Sequence[Start],
    phase_shift: float = 0.0,
    n_terms: int = 3,
) -> JointFit:
    """Return the least-squares surface nearest to the best of some starts.

    Parameters
    ----------
    tiles, optics
        The data.
    starts
        Each the coefficients of a `DefocusSurface`, of which missing ones are 0, and a and b; A.
    phase_shift
        Of a phase plate, degrees; it stays.
    n_terms
        1 for a constant defocus, 3 for a plane, 6 for a curved surface, which a prior of 200 A
        restrains.
    """
    found = []
    for surface, astigmatism in starts:
        state = _State(tiles, optics, phase_shift, n_terms)
        p = np.zeros(n_terms + 2)
        p[: min(len(surface), n_terms)] = surface[:n_terms]
        p[n_terms:] = astigmatism
        state.update(p)
        found.append((state.gain(p), state, p))
    _, state, p = max(found, key=lambda f: f[0])
    for _ in range(_ROUNDS):
        state.update(p)
        moved = 0.0
        for _ in range(_STEPS):
            step = state.step(p)
            p = p + step
            moved = max(moved, float(np.max(np.abs(step))))
            if np.max(np.abs(step)) < 1.0:
                break
        if moved < 3.0:
            break
    state.update(p)
    return state.result(p)


class _State:
    """Envelope and weights around the current parameters."""

    def __init__(self, tiles: Tiles, optics: Optics, phase_shift: float, n_terms: int) -> None:
        self.tiles, self.optics = tiles, optics
        self.phase = 2 * math.radians(phase_shift)
        self.n_terms = n_terms
        self.slope = (2 * math.pi * wavelength(optics.voltage) * tiles.k2).astype(np.float32)
        surface = DefocusSurface((0.0,) * n_terms, tiles.shape, tiles.pixel_size)
        self.terms = surface.terms(tiles.y, tiles.x)
        self.envelope = np.exp(-0.5 * 100.0 * np.square(tiles.ring_k)).astype(np.float32)
        self.scatter: FloatArray = np.ones(len(tiles), np.float32)
        self.weight: FloatArray = tiles.weight.astype(np.float32)
        self.pick_ring = csr_matrix(
            (np.ones(len(tiles.ring), np.float32), (np.arange(len(tiles.ring)), tiles.ring)),
            (len(tiles.ring), len(tiles.ring_k)),
        )
        self.shared: FloatArray = np.zeros(len(tiles.ring_k))
        self.first = True

    def wave(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return c and its derivative by the phase 2 chi, (t, m)."""
        tiles, n = self.tiles, self.n_terms
        astigmatic = p[n] * tiles.cos2 + p[n + 1] * tiles.sin2
        fixed = self.optics.double_phase(tiles.k2, astigmatic) + self.phase
        height = (self.terms @ p[:n]).astype(np.float32)[:, None]
        # Single precision: 1e-5 of a radian, and twice as fast.
        phase = fixed.astype(np.float32) + self.slope * height
        return -np.cos(phase), np.sin(phase)

    def update(self, p: FloatArray) -> None:
        """Estimate envelope and weights at the parameters."""
        tiles = self.tiles
        c, _ = self.wave(p)
        if self.first:
            # The scale of the envelope is not known yet.
            self.first = False
            shape = tiles.project(self.envelope[tiles.ring] * c)
            top = float(np.sum(tiles.weight * tiles.values * shape))
            bottom = float(np.sum(tiles.weight * shape * shape))
            self.envelope = self.envelope * np.float32(max(top / max(bottom, 1e-12), 1e-3))
        smoother = _ring_smoother(tiles, float(p[0]), wavelength(self.optics.voltage))
        energy = smoother @ tiles.ring_sum(c * c / self.scatter[:, None])
        for _ in range(2):
            fitted = self.envelope[tiles.ring] * c
            rest = tiles.values - tiles.project(fitted)
            product = tiles.ring_sum((rest + fitted) * c / self.scatter[:, None])
            self.envelope = _single(np.maximum(smoother @ product / np.maximum(energy, 1e-9), 0))
        rest = tiles.values - tiles.project(self.envelope[tiles.ring] * c)
        variance = np.sum(tiles.weight * rest * rest, axis=1)
        free = rest.shape[1] - tiles.basis.shape[1]
        variance = np.maximum(variance / free, 1e-12)
        usual = float(np.median(variance))
        # A tile with a crystal or an edge in it counts for less, none for more.
        self.scatter = _single(np.maximum(variance / usual, 1.0))
        inflation = _correlation(tiles, rest / np.sqrt(self.scatter)[:, None])
        self.weight = _single(tiles.weight / (usual * inflation))
        self.shared = self.share(rest)

    def share(self, rest: FloatArray) -> FloatArray:
        """Return by how much the squared sums over rings enter chi^2, negatively, (r,).

        ``1 / (W + 1 / h^2)`` of the weights W of a ring and the variance h^2 of what its tiles
        share, which is that of its mean less what noise gives, over neighbouring rings.
        """
        total = np.full(len(self.tiles.ring_k), 1e-12)
        total += np.sum(1 / self.scatter) * (self.pick_ring.T @ self.weight)
        mean = self.rings(rest).sum(axis=0) / total
        excess = np.maximum(mean * mean - 1 / total, 0)
        variance = np.convolve(np.pad(excess, 3, mode="edge"), np.ones(7) / 7, "valid")
        return np.asarray(variance / (1 + total * variance))

    def rings(self, values: FloatArray) -> FloatArray:
        """Return the sums (t, r) over the bins of a ring of values (t, m), weighted."""
        return np.asarray((values * self.weight) @ self.pick_ring) / self.scatter[:, None]

    def residual(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what is left of the data, and the model's derivative by the defocus."""
        c, dc = self.wave(p)
        e = self.envelope[self.tiles.ring]
        rest = self.tiles.values - self.tiles.project(e * c)
        return rest, e * self.slope * dc

    def normal(self, p: FloatArray, *, exact: bool) -> tuple[FloatArray, FloatArray]:
        """Return the normal matrix and the gradient of half the chi^2, prior included.

        `exact` projects the derivatives too. The residual is projected in any case, so that the
        gradient is exact without it.
        """
        tiles, n = self.tiles, self.n_terms
        rest, slope = self.residual(p)
        columns = [slope, slope * _single(tiles.cos2), slope * _single(tiles.sin2)]
        if exact:
            columns = [tiles.project(c) for c in columns]
        gram = np.empty((3, 3, len(tiles)))
        towards = np.empty((3, len(tiles)))
        for i, a in enumerate(columns):
            weighted = a * self.weight
            towards[i] = np.einsum("tm,tm->t", weighted, rest, optimize=False) / self.scatter
            for j in range(i + 1):
                product = np.einsum("tm,tm->t", weighted, columns[j], optimize=False)
                gram[i, j] = gram[j, i] = product / self.scatter
        f = self.terms
        matrix = np.zeros((n + 2, n + 2))
        matrix[:n, :n] = np.einsum("tp,tq,t->pq", f, f, gram[0, 0], optimize=False)
        matrix[n:, :n] = np.einsum("it,tp->ip", gram[1:, 0], f, optimize=False)
        matrix[:n, n:] = matrix[n:, :n].T
        matrix[n:, n:] = gram[1:, 1:].sum(axis=2)
        gradient = np.concatenate([towards[0] @ f, towards[1:].sum(axis=1)])
        sums = [np.asarray(self.rings(c)) for c in columns]
        by_ring = np.stack([*(f.T @ sums[0]), sums[1].sum(axis=0), sums[2].sum(axis=0)])
        matrix -= np.einsum("pr,qr,r->pq", by_ring, by_ring, self.shared, optimize=False)
        left = self.rings(rest).sum(axis=0)
        gradient -= np.einsum("pr,r,r->p", by_ring, left, self.shared, optimize=False)
        for i in range(3, n):
            matrix[i, i] += 1 / _CURVATURE**2
            gradient[i] -= p[i] / _CURVATURE**2
        return matrix, gradient

    def chi2(self, values: FloatArray) -> float:
        """Return the chi^2 of residuals (t, m)."""
        each = np.sum(np.square(values) * self.weight, axis=1) / self.scatter
        ring = self.rings(values).sum(axis=0)
        return float(np.sum(each) - np.sum(self.shared * ring * ring))

    def gain(self, p: FloatArray) -> float:
        """Return the fall of chi^2 by the rings."""
        return self.chi2(self.tiles.values) - self.chi2(self.residual(p)[0])

    def step(self, p: FloatArray) -> FloatArray:
        """Return a damped Gauss-Newton step."""
        matrix, gradient = self.normal(p, exact=False)
        matrix = matrix + np.diag(1e-3 * np.diag(matrix) + 1e-20)
        move = np.linalg.solve(matrix, gradient)
        n = self.n_terms
        longest = max(float(np.max(np.abs(self.terms @ move[:n]))), float(np.hypot(*move[n:])))
        return np.asarray(move / max(1.0, longest / _MAX_STEP))

    def result(self, p: FloatArray) -> JointFit:
        tiles, n = self.tiles, self.n_terms
        matrix, _ = self.normal(p, exact=True)
        try:
            covariance = np.linalg.inv(matrix)
        except np.linalg.LinAlgError:
            covariance = np.diag(np.full(n + 2, math.inf))
        surface = DefocusSurface(tuple(map(float, p[:n])), tiles.shape, tiles.pixel_size)
        return JointFit(
            surface,
            (float(p[n]), float(p[n + 1])),
            covariance,
            self.gain(p),
            self.scatter,
        )


def _single(values: FloatArray) -> FloatArray:
    return np.asarray(values, dtype=np.float32)


def _correlation(tiles: Tiles, rest: FloatArray) -> float:
    """Return by how much the noise of a sum exceeds that of independent bins.

    A window correlates neighbouring frequencies: within a bin that is in the bins' own variance,
    between rings and between sectors it is measured here. Tiles that overlap share part of their
    noise.
    """
    scaled = np.zeros((len(tiles), tiles.n_sectors, len(tiles.ring_k)), np.float32)
    scaled[:, tiles.sector, tiles.ring] = rest * _single(np.sqrt(tiles.weight))
    energy = max(float(np.sum(scaled * scaled)), 1e-12)
    rings = sum(float(np.sum(scaled[..., i:] * scaled[..., :-i])) for i in (1, 2))
    sectors = float(np.sum(scaled * np.roll(scaled, 1, axis=1)))
    total = (1 + 2 * max(rings / energy, 0.0)) * (1 + 2 * max(sectors / energy, 0.0))
    grid = np.arange(512)
    window = np.hanning(513)[:-1]
    moved = np.where(
        grid >= 512 * (1 - tiles.overlap), np.roll(window, round(512 * (1 - tiles.overlap))), 0.0
    )
    shared = (float(window @ moved) / float(window @ window)) ** 2
    return total * (1 + 2 * shared) ** 2


def _ring_smoother(tiles: Tiles, defocus: float, lam: float) -> FloatArray:
    """Return a matrix (r, r) that averages over about one local period of the Thon rings."""
    k = tiles.ring_k
    period = 1 / np.maximum(2 * lam * abs(defocus) * k * (k[1] - k[0]), 1e-3)
    width = np.clip(period, 4.0, 25.0)[:, None]
    index = np.arange(len(k))
    return np.asarray(np.exp(-0.5 * ((index[None, :] - index[:, None]) / width) ** 2))
