"""Beam shifts become optics groups."""

from __future__ import annotations

import numpy as np
import pytest

from icefloe.optics.shift_groups import ShiftGroup, group_shifts, natural_tolerance


def pattern(side: int, movies: int, jitter: float, seed: int = 0, spacing: float = 0.04):
    """Shifts of an n x n pattern that is turned and sheared, in random order, with the truth."""
    rng = np.random.default_rng(seed)
    index = np.arange(side) - (side - 1) / 2
    lattice = np.stack(np.meshgrid(index, index), axis=-1).reshape(-1, 2)
    lattice = lattice @ (spacing * np.array([[0.93, 0.31], [-0.42, 0.95]]))
    truth = rng.permutation(np.arange(movies) % len(lattice))
    return lattice[truth] + rng.normal(0, jitter * spacing, (movies, 2)), truth


def same_partition(one, other) -> bool:
    pairs = set(zip(np.asarray(one).tolist(), np.asarray(other).tolist(), strict=True))
    return len(pairs) == len(set(one)) == len(set(other))


@pytest.mark.parametrize("side", [3, 5, 9])
@pytest.mark.parametrize("jitter", [0.0, 0.02, 0.08])
def test_a_pattern_of_holes_is_found(side, jitter):
    for seed in range(3):
        shifts, truth = pattern(side, 8 * side**2, jitter, seed)
        numbers, groups = group_shifts(shifts)
        assert len(groups) == side**2
        assert same_partition(numbers.tolist(), truth.tolist())
        assert numbers[0] == 1


def test_neither_the_order_nor_the_unit_matters():
    shifts, _ = pattern(5, 200, 0.05)
    turn = np.random.default_rng(1).permutation(200)
    numbers, _ = group_shifts(shifts)
    turned, _ = group_shifts(1e3 * shifts[turn])
    assert same_partition(numbers[turn].tolist(), turned.tolist())


def test_one_beam_shift_is_one_group():
    rng = np.random.default_rng(2)
    for count in (1, 2, 11, 12, 20, 100, 300):
        for _ in range(10):
            numbers, groups = group_shifts(rng.normal(0, 0.01, (count, 2)))
            assert set(numbers) == {1}
            assert len(groups) == 1
        assert natural_tolerance(rng.uniform(0, 1, (count, 2))) is None
        assert natural_tolerance(rng.standard_t(2, (count, 2))) is None  # with outliers
    assert set(group_shifts(np.zeros((50, 2)))[0]) == {1}
    numbers, groups = group_shifts(np.zeros((0, 2)))
    assert len(numbers) == len(groups) == 0


@pytest.mark.parametrize("side", [3, 5])
def test_groups_keep_their_numbers_when_more_movies_come(side):
    """Movies come square by square: each export knows the groups of the one before."""
    shifts, truth = pattern(side, 12 * side**2, 0.04, 7)
    known: list[ShiftGroup] = []
    before = np.zeros(0, dtype=int)
    for count in (3 * side**2, 3 * side**2 + 1, 6 * side**2, 12 * side**2):
        numbers, known = group_shifts(shifts[:count], known=known)
        assert same_partition(numbers.tolist(), truth[:count].tolist())
        np.testing.assert_array_equal(numbers[: len(before)], before)
        before = numbers


def test_a_new_hole_gets_a_new_number_and_none_is_used_again():
    shifts, truth = pattern(3, 90, 0.03)
    first = shifts[truth != 4]
    numbers, known = group_shifts(first)
    assert len(known) == 8
    again, groups = group_shifts(np.concatenate([first, shifts[truth == 4]]), known=known)
    np.testing.assert_array_equal(again[: len(first)], numbers)
    assert set(again[len(first) :]) == {9}
    assert [g.number for g in groups] == list(range(1, 10))
    # The first group's movies were taken out of the session: its number stays its own.
    fewer, groups = group_shifts(first[numbers != 1], known=known)
    assert set(fewer) == set(range(2, 9))
    assert [g.number for g in groups] == list(range(1, 9))


def test_a_tolerance_that_is_given_counts():
    shifts = np.array([[0.0, 0], [0.5, 0], [3, 0]])
    assert group_shifts(shifts, tolerance=1.0)[0].tolist() == [1, 1, 2]
    assert group_shifts(shifts, tolerance=0.1)[0].tolist() == [1, 2, 3]
    assert group_shifts(shifts, tolerance=5.0)[0].tolist() == [1, 1, 1]
