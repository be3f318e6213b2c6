"""To which resolution rings are said to be fitted, on curves made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from icefloe.ctf.curves import Curves
from icefloe.ctf.resolution import (
    aliasing_resolution,
    ctffind_resolution,
    fit_resolution,
    threshold_resolution,
)
from icefloe.optics import CtfParameters, ctf_1d

P = CtfParameters(15000, 15000, 0, 300, 2.7, 0.07)


def curves(end: float, hole: tuple[float, float] = (1.0, 1.0)) -> Curves:
    """Return curves whose rings reach `end` (1/A) and are gone within `hole`."""
    k = np.arange(257) / (512 * 1.4)
    model = ctf_1d(P, k) ** 2
    noise = np.random.default_rng(2).normal(0, 0.35, len(k))
    rings = (k < end) & ~((k > hole[0]) & (k < hole[1]))
    equiphase = np.where(rings, model, 0.5 + noise)
    correlation = np.where(rings, 0.95, 0.05)
    return Curves(k, equiphase, equiphase, model, correlation, np.full(len(k), 0.5))


@pytest.mark.parametrize("resolution", [8.0, 5.0, 3.5])
def test_all_rules_find_where_rings_end(resolution: float) -> None:
    c = curves(1 / resolution)
    assert fit_resolution(c, P, 30) == pytest.approx(resolution, rel=0.06)
    assert ctffind_resolution(c) == pytest.approx(resolution, rel=0.06)
    assert threshold_resolution(c, 30) == pytest.approx(resolution, rel=0.06)


def test_a_dip_ends_ctffinds_rule_and_not_ours() -> None:
    c = curves(1 / 3.5, hole=(1 / 7.4, 1 / 7.0))
    assert ctffind_resolution(c) == pytest.approx(7.4, rel=0.03)
    assert fit_resolution(c, P, 30) == pytest.approx(3.5, rel=0.06)


def test_a_long_gap_ends_the_rings() -> None:
    c = curves(1 / 3.5, hole=(1 / 10, 1 / 5))
    assert fit_resolution(c, P, 30) == pytest.approx(10, rel=0.08)


def test_without_rings_there_is_no_resolution() -> None:
    c = curves(0.0)
    assert fit_resolution(c, P, 30) > 5
    assert ctffind_resolution(c) == float("inf")


def test_box_limits_the_rings_it_can_show() -> None:
    c = curves(0.3)
    assert np.isnan(aliasing_resolution(c, P))
    far = CtfParameters(40000, 40000, 0, 300, 0.0, 0.07)
    # 2 lambda D k = 0.87 of half the box, 358 A, for lambda = 0.0197 A.
    expected = 2 * 0.0196875 * 40000 / (0.87 * 358.4)
    assert aliasing_resolution(c, far) == pytest.approx(expected, rel=0.01)
