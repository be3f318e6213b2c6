"""Real micrographs against what CTFFIND 4.1.14 and 5.0.2 found on them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from icefloe.ctf import CtfResult, estimate_ctf
from icefloe.formats import read_image

Pair = tuple[CtfResult, dict[str, float]]


@pytest.fixture(scope="session")
def pairs(real_data: Path) -> list[Pair]:
    folder = real_data / "apoferritin-10146"
    with (folder / "ctf_reference.csv").open() as handle:
        rows = [r for r in csv.DictReader(handle) if r["program"] == "CTFFIND 4.1.14"]
    found = []
    for row in rows:
        image = read_image(folder / f"{row['micrograph']}.png").data
        result = estimate_ctf(image, pixel_size=1.5, cs=0.0, amplitude_contrast=0.07)
        found.append((result, {k: float(v) for k, v in row.items() if k.endswith(("A", "deg"))}))
        found[-1][1]["cc"] = float(row["cross_correlation"])
    return found


def test_defocus_is_that_of_ctffind(pairs: list[Pair]) -> None:
    difference = np.array(
        [r.parameters.defocus - 0.5 * (ref["defocus_u_A"] + ref["defocus_v_A"]) for r, ref in pairs]
    )
    assert np.median(np.abs(difference)) <= 30
    assert np.max(np.abs(difference)) <= 100


def test_astigmatism_is_that_of_ctffind(pairs: list[Pair]) -> None:
    reference = np.array([ref["defocus_u_A"] - ref["defocus_v_A"] for _, ref in pairs])
    found = np.array([r.parameters.astigmatism for r, _ in pairs])
    assert np.median(np.abs(found - reference)) <= 60
    assert np.max(np.abs(found - reference)) <= 120
    clear = reference > 300
    angle = np.array(
        [r.parameters.defocus_angle - ref["astigmatism_angle_deg"] for r, ref in pairs]
    )
    turn = np.abs((angle + 90) % 180 - 90)[clear]
    assert np.median(turn) <= 5
    assert np.max(turn) <= 10


def test_figures_of_quality_are_comparable_with_ctffind(pairs: list[Pair]) -> None:
    ratio = np.array([r.figure_of_merit / ref["cc"] for r, ref in pairs])
    assert 0.85 < np.median(ratio) < 1.2
    assert ratio.max() / ratio.min() < 1.35
    resolution = np.array([r.fit_resolution - ref["fit_resolution_A"] for r, ref in pairs])
    assert np.median(np.abs(resolution)) < 0.3


def test_none_is_flagged(pairs: list[Pair]) -> None:
    assert [r.flags for r, _ in pairs] == [()] * len(pairs)
