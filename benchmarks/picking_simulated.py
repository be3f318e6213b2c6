"""Picking on simulated micrographs, whose every particle and piece of dirt is known.

    python benchmarks/picking_simulated.py [--quick | --full] [--diameters 60 100] [--csv FILE]
                                           [--fields NAME]

One case is a particle, a defocus, a crowding, a tilt and a contamination. The usual run varies
defocus and tilt one at a time and crosses the rest; --quick varies one thing at a time, --full
crosses everything. Particles are 60 to 300 A: globules of protein density, GroEL (where its model
is there) and a shell. `pick blob` is given the diameter, `pick auto` nothing. A case has as many
micrographs, two or more, of 4000 A as hold a hundred particles that count, where twenty are enough.
The pickers were developed looking at the usual fields; --fields NAME draws others, by that name.

What is counted: a pick is right within 0.3 diameters of a particle. Particles within half a
diameter of the border or of contamination count neither for nor against, nor do picks of them, nor
picks in that border. Junk are picks on contamination, or with no particle's centre within half a
diameter, as a share of all picks. AP and best F1 are of a second run with a low threshold.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from icefloe.errors import IcefloeError
from icefloe.picking import (
    BlobSettings,
    MatchSettings,
    Picks,
    bootstrap_bank,
    pick_blobs,
    pick_templates,
)
from icefloe.scoring import match_picks, pool_picks
from icefloe.simulate import SimulatedMicrograph, SimulationSettings, simulate_micrograph

MODELS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "models"
SIZES = (60, 100, 150, 220, 300)
DEFOCI = (0.6, 1.5, 3.0)
# Part of the area that particles cover.
CROWDING = {"sparse": 0.06, "normal": 0.22, "crowded": 0.45}
TILTS = (0, 40)
DIRT = ("none", "heavy")
FIELD = 4000.0  # A, the side of a micrograph
RESIDUE = 133.0  # A^3


@dataclass(frozen=True)
class Case:
    """One kind of micrograph; defocus in um, size and tilt in A and degrees."""

    size: int
    defocus: float = 1.5
    crowding: str = "normal"
    tilt: int = 0
    dirt: str = "none"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    size: int
    defocus: float
    crowding: str
    tilt: int
    dirt: str
    method: str
    particles: int
    picks: int
    average_precision: float
    f1: float
    best_f1: float
    precision: float
    recall: float
    junk: float
    error: float
    note: str


def cases(extent: str) -> list[Case]:
    """Return the cases of a run: ``quick``, ``usual`` or ``full``."""
    if extent == "full":
        return [Case(*v) for v in itertools.product(SIZES, DEFOCI, CROWDING, TILTS, DIRT)]
    found: list[Case] = []
    for size in SIZES:
        crossed = [Case(size, crowding=c, dirt=d) for c in CROWDING for d in DIRT]
        extra = [Case(size, defocus=z, dirt=d) for z in DEFOCI if z != 1.5 for d in DIRT]
        extra += [Case(size, tilt=40, dirt=d) for d in DIRT]
        every = crossed + extra
        if extent == "quick":
            usual = Case(size)
            every = [c for c in every if _differences(c, usual) <= 1]
        found += every
    return found


def _differences(a: Case, b: Case) -> int:
    return sum(getattr(a, f.name) != getattr(b, f.name) for f in fields(Case))


def model(size: int, folder: Path) -> str:
    """Return a model of about this longest diameter; one is written if there is none."""
    real = MODELS / "groel_1mnf.pdb.gz"
    if size == 150 and real.is_file():
        return str(real)
    path = folder / f"globule{size}.pdb"
    if not path.exists():
        lines = [
            f"ATOM  {i % 100000:5d}  CA  GLY A{i % 10000:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
            "  1.00  0.00           C\n"
            for i, (x, y, z) in enumerate(_residues(size))
        ]
        path.write_text("".join(lines) + "END\n")
    return str(path)


def _residues(size: int) -> NDArray[np.float64]:
    """Return residues of an irregular, dense protein: a lumpy ellipsoid, or a shell for 300 A.

    A smooth random field cuts cavities and lumps of 10 A out of the envelope; what is left is
    filled with one residue per 133 A^3.
    """
    rng = np.random.default_rng(size)
    step = 3.0
    n = int(np.ceil(size / step)) + 3
    c = (np.arange(n) - n // 2) * step
    axes = (1.0, 0.86, 0.78) if size < 300 else (1.0, 1.0, 1.0)
    r = np.sqrt(sum((g / a) ** 2 for g, a in zip(np.meshgrid(c, c, c), axes, strict=True)))
    envelope = r < size / 2
    if size >= 300:
        envelope &= r > 0.7 * size / 2
    bumps = gaussian_filter(rng.standard_normal((n, n, n)), 10.0 / step)
    filled = envelope & (bumps > np.quantile(bumps[envelope], 0.3))
    places = np.argwhere(filled)
    chosen = rng.choice(len(places), round(len(places) * step**3 / RESIDUE), replace=False)
    return (places[np.sort(chosen)] - n // 2) * step + rng.uniform(-1.5, 1.5, (len(chosen), 3))


def needed(case: Case) -> int:
    """Return how many micrographs hold about 120 particles that count."""
    clear = 0.55 if case.dirt == "heavy" else 1.0
    area = clear * (FIELD - case.size) ** 2 * CROWDING[case.crowding]
    return int(np.clip(np.ceil(120 / (area / (0.25 * np.pi * case.size**2))), 2, 20))


def simulate(case: Case, count: int, folder: Path, drawn: str = "") -> list[SimulatedMicrograph]:
    """Return the micrographs of a case; another name drawn gives other particles and dirt."""
    pixel = 1.6 if case.size <= 100 else 2.2 if case.size <= 220 else 3.0
    side = 2 * round(0.5 * FIELD / pixel)
    dirty = case.dirt == "heavy"
    settings = SimulationSettings(
        shape=(side, side),
        pixel_size=pixel,
        n_frames=40,
        dose_per_frame=1.0,
        defocus=case.defocus * 1e4,
        tilt=case.tilt,
        thickness=max(250.0, case.size + 60.0),
        particle=model(case.size, folder),
        packing=CROWDING[case.crowding],
        faint_fraction=0.0,
        crystals=5 if dirty else 0,
        aggregates=3 if dirty else 0,
        carbon_edge=dirty,
    )
    names = [f"{drawn}s{case.size}-{case.crowding}-{case.dirt}-{i}" for i in range(count)]
    return [simulate_micrograph(settings, name) for name in names]


Picker = Callable[[SimulatedMicrograph, bool], Picks]  # True: its own threshold, False: a low one


def blob(_: Sequence[SimulatedMicrograph]) -> tuple[Picker, str]:
    """`icefloe pick blob` with the diameter."""

    def pick(m: SimulatedMicrograph, default: bool) -> Picks:
        values: dict[str, object] = {"diameter": m.truth.diameter}
        if not default:
            values["threshold"] = 0.3
        settings = BlobSettings.model_validate(values)
        return pick_blobs(m.image, pixel_size=m.truth.pixel_size, settings=settings)

    return pick, ""


def auto(micrographs: Sequence[SimulatedMicrograph]) -> tuple[Picker, str]:
    """`icefloe pick auto` with nothing."""
    pixel = micrographs[0].truth.pixel_size
    found = bootstrap_bank([m.image for m in micrographs[:3]], pixel_size=pixel)

    def pick(m: SimulatedMicrograph, default: bool) -> Picks:
        settings = MatchSettings() if default else MatchSettings(threshold=0.1)
        return pick_templates(m.image, found.bank, pixel_size=pixel, settings=settings)

    return pick, f"{found.bank.diameter:.0f} A found"


def learn(micrographs: Sequence[SimulatedMicrograph]) -> tuple[Picker, str]:
    """`icefloe pick learn` with nothing; it needs torch."""
    from icefloe.network import NetworkSettings, learn_particle, pick_network

    pixel = micrographs[0].truth.pixel_size
    images = [m.image for m in micrographs]
    bank = bootstrap_bank(images[:3], pixel_size=pixel).bank
    done = learn_particle(images, bank, pixel_size=pixel)

    def pick(m: SimulatedMicrograph, default: bool) -> Picks:
        settings = NetworkSettings() if default else NetworkSettings(threshold=0.005)
        return pick_network(
            m.image,
            pixel_size=pixel,
            diameter=bank.diameter,
            model=done.training.model,
            settings=settings,
        )

    batches = done.training.history[done.training.best].step
    return pick, f"{bank.diameter:.0f} A found, {sum(done.picks)} picks, {batches} batches"


METHODS = {"blob": blob, "auto": auto, "learn": learn}


def clear(m: SimulatedMicrograph, yx: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which places are half a diameter away from the border."""
    margin = 0.5 * m.truth.diameter / m.truth.pixel_size
    shape = np.array(m.image.shape) - 1
    return np.asarray(((yx >= margin) & (yx <= shape - margin)).all(axis=1))


def counted(
    m: SimulatedMicrograph, picks: Picks
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the picks, their scores and the particles that count."""
    truth, yx = m.truth.yx, np.stack([picks.y, picks.x], axis=1)
    diameter = m.truth.diameter / m.truth.pixel_size
    away = distance_transform_edt(~m.truth.junk) if m.truth.junk.any() else None
    wanted = clear(m, truth)
    if away is not None:
        rows = np.clip(np.rint(truth).astype(int), 0, np.array(m.image.shape) - 1)
        wanted &= away[rows[:, 0], rows[:, 1]] > 0.5 * diameter
    match = match_picks(yx, picks.score, truth, 0.3 * diameter)
    kept = np.where(match >= 0, wanted[match] if len(truth) else False, clear(m, yx))
    return yx[kept], picks.score[kept], truth[wanted]


def is_junk(m: SimulatedMicrograph, picks: Picks) -> NDArray[np.bool_]:
    """Return which of the picks away from the border are on dirt or on nothing."""
    yx = np.stack([picks.y, picks.x], axis=1)
    yx = yx[clear(m, yx)]
    if not len(yx):
        return np.zeros(0, bool)
    rows = np.rint(yx).astype(int)
    gaps = np.hypot(*(yx[:, None] - m.truth.yx[None]).transpose(2, 0, 1))
    nearest = gaps.min(axis=1) if gaps.size else np.full(len(yx), np.inf)
    alone = nearest > 0.5 * m.truth.diameter / m.truth.pixel_size
    return np.asarray(m.truth.junk[rows[:, 0], rows[:, 1]] | alone)


def measure(case: Case, micrographs: list[SimulatedMicrograph], method: str) -> Row:
    """Pick with one method and compare with the truth."""
    pixel = micrographs[0].truth.pixel_size
    distance = 0.3 * micrographs[0].truth.diameter / pixel
    nothing = Row(**asdict(case), method=method, particles=0, picks=0, average_precision=0.0,
                  f1=0.0, best_f1=0.0, precision=0.0, recall=0.0, junk=np.nan, error=np.nan,
                  note="")  # fmt: skip
    try:
        picker, note = METHODS[method](micrographs)
        usual = [picker(m, True) for m in micrographs]
        low = [picker(m, False) for m in micrographs]
    except IcefloeError as error:
        return Row(**{**asdict(nothing), "note": f"failed: {error}"[:80]})
    sets = [counted(m, p) for m, p in zip(micrographs, usual, strict=True)]
    score = pool_picks(sets, distance)
    best = pool_picks([counted(m, p) for m, p in zip(micrographs, low, strict=True)], distance)
    gaps = []
    for yx, values, truth in sets:
        match = match_picks(yx, values, truth, distance)
        gaps.append(np.hypot(*(yx[match >= 0] - truth[match[match >= 0]]).T))
    junk = np.concatenate([is_junk(m, p) for m, p in zip(micrographs, usual, strict=True)])
    errors = np.concatenate(gaps) * pixel
    return Row(
        **asdict(case), method=method, particles=score.n_truth, picks=score.n_found,
        average_precision=best.average_precision, f1=score.f1,
        best_f1=max(best.best_f1, score.best_f1), precision=score.precision, recall=score.recall,
        junk=float(junk.mean()) if len(junk) else np.nan,
        error=float(np.median(errors)) if len(errors) else np.nan, note=note,
    )  # fmt: skip


HEAD = (
    "| size, A | defocus, um | crowding | tilt | dirt | method | particles | picks | AP | F1 | "
    "best F1 | precision | recall | junk | error, A | |\n" + "|---" * 16 + "|"
)


def line(row: Row) -> str:
    """Return a row of the Markdown table."""
    numbers = (row.average_precision, row.f1, row.best_f1, row.precision, row.recall, row.junk)
    cells = " | ".join("-" if np.isnan(v) else f"{v:.3f}" for v in numbers)
    error = "-" if np.isnan(row.error) else f"{row.error:.1f}"
    return (
        f"| {row.size} | {row.defocus} | {row.crowding} | {row.tilt} | {row.dirt} | {row.method} | "
        f"{row.particles} | {row.picks} | {cells} | {error} | {row.note} |"
    )


def summary(rows: Sequence[Row]) -> str:
    """Return for each method how many cases reach what."""
    lines = []
    for method in dict.fromkeys(r.method for r in rows):
        mine = [r for r in rows if r.method == method]
        junk = np.array([r.junk for r in mine])
        f1 = np.array([r.f1 for r in mine])
        lines.append(
            f"{method}: {len(mine)} cases, F1 median {np.median(f1):.3f}, least {f1.min():.3f}; "
            f"F1 of 0.8 and more in {np.mean(f1 >= 0.8):.0%}; "
            f"junk below 20 % in {np.mean(junk < 0.2):.0%}, "
            f"largest {np.nanmax(junk) if np.isfinite(junk).any() else np.nan:.2f}"
        )
    return "\n".join(lines)


def run(
    chosen: Iterable[Case],
    *,
    methods: Sequence[str] = tuple(METHODS),
    micrographs: int | None = None,
    until: float = np.inf,
    drawn: str = "",
    table: Path | None = None,
) -> list[Row]:
    """Simulate and measure case by case, printing and writing each; stop at the time `until`."""
    rows: list[Row] = []
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder, _writer(table) as write:
        for case in chosen:
            if time.monotonic() > until:
                break
            made = simulate(case, micrographs or needed(case), Path(folder), drawn)
            for method in methods:
                rows.append(measure(case, made, method))
                print(line(rows[-1]), flush=True)
                write(rows[-1])
    return rows


@contextmanager
def _writer(table: Path | None) -> Iterator[Callable[[Row], None]]:
    """Give a function that adds a row to the CSV file at once, so that a stopped run keeps it."""
    if table is None:
        yield lambda _: None
        return
    with table.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, [f.name for f in fields(Row)])
        writer.writeheader()

        def write(row: Row) -> None:
            writer.writerow(asdict(row))
            handle.flush()

        yield write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="One thing varied at a time.")
    extent.add_argument("--full", action="store_true", help="Everything crossed: 180 cases.")
    parser.add_argument("--diameters", nargs="+", type=int, choices=SIZES, default=list(SIZES))
    parser.add_argument("--defocus", nargs="+", type=float, choices=DEFOCI, default=list(DEFOCI))
    parser.add_argument("--crowding", nargs="+", choices=list(CROWDING), default=list(CROWDING))
    parser.add_argument("--tilt", nargs="+", type=int, choices=TILTS, default=list(TILTS))
    parser.add_argument("--dirt", nargs="+", choices=DIRT, default=list(DIRT))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=["blob", "auto"])
    parser.add_argument("--micrographs", type=int, default=None, help="Of each case.")
    parser.add_argument("--fields", default="", help="Name of other particles and dirt to draw.")
    parser.add_argument("--minutes", type=float, default=np.inf, help="Start no case after that.")
    parser.add_argument("--csv", type=Path, default=None, help="Write the table as well.")
    given = parser.parse_args()
    chosen = [
        c
        for c in cases("quick" if given.quick else "full" if given.full else "usual")
        if c.size in given.diameters
        and c.defocus in given.defocus
        and c.crowding in given.crowding
        and c.tilt in given.tilt
        and c.dirt in given.dirt
    ]
    rows = run(
        chosen,
        methods=given.methods,
        micrographs=given.micrographs,
        until=time.monotonic() + 60 * given.minutes,
        drawn=given.fields,
        table=given.csv,
    )
    if rows:
        print(summary(rows))


if __name__ == "__main__":
    main()
