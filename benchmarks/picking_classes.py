"""The reference of `icefloe run --pick auto`: a round template against class averages.

    python benchmarks/picking_classes.py [--data DIR] [--only rod240 groel apoferritin ...]

Each set is parted in two halves; in each the template is made from its first four micrographs, as a
session does, and all micrographs of the half are picked with both. Real sets are those of
`picking.py`, halves its tuned and its held-back one; simulated ones have three micrographs a half.
Beta-galactosidase has no CTF to be corrected for: its micrographs were low-passed.

What decides in a session is the ratio of separations, which needs no truth (docs/classes.md).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from picking import DATA, SETS, Micrograph, load
from scipy.ndimage import gaussian_filter

from icefloe.classes import refine_templates
from icefloe.ctf import estimate_ctf
from icefloe.optics import CtfParameters
from icefloe.picking import (
    MatchSettings,
    TemplateBank,
    bootstrap_bank,
    picks_from_maps,
    score_maps,
)
from icefloe.scoring import pool_picks
from icefloe.simulate import SimulationSettings, simulate_micrograph

DEFOCI = (9000.0, 14000.0, 20000.0)
PIXEL, SHAPE, CONTRAST = 2.0, (1536, 1536), 0.5
RODS = {"rod240": (240.0, 90.0), "rod160": (160.0, 70.0)}


@dataclass(frozen=True)
class Half:
    """Micrographs of one half of a set; `ctfs` is None where none is known."""

    name: str
    micrographs: list[Micrograph]
    ctfs: list[CtfParameters] | None
    pixel_size: float
    diameter: float


def rod(path: Path, length: float, width: float) -> Path:
    """Write a model of a lumpy rod, thinner at one end, with residues at protein's density."""
    rng = np.random.default_rng(1)
    step = 3.0
    n = int(length / step) + 3
    c = (np.arange(n) - n // 2) * step
    z, y, x = np.meshgrid(c, c, c, indexing="ij")
    inside = (np.abs(z) <= length / 2) & (np.hypot(x, y) < width / 2 * (1 - 0.25 * (z > 0)))
    bumps = gaussian_filter(rng.standard_normal((n, n, n)), 10 / step)
    filled = inside & (bumps > np.quantile(bumps[inside], 0.3))
    at = np.stack([x[filled], y[filled], z[filled]], axis=1)
    at = at[rng.choice(len(at), int(len(at) * step**3 / 133), replace=False)]
    lines = [
        f"ATOM  {i % 100000:5d}  CA  GLY A{i % 10000:4d}    {a:8.3f}{b:8.3f}{d:8.3f}"
        "  1.00  0.00           C\n"
        for i, (a, b, d) in enumerate(at)
    ]
    path.write_text("".join(lines) + "END\n")
    return path


def simulated(name: str, model: str, diameter: float) -> list[Half]:
    """Return two halves of three micrographs."""
    made, lenses = [], []
    for i in range(6):
        settings = SimulationSettings(
            shape=SHAPE, pixel_size=PIXEL, particle=model, contrast=CONTRAST,
            defocus=DEFOCI[i % 3],
        )  # fmt: skip
        found = simulate_micrograph(settings, f"m{i}")
        image: NDArray[np.float32] = np.asarray(found.image, dtype=np.float32)
        made.append(Micrograph(f"m{i}", image, found.truth.yx))
        half = 0.5 * settings.astigmatism
        lenses.append(
            CtfParameters(settings.defocus + half, settings.defocus - half,
                          settings.astigmatism_angle)
        )  # fmt: skip
    return [Half(f"{name} {h}", made[i::2], lenses[i::2], PIXEL, diameter)
            for i, h in enumerate("ab")]  # fmt: skip


def real(name: str, data: Path) -> list[Half]:
    """Return the tuned and the held-back half of a set."""
    chosen = SETS[name]
    found = load(chosen, data)
    lenses = None
    if name == "apoferritin":
        lenses = [
            estimate_ctf(m.image, pixel_size=chosen.pixel_size, voltage=300, cs=0.0,
                         amplitude_contrast=0.07).parameters
            for m in found
        ]  # fmt: skip
    return [
        Half(f"{name} {label}", found[i::2], None if lenses is None else lenses[i::2],
             chosen.pixel_size, chosen.diameter)
        for i, label in enumerate(("tuned", "held back"))
    ]  # fmt: skip


def score(half: Half, bank: TemplateBank, through_ctf: bool) -> str:
    """Return F1 at the default threshold, AP and best F1 of picking a half with templates."""
    usual, low = [], []
    lenses = half.ctfs if through_ctf and half.ctfs else [None] * len(half.micrographs)
    for m, lens in zip(half.micrographs, lenses, strict=True):
        maps = score_maps(m.image, bank, pixel_size=half.pixel_size, ctf=lens)
        for settings, into in ((MatchSettings(), usual), (MatchSettings(threshold=0.1), low)):
            p = picks_from_maps(maps, settings)
            into.append((np.stack([p.y, p.x], axis=1), p.score, m.truth))
    distance = 0.3 * half.diameter / half.pixel_size
    a, b = pool_picks(usual, distance), pool_picks(low, distance)
    return f"F1 {a.f1:.3f}  AP {b.average_precision:.3f}  best F1 {b.best_f1:.3f}"


def study(half: Half) -> None:
    """Print what both kinds of template find, and what a session would take."""
    images = [m.image for m in half.micrographs[:4]]
    ctfs = None if half.ctfs is None else half.ctfs[:4]
    bank = bootstrap_bank(images, pixel_size=half.pixel_size).bank
    print(f"{half.name:22s} round template, {bank.diameter:.0f} A: {score(half, bank, False)}")
    begin = time.process_time()
    found = refine_templates(images, ctfs, bank, pixel_size=half.pixel_size)
    seconds = time.process_time() - begin
    print(f"{'':22s} {found.reason} ({found.numbers.get('particles')} particles, "
          f"{seconds:.1f} CPU s)")  # fmt: skip
    if found.tried is not None:
        taken = "taken" if found.bank is not None else "not taken"
        result = score(half, found.tried, True)
        size = f"{found.tried.diameter:.0f} A"
        print(f"{'':22s} {len(found.tried.images)} averages, {size}, {taken}: {result}", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = [*RODS, "groel", "cage", *SETS]
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", nargs="+", choices=every, default=every)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only:
            if name in SETS:
                halves = real(name, given.data)
            elif name == "groel":
                model = given.data / "models" / "groel_1mnf.pdb.gz"
                halves = simulated(name, str(model), 150.0)
            elif name == "cage":
                halves = simulated(name, "cage", 120.0)
            else:
                path = rod(Path(folder) / f"{name}.pdb", *RODS[name])
                halves = simulated(name, str(path), RODS[name][0])
            for half in halves:
                study(half)


if __name__ == "__main__":
    main()
