"""A session of simulated exposures, some of them bad in known ways, curated by the default rules.

    python benchmarks/curation.py [--exposures 200] [--seed 1] [--work DIR] [--json FILE]

Two thirds of the exposures are good, of different defocus, ice and illumination. The others have
one fault each: nothing but ice, aggregates, ice crystals, a crystalline layer that shows only in
the spectrum, the edge of the carbon, a stage that ran away, very thick ice, strong astigmatism.
The session is run as a user would, and the rejected exposures are compared with the bad ones.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from icefloe.cli.main import main as icefloe
from icefloe.curation import DEFAULT_RULES, curate
from icefloe.curation.measures import relative, values_of
from icefloe.curation.store import load_figures
from icefloe.formats.tiff import write_tiff_movie
from icefloe.project import Project
from icefloe.simulate import SimulationSettings, simulate_movie

SIZE, PIXEL, FRAMES, DOSE = 512, 1.5, 6, 7.0
# What is wrong, and how the simulator is told.
BAD: dict[str, dict[str, object]] = {
    "empty": {"empty": True, "debris": 0.0},
    "aggregates": {"aggregates": 3},
    "crystals": {"crystals": 2},
    "lattice": {},
    "carbon": {"carbon_edge": True},
    "drift": {"drift_ruined": True},
    "thick": {"thickness": 3000.0, "contrast": 0.15},
    "astigmatic": {"astigmatism": 4000.0},
}
SHOWN = (
    "ctf.fit_resolution", "ctf.astigmatism", "ctf.iciness", "motion.motion_total", "look.lattice",
    "look.dark_depth", "look.area_contrast", "look.roughness", "look.texture", "pick.n_picks",
)  # fmt: skip


def kinds(count: int, seed: int) -> list[str]:
    """Return what each exposure is: a third is bad, in an order that has no pattern."""
    bad = [list(BAD)[i % len(BAD)] for i in range(count // 3)]
    return [
        str(k) for k in np.random.default_rng(seed).permutation(bad + ["good"] * (count - len(bad)))
    ]


def simulate(path: Path, kind: str) -> None:
    """Write one movie."""
    name = path.stem
    rng = np.random.default_rng(list(name.encode()))
    choice: dict[str, object] = {
        "shape": (SIZE, SIZE),
        "pixel_size": PIXEL,
        "n_frames": FRAMES,
        "dose_per_frame": DOSE,
        "defocus": float(rng.uniform(8000, 25000)),
        "astigmatism": float(rng.uniform(0, 500)),
        "astigmatism_angle": float(rng.uniform(-90, 90)),
        "thickness": float(rng.uniform(250, 600)),
        "background": float(rng.uniform(0.002, 0.006)),
        "illumination": float(rng.uniform(0, 0.04)),
        "packing": float(rng.uniform(0.15, 0.4)),
        "drift": float(rng.uniform(1, 6)),
        "doming": 0.5,
        "gain_strength": 0.0,
        "debris": 0.05,
        "contrast": 1.0,
    }
    movie = simulate_movie(SimulationSettings.make(**{**choice, **BAD.get(kind, {})}), name)
    frames = movie.frames
    if kind == "lattice":
        assert movie.truth.field is not None
        frames = with_lattice(frames, movie.truth.field.global_shifts, rng)
    write_tiff_movie(path, frames, PIXEL)


def with_lattice(frames: np.ndarray, shifts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a patch of hexagonal ice into counts: three waves of 3.67 A that move along.

    Electrons are left out at random, as a wave of 1.5 % of the mean each would, so that nothing
    but the spectrum shows it.
    """
    n, depth = frames.shape[-1], 0.015
    radius, turn = float(rng.uniform(120, 250)), float(rng.uniform(0, np.pi))
    cy, cx = rng.uniform(0.3, 0.7, 2) * n * PIXEL
    out = []
    for frame, (dy, dx) in zip(frames, shifts, strict=True):
        y, x = (np.arange(n) - dy)[:, None] * PIXEL, (np.arange(n) - dx) * PIXEL
        wave = np.zeros((n, n))
        for direction in turn + np.arange(3) * np.pi / 3:
            wave += np.cos(2 * np.pi / 3.67 * (y * np.sin(direction) + x * np.cos(direction)))
        wave *= np.hypot(y - cy, x - cx) < radius
        kept = (1 + depth * wave) / (1 + 3 * depth)
        out.append(rng.binomial(frame, kept).astype(frame.dtype))
    return np.stack(out)


def report(project: Project, truth: dict[str, str]) -> dict[str, object]:
    """Print rejected against bad, and how far each kind stands out in each number."""
    records = load_figures(project)
    curation = curate(project, DEFAULT_RULES, records)
    kind = np.array([truth[r.name] for r in records])
    rejected = np.array([curation.verdicts[r.name].state == "rejected" for r in records])
    table: dict[str, object] = {}
    print(f"\n{'kind':<12}{'exposures':>10}{'rejected':>10}   reasons of the rejected")
    for name in ("good", *BAD):
        mine = kind == name
        causes: dict[str, int] = {}
        for cause, names in curation.by_reason():
            hits = sum(truth[n] == name for n in names)
            if hits:
                causes[cause] = hits
        shown = ", ".join(f"{c} {n}" for c, n in sorted(causes.items(), key=lambda i: -i[1]))
        print(f"{name:<12}{int(mine.sum()):>10}{int(rejected[mine].sum()):>10}   {shown}")
        table[name] = {"exposures": int(mine.sum()), "rejected": int(rejected[mine].sum())}
    bad = kind != "good"
    right = int((rejected & bad).sum())
    print(
        f"\nof {int(bad.sum())} bad ones {right} rejected; "
        f"of {int((~bad).sum())} good ones {int((rejected & ~bad).sum())}"
    )
    for name, k, r in zip([x.name for x in records], kind, rejected, strict=True):
        if r != (k != "good"):
            print(f"  {name} ({k}): {'; '.join(curation.verdicts[name].reasons) or 'accepted'}")
    print("\nMedian z-score of each kind among the good ones (AUC against them)")
    print(f"{'number':<22}" + "".join(f"{k:>16}" for k in BAD))
    for number in SHOWN:
        values = values_of(records, number)
        good = values[(kind == "good") & np.isfinite(values)]
        cells = ""
        for name in BAD:
            mine = values[(kind == name) & np.isfinite(values)]
            if not len(mine) or not len(good):
                cells += f"{'-':>16}"
                continue
            z = float(np.median(relative(mine, good, "z")))
            area = float(np.mean((mine[:, None] > good) + 0.5 * (mine[:, None] == good)))
            cells += f"{z:>9.1f} ({area:.2f})"
        print(f"{number:<22}{cells}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keep movies and session here, and go on there")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="icefloe-curation-"))
    chosen = kinds(arguments.exposures, arguments.seed)
    truth = {f"s{arguments.seed}_{i:03d}": kind for i, kind in enumerate(chosen, 1)}
    movies = work / "movies"
    movies.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    for name, kind in truth.items():
        if not (movies / f"{name}.tiff").exists():
            simulate(movies / f"{name}.tiff", kind)
    simulated = time.perf_counter() - begin
    arguments_of_run = [
        "run", f"{movies}/s*.tiff", "--project", str(work / "s"), "--pixel-size", str(PIXEL),
        "--dose-per-frame", str(DOSE), "--diameter", "120", "--box", "96", "--device", "cpu",
        "--set", "motion.patches=[1, 1]",
    ]  # fmt: skip
    icefloe(arguments_of_run)
    run = time.perf_counter() - begin - simulated
    project = Project.open(work / "s")
    table = report(project, truth)
    begin = time.perf_counter()
    icefloe(["curate", str(work / "s"), "--defaults", "--apply"])
    print(f"simulated in {simulated:.0f} s, run in {run:.0f} s, ", end="")
    print(f"curated in {time.perf_counter() - begin:.2f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")
    if arguments.work is None:
        shutil.rmtree(work)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
