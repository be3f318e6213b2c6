"""Groups of exposures with the same beam shift: the holes that one stage position reaches.

Each beam shift has its own beam tilt, so RELION refines higher aberrations by such groups. The
shifts of a pattern of holes lie on a lattice, each point blurred by how the holes were centred.
They are joined by single linkage: the edges of the minimum spanning tree are either short (within
a point) or long (between points), and the largest ratio between two successive lengths says where
to cut. Neither the number of groups nor a distance has to be given, and the order of the exposures
does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icefloe._types import FloatArray

__all__ = ["ShiftGroup", "group_shifts", "natural_tolerance"]

# Shortest edge between groups over longest edge within one. Noise alone has less than 2
# (`tests/test_optics_groups.py`).
_GAP = 3.0
# Fewer exposures do not show what is a group.
_FEWEST = 8
_MOST_GROUPS = 500


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


def natural_tolerance(shifts: FloatArray) -> float | None:
    """Return the distance below which shifts belong together; None if they show no groups.

    Parameters
    ----------
    shifts
        (n, 2).
    """
    unique = np.unique(np.asarray(shifts, dtype=np.float64), axis=0)
    if len(shifts) < _FEWEST or len(unique) < 2:
        return None
    lengths = np.sort(_tree(unique)[2])[::-1]
    # What repeats exactly has edges of length 0 that `unique` left out.
    smallest = max(float(lengths[0]) * 1e-6, 1e-12)
    padded = np.maximum(np.append(lengths, 0.0), smallest)
    # Most groups have two members at least, or nothing tells within from between.
    last = min(len(shifts) // 2, len(lengths), _MOST_GROUPS)
    ratios = padded[:last] / padded[1 : last + 1]
    cut = int(np.argmax(ratios))
    if ratios[cut] < _GAP:
        return None
    return float(np.sqrt(padded[cut] * max(padded[cut + 1], padded[cut] / 100)))


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
    if tolerance is None:
        tolerance = natural_tolerance(shifts)
    labels = _linked(shifts, np.inf if tolerance is None else tolerance)
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


def _linked(shifts: FloatArray, tolerance: float) -> NDArray[np.int64]:
    """Return a label for each point; points nearer than `tolerance` have the same one."""
    points, inverse = np.unique(shifts, axis=0, return_inverse=True)
    labels = np.arange(len(points))
    begins, ends, lengths = _tree(points)
    for begin, end, length in zip(begins, ends, lengths, strict=True):
        if length <= tolerance:
            labels[labels == labels[end]] = labels[begin]
    return np.asarray(labels[inverse.reshape(-1)], dtype=np.int64)


def _tree(points: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Return the minimum spanning tree of (n, 2) points: both ends and length of each edge.

    Prim's algorithm over all pairs: 20,000 points take about a second.
    """
    count = len(points)
    nearest = np.zeros(count, dtype=np.int64)
    distance = np.linalg.norm(points - points[0], axis=1)
    distance[0] = np.inf
    outside = np.ones(count, dtype=bool)
    outside[0] = False
    begins, ends = np.zeros((2, max(0, count - 1)), dtype=np.int64)
    lengths = np.zeros(max(0, count - 1))
    for edge in range(count - 1):
        new = int(np.argmin(distance))
        begins[edge], ends[edge], lengths[edge] = nearest[new], new, distance[new]
        outside[new] = False
        distance[new] = np.inf
        step = np.hypot(points[:, 0] - points[new, 0], points[:, 1] - points[new, 1])
        closer = outside & (step < distance)
        distance[closer] = step[closer]
        nearest[closer] = new
    return begins, ends, lengths
