"""Simulated micrographs of a particle more than twice as long as wide."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icefloe.formats import write_mrc
from icefloe.simulate import SimulationSettings, simulate_micrograph

PIXEL, LENGTH, WIDTH = 3.0, 180.0, 70.0


def rod_model(path: Path) -> Path:
    """Write a model of a tapered rod, residues at the density of protein."""
    rng = np.random.default_rng(3)
    count = round(np.pi / 4 * WIDTH**2 * LENGTH / 133)
    at = rng.uniform(-0.5, 0.5, (3 * count, 3)) * (WIDTH, WIDTH, LENGTH)
    radius = 0.5 * WIDTH * (1 - 0.3 * (at[:, 2] > 0))
    at = at[np.hypot(at[:, 0], at[:, 1]) < radius][:count]
    lines = [
        f"ATOM  {i:5d}  CA  GLY A{i % 10000:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        "  1.00  0.00           C\n"
        for i, (x, y, z) in enumerate(at)
    ]
    path.write_text("".join(lines) + "END\n")
    return path


def rod_micrographs(directory: Path, count: int, size: int = 768) -> list[np.ndarray]:
    """Write m1.mrc, m2.mrc, ... and return the places (n, 2) of their particles."""
    model = rod_model(directory / "rod.pdb")
    truth = []
    for index in range(count):
        settings = SimulationSettings(
            shape=(size, size),
            pixel_size=PIXEL,
            particle=str(model),
            contrast=0.6,
            debris=0.05,
            defocus=12000.0 + 3000 * (index % 3),
        )
        made = simulate_micrograph(settings, f"m{index + 1}")
        write_mrc(directory / f"m{index + 1}.mrc", np.asarray(made.image, np.float32), PIXEL)
        truth.append(made.truth.yx)
    return truth
