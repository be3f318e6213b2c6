"""How complete the marks of the real sets are, and pictures of picks beside them.

    python benchmarks/picking_marks.py [--data DIR] [--pictures DIR]

For each micrograph: what share of the picks of `icefloe pick auto` is marked, from the best eighth
to the worst. Where that levels off below 1 at the best scores, marks are missing, and no picker
that knows only the image can rank better: AP cannot exceed that share by much.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from picking import DATA, SETS, Found, Micrograph, auto, bootstrap, load
from scipy.ndimage import gaussian_filter

from icefloe.picking import TemplateBank, whole_mask
from icefloe.scoring import match_picks


def marked(name: str, m: Micrograph, found: Found) -> np.ndarray:
    """Return for each pick, best first, the number of the mark it matches, or -1."""
    distance = 0.3 * SETS[name].diameter / SETS[name].pixel_size
    return np.asarray(match_picks(found[0], found[1], m.truth, distance))


def picture(name: str, m: Micrograph, bank: TemplateBank, found: Found, path: Path) -> None:
    """Draw picks (green: marked, red: not), marks without a pick (blue) and the junk."""
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    chosen = SETS[name]
    image = gaussian_filter(m.image, 0.02 * chosen.diameter / chosen.pixel_size)
    ny, nx = image.shape
    hits = marked(name, m, found)
    missed = np.delete(m.truth, hits[hits >= 0], axis=0)
    figure = Figure(figsize=(7, 7 * ny / nx), dpi=120)
    axes = figure.add_axes((0, 0, 1, 1))
    low, high = np.percentile(image, [1, 99])
    axes.imshow(image, cmap="gray", vmin=low, vmax=high)
    mask = whole_mask(m.image, bank.diameter / chosen.pixel_size)
    shade = np.zeros((*mask.shape, 4))
    shade[mask] = (1, 0.6, 0, 0.35)
    axes.imshow(shade, extent=(-0.5, nx - 0.5, ny - 0.5, -0.5), interpolation="nearest")
    width = chosen.diameter / chosen.pixel_size
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
    parser.add_argument("--pictures", type=Path, help="Write pick-auto-SET.png there.")
    given = parser.parse_args()
    for name, drawn in (("apoferritin", 1), ("betagal", 6)):
        micrographs = load(SETS[name], given.data)
        if not micrographs:
            continue
        bank = bootstrap(name, micrographs)
        pick = auto(name, bank)
        for i, m in enumerate(micrographs):
            found = pick(m, True)
            shares = [part.mean() for part in np.array_split(marked(name, m, found) >= 0, 8)]
            print(m.name, len(m.truth), *(f"{share:.2f}" for share in shares))
            if given.pictures and i == drawn:
                picture(name, m, bank, found, given.pictures / f"pick-auto-{name}.png")


if __name__ == "__main__":
    main()
