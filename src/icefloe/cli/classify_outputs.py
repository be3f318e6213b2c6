"""The files that `icefloe classify` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icefloe.cli.classify_select import particles_text

if TYPE_CHECKING:
    from icefloe.classes import Classification
    from icefloe.cli.classify_inputs import ParticleImages

__all__ = ["write_results", "write_sheet"]

_ACROSS = 10
_TILE = 1.8  # inches a row, of 1.45 wide


def write_results(
    out: Path,
    stack: ParticleImages,
    result: Classification,
    wanted: Sequence[int] | None,
    threshold: float,
) -> str:
    """Write averages, tables, picture and templates; return a table for the user."""
    from icefloe.classes import select_templates
    from icefloe.formats.mrc import write_mrc
    from icefloe.formats.star import write_star
    from icefloe.fourier import resize
    from icefloe.interop.class_selection import (
        check_numbers,
        write_selected_particles,
        write_selection,
    )
    from icefloe.interop.relion_classes import classes_data_star, classes_model_star

    chosen = list(wanted) if wanted is not None else select_templates(result, threshold=threshold)
    check_numbers(chosen, len(result))
    # In the particles' own box and pixels, so that RELION can go on from them.
    full = np.asarray(resize(result.images, (stack.box, stack.box)), dtype=np.float32)
    averages = out / "run_classes.mrcs"
    write_mrc(averages, full, stack.file_pixel_size)
    model = classes_model_star(
        result, averages=str(averages), box=stack.box, pixel_size=stack.file_pixel_size
    )
    write_star(out / "run_model.star", model)
    data = classes_data_star(stack.blocks, result)
    write_star(out / "run_data.star", data)
    write_selection(out, result.images[chosen], result.pixel_size, result.diameter)
    # Templates leave out what looks alike, particles do not.
    good = chosen if wanted is not None else sorted(
        {*chosen, *(k for k, r in enumerate(result.ranks) if r.score >= threshold)}
    )  # fmt: skip
    particles = particles_text(write_selected_particles(out, data, good), out)
    write_sheet(out / "classes.png", result, chosen)
    return "\n".join((*_table(result, chosen), f"{len(chosen)} templates in "
                      f"{out / 'templates.mrcs'}; {particles}"))  # fmt: skip


def _table(result: Classification, chosen: Sequence[int]) -> list[str]:
    lines = ["class  score  particles  resolution  contrast  offset  length   edge  border  note"]
    for k, r in enumerate(result.ranks):
        notes = ["template"] if k in chosen else []
        notes += [f"like class {r.duplicate_of + 1}"] if r.duplicate_of >= 0 else []
        resolution = f"{r.resolution:8.1f} A" if np.isfinite(r.resolution) else "         -"
        lines.append(
            f"{k + 1:5d}  {r.score:5.2f}  {r.population:9d}  {resolution}  "
            f"{min(r.contrast, 9999):8.1f}  {r.offset:6.2f}  {r.feret:6.2f}  {r.edge:5.2f}  "
            f"{100 * r.border:4.0f} %  " + ", ".join(notes)
        )
    lines.append(
        "contrast: variance inside the particle's circle over outside; offset and length in "
        "diameters; edge: variance about the circle's border over inside; "
        "border: particles whose windows reach over their micrograph's border"
    )
    return lines


def write_sheet(path: Path, result: Classification, chosen: Sequence[int]) -> None:
    """Write a picture of all classes, best first, templates framed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from icefloe.formats.atomic import atomic_path

    n = len(result)
    across = min(_ACROSS, n)
    down = -(-n // across)
    height = _TILE * down + 0.35
    figure = Figure(figsize=(1.45 * max(across, 4), height))
    FigureCanvasAgg(figure)
    for k, image in enumerate(result.images):
        axes = figure.add_subplot(down, across, k + 1)
        low, high = np.percentile(image, (1, 99.7))
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9),
                    interpolation="bicubic")  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        rank = result.ranks[k]
        resolution = f"{rank.resolution:.1f} Å" if np.isfinite(rank.resolution) else "-"
        axes.set_title(f"{k + 1}   score {rank.score:.2f}", fontsize=7.5, pad=2)
        twin = f" = {rank.duplicate_of + 1}" if rank.duplicate_of >= 0 else ""
        axes.set_xlabel(f"n {rank.population}   {resolution}{twin}", fontsize=7.5, labelpad=2)
        colour, width = ("#1b9e77", 2.5) if k in chosen else ("#888888", 0.6)
        for spine in axes.spines.values():
            spine.set_edgecolor(colour)
            spine.set_linewidth(width)
        if k == 0:
            _bar(axes, result.pixel_size, image.shape[0], Rectangle)
    figure.suptitle(
        "Class averages by score; green: templates; '= 3': like class 3; bar 100 Å", fontsize=9,
        y=1 - 0.06 / height, va="top",
    )  # fmt: skip
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.2 / height, top=1 - 0.45 / height,
                           wspace=0.06, hspace=0.32)  # fmt: skip
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, metadata={"Software": None})


def _bar(axes: object, pixel_size: float, side: int, rectangle: type) -> None:
    length = 100.0 / pixel_size
    if length < 0.8 * side:
        patch = rectangle((0.06 * side, 0.92 * side), length, 0.025 * side, color="white", lw=0)
        axes.add_patch(patch)  # type: ignore[attr-defined]
