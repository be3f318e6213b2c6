"""The iterations: compare with all classes, assign, average; from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.classes.assign import balanced_classes
from icefloe.classes.basis import Harmonics, turned
from icefloe.classes.prepare import Particles, noise_on
from icefloe.classes.scoring import angle_curves, best_scores
from icefloe.classes.settings import ClassifySettings
from icefloe.classes.update import Sums, accumulate, class_coefficients, make_templates

__all__ = ["Assignment", "shift_grid", "turn_shifts", "Iterations"]

# Classes smaller than that, relative to an even share, are made anew from half of a large one.
_TOO_SMALL = 0.2
# Early iterations look at so many particles a class.
_BATCH = 60
_SMALLEST_BATCH = 2000
# Parts of the iterations after which finer detail is let in, and the part that looks at all
# particles at the end.
_STAGES = (0.5, 0.7)
_LATE = 0.15


@dataclass
class Assignment:
    """Where every particle belongs.

    Attributes
    ----------
    classes
        (n,) int, -1 while not known.
    psi
        (n,) degrees by which the class is turned, from +x towards +y.
    places
        (n, 2) y and x of the class's middle, pixels from the middle of the box.
    score
        (n,) standard deviations of what noise alone gives at one angle and place.
    """

    classes: AnyArray
    psi: FloatArray
    places: FloatArray
    score: FloatArray


def shift_grid(reach: float, step: float) -> FloatArray:
    """Return (S, 2) shifts on a grid inside a circle of radius `reach`, the middle one first."""
    half = math.floor(reach / step + 1e-6)
    axis = np.arange(-half, half + 1) * step
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    r2 = np.square(grid).sum(axis=1)
    inside = grid[r2 <= reach**2 + 1e-6]
    return np.asarray(inside[np.argsort(np.square(inside).sum(axis=1), kind="stable")])


def turn_shifts(shifts: FloatArray, psi: FloatArray) -> FloatArray:
    """Return shifts (n, 2), y and x, turned by `psi` degrees from +x towards +y."""
    c, s = np.cos(np.deg2rad(psi)), np.sin(np.deg2rad(psi))
    y, x = shifts[:, 0], shifts[:, 1]
    return np.stack([x * s + y * c, x * c - y * s], axis=1)


def _main_variation(rows: FloatArray) -> FloatArray:
    """Return (n,) the first principal component of rows (n, p), by the power method."""
    direction = rows[int(np.square(rows).sum(axis=1).argmax())].astype(np.float64)
    for _ in range(12):
        direction = rows.T @ (rows @ direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-30)
    return np.asarray(rows @ direction)


class Iterations:
    """Classification of prepared particles."""

    def __init__(
        self,
        particles: Particles,
        n_classes: int,
        diameter: float,
        settings: ClassifySettings,
        device: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.particles, self.n_classes, self.diameter = particles, n_classes, diameter
        self.settings, self.device = settings, device
        self._progress = progress
        n = len(particles)
        self.random = np.random.default_rng([settings.seed, n])
        self.state = Assignment(
            np.full(n, -1), np.zeros(n), np.zeros((n, 2)), np.full(n, np.nan)
        )
        self._order = self.random.permutation(n)
        self._next = 0
        self._share = np.zeros(n)  # how much of a particle is in the present averages
        self._basis: Harmonics | None = None
        self.reseeded = 0

    # -- what an iteration is made of ----------------------------------------------------------

    def basis(self, resolution: float) -> Harmonics:
        """Return the harmonics up to a resolution, A."""
        p = self.particles
        return Harmonics.make(p.box, self.diameter / p.pixel_size, p.pixel_size / resolution)

    def batch(self, size: int) -> AnyArray:
        """Return the next `size` particles in an order drawn once."""
        n = len(self._order)
        if size >= n:
            return np.arange(n)
        chosen = self._order[(self._next + np.arange(size)) % n]
        self._next = (self._next + size) % n
        return np.sort(chosen)

    def look(self, basis: Harmonics, members: AnyArray) -> tuple[FloatArray, FloatArray]:
        """Return harmonics of particles about their present places, and squared CTFs on rings."""
        coefficients = np.empty((len(members), basis.orders, 2, basis.n_rings), np.float32)
        for start in range(0, len(members), 1024):
            part = members[start : start + 1024]
            images = self.particles.centred(part, self.state.places[part])
            coefficients[start : start + len(part)] = basis.project(images)
        return coefficients, self.transfer(basis)[members]

    def transfer(self, basis: Harmonics) -> FloatArray:
        if self._basis is not basis:
            step = float(basis.rings[1] - basis.rings[0])
            self._basis, self._transfer = basis, self.particles.transfer(basis.rings, step)
        return self._transfer

    def self_scores(
        self, basis: Harmonics, members: AnyArray, energy: FloatArray, sums: Sums, noise: FloatArray
    ) -> FloatArray:
        """Return (m,) what each particle's own part of its class's average adds to its score."""
        coefficients = class_coefficients(basis, sums, noise)
        factor = np.sqrt(
            np.square(coefficients).sum(axis=(1, 2))
            / np.maximum(
                np.square(sums.images).sum(axis=(1, 2)) / np.square(np.maximum(sums.weights, 1e-3)),
                1e-20,
            )
        )
        classes = self.state.classes[members]
        known = classes >= 0
        out = np.zeros(len(members))
        k = classes[known]
        rings = energy[known] * factor[k] / np.maximum(sums.weights[k], 1e-3) / noise
        out[known] = self._share[members][known] * rings.sum(axis=1)
        return out

    def centre(self, basis: Harmonics) -> None:
        """Move all particles onto their radial average."""
        everything = np.arange(len(self._order))
        noise = noise_on(basis, self.particles)
        grid = shift_grid(self.settings.max_shift / self.particles.pixel_size, 1.0)
        y, transfer = self.look(basis, everything)
        for _ in range(2):
            mean = y.mean(axis=0, dtype=np.float64).astype(np.float32)
            mean[1:] = 0
            sums = Sums(mean[None] * len(y), transfer.sum(axis=0)[None], np.array([len(y)]))
            b = class_coefficients(basis, sums, noise)
            # A round template needs no turning: all its shifts, at angle 0.
            templates = make_templates(basis, b, grid, noise)
            products = y.reshape(len(y), -1) @ templates.rows[0].reshape(len(grid), -1).T
            self.state.places += grid[products.argmax(axis=1)]
            self._clip(everything)
            y, _ = self.look(basis, everything)

    def _clip(self, members: AnyArray) -> None:
        limit = self.settings.max_shift / self.particles.pixel_size
        t = self.state.places[members]
        length = np.hypot(t[:, 0], t[:, 1])
        self.state.places[members] = t * np.minimum(1, limit / np.maximum(length, 1e-9))[:, None]

    def seeds(self, basis: Harmonics, members: AnyArray) -> FloatArray:
        """Return classes (K, M, 2, R) that are single particles."""
        chosen = self.random.choice(members, self.n_classes, replace=False)
        y, transfer = self.look(basis, chosen)
        return np.asarray(y / (transfer[:, None, None, :] + 0.3))

    def step(
        self,
        basis: Harmonics,
        members: AnyArray,
        classes: FloatArray,
        sums: Sums | None,
        grid: FloatArray,
        n_angles: int,
        largest: float,
        decay: float,
    ) -> Sums:
        """Compare `members` with the classes (K, M, 2, R) and average them anew."""
        noise = noise_on(basis, self.particles)
        y, transfer = self.look(basis, members)
        templates = make_templates(basis, classes, grid, noise)
        score, shift = best_scores(
            y, transfer, templates, basis.angle_matrix(n_angles), self.device
        )
        if sums is not None:
            energy = np.square(y).sum(axis=(1, 2))
            own = self.self_scores(basis, members, energy, sums, noise)
            k = self.state.classes[members]
            known = np.flatnonzero(k >= 0)
            norm = np.sqrt(np.einsum("nr,nr->n", transfer[known], templates.power[k[known]]))
            score[known, k[known]] -= (own[known] / np.maximum(norm, 1e-9)).astype(np.float32)
        cap = max(1, math.ceil(largest * len(members) / self.n_classes))
        best = balanced_classes(score, cap)
        rows = np.arange(len(members))
        index = shift[rows, best]
        psi = np.empty(len(members))
        fine = basis.angle_matrix(360)
        for start in range(0, len(members), 1024):
            part = slice(start, start + 1024)
            curves = angle_curves(y[part], templates.rows[best[part], index[part]], fine)
            psi[part] = curves.argmax(axis=1)
        self.state.score[members] = score[rows, best]
        self.state.classes[members] = best
        self.state.psi[members] = psi
        self.last_scores = score
        fresh = self._reseed(basis, y, members, best)
        new = accumulate(basis, y, transfer, best, psi, index, grid, self.n_classes)
        self.state.classes[members] = best
        self.state.places[members] += turn_shifts(grid[index], psi)
        self._clip(members)
        self._share *= decay
        self._share[members] = 1.0
        if sums is None or decay == 0:
            return new
        for k in fresh:
            sums.images[k], sums.weights[k], sums.counts[k] = 0, 0, 0
        return sums.decayed(decay, new)

    def _reseed(
        self, basis: Harmonics, y: FloatArray, members: AnyArray, best: AnyArray
    ) -> list[int]:
        """Give empty classes half of a large one, split along its main variation; in place."""
        count = np.bincount(best, minlength=self.n_classes)
        few = _TOO_SMALL * len(members) / self.n_classes
        changed = []
        for k in np.flatnonzero(count < few).tolist():
            donor = int(count.argmax())
            inside = np.flatnonzero(best == donor)
            if len(inside) < 4 * few or len(inside) < 4:
                break
            aligned = turned(y[inside], -self.state.psi[members[inside]]).reshape(len(inside), -1)
            aligned = aligned - aligned.mean(axis=0)
            side = _main_variation(aligned)
            moved = inside[side > np.median(side)]
            best[moved] = k
            count[donor] -= len(moved)
            count[k] += len(moved)
            changed += [k, donor]
            self.reseeded += 1
        return changed

    def run(self) -> None:
        """Do all iterations; `state` holds the result."""
        choice, p = self.settings, self.particles
        n, size = len(p), p.pixel_size
        batch = max(_SMALLEST_BATCH, _BATCH * self.n_classes)
        start, end = max(choice.start_resolution, choice.resolution), choice.resolution
        levels = [start, math.sqrt(start * end), end] if start > 1.05 * end else [end]
        basis = self.basis(start)
        self.centre(basis)
        total = choice.iterations
        late = max(1, round(_LATE * total))
        level, classes, sums = 0, None, None
        for i in range(total):
            if self._progress:
                self._progress(i, total)
            last = i >= total - late
            wanted = min(len(levels) - 1, int(np.searchsorted(_STAGES, i / total, side="right")))
            if wanted != level and sums is not None:
                level = wanted
                basis = self.basis(levels[level])
                sums = self._again(basis)
            members = self.batch(n if last else batch)
            if sums is None:
                classes = self.seeds(basis, members)
            else:
                classes = class_coefficients(basis, sums, noise_on(basis, p))
            reach, step = ((12.0, 1.5) if level == 0 else (8.0, 1.0)) if not last else (4.0, 0.5)
            grid = shift_grid(max(reach / size, step), step)
            angles = 2 * basis.orders + 6
            decay = 0.5 if len(members) < n else 0.0
            largest = min(choice.largest, 1.5) if level == 0 else choice.largest
            sums = self.step(basis, members, classes, sums, grid, angles, largest, decay)
        self.sums, self.last_basis = sums, basis

    def _again(self, basis: Harmonics) -> Sums:
        """Average the particles that the present averages are of, in another basis."""
        members = np.flatnonzero(self._share > 0)
        y, transfer = self.look(basis, members)
        share = self._share[members].astype(np.float32)
        zero = np.zeros(len(members), dtype=np.intp)
        return accumulate(
            basis, y * share[:, None, None, None], transfer * share[:, None],
            self.state.classes[members], self.state.psi[members], zero, np.zeros((1, 2)),
            self.n_classes,
        )  # fmt: skip

    def centres(self) -> FloatArray:
        """Return (K, 2) y and x, pixels, of what stands out in each average, from the middle."""
        assert self.sums is not None
        noise = noise_on(self.last_basis, self.particles)
        images = self.last_basis.image(class_coefficients(self.last_basis, self.sums, noise))
        n = self.last_basis.n
        c = np.arange(n) - n // 2
        y, x = np.meshgrid(c, c, indexing="ij")
        out = np.zeros((len(images), 2))
        reach = 0.25 * self.diameter / self.particles.pixel_size
        for k, image in enumerate(images):
            high = float(np.percentile(image[image != 0], 95)) if np.any(image) else 0.0
            weight = np.clip(image - 0.3 * high, 0, None)
            total = float(weight.sum())
            if high > 0 and total > 0:
                middle = np.array([(weight * y).sum(), (weight * x).sum()]) / total
                out[k] = middle * min(1.0, reach / max(float(np.hypot(*middle)), 1e-9))
        return out
