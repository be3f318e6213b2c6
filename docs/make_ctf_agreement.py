"""Draws docs/figures/ctf-agreement.png: differences to CTFFIND on ten real micrographs.

Needs the real micrographs at ../shared/data: `python docs/make_ctf_agreement.py`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from icefloe._types import FloatArray
from icefloe.ctf import estimate_ctf
from icefloe.formats import read_image

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "apoferritin-10146"
PROGRAMS = ("CTFFIND 4.1.14", "CTFFIND 5.0.2")
OURS, THEIRS = "#2f7ab8", "0.55"


def ctffind(program: str) -> dict[str, FloatArray]:
    """Return U, V (A) and the azimuth (degrees) that a program found, by micrograph."""
    with (REAL / "ctf_reference.csv").open() as handle:
        return {
            row["micrograph"]: np.array(
                [float(row[k]) for k in ("defocus_u_A", "defocus_v_A", "astigmatism_angle_deg")]
            )
            for row in csv.DictReader(handle)
            if row["program"] == program
        }


def astigmatism(values: FloatArray) -> FloatArray:
    """Return U - V as a vector with twice the azimuth, in which directions have no ends."""
    turn = 2 * np.radians(values[:, 2])
    return (values[:, 0] - values[:, 1])[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def bland_altman(axes: Axes, theirs: FloatArray, ours: FloatArray, error: FloatArray) -> None:
    """Draw the difference of the mean defoci against their mean, with its limits of agreement."""
    a, b = (v[:, :2].mean(axis=1) for v in (theirs, ours))
    difference, mean = b - a, 0.5 * (a + b)
    bias, spread = difference.mean(), difference.std(ddof=1)
    label = "Icefloe − CTFFIND 4.1.14, ± stated error"
    axes.errorbar(mean / 1e4, difference, error, fmt="o", color=OURS, ms=5, capsize=2, label=label)
    axes.axhline(bias, color=OURS, lw=1)
    for side in (-1.96, 1.96):
        axes.axhline(bias + side * spread, color=OURS, lw=0.8, ls="--")
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    print(
        f"defocus: bias {bias:.1f} A, limits of agreement +- {1.96 * spread:.1f} A, median "
        f"{np.median(np.abs(difference)):.1f} A, largest {np.abs(difference).max():.1f} A; "
        f"differences in stated errors: rms {np.sqrt(np.mean((difference / error) ** 2)):.2f}"
    )


def main() -> None:
    four, five = (ctffind(p) for p in PROGRAMS)
    names = sorted(four)
    results = [
        estimate_ctf(
            read_image(REAL / f"{n}.png").data, pixel_size=1.5, cs=0.0, amplitude_contrast=0.07
        )
        for n in names
    ]
    found = [r.parameters for r in results]
    ours = np.array([(p.defocus_u, p.defocus_v, p.defocus_angle) for p in found])
    error = np.array([r.defocus_error for r in results])
    theirs, newer = (np.array([d[n] for n in names]) for d in (four, five))

    figure = Figure(figsize=(10, 4.4), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    bland_altman(left, theirs, ours, error)
    mean = theirs[:, :2].mean(axis=1)
    between = newer[:, :2].mean(axis=1) - mean
    left.plot(mean / 1e4, between, "s", color=THEIRS, ms=4, label="CTFFIND 5.0.2 − 4.1.14")
    left.set(xlabel="mean defocus, µm", ylabel="difference of mean defocus, Å", ylim=(-110, 110))
    left.legend(fontsize=8, loc="upper right", frameon=False)
    left.set_title("Defocus; bias and limits of agreement (1.96 s.d.)", fontsize=9)

    apart = astigmatism(ours) - astigmatism(theirs)
    length = np.hypot(*apart.T)
    print(f"astigmatism vector: median {np.median(length):.1f} A, largest {length.max():.1f} A")
    other = astigmatism(newer) - astigmatism(theirs)
    right.plot(*other.T, "s", color=THEIRS, ms=4)
    right.plot(*apart.T, "o", color=OURS, ms=5)
    for radius in (60, 120):
        right.add_patch(_circle(radius))
        right.annotate(f"{radius} Å", (0, radius), fontsize=7, ha="center", va="bottom")
    right.set(xlim=(-170, 170), ylim=(-170, 170), aspect="equal")
    right.set(xlabel="along cos 2α, Å", ylabel="along sin 2α, Å")
    right.set_title("Difference of the astigmatism vectors", fontsize=9)
    figure.savefig(ROOT / "docs" / "figures" / "ctf-agreement.png", metadata={"Software": None})


def _circle(radius: float) -> object:
    from matplotlib.patches import Circle

    return Circle((0, 0), radius, fill=False, color="0.8", lw=0.8)


if __name__ == "__main__":
    main()
