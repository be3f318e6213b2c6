"""Groups of frames that are aligned as one, and the way from their motion to that of frames.

A frame of a tenth of an electron holds too little to be aligned by itself, and a movie of hundreds
of them costs time and memory for nothing: what is aligned are sums of frames. Frames that cannot
be used belong to no group, and get their motion in the same way as all others.
"""

from __future__ import annotations

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray, Tensor
from icefloe.fourier import is_tensor
from icefloe.motion.field import N_TERMS, MotionField
from icefloe.motion.prepare import bin_frames

__all__ = ["alignment_groups", "bin_groups", "expand_field", "group_doses", "group_moments"]

# e/A^2. A group's dose where it is not given; what larger ones cost is in docs/motion.md.
_DOSE = 0.8
# Fewer groups than this say too little about the course of the motion.
_FEWEST = 8
# The specimen settles with the dose, e/A^2: a smooth track is one that is smooth on the clock
# log(1 + dose / this).
_SETTLING_DOSE = 3.0
# Frames binned at once: enough for all threads, and little memory.
_CHUNK = 16


def alignment_groups(
    doses: FloatArray, used: BoolArray, dose: float | None = None
) -> list[AnyArray]:
    """Return the indices of the frames of each group, in order.

    Parameters
    ----------
    doses
        (F,), of each frame, e/A^2.
    used
        (F,), which of them to put into groups.
    dose
        Largest dose of a group, e/A^2; None for 0.8. Frames of more than half of it, and movies
        with too few frames for 8 groups, are not grouped.
    """
    frames = np.flatnonzero(used)
    typical = max(float(np.median(doses[used])), 1e-12)
    size = int((_DOSE if dose is None else dose) / typical + 1e-6)
    size = min(size, len(frames) // _FEWEST)
    if size < 2:
        return [np.array([f]) for f in frames]
    middle = np.cumsum(doses) - 0.5 * doses
    number = np.floor(middle[frames] / (size * typical)).astype(int)
    groups = [frames[number == g] for g in np.unique(number)]
    # A short rest would be aligned by next to nothing.
    if len(groups) > 1 and doses[groups[-1]].sum() < 0.5 * size * typical:
        groups[-2:] = [np.concatenate(groups[-2:])]
    return groups


def group_doses(doses: FloatArray, groups: list[AnyArray]) -> FloatArray:
    """Return the dose of each group, e/A^2; what lies between two goes half to each.

    See `group_moments` for the times at which the groups were taken.
    """
    centres = group_moments(doses, groups)
    if len(centres) == 1:
        return np.array([float(doses[groups[0]].sum())])
    edges = 0.5 * (centres[1:] + centres[:-1])
    ends = np.cumsum(doses)
    first = ends[groups[0][0]] - doses[groups[0][0]]
    return np.diff(np.concatenate([[first], edges, [ends[groups[-1][-1]]]]))


def group_moments(doses: FloatArray, groups: list[AnyArray]) -> FloatArray:
    """Return the accumulated dose in the middle of each group, e/A^2."""
    middle = _middles(doses)
    return np.array([middle[g].mean() for g in groups])


def bin_groups(
    stack: Tensor, gain: Tensor, bad: BoolArray, factor: int, groups: list[AnyArray]
) -> tuple[Tensor, FloatArray]:
    """Return binned sums of the groups (G, by, bx), and the mean of each frame (F,).

    As `icefloe.motion.prepare.bin_frames`, and the same where every frame is a group of its own.
    """
    n = len(stack)
    if len(groups) == n:
        return bin_frames(stack, gain, bad, factor)
    belongs = np.full(n, -1)
    for g, members in enumerate(groups):
        belongs[members] = g
    means = np.zeros(n)
    out: Tensor = None
    for begin in range(0, n, _CHUNK):
        chunk = slice(begin, min(n, begin + _CHUNK))
        binned, means[chunk] = bin_frames(stack[chunk], gain, bad, factor)
        if out is None:
            shape = (len(groups), *binned.shape[1:])
            out = binned.new_zeros(shape) if is_tensor(binned) else np.zeros(shape, np.float32)
        for frame, g in zip(binned, belongs[chunk], strict=True):
            if g >= 0:
                out[g] += frame
    return out, means


def expand_field(field: MotionField, groups: list[AnyArray], doses: FloatArray) -> MotionField:
    """Return the motion of all frames, given that of groups.

    The smoothest track (least integral of its squared second derivative on the clock
    log(1 + dose / 3 e/A^2)) whose means over the groups are those given; where a frame is a group,
    it keeps its motion exactly.

    Parameters
    ----------
    field
        Motion of the groups.
    groups
        From `alignment_groups`.
    doses
        (F,), of each frame, e/A^2.
    """
    n, number = len(doses), len(groups)
    if number == n:
        return field
    values = np.concatenate([field.global_shifts, field.local.reshape(number, -1)], axis=1)
    if number == 1:
        spread = np.repeat(values, n, axis=0)
    else:
        spread = _smoothest(values, groups, np.log1p(_middles(doses) / _SETTLING_DOSE))
    local = spread[:, 2:].reshape(n, 2, N_TERMS)
    return MotionField(field.shape, spread[:, :2], local).relative_to_first()


def _middles(doses: FloatArray) -> FloatArray:
    # Accumulated dose in the middle of each frame; no two frames at one time.
    steps = np.maximum(doses, 1e-3 * max(float(np.median(doses)), 1e-9))
    return np.asarray(np.cumsum(steps) - 0.5 * steps)


def _smoothest(values: FloatArray, groups: list[AnyArray], clock: FloatArray) -> FloatArray:
    from scipy import sparse
    from scipy.sparse.linalg import splu

    n, number = len(clock), len(groups)
    step = np.diff(clock)
    rows = np.arange(n - 2)
    # Divided second differences, over the root of the length that each stands for.
    weight = np.sqrt(2 / (step[1:] + step[:-1]))
    bend = sparse.coo_matrix(
        (
            np.concatenate([weight / step[:-1], -weight * (1 / step[:-1] + 1 / step[1:]),
                            weight / step[1:]]),
            (np.tile(rows, 3), np.concatenate([rows, rows + 1, rows + 2])),
        ),
        shape=(n - 2, n),
    )  # fmt: skip
    mean = sparse.coo_matrix(
        (
            np.concatenate([np.full(len(g), 1 / len(g)) for g in groups]),
            (np.repeat(np.arange(number), [len(g) for g in groups]), np.concatenate(groups)),
        ),
        shape=(number, n),
    )
    energy = bend.T @ bend
    # Scaled to 1: the multipliers then are of the size of the positions.
    energy = energy / float(energy.diagonal().max())
    system = sparse.bmat([[energy, mean.T], [mean, None]], format="csc")
    right = np.concatenate([np.zeros((n, values.shape[1])), values])
    return np.asarray(splu(system).solve(right)[:n])
