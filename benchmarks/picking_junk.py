"""How many picks lie on contamination: simulated crystals, aggregates and a carbon edge.

    python benchmarks/picking_junk.py [--seeds 3] [--pixels 1200]

For each kind of contamination the part of the picks on it, and the part of the true particles in
clear ice that are found; 'chance' is the part of the area that is contaminated.
"""

from __future__ import annotations

import argparse

import numpy as np

from icefloe.picking import (
    BlobSettings,
    MatchSettings,
    Picks,
    TemplateBank,
    bootstrap_bank,
    pick_blobs,
    pick_templates,
)
from icefloe.scoring import score_picks
from icefloe.simulate import SimulatedMicrograph, SimulationSettings, simulate_micrograph

PIXEL, DIAMETER = 1.5, 120.0
KINDS: dict[str, dict[str, object]] = {
    "clean": {},
    "crystals": {"crystals": 5},
    "aggregates": {"aggregates": 3},
    "carbon": {"carbon_edge": True},
    "all": {"crystals": 4, "aggregates": 2, "carbon_edge": True},
}


def judged(m: SimulatedMicrograph, picks: Picks) -> tuple[int, int, float]:
    """Return the picks, how many of them are on junk, and the recall of particles in clear ice."""
    at = np.rint(np.stack([picks.y, picks.x])).astype(int)
    at = np.clip(at, 0, np.array(m.image.shape)[:, None] - 1)
    on = int(m.truth.junk[at[0], at[1]].sum())
    t, margin = m.truth.yx, 0.35 * DIAMETER / PIXEL
    t = t[((t > margin) & (t < np.array(m.image.shape) - 1 - margin)).all(axis=1)]
    found = np.stack([picks.y, picks.x], axis=1)
    return len(picks), on, score_picks(found, picks.score, t, 0.3 * DIAMETER / PIXEL).recall


def pickers(bank: TemplateBank) -> dict[str, object]:
    """Return the pickers by name."""
    match, free = MatchSettings(), MatchSettings(junk=False)
    blob = BlobSettings(diameter=DIAMETER)
    return {
        "blob": lambda image: pick_blobs(image, pixel_size=PIXEL, settings=blob),
        "auto": lambda image: pick_templates(image, bank, pixel_size=PIXEL, settings=match),
        "auto --no-junk": lambda image: pick_templates(
            image, bank, pixel_size=PIXEL, settings=free
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=1200)
    given = parser.parse_args()
    print("| contamination | chance | picker | picks | on junk | worst micrograph | recall |")
    print("|---|---|---|---|---|---|---|")
    bank = None
    for kind, changes in KINDS.items():
        images = [
            simulate_micrograph(
                SimulationSettings.make(
                    shape=(given.pixels, given.pixels),
                    pixel_size=PIXEL,
                    n_frames=30,
                    seed=seed,
                    defocus=9000.0 + 5000 * seed,
                    **changes,
                ),
                f"junk {kind} {seed}",
            )
            for seed in range(given.seeds)
        ]
        bank = bank or bootstrap_bank([m.image for m in images], pixel_size=PIXEL).bank
        chance = float(np.mean([m.truth.junk.mean() for m in images]))
        for name, pick in pickers(bank).items():
            rows = [judged(m, pick(m.image)) for m in images]  # type: ignore[operator]
            total, on = sum(r[0] for r in rows), sum(r[1] for r in rows)
            worst = max(r[1] / max(r[0], 1) for r in rows)
            recall = np.mean([r[2] for r in rows])
            print(
                f"| {kind} | {chance:.3f} | {name} | {total} | {on / max(total, 1):.3f} "
                f"| {worst:.3f} | {recall:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
