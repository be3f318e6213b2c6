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
from picking import DATA, SETS, auto, bootstrap, load, marked, picture

from icefloe.picking import whole_mask


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
                pixel = SETS[name].pixel_size
                mask = whole_mask(m.image, bank.diameter / pixel, pixel_size=pixel)
                picture(name, m, found, given.pictures / f"pick-auto-{name}.png", mask)


if __name__ == "__main__":
    main()
