"""Draws docs/figures/ctf-real.png and ctf-errors.png: `python docs/make_ctf_figure.py`.

Two real micrographs, their diagnostics and curves (needs them at ../shared/data), and stated
against real errors of simulated spectra.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from icefloe.ctf import estimate_ctf
from icefloe.formats import read_image

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "apoferritin-10146"


def real() -> None:
    figure = Figure(figsize=(10, 7.2), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, width_ratios=(1, 1.7))
    for (left, right), name in zip(axes, ("May08_03.15.02", "May08_07.30.46"), strict=True):
        result = estimate_ctf(
            read_image(REAL / f"{name}.png").data, pixel_size=1.5, cs=0.0, amplitude_contrast=0.07
        )
        p, c = result.parameters, result.curves
        n = len(result.diagnostic)
        cut = slice(n // 5, n - n // 5)
        left.imshow(result.diagnostic[cut, cut], cmap="gray", origin="lower", vmin=0, vmax=1)
        left.set_axis_off()
        left.set_title(
            f"U {p.defocus_u:.0f} A, V {p.defocus_v:.0f} A at {p.defocus_angle:.0f}°", fontsize=9
        )
        right.plot(c.frequency, c.model, color="0.75", lw=1, label="CTF², fitted")
        right.plot(c.frequency, c.equiphase, color="#1f6f8b", lw=1.1, label="equiphase average")
        right.plot(c.frequency, c.correlation, color="#c1440e", lw=1.4, label="correlation")
        right.plot(c.frequency, c.noise, color="#c1440e", lw=0.8, ls=":", label="2 sigma of it")
        right.axvline(1 / result.fit_resolution, color="0.3", lw=0.8)
        right.annotate(
            f"{result.fit_resolution:.1f} A", (1 / result.fit_resolution, 1.32), fontsize=8,
            ha="right",
        )  # fmt: skip
        ticks = np.array([20, 10, 7, 5, 4, 3.5, 3.2])
        right.set_xticks(1 / ticks, [f"{t:g}" for t in ticks])
        right.set(xlim=(0.02, 1 / 3), ylim=(-0.35, 1.4), xlabel="resolution, A", title=name)
        right.title.set_fontsize(9)
    axes[0, 1].legend(fontsize=7, ncols=4, loc="lower center", frameon=False)
    _save(figure, "ctf-real.png")


def errors(n: int = 40) -> None:
    """Draw stated against real errors of n spectra with and n without a phase plate."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from ctf_study import pulls, rows
    from scipy.stats import norm

    found = [row for plate in (False, True) for row in rows(n, plate) if not row.result.flags]
    figure = Figure(figsize=(10, 3.8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for plate, colour in ((False, "#1f6f8b"), (True, "#c1440e")):
        some = [r for r in found if (r.case.optics.phase_shift > 0) == plate]
        stated = [r.result.defocus_error for r in some]
        label = "phase shift fitted too" if plate else "no phase plate"
        left.loglog(stated, [abs(r.error) for r in some], ".", color=colour, label=label)
    line = np.array([1.0, 200.0])
    left.plot(line, line, color="0.3", lw=0.8, label="1 and 3 standard errors")
    left.plot(line, 3 * line, color="0.3", lw=0.8, ls=":")
    left.set(xlabel="stated error of the defocus, A", ylabel="real error, A", ylim=(0.05, 700))
    left.legend(fontsize=7, frameon=False)
    names = {"defocus": "0.1", "astigmatism": "#1f6f8b", "angle": "#7aa63c", "phase": "#c1440e"}
    for name, values in pulls(found).items():
        level = (np.arange(len(values)) + 0.5) / len(values)
        label = f"{name}, standard deviation {values.std():.2f}"
        right.plot(np.sort(values), level, color=names[name], lw=1.2, label=label)
    x = np.linspace(-3.5, 3.5, 100)
    right.plot(x, norm.cdf(x), color="0.6", lw=3, zorder=0, label="normal distribution")
    right.set(xlim=(-3.5, 3.5), xlabel="error / stated error", ylabel="cases below")
    right.legend(fontsize=7, frameon=False)
    _save(figure, "ctf-errors.png")


def _save(figure: Figure, name: str) -> None:
    target = ROOT / "docs" / "figures" / name
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, metadata={"Software": None})


def main() -> None:
    errors()
    if REAL.is_dir():
        real()


if __name__ == "__main__":
    main()
