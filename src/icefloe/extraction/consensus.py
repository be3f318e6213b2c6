"""One set of picks out of several, and no particle twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from icefloe._types import AnyArray, FloatArray
from icefloe.errors import SettingsError

__all__ = ["Consensus", "best", "consensus", "distinct"]


@dataclass(frozen=True)
class Consensus:
    """Particles that enough pickers found.

    Attributes
    ----------
    y, x
        (n,) mean of the members' positions, pixels.
    score
        (n,) mean over all sets of the member's standing in its set: 1 for a set's best pick, near 0
        for its last, 0 for a set without a member. Scores of different pickers have no common
        unit, their order has.
    votes
        (n,) number of sets with a member.
    members
        (n, sets) index of the member in each set, -1 where there is none.
    """

    y: FloatArray
    x: FloatArray
    score: FloatArray
    votes: AnyArray
    members: AnyArray

    def __len__(self) -> int:
        return len(self.y)


def consensus(
    sets: Sequence[tuple[FloatArray, FloatArray, FloatArray | None]],
    distance: float,
    votes: int,
) -> Consensus:
    """Match the picks of several sets and keep those with enough votes, best first.

    The pick with the best standing that is left takes from each other set the nearest pick that is
    left and not farther than `distance`. No chain of neighbours can grow, and no set votes twice.

    Parameters
    ----------
    sets
        y, x and score of each set, (m,); the score is None where there is none, and then all picks
        of the set stand at 1/2.
    distance
        Pixels.
    votes
        Smallest number of sets.

    Raises
    ------
    SettingsError
        No positive distance, or more votes than sets.
    """
    _check(distance)
    if not 1 <= votes <= len(sets):
        raise SettingsError(f"{votes} votes of {len(sets)} sets", f"1 to {len(sets)} votes")
    standing = [_standing(len(y), score) for y, _, score in sets]
    points = [np.stack([y, x], axis=1).reshape(-1, 2) for y, x, _ in sets]
    trees = [cKDTree(p) if len(p) else None for p in points]
    free = [np.ones(len(p), dtype=np.bool_) for p in points]
    owner = np.concatenate([np.full(len(p), i) for i, p in enumerate(points)])
    index = np.concatenate([np.arange(len(p)) for p in points])
    members = []
    for j in np.argsort(-np.concatenate(standing), kind="stable").tolist():
        seed_set, seed = int(owner[j]), int(index[j])
        if not free[seed_set][seed]:
            continue
        found = np.full(len(sets), -1, dtype=np.int64)
        for k, tree in enumerate(trees):
            if k == seed_set:
                found[k] = seed
            elif tree is not None:
                found[k] = _nearest(tree, points[k], free[k], points[seed_set][seed], distance)
            if found[k] >= 0:
                free[k][found[k]] = False
        if np.count_nonzero(found >= 0) >= votes:
            members.append(found)
    table = np.array(members, dtype=np.int64).reshape(-1, len(sets))
    count = (table >= 0).sum(axis=1)
    place, score = np.zeros((len(table), 2)), np.zeros(len(table))
    for k in range(len(sets)):
        has = table[:, k] >= 0
        place[has] += points[k][table[has, k]]
        score[has] += standing[k][table[has, k]]
    place /= np.maximum(count, 1)[:, None]
    score /= len(sets)
    order = np.argsort(-score, kind="stable")
    return Consensus(place[order, 0], place[order, 1], score[order], count[order], table[order])


def distinct(y: FloatArray, x: FloatArray, score: FloatArray | None, distance: float) -> AnyArray:
    """Return the indices, ascending, of picks none of which is closer than `distance` to a better.

    Parameters
    ----------
    y, x
        (n,) pixels.
    score
        (n,), larger is better; of equal ones, and without scores, the earlier stays.
    distance
        Smallest distance, pixels.

    Raises
    ------
    SettingsError
        No positive distance.
    """
    _check(distance)
    n = len(y)
    if not n:
        return np.zeros(0, dtype=np.intp)
    points = np.stack([y, x], axis=1)
    rank = np.zeros(n) if score is None else np.nan_to_num(score, nan=-np.inf)
    # Strictly closer: a distance of exactly the smallest allowed is allowed.
    neighbours = cKDTree(points).query_ball_point(points, np.nextafter(distance, 0))
    alive = np.ones(n, dtype=np.bool_)
    for i in np.argsort(-rank, kind="stable").tolist():
        if alive[i]:
            alive[neighbours[i]] = False
            alive[i] = True
    return np.flatnonzero(alive)


def best(score: FloatArray | None, n: int, limit: int) -> AnyArray:
    """Return the indices, ascending, of the `limit` best of `n` picks; the first without scores."""
    if score is None or n <= limit:
        return np.arange(min(n, limit))
    rank = np.nan_to_num(score, nan=-np.inf)
    return np.sort(np.argsort(-rank, kind="stable")[:limit])


def _nearest(
    tree: cKDTree, points: FloatArray, free: AnyArray, place: FloatArray, distance: float
) -> int:
    near = [i for i in tree.query_ball_point(place, distance) if free[i]]
    if not near:
        return -1
    apart = ((points[near] - place) ** 2).sum(axis=1)
    return int(near[int(np.argmin(apart))])


def _standing(n: int, score: FloatArray | None) -> FloatArray:
    if score is None or not np.isfinite(score).any():
        return np.full(n, 0.5)
    rank = np.nan_to_num(score, nan=-np.inf)
    # Equal scores share a standing.
    below = np.searchsorted(np.sort(rank), rank, side="left")
    return np.asarray((below + 1) / n, dtype=np.float64)


def _check(distance: float) -> None:
    if not distance > 0:
        raise SettingsError(f"The distance is {distance}", "a positive number")
