"""Three ways to find the groups in beam shifts, on simulated patterns of holes.

    python benchmarks/optics_groups.py [--sets 10]

Patterns are turned and sheared lattices with Gaussian scatter around each point. Printed is how
many sets of shifts were grouped exactly as they were made.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from icefloe.optics.shift_groups import _joined, _tree, group_shifts

SCATTER = (0.02, 0.05, 0.08, 0.10, 0.12)


def pattern(
    side: int, movies: int, scatter: float, seed: int, spacing: float = 0.04
) -> tuple[np.ndarray, np.ndarray]:
    """Return shifts of side x side holes, (n, 2), and the hole of each."""
    rng = np.random.default_rng(seed)
    index = np.arange(side) - (side - 1) / 2
    lattice = np.stack(np.meshgrid(index, index), axis=-1).reshape(-1, 2)
    lattice = lattice @ (spacing * np.array([[0.93, 0.31], [-0.42, 0.95]]))
    truth = rng.permutation(np.arange(movies) % len(lattice))
    return lattice[truth] + rng.normal(0, scatter * spacing, (movies, 2)), truth


def clearest_cut(shifts: np.ndarray) -> np.ndarray:
    """Group as Icefloe does."""
    return group_shifts(shifts)[0]


def largest_ratio(shifts: np.ndarray) -> np.ndarray:
    """Cut the tree at the largest ratio of successive edges, if it is 3 or more."""
    tree = _tree(shifts)
    lengths = np.sort(tree[2])[::-1]
    ratios = lengths[: len(shifts) // 2] / np.maximum(lengths[1 : len(shifts) // 2 + 1], 1e-12)
    cut = int(np.argmax(ratios))
    if ratios[cut] < 3:
        return np.zeros(len(shifts), dtype=np.int64)
    return _joined(tree, float(np.sqrt(lengths[cut] * lengths[cut + 1])))


def nearest_centre(shifts: np.ndarray) -> np.ndarray:
    """Join each shift to the nearest mean within 1/20 of the extent, or begin a new group."""
    reach = np.ptp(shifts, axis=0).max() / 20
    sums: list[np.ndarray] = []
    counts: list[int] = []
    labels = []
    for shift in shifts:
        apart = [float(np.hypot(*(shift - s / n))) for s, n in zip(sums, counts, strict=True)]
        if apart and min(apart) < reach:
            label = int(np.argmin(apart))
            sums[label] = sums[label] + shift
            counts[label] += 1
        else:
            label = len(sums)
            sums.append(shift.copy())
            counts.append(1)
        labels.append(label)
    return np.array(labels)


def exact(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two groupings are the same."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sets", type=int, default=10)
    sets = parser.parse_args().sets
    ways: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
        clearest_cut,
        largest_ratio,
        nearest_centre,
    )
    print(f"{'scatter':<16}" + "".join(f"{s:>8}" for s in SCATTER))
    for way in ways:
        row = []
        for scatter in SCATTER:
            good = [
                exact(way(shifts), truth)
                for side in (3, 5, 9)
                for each in (4, 12)
                for seed in range(sets)
                for shifts, truth in [pattern(side, each * side**2, scatter, seed)]
            ]
            row.append(f"{100 * np.mean(good):.0f} %")
        print(f"{way.__name__:<16}" + "".join(f"{text:>8}" for text in row))
    rng = np.random.default_rng(0)
    noise = [
        kind(size=(n, 2))
        for kind in (rng.normal, rng.uniform)
        for n in (12, 15, 20, 30, 50, 100)
        for _ in range(5 * sets)
    ]
    for way in ways:
        split = sum(len(set(way(shifts).tolist())) > 1 for shifts in noise)
        print(f"{way.__name__:<16} splits {split} of {len(noise)} sets without groups")


if __name__ == "__main__":
    main()
