"""Groups of exposures with the same beam shift: the holes that one stage position reaches.

Each beam shift has its own beam tilt, so RELION refines higher aberrations by such groups. The
shifts of a pattern of holes lie on a lattice, each point blurred by how the holes were centred.
They are joined by single linkage: the edges of the minimum spanning tree are either short (within
a point) or long (between points). Of the largest steps between their sorted lengths that is the
cut which leaves the groups clearest: farthest apart for their spread. Neither the number of groups
nor a distance has to be given, and the order of the exposures does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from icefloe._types import FloatArray

__all__ = ["ShiftGroup", "group_shifts", "natural_tolerance"]

# Least distance between centres of groups over the standard deviation within them; that of noise
# is lower (`tests/test_optics_groups.py`).
_CLEAR = 6.5
# Fewer exposures do not show what is a group.
_FEWEST = 12
_MOST_GROUPS = 500
_CANDIDATES = 20

Tree: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]


@dataclass(frozen=True)
class ShiftGroup:
    """A group.

    Attributes
    ----------
    number
        From 1, for good.
    centre
        (x, y), mean of its members' shifts when they were last grouped.
    """

    number: int
    centre: tuple[float, float]


def natural_tolerance(shifts: FloatArray, tree: Tree | None = None) -> float | None:
    """Return the distance below which shifts belong together; None if they show no groups.

    Parameters
    ----------
    shifts
        (n, 2).
    tree
        Their minimum spanning tree, if it is known.
    """
    shifts = np.asarray(shifts, dtype=np.float64)
    count = len(shifts)
    if count < _FEWEST:
        return None
    tree = _tree(shifts) if tree is None else tree
    lengths = np.sort(tree[2])[::-1]
    smallest = max(float(lengths[0]) * 1e-6, 1e-300)  # of exact repetitions
    padded = np.maximum(lengths, smallest)
    last = min(count // 3, _MOST_GROUPS) - 1  # three members a group, or nothing tells them apart
    if last < 1 or lengths[0] <= smallest:
        return None
    ratios = padded[:last] / padded[1 : last + 1]
    best, tolerance = _CLEAR, None
    for cut in np.argsort(-ratios, kind="stable")[:_CANDIDATES]:
        middle = float(np.sqrt(padded[cut] * padded[cut + 1]))
        clarity = _clarity(shifts, _joined(tree, middle), smallest)
        if clarity > best:
            best, tolerance = clarity, middle
    return tolerance


def _clarity(shifts: FloatArray, labels: NDArray[np.int64], smallest: float) -> float:
    """Return the least distance between two groups' centres over the spread within groups.

    It is 0 where more than a quarter of the groups are single exposures: those are outliers.
    """
    sizes = np.bincount(labels)
    if len(sizes) < 2 or 4 * np.count_nonzero(sizes == 1) > len(sizes):
        return 0.0
    centres = np.stack([np.bincount(labels, weights=axis) / sizes for axis in shifts.T], axis=1)
    rest = len(shifts) - len(sizes)
    within = float(np.sqrt(np.sum((shifts - centres[labels]) ** 2) / (2 * rest)))
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return float(apart.min() / max(within, smallest))


def group_shifts(
    shifts: FloatArray, *, known: Sequence[ShiftGroup] = (), tolerance: float | None = None
) -> tuple[NDArray[np.int64], list[ShiftGroup]]:
    """Return the group of each exposure.

    Parameters
    ----------
    shifts
        (n, 2), in any unit, in the order in which new groups get their numbers.
    known
        Groups of before: they keep their numbers, and no number is used again.
    tolerance
        Distance below which shifts belong together; from the shifts themselves if None.

    Returns
    -------
    numbers
        (n,).
    groups
        The known ones and the new ones, by number.
    """
    shifts = np.asarray(shifts, dtype=np.float64).reshape(-1, 2)
    if not len(shifts):
        return np.zeros(0, dtype=np.int64), list(known)
    tree = _tree(shifts)
    if tolerance is None:
        tolerance = natural_tolerance(shifts, tree)
    labels = _joined(tree, np.inf if tolerance is None else tolerance)
    order = np.unique(labels, return_index=True)[1]
    clusters = labels[np.sort(order)]  # in order of their first member
    centres = np.array([shifts[labels == cluster].mean(axis=0) for cluster in clusters])
    taken = _matched(centres, known)
    highest = max((group.number for group in known), default=0)
    numbers = np.zeros(len(shifts), dtype=np.int64)
    found: dict[int, ShiftGroup] = {group.number: group for group in known}
    for place, cluster in enumerate(clusters):
        number = taken.get(place)
        if number is None:
            highest += 1
            number = highest
        numbers[labels == cluster] = number
        found[number] = ShiftGroup(number, (float(centres[place, 0]), float(centres[place, 1])))
    return numbers, [found[number] for number in sorted(found)]


def _matched(centres: FloatArray, known: Sequence[ShiftGroup]) -> dict[int, int]:
    """Return the number of each cluster that continues a known group, by the cluster's place.

    The nearest pairs come first. A group ends nearer to where it was than to any other group, so a
    cluster farther away than half the distance between known groups is a new one.
    """
    if not known:
        return {}
    before = np.array([group.centre for group in known])
    apart = np.linalg.norm(before[:, None] - before[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    reach = apart.min(axis=1) / 2
    distances = np.linalg.norm(centres[:, None] - before[None], axis=2)
    out: dict[int, int] = {}
    used: set[int] = set()
    for flat in np.argsort(distances, axis=None, kind="stable"):
        place, group = (int(i) for i in np.unravel_index(flat, distances.shape))
        if place in out or group in used or distances[place, group] > reach[group]:
            continue
        out[place] = known[group].number
        used.add(group)
    return out


def _joined(tree: Tree, tolerance: float) -> NDArray[np.int64]:
    """Return a label from 0 for each point; points nearer than `tolerance` have the same one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    begins, ends, lengths = tree
    near = lengths <= tolerance
    count = len(lengths) + 1
    edges = coo_array((np.ones(near.sum()), (begins[near], ends[near])), shape=(count, count))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def _tree(points: FloatArray) -> Tree:
    """Return the minimum spanning tree of (n, 2) points: both ends and length of each edge.

    Prim's algorithm over all pairs; points that are in the tree leave the arrays.
    """
    count = len(points)
    begins, ends = np.zeros((2, max(0, count - 1)), dtype=np.int64)
    lengths = np.zeros(max(0, count - 1))
    left = np.arange(1, count)
    x, y = points[1:, 0].copy(), points[1:, 1].copy()
    nearest = np.zeros(count - 1, dtype=np.int64)
    distance = (x - points[0, 0]) ** 2 + (y - points[0, 1]) ** 2
    for edge in range(count - 1):
        size = count - 1 - edge
        place = int(np.argmin(distance[:size]))
        new = int(left[place])
        begins[edge], ends[edge], lengths[edge] = nearest[place], new, distance[place]
        last = size - 1
        for array in (left, x, y, nearest, distance):
            array[place] = array[last]
        step = (x[:last] - points[new, 0]) ** 2
        step += (y[:last] - points[new, 1]) ** 2
        closer = step < distance[:last]
        np.copyto(distance[:last], step, where=closer)
        np.copyto(nearest[:last], new, where=closer)
    return begins, ends, np.sqrt(lengths)
