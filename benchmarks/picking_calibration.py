"""One threshold for a session: does relating scores to defocus help? Simulated micrographs.

    python benchmarks/picking_calibration.py [--micrographs 12] [--pixels 1024] [--frames 30]

Defoci are spread over 0.6 to 3 um. For scores of `pick blob` and of `pick auto`: F1 with one
threshold for raw scores and one for calibrated scores, each the best there is; with the threshold
that is found in each micrograph; and with the best threshold of each micrograph, which nothing can
beat.
"""

from __future__ import annotations

import argparse

import numpy as np

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
from icefloe.simulate import SimulatedMicrograph, SimulationSettings, simulate_micrograph

PIXEL, DIAMETER = 1.5, 120.0
MARGIN, DISTANCE = 0.35 * DIAMETER / PIXEL, 0.3 * DIAMETER / PIXEL


Sets = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def compared(images: list[SimulatedMicrograph], picks: list[Picks], scores: list) -> Sets:
    """Return places, scores and true places, away from the border, of each micrograph."""
    out = []
    for m, p, s in zip(images, picks, scores, strict=True):
        last = len(m.image) - 1 - MARGIN
        t = m.truth.yx
        t = t[((t > MARGIN) & (t < last)).all(axis=1)]
        yx = np.stack([p.y, p.x], axis=1)
        inside = ((yx > MARGIN - 8) & (yx < last + 8)).all(axis=1)
        out.append((yx[inside], np.asarray(s)[inside], t))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--micrographs", type=int, default=12)
    parser.add_argument("--pixels", type=int, default=1024)
    parser.add_argument("--frames", type=int, default=30, help="Dose, 1.2 e/A^2 each.")
    given = parser.parse_args()
    defocus = np.linspace(6000, 30000, given.micrographs)
    images = [
        simulate_micrograph(
            SimulationSettings.make(
                shape=(given.pixels, given.pixels),
                pixel_size=PIXEL,
                n_frames=given.frames,
                defocus=float(z),
                seed=i,
            ),
            f"calibration{i}",
        )
        for i, z in enumerate(defocus)
    ]
    bank = bootstrap_bank([m.image for m in images[::4]], pixel_size=PIXEL).bank
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
