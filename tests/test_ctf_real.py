"""Real micrographs against what CTFFIND 4.1.14 and 5.0.2 found on them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from icefloe.ctf import CtfResult, CtfSettings, estimate_ctf
from icefloe.formats import read_image

Pair = tuple[CtfResult, dict[str, float]]


def fit_all(real_data: Path, settings: CtfSettings) -> list[Pair]:
    folder = real_data / "apoferritin-10146"
    with (folder / "ctf_reference.csv").open() as handle:
        rows = [r for r in csv.DictReader(handle) if r["program"] == "CTFFIND 4.1.14"]
    found = []
    for row in rows:
        image = read_image(folder / f"{row['micrograph']}.png").data
        result = estimate_ctf(
            image, pixel_size=1.5, cs=0.0, amplitude_contrast=0.07, settings=settings
        )
        found.append((result, {k: float(v) for k, v in row.items() if k.endswith(("A", "deg"))}))
        found[-1][1]["cc"] = float(row["cross_correlation"])
    return found


@pytest.fixture(scope="session")
def pairs(real_data: Path) -> list[Pair]:
    return fit_all(real_data, CtfSettings())


@pytest.fixture(scope="session")
def same_range(real_data: Path) -> list[Pair]:
    """Fits in CTFFIND's range, 30 to 5 A."""
    return fit_all(real_data, CtfSettings(extend_range=False))


def test_defocus_is_that_of_ctffind(pairs: list[Pair]) -> None:
    difference = np.array(
        [r.parameters.defocus - 0.5 * (ref["defocus_u_A"] + ref["defocus_v_A"]) for r, ref in pairs]
    )
    assert np.median(np.abs(difference)) <= 30
    assert np.max(np.abs(difference)) <= 100


def test_astigmatism_is_that_of_ctffind_in_its_range(same_range: list[Pair]) -> None:
    reference = np.array([ref["defocus_u_A"] - ref["defocus_v_A"] for _, ref in same_range])
    found = np.array([r.parameters.astigmatism for r, _ in same_range])
    assert np.median(np.abs(found - reference)) <= 60
    assert np.max(np.abs(found - reference)) <= 120
    clear = reference > 300
    angle = np.array(
        [r.parameters.defocus_angle - ref["astigmatism_angle_deg"] for r, ref in same_range]
    )
    turn = np.abs((angle + 90) % 180 - 90)[clear]
    assert np.median(turn) <= 5
    assert np.max(turn) <= 10


def test_rings_beyond_the_range_are_used(pairs: list[Pair], same_range: list[Pair]) -> None:
    for (far, _), (near, _) in zip(pairs, same_range, strict=True):
        assert far.fitted_to < 3.3 < 4.9 < near.fitted_to
        assert far.errors.astigmatism < 0.7 * near.errors.astigmatism


def test_figures_of_quality_are_comparable_with_ctffind(pairs: list[Pair]) -> None:
    ratio = np.array([r.figure_of_merit / ref["cc"] for r, ref in pairs])
    assert 0.85 < np.median(ratio) < 1.2
    assert ratio.max() / ratio.min() < 1.35
    resolution = np.array([r.fit_resolution - ref["fit_resolution_A"] for r, ref in pairs])
    assert np.median(np.abs(resolution)) < 0.3


def test_none_is_flagged(pairs: list[Pair]) -> None:
    assert [r.flags for r, _ in pairs] == [()] * len(pairs)
