"""Draws docs/figures/ctf-real.png: two real micrographs, their diagnostics and curves.

Needs the real micrographs at ../shared/data: `python docs/make_ctf_figure.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from icefloe.ctf import estimate_ctf
from icefloe.formats import read_image

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "apoferritin-10146"


def main() -> None:
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
    target = ROOT / "docs" / "figures" / "ctf-real.png"
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, metadata={"Software": None})


if __name__ == "__main__":
    main()
