"""Errors of the CTF fit against the truth in hundreds of spectra, and whether it knows them.

`python benchmarks/ctf_study.py [--cases N]`. Half of the cases have a phase plate, whose phase
shift is fitted. A pull is an error over the error that was stated; pulls of right errors have a
standard deviation of 1. The astigmatism's are of those beyond three of their errors.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ctf_spectra import Case, random_case, spectrum_of, true_resolution

from icefloe._types import FloatArray
from icefloe.ctf import CtfResult, CtfSettings, estimate_ctf_from_spectrum

__all__ = ["Row", "pulls", "rows"]


@dataclass(frozen=True)
class Row:
    """A case and what was found in it."""

    case: Case
    result: CtfResult

    @property
    def error(self) -> float:
        """Error of the mean defocus, A."""
        return self.result.parameters.defocus - self.case.optics.defocus


def fit(case: Case, seed: int, plate: bool) -> Row:
    """Return a case with its fit."""
    p = case.optics
    spectrum = spectrum_of(case, seed)
    result = estimate_ctf_from_spectrum(
        spectrum.centred(),
        pixel_size=spectrum.pixel_size,
        voltage=p.voltage,
        cs=p.cs,
        amplitude_contrast=p.amplitude_contrast,
        settings=CtfSettings(phase_shift=plate),
    )
    return Row(case, result)


def rows(n: int, plate: bool) -> list[Row]:
    """Return n random cases and their fits."""
    first = 1000 if plate else 0
    return [fit(random_case(i, plate), i, plate) for i in range(first, first + n)]


def pulls(found: list[Row]) -> dict[str, FloatArray]:
    """Return the pulls of defocus, astigmatism, its angle and the phase shift."""
    out: dict[str, list[float]] = {"defocus": [], "astigmatism": [], "angle": [], "phase": []}
    for row in found:
        if row.result.failed:
            continue
        p, q, e = row.case.optics, row.result.parameters, row.result.errors
        out["defocus"].append(row.error / e.defocus)
        if p.astigmatism > 3 * e.astigmatism:
            out["astigmatism"].append((q.astigmatism - p.astigmatism) / e.astigmatism)
            turn = (q.defocus_angle - p.defocus_angle + 90) % 180 - 90
            out["angle"].append(turn / e.angle)
        if e.phase_shift > 0:
            shift = (q.phase_shift - p.phase_shift + 90) % 180 - 90
            out["phase"].append(shift / e.phase_shift)
    return {name: np.array(values) for name, values in out.items() if values}


def report(title: str, found: list[Row]) -> dict[str, Any]:
    """Print the figures of some cases, and return them."""
    good = [r for r in found if not r.result.flags]
    errors = np.array([r.error for r in good])
    ends = [(r.result.fit_resolution, true_resolution(r.case)) for r in good]
    ratio = np.array([a / b for a, b in ends if math.isfinite(a) and math.isfinite(b)])
    old = [(r.result.fit_resolution_ctffind, true_resolution(r.case)) for r in good]
    old_ratio = np.array([a / b for a, b in old if math.isfinite(a) and math.isfinite(b)])
    wrong = [r for r in found if not r.result.failed and abs(r.error) > 200]
    out: dict[str, Any] = {
        "cases": len(found),
        "failed": sum(r.result.failed for r in found),
        "flagged": len(found) - len(good),
        "rms": float(np.sqrt(np.mean(errors**2))),
        "median": float(np.median(np.abs(errors))),
        "largest": float(np.abs(errors).max()),
        "wrong": sum(not r.result.flags for r in wrong),
    }
    print(
        f"\n{title}: {out['cases']} cases, {out['failed']} without rings by its own judgement, "
        f"{out['flagged']} flagged. Unflagged: defocus error rms {out['rms']:.1f}, median "
        f"{out['median']:.1f}, largest {out['largest']:.0f} A; beyond 200 A: {out['wrong']}"
    )
    for name, values in (("fit resolution", ratio), ("by CTFFIND's rule", old_ratio)):
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
        print(f"  {name} / truth: median {middle:.2f}, 90 % in {low:.2f} to {high:.2f}")
    for name, values in pulls(found).items():
        print(
            f"  pull of {name:12} mean {values.mean():5.2f}, sd {values.std():.2f}, n {len(values)}"
        )
    return out


def without_rings(n: int) -> None:
    """Print how strong fits of pure noise come out."""
    results = []
    for i in range(n):
        case = replace(random_case(i), strength=0.0)
        results.append(fit(case, i + 5000, i % 2 == 1).result)
    snr = np.array([r.snr for r in results])
    print(
        f"\n{n} spectra of noise: {sum(not r.failed for r in results)} taken for rings; signal to "
        f"noise median {np.median(snr):.1f}, largest {snr.max():.1f}"
    )


def main(n: int) -> None:
    for title, plate in (("without a phase plate", False), ("phase plate, fitted", True)):
        found = rows(n, plate)
        report(title, found)
        report(
            f"{title}, micrographs of 300 nm and more",
            [r for r in found if r.case.length >= 3000],
        )
    without_rings(n // 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=150, help="with and without phase plate each")
    main(parser.parse_args().cases)
