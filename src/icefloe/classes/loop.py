"""The iterations: compare with all classes, assign, average; from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.classes.assign import balanced_classes
from icefloe.classes.basis import Harmonics, turned
from icefloe.classes.geometry import main_variation, middle_of, shift_grid, turn_shifts
from icefloe.classes.prepare import Particles, noise_on
from icefloe.classes.scoring import Templates, angle_curves, best_scores
from icefloe.classes.settings import ClassifySettings
from icefloe.classes.update import (
    References,
    Sums,
    accumulate,
    make_references,
    make_templates,
    shift_images,
)

__all__ = ["MARGIN", "Assignment", "Iterations"]

# What is looked at reaches beyond the particle.
MARGIN = 1.15
# Detail coarser than that, A, half sets have in common.
_JOIN = 20.0
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


class Iterations:
    """Classification of prepared particles."""

    def __init__(
        self,
        particles: Particles,
        n_classes: int,
        diameter: float,
        halves: AnyArray,
        settings: ClassifySettings,
        device: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.particles, self.n_classes, self.diameter = particles, n_classes, diameter
        self.halves = halves
        self.settings, self.device = settings, device
        self._progress = progress
        n = len(particles)
        self.random = np.random.default_rng([settings.seed, n])
        self.state = Assignment(np.full(n, -1), np.zeros(n), np.zeros((n, 2)), np.full(n, np.nan))
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
        """Return (n, R) squared CTFs on the rings of a basis."""
        if self._basis is not basis:
            step = float(basis.rings[1] - basis.rings[0])
            self._basis, self._transfer = basis, self.particles.transfer(basis.rings, step)
        return self._transfer

    def centre(self, basis: Harmonics) -> None:
        """Move all particles onto their radial average."""
        everything = np.arange(len(self._order))
        noise = noise_on(basis, self.particles)
        grid = shift_grid(self.settings.max_shift / self.particles.pixel_size, 1.0)
        y, transfer = self.look(basis, everything)
        for _ in range(2):
            mean = y.sum(axis=0, dtype=np.float64).astype(np.float32)
            mean[1:] = 0
            halves = Sums(np.stack([mean, mean])[None], np.stack([transfer.sum(axis=0)] * 2)[None])
            b = make_references(basis, halves, noise, np.inf).coefficients[0]
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

    def seeds(self, basis: Harmonics, members: AnyArray) -> References:
        """Return classes that are single particles."""
        chosen = self.random.choice(members, self.n_classes, replace=False)
        y, transfer = self.look(basis, chosen)
        one = y / (transfer[:, None, None, :] + 0.3)
        return References(np.stack([one, one]), np.zeros((2, *transfer.shape), np.float32))

    def step(
        self,
        basis: Harmonics,
        members: AnyArray,
        references: References,
        sums: Sums | None,
        grid: FloatArray,
        largest: float,
        decay: float,
    ) -> Sums:
        """Compare `members` with the classes and average them anew."""
        y, transfer = self.look(basis, members)
        halves = self.halves[members]
        score = np.empty((len(members), self.n_classes), np.float32)
        shift = np.empty(score.shape, np.int32)
        tables = []
        for h in (0, 1):
            part = np.flatnonzero(halves == h)
            made = make_templates(
                basis, references.coefficients[h], grid, noise_on(basis, self.particles)
            )
            tables.append(made)
            if part.size:
                angles = basis.angle_matrix(2 * basis.orders + 6)
                score[part], shift[part] = best_scores(
                    y[part], transfer[part], made, angles, self.device
                )
        score -= self._own_part(basis, members, y, transfer, references, tables)
        cap = max(1, math.ceil(largest * len(members) / self.n_classes))
        best = balanced_classes(score, cap)
        rows = np.arange(len(members))
        index = shift[rows, best]
        psi = np.empty(len(members))
        fine = basis.angle_matrix(360)
        for h in (0, 1):
            chosen = np.flatnonzero(halves == h)
            for start in range(0, len(chosen), 1024):
                part = chosen[start : start + 1024]
                curves = angle_curves(y[part], tables[h].rows[best[part], index[part]], fine)
                psi[part] = curves.argmax(axis=1)
        self.state.score[members] = score[rows, best]
        self.state.psi[members] = psi
        fresh = self._reseed(y, members, best)
        new = accumulate(basis, y, transfer, best, halves, psi, index, grid, self.n_classes)
        self.state.classes[members] = best
        self.state.places[members] += turn_shifts(grid[index], psi)
        self._clip(members)
        self._share *= decay
        self._share[members] = 1.0
        if sums is None or decay == 0:
            return new
        sums.images[fresh], sums.weights[fresh] = 0, 0
        return sums.decayed(decay, new)

    def _own_part(
        self,
        basis: Harmonics,
        members: AnyArray,
        y: FloatArray,
        transfer: FloatArray,
        references: References,
        tables: list[Templates],
    ) -> FloatArray:
        """Return (m, K) what each particle's own part of its class adds to its score there.

        Without it small classes hold on to their members: among twenty, a particle's own noise is
        worth several standard deviations.
        """
        out = np.zeros((len(members), self.n_classes), np.float32)
        k, half = self.state.classes[members], self.halves[members]
        energy = np.square(y).sum(axis=(1, 2)) / noise_on(basis, self.particles)
        for h in (0, 1):
            rows = np.flatnonzero((k >= 0) & (half == h))
            own = np.einsum("nr,nr->n", energy[rows], references.gain[h][k[rows]])
            norm = np.einsum("nr,nr->n", transfer[rows], tables[h].power[k[rows]])
            out[rows, k[rows]] = self._share[members[rows]] * own / np.sqrt(np.maximum(norm, 1e-12))
        return out

    def _reseed(self, y: FloatArray, members: AnyArray, best: AnyArray) -> list[int]:
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
            side = main_variation(aligned)
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
        level = 0
        sums: Sums | None = None
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
                sums = self.recentred(basis, sums)
                classes = make_references(basis, sums, noise_on(basis, p), size / _JOIN)
            reach, step = ((12.0, 1.5) if level == 0 else (8.0, 1.0)) if not last else (4.0, 0.5)
            grid = shift_grid(max(reach / size, step), step)
            decay = 0.5 if len(members) < n else 0.0
            largest = min(choice.largest, 1.5) if level == 0 else choice.largest
            sums = self.step(basis, members, classes, sums, grid, largest, decay)
        assert sums is not None
        self.recentred(basis, sums)

    def _again(self, basis: Harmonics) -> Sums:
        """Average the particles that the present averages are of, in another basis."""
        members = np.flatnonzero(self._share > 0)
        y, transfer = self.look(basis, members)
        share = self._share[members].astype(np.float32)
        zero = np.zeros(len(members), dtype=np.intp)
        return accumulate(
            basis, y * share[:, None, None, None], transfer * share[:, None],
            self.state.classes[members], self.halves[members], self.state.psi[members], zero,
            np.zeros((1, 2)), self.n_classes,
        )  # fmt: skip

    def recentred(self, basis: Harmonics, sums: Sums) -> Sums:
        """Return sums with what stands out in the middle, and move the particles' places along."""
        noise = noise_on(basis, self.particles)
        averages = make_references(basis, sums, noise, np.inf).coefficients[0]
        width = self.diameter / MARGIN / self.particles.pixel_size
        centres = np.stack([middle_of(image, width) for image in basis.image(averages)])
        known = self.state.classes >= 0
        self.state.places[known] += turn_shifts(
            centres[self.state.classes[known]], self.state.psi[known]
        )
        shape = sums.images.shape
        flat = basis.image(sums.images.reshape(-1, *shape[2:]))
        moved = shift_images(flat, -np.repeat(centres, 2, axis=0))
        return Sums(basis.project(moved).reshape(shape), sums.weights)
