"""Class averages from particles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.classes.averages import average_classes
from icefloe.classes.border import windows_over_border
from icefloe.classes.loop import MARGIN, Iterations
from icefloe.classes.prepare import Particles, prepare_particles
from icefloe.classes.ranking import ClassRank, rank_classes
from icefloe.classes.result import Classification
from icefloe.classes.settings import ClassifySettings
from icefloe.errors import SettingsError
from icefloe.optics import CtfParameters

__all__ = ["classify_particles"]

# Particles a class there must be at least, on average.
_A_CLASS = 10


def classify_particles(
    images: FloatArray,
    ctf: Sequence[CtfParameters] | CtfParameters | None = None,
    *,
    pixel_size: float,
    premultiplied: bool = False,
    halves: ArrayLike | None = None,
    settings: ClassifySettings | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Classification:
    """Sort particles into classes of like views, and average them.

    Parameters
    ----------
    images
        (n, box, box), bright particles, background of mean 0 and variance 1; the box is even.
    ctf
        Of each particle, or one for all; None if it is not known.
    pixel_size
        A.
    premultiplied
        Whether the images were multiplied by their CTF (with ``settings.ctf = "flip"``: whether
        their phases were flipped).
    halves
        (n,) 0 or 1, the half set of each particle; every other one if left out.
    settings
        Choices.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.
    progress
        Called with the iteration and their number.

    Raises
    ------
    InputError
        Not a stack of square, even images, or fewer than 20 that can be used.
    MissingMetadataError
        No positive pixel size.
    SettingsError
        A diameter that does not fit the box.
    """
    choice = settings or ClassifySettings()
    stack = np.asarray(images)
    particles = prepare_particles(
        stack, ctf, pixel_size=pixel_size, premultiplied=premultiplied, settings=choice
    )
    width = particles.box * particles.pixel_size
    diameter = choice.diameter or 0.7 * width
    if diameter > width:
        raise SettingsError(
            f"The diameter is {diameter:g} A and the box {width:g} A",
            "a particle that fits into its box",
            "The diameter is in A",
        )
    n = len(particles)
    flags = particles.flags
    n_classes = min(choice.classes, max(1, n // _A_CLASS))
    if n_classes < choice.classes:
        flags += (f"{n_classes} classes instead of {choice.classes} for {n} particles",)
    mask = min(MARGIN * diameter, width - 8 * particles.pixel_size)
    half = np.zeros(len(stack), dtype=np.int64)
    half[particles.used] = np.arange(n) % 2
    if halves is not None:
        half = np.asarray(halves, dtype=np.int64) % 2
    work = Iterations(particles, n_classes, mask, half[particles.used], choice, device, progress)
    work.run()
    over = windows_over_border(stack)[particles.used]
    return _result(particles, work, mask, diameter, len(stack), half, flags, over)


def _result(
    particles: Particles,
    work: Iterations,
    mask: float,
    diameter: float,
    n_given: int,
    halves: AnyArray,
    flags: tuple[str, ...],
    over: BoolArray,
) -> Classification:
    state, size = work.state, particles.pixel_size
    found = average_classes(particles, state, work.n_classes, mask, halves[particles.used])
    members = np.bincount(state.classes, minlength=work.n_classes)
    borders = np.bincount(state.classes, over, work.n_classes) / np.maximum(members, 1)
    ranks = rank_classes(found.images, counts=found.counts, resolution=found.resolution,
                         pixel_size=size, diameter=diameter, borders=borders)  # fmt: skip
    order = sorted(range(work.n_classes), key=lambda k: (-ranks[k].score, -ranks[k].population, k))
    number = np.empty(work.n_classes, dtype=np.int64)
    number[order] = np.arange(work.n_classes)

    def renumbered(rank: ClassRank) -> ClassRank:
        twin = rank.duplicate_of
        return replace(rank, duplicate_of=int(number[twin]) if twin >= 0 else -1)

    classes = np.full(n_given, -1, dtype=np.int64)
    psi, score = np.zeros(n_given), np.full(n_given, np.nan)
    place = np.zeros((n_given, 2))
    used = particles.used
    classes[used] = number[state.classes]
    psi[used], score[used] = state.psi, state.score
    place[used] = state.places * size
    return Classification(
        images=found.images[order],
        pixel_size=size,
        diameter=diameter,
        classes=classes,
        psi=psi,
        place=place,
        score=score,
        halves=halves,
        counts=found.counts[order],
        resolution=found.resolution[order],
        frc=found.frc[order],
        ranks=tuple(renumbered(ranks[k]) for k in order),
        flags=flags,
    )
