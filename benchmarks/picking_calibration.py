"""One threshold for a session: does relating scores to defocus help?

    python benchmarks/picking_calibration.py [--micrographs 12] [--pixels 1024] [--frames 30]
    python benchmarks/picking_calibration.py --real ../shared/data/apoferritin-10146

Simulated micrographs with defoci spread over 0.6 to 3 um; or ten real ones of apoferritin, 1.5 to
2.5 um as CTFFIND found them, with all of their marks. For scores of `pick blob` and of `pick auto`:
F1 with one threshold for raw scores and one for calibrated scores, each the best there is; with the
threshold that is found in each micrograph; and with the best threshold of each micrograph, which
nothing can beat.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icefloe.formats import read_image
from icefloe.picking import (
    BlobSettings,
    MatchSettings,
    Picks,
    bootstrap_bank,
    calibrate_scores,
    pick_blobs,
    pick_templates,
)
from icefloe.scoring import pool_picks, score_picks
from icefloe.simulate import SimulationSettings, simulate_micrograph

PIXEL, DIAMETER = 1.5, 120.0
MARGIN, DISTANCE = 0.35 * DIAMETER / PIXEL, 0.3 * DIAMETER / PIXEL


Sets = list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True)
class Micrograph:
    """An image, places of its particles, its defocus in A, and the border that does not count."""

    image: NDArray[np.float32]
    truth: NDArray[np.float64]
    defocus: float
    margin: float


def simulated(count: int, pixels: int, frames: int) -> list[Micrograph]:
    """Return micrographs of defoci from 0.6 to 3 um."""
    found = []
    for i, defocus in enumerate(np.linspace(6000, 30000, count)):
        settings = SimulationSettings.make(
            shape=(pixels, pixels), pixel_size=PIXEL, n_frames=frames, defocus=float(defocus),
            seed=i,
        )  # fmt: skip
        m = simulate_micrograph(settings, f"calibration{i}")
        found.append(Micrograph(m.image, m.truth.yx, float(defocus), MARGIN))
    return found


def real(folder: Path) -> list[Micrograph]:
    """Return the real micrographs of a folder with the defocus that CTFFIND 4.1.14 found."""
    with (folder / "ctf_reference.csv").open() as handle:
        defocus = {
            r["micrograph"]: 0.5 * (float(r["defocus_u_A"]) + float(r["defocus_v_A"]))
            for r in csv.DictReader(handle)
            if r["program"].startswith("CTFFIND 4")
        }
    found = []
    for path in sorted(folder.glob("*.png")):
        with path.with_name(f"{path.stem}.particles.csv").open() as handle:
            truth = np.array([(float(r["y"]), float(r["x"])) for r in csv.DictReader(handle)])
        image = read_image(path).data.astype(np.float32)
        found.append(Micrograph(image, truth, defocus[path.stem], 0.0))
    return found


def compared(micrographs: list[Micrograph], picks: list[Picks], scores: list) -> Sets:
    """Return places, scores and true places, away from the border, of each micrograph."""
    out = []
    for m, p, s in zip(micrographs, picks, scores, strict=True):
        yx, t = np.stack([p.y, p.x], axis=1), m.truth
        inside = np.ones(len(yx), bool)
        if m.margin:
            last = np.array(m.image.shape) - 1 - m.margin
            t = t[((t > m.margin) & (t < last)).all(axis=1)]
            inside = ((yx > m.margin - 8) & (yx < last + 8)).all(axis=1)
        out.append((yx[inside], np.asarray(s)[inside], t))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--micrographs", type=int, default=12)
    parser.add_argument("--pixels", type=int, default=1024)
    parser.add_argument("--frames", type=int, default=30, help="Dose, 1.2 e/A^2 each.")
    parser.add_argument("--real", type=Path, default=None, help="Folder of real micrographs.")
    given = parser.parse_args()
    images = (
        simulated(given.micrographs, given.pixels, given.frames)
        if given.real is None
        else real(given.real)
    )
    defocus = [m.defocus for m in images]
    bank = bootstrap_bank([m.image for m in images[::4]], pixel_size=PIXEL).bank
    print(f"{len(images)} micrographs, {min(defocus):.0f} to {max(defocus):.0f} A")
    print("| picker | one raw | one calibrated | found in each | best in each | slope per um |")
    print("|---|---|---|---|---|---|")
    for name in ("blob", "auto"):
        usual, low = [], []
        for m in images:
            for found, threshold in ((usual, None), (low, 0.5 if name == "blob" else 0.08)):
                if name == "blob":
                    settings = BlobSettings(diameter=DIAMETER, threshold=threshold)
                    found.append(pick_blobs(m.image, pixel_size=PIXEL, settings=settings))
                else:
                    match = MatchSettings(threshold=threshold, edge=0.3)
                    found.append(pick_templates(m.image, bank, pixel_size=PIXEL, settings=match))
        line = calibrate_scores([p.score for p in usual], defocus)

        raw = compared(images, low, [p.score for p in low])
        relative = compared(
            images, low, [line.relative(p.score, z) for p, z in zip(low, defocus, strict=True)]
        )
        own = compared(images, usual, [p.score for p in usual])
        each = [score_picks(*one, DISTANCE) for one in raw]
        # Pooled F1 of the best threshold of every micrograph.
        hits = kept = truth = 0
        for one, score in zip(raw, each, strict=True):
            keep = one[1] >= score.best_threshold
            part = score_picks(one[0][keep], one[1][keep], one[2], DISTANCE)
            hits, kept, truth = hits + part.n_matched, kept + part.n_found, truth + part.n_truth
        print(
            f"| {name} | {pool_picks(raw, DISTANCE).best_f1:.3f} "
            f"| {pool_picks(relative, DISTANCE).best_f1:.3f} | {pool_picks(own, DISTANCE).f1:.3f} "
            f"| {2 * hits / (kept + truth):.3f} | {1e4 * line.slope:.3f} at {line.level:.2f} |"
        )
        medians = " ".join(f"{np.median(p.score):.2f}" if len(p) else "-" for p in usual)
        print(f"  medians {medians}", flush=True)


if __name__ == "__main__":
    main()
