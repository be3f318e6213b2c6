"""Picking on real micrographs with marked particles, against other ways and RELION.

    python benchmarks/picking.py [--data DIR] [--sets apoferritin betagal] [--compare] [--no-relion]

`icefloe pick auto` makes its template from the first micrographs of the same half; the time for
that is not in the table. `picking_marks.py` shows how complete the marks are.

Every other micrograph (the first, third, ...) was used for tuning, the rest is held back; both
halves are shown. A pick is right within 0.3 diameters of an unused marked particle, taken by
descending score. AP and best F1 come from a second run with a low threshold.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from icefloe.formats import StarTable, read_image, read_star, write_mrc, write_star
from icefloe.fourier import frequency_grid, irfft2, resize, rfft2
from icefloe.interop.optics import OpticsGroup, optics_table
from icefloe.kernels.peaks import find_peaks
from icefloe.picking import (
    BlobSettings,
    MatchSettings,
    TemplateBank,
    bootstrap_bank,
    pick_blobs,
    pick_templates,
)
from icefloe.picking.templates import blob_template
from icefloe.scoring import match_picks, pool_picks

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
Array = NDArray[np.float64]
Found = tuple[Array, Array]  # (n, 2) y and x, and (n,) scores


@dataclass(frozen=True)
class Set:
    """Real micrographs with marked particles."""

    folder: str
    suffix: str
    pixel_size: float
    diameter: float
    log_range: tuple[float, float]  # what a user of RELION's LoG picker gives


SETS = {
    "apoferritin": Set("apoferritin-10146", ".png", 1.5, 120.0, (110.0, 130.0)),
    "betagal": Set("betagal-10017", ".jpg", 1.77, 190.0, (150.0, 200.0)),
}


@dataclass(frozen=True)
class Row:
    """One line of the table; `f1` is at the default threshold, NaN where there is none."""

    data: str
    half: str
    method: str
    average_precision: float
    f1: float
    best_f1: float
    precision: float
    recall: float
    seconds: float


@dataclass(frozen=True)
class Micrograph:
    name: str
    image: NDArray[np.float32]
    truth: Array


def load(chosen: Set, data: Path = DATA) -> list[Micrograph]:
    """Return the micrographs of a set with their marked particles."""
    found = []
    for path in sorted((data / chosen.folder).glob(f"*{chosen.suffix}")):
        with path.with_name(f"{path.stem}.particles.csv").open() as handle:
            truth = np.array([(float(r["y"]), float(r["x"])) for r in csv.DictReader(handle)])
        found.append(Micrograph(path.stem, read_image(path).data.astype(np.float32), truth))
    return found


def measure(
    name: str,
    half: str,
    method: str,
    micrographs: list[Micrograph],
    pick: Callable[[Micrograph, bool], Found],
    has_default: bool = True,
) -> Row:
    """Score a picker; it is called with True for its default and False for a low threshold."""
    distance = 0.3 * SETS[name].diameter / SETS[name].pixel_size
    start = time.perf_counter()
    default = [(*pick(m, True), m.truth) for m in micrographs]
    seconds = (time.perf_counter() - start) / len(micrographs)
    usual = pool_picks(default, distance)
    low = pool_picks([(*pick(m, False), m.truth) for m in micrographs], distance)
    nan = float("nan")
    return Row(
        name, half, method, low.average_precision, usual.f1 if has_default else nan, low.best_f1,
        usual.precision if has_default else nan, usual.recall if has_default else nan, seconds,
    )  # fmt: skip


def icefloe(name: str, **changes: object) -> Callable[[Micrograph, bool], Found]:
    """`pick_blobs` with only the diameter given, or with `changes`."""
    chosen = SETS[name]

    def pick(m: Micrograph, default: bool) -> Found:
        values = {"diameter": chosen.diameter, **changes}
        if not default:
            values["threshold"] = 0.3
        picks = pick_blobs(
            m.image, pixel_size=chosen.pixel_size, settings=BlobSettings.model_validate(values)
        )
        return np.stack([picks.y, picks.x], axis=1), picks.score

    return pick


def auto(name: str, bank: TemplateBank, **changes: object) -> Callable[[Micrograph, bool], Found]:
    """`pick_templates` with a template from the data and nothing given."""
    pixel_size = SETS[name].pixel_size

    def pick(m: Micrograph, default: bool) -> Found:
        values = dict(changes) if default else {"threshold": 0.1, **changes}
        picks = pick_templates(
            m.image, bank, pixel_size=pixel_size, settings=MatchSettings.model_validate(values)
        )
        return np.stack([picks.y, picks.x], axis=1), picks.score

    return pick


def bootstrap(name: str, micrographs: list[Micrograph]) -> TemplateBank:
    """Return the template that three micrographs give."""
    images = [m.image for m in micrographs[:3]]
    return bootstrap_bank(images, pixel_size=SETS[name].pixel_size).bank


def _reduced(m: Micrograph, chosen: Set, samples: int = 16) -> tuple[Array, float]:
    """Return the inverted image at `samples` pixels a diameter, and its pixel size."""
    factor = samples * chosen.pixel_size / chosen.diameter
    shape = tuple(2 * round(0.5 * n * factor) for n in m.image.shape)
    small = -resize(m.image - m.image.mean(), (shape[0], shape[1])).astype(np.float64)
    return small, chosen.pixel_size * m.image.shape[0] / shape[0]


def log_scales(name: str) -> Callable[[Micrograph, bool], Found]:
    """Scale competition of Laplacians of Gaussians, after what RELION documents of its picker."""
    chosen = SETS[name]
    low, high = chosen.log_range

    def pick(m: Micrograph, default: bool) -> Found:
        image, pixel = _reduced(m, chosen)
        image = image / image.std()
        image[np.abs(image) > 8] = 0
        k2 = frequency_grid(image.shape, pixel).astype(np.float64) ** 2
        spectrum = rfft2(image)
        diameters = [low / 5, low / 4, low / 3, low / 2, low, (low + high) / 2, high]
        diameters += [high * i for i in (2, 3, 4, 5)]
        maps = np.stack(
            [
                irfft2(spectrum * k2 * 4 * d**2 * np.exp(-2 * k2 * d**2), image.shape)
                for d in diameters
            ]
        )
        winner, best = maps.argmax(axis=0), maps.max(axis=0)
        fits = (winner >= 4) & (winner <= 6)
        threshold = best[fits].mean() if default else 0.0
        positions, scores = find_peaks(
            np.where(fits, best, -1), 0.5 * (low + high) / pixel, threshold
        )
        return positions * pixel / chosen.pixel_size, scores

    return pick


def masked_correlation(name: str, shape: str, size: float) -> Callable[[Micrograph, bool], Found]:
    """Local normalised correlation with the variance inside the mask (Roseman 2003)."""
    chosen = SETS[name]

    def pick(m: Micrograph, _: bool) -> Found:
        image, pixel = _reduced(m, chosen)
        diameter = size * chosen.diameter / pixel
        template = blob_template(diameter, shape, image.shape)
        reach = 0.62 * diameter
        y, x = (np.fft.fftfreq(n, 1 / n) for n in image.shape)
        mask = (y[:, None] ** 2 + x[None, :] ** 2 <= reach**2).astype(np.float64)
        mask /= mask.sum()
        transfer = rfft2(mask)
        mean = irfft2(rfft2(image) * transfer, image.shape)
        variance = irfft2(rfft2(image**2) * transfer, image.shape) - mean**2
        response = irfft2(rfft2(image) * template, image.shape)
        floor = 0.05 * np.median(variance)
        score = response / np.sqrt(np.maximum(variance, 0) + floor)
        margin = int(0.3 * chosen.diameter / pixel)
        allowed = np.zeros(image.shape, bool)
        allowed[margin:-margin, margin:-margin] = True
        positions, scores = find_peaks(score, 0.5 * chosen.diameter / pixel, 0.0, allowed)
        return positions * pixel / chosen.pixel_size, scores

    return pick


def wide_correlation(name: str, shape: str, size: float) -> Callable[[Micrograph, bool], Found]:
    """The same, with the variance over one diameter around instead of inside the mask."""
    chosen = SETS[name]

    def pick(m: Micrograph, _: bool) -> Found:
        image, pixel = _reduced(m, chosen)
        width = chosen.diameter / pixel
        image = image - gaussian_filter(image, width)
        variance = gaussian_filter(image**2, width)
        even = image / np.sqrt(variance + 0.05 * np.median(variance))
        template = blob_template(size * width, shape, image.shape)
        score = irfft2(rfft2(even) * template, image.shape)
        margin = int(0.3 * width)
        allowed = np.zeros(image.shape, bool)
        allowed[margin:-margin, margin:-margin] = True
        positions, scores = find_peaks(score, 0.5 * width, 0.0, allowed)
        return positions * pixel / chosen.pixel_size, scores

    return pick


def relion_log(name: str) -> Callable[[Micrograph, bool], Found]:
    """RELION's LoG picker as installed; its time includes writing the image as MRC."""
    chosen = SETS[name]
    low, high = chosen.log_range

    def pick(m: Micrograph, default: bool) -> Found:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            write_mrc(work / f"{m.name}.mrc", m.image, chosen.pixel_size)
            optics = OpticsGroup(300.0, 2.7, 0.1, chosen.pixel_size, chosen.pixel_size)
            table = StarTable({"rlnMicrographName": [f"{m.name}.mrc"], "rlnOpticsGroup": [1]})
            write_star(work / "in.star", {"optics": optics_table([optics]), "micrographs": table})
            command = (
                f"relion_autopick --i in.star --odir AutoPick/ --pickname autopick --LoG "
                f"--LoG_diam_min {low} --LoG_diam_max {high} --shrink 0 --lowpass 20 "
                f"--LoG_adjust_threshold {0 if default else -3}"
            )
            subprocess.run(command.split(), cwd=work, check=True, capture_output=True)
            table = read_star(work / "AutoPick" / f"{m.name}_autopick.star")[""]
            yx = np.stack([table["rlnCoordinateY"], table["rlnCoordinateX"]], axis=1)
            return yx.astype(np.float64), table["rlnAutopickFigureOfMerit"].astype(np.float64)

    return pick


def run(
    sets: Iterable[str] = tuple(SETS),
    *,
    data: Path = DATA,
    compare: bool = False,
    relion: bool = True,
) -> list[Row]:
    """Return the table; sets without data are left out."""
    rows = []
    for name in sets:
        micrographs = load(SETS[name], data)
        if not micrographs:
            continue
        icefloe(name)(micrographs[0], True)  # compile
        for half, part in (("tuned", micrographs[0::2]), ("held back", micrographs[1::2])):
            rows.append(measure(name, half, "icefloe pick blob", part, icefloe(name)))
            bank = bootstrap(name, part)
            rows.append(measure(name, half, "icefloe pick auto", part, auto(name, bank)))
            if compare:
                kept = auto(name, bank, junk=False)
                rows.append(measure(name, half, "  without the mask of junk", part, kept))
            if compare:
                for shape in ("disc", "ring"):
                    method = f"  shape {shape}"
                    rows.append(measure(name, half, method, part, icefloe(name, shape=shape)))
                ranged = icefloe(name, diameter=SETS[name].log_range)
                rows.append(measure(name, half, "  RELION's diameter range", part, ranged))
                rows.append(measure(name, half, "LoG, scale competition", part, log_scales(name)))
                for label, make in (("in mask", masked_correlation), ("wide", wide_correlation)):
                    for shape, size in (("disc", 0.7), ("disc", 1.0), ("ring", 1.0)):
                        rows.append(
                            measure(name, half, f"{shape} {size} D, variance {label}", part,
                                    make(name, shape, size), has_default=False)
                        )  # fmt: skip
            if relion and name == "apoferritin" and shutil.which("relion_autopick"):
                rows.append(measure(name, half, "RELION LoG", part, relion_log(name)))
    return rows


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| data | half | method | AP | F1 | best F1 | precision | recall | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        values = (r.average_precision, r.f1, r.best_f1, r.precision, r.recall)
        cells = " | ".join("-" if np.isnan(v) else f"{v:.3f}" for v in values)
        lines.append(f"| {r.data} | {r.half} | {r.method} | {cells} | {r.seconds:.2f} |")
    return "\n".join(lines)


def marked(name: str, m: Micrograph, found: Found) -> NDArray[np.intp]:
    """Return for each pick, best first, the number of the mark it matches, or -1."""
    distance = 0.3 * SETS[name].diameter / SETS[name].pixel_size
    return np.asarray(match_picks(found[0], found[1], m.truth, distance))


def picture(
    name: str, m: Micrograph, found: Found, path: Path, mask: NDArray[np.bool_] | None = None
) -> None:
    """Draw picks (green: marked, red: not), marks without a pick (blue) and a mask (orange)."""
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    width = SETS[name].diameter / SETS[name].pixel_size
    image = gaussian_filter(m.image, 0.02 * width)
    ny, nx = image.shape
    hits = marked(name, m, found)
    missed = np.delete(m.truth, hits[hits >= 0], axis=0)
    figure = Figure(figsize=(7, 7 * ny / nx), dpi=120)
    axes = figure.add_axes((0, 0, 1, 1))
    low, high = np.percentile(image, [1, 99])
    axes.imshow(image, cmap="gray", vmin=low, vmax=high)
    if mask is not None:
        shade = np.zeros((*mask.shape, 4))
        shade[mask] = (1, 0.6, 0, 0.35)
        axes.imshow(shade, extent=(-0.5, nx - 0.5, ny - 0.5, -0.5), interpolation="nearest")
    for places, colour, size in (
        (found[0][hits >= 0], "#2ecc40", width),
        (found[0][hits < 0], "#ff4136", width),
        (missed, "#39a9ff", 0.75 * width),
    ):
        axes.add_collection(
            EllipseCollection(
                size, size, 0, units="xy", offsets=places[:, ::-1], facecolors="none",
                edgecolors=colour, linewidths=0.9, transOffset=axes.transData,
            )
        )  # fmt: skip
    axes.set_axis_off()
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--compare", action="store_true", help="Other ways of picking as well.")
    parser.add_argument("--no-relion", action="store_true")
    given = parser.parse_args()
    rows = run(given.sets, data=given.data, compare=given.compare, relion=not given.no_relion)
    print(table(rows) if rows else f"There are no micrographs in {given.data}")


if __name__ == "__main__":
    main()
