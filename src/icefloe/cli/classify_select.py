"""Classes chosen by hand, also long after they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import InputError, SettingsError, StarColumnError

if TYPE_CHECKING:
    from icefloe.formats.star import StarTable

__all__ = [
    "check_numbers",
    "chosen_numbers",
    "reselect",
    "write_selected_particles",
    "write_selection",
]


def chosen_numbers(text: str | None) -> list[int] | None:
    """Return the 0-based classes of ``1,4,7-9``; None for None.

    Raises
    ------
    SettingsError
        It is no list of numbers.
    """
    if text is None:
        return None
    found: list[int] = []
    try:
        for part in text.replace(" ", "").split(","):
            first, dash, last = part.partition("-")
            found += range(int(first) - 1, int(last) if dash else int(first))
    except ValueError:
        raise SettingsError(f"--select is '{text}'", "numbers of classes such as 1,4,7-9") from None
    if not found or min(found) < 0:
        raise SettingsError(f"--select is '{text}'", "numbers of classes, from 1")
    return list(dict.fromkeys(found))


def reselect(path: Path, blocks: Mapping[str, StarTable], wanted: list[int], out: Path) -> str:
    """Write templates and particles of other classes of an earlier run; return what was done.

    Raises
    ------
    InputError, SettingsError, StarColumnError
    """
    from icefloe.cli.inputs import resolve_listed_path
    from icefloe.formats.mrc import read_mrc
    from icefloe.formats.star import read_star
    from icefloe.fourier import resize
    from icefloe.interop.relion_classes import listed_classes

    listed = listed_classes(blocks, path)
    check_numbers(wanted, len(listed))
    # Beside the model first: a directory that was moved still works.
    name = listed[0][1]
    beside = path.with_name(Path(name).name)
    file = beside if beside.is_file() else resolve_listed_path(name, path)
    images, size = read_mrc(file)
    general = blocks.get("model_general")
    if size is None and general is not None and "rlnPixelSize" in general:
        size = float(general.value("rlnPixelSize"))
    if size is None:
        raise InputError(f"The pixel size of {file} is not known")
    facts = blocks.get("icefloe")
    diameter = float(facts.value("icefloeDiameter")) if facts else 0.7 * size * images.shape[-1]
    if facts:
        # As they were classified: padding to the particles' box added nothing.
        small = round(size * images.shape[-1] / float(facts.value("icefloePixelSize")))
        images = np.asarray(resize(np.asarray(images, np.float32), (small, small)))
        size = float(facts.value("icefloePixelSize"))
    data = path.with_name(path.name.replace("_model.star", "_data.star"))
    table = read_star(data) if data != path and data.is_file() else None
    chosen = [listed[k][0] for k in wanted]
    write_selection(out, images[chosen], size, diameter)
    text = f"{len(wanted)} templates in {out / 'templates.mrcs'}"
    if table is None:
        return text
    return f"{text}; {write_selected_particles(out, table, wanted)}"


def check_numbers(wanted: Sequence[int], n: int) -> None:
    """Raise SettingsError where a class number is larger than `n`."""
    wrong = [k + 1 for k in wanted if k >= n]
    if wrong:
        raise SettingsError(f"--select names class {wrong[0]}", f"numbers from 1 to {n}")


def write_selection(out: Path, images: FloatArray, pixel_size: float, diameter: float) -> None:
    """Write templates.mrcs of class averages (k, b, b)."""
    from icefloe.classes import masked_averages
    from icefloe.formats.mrc import write_mrc

    masked = masked_averages(np.asarray(images, np.float32), pixel_size, diameter)
    write_mrc(out / "templates.mrcs", masked, pixel_size)


def write_selected_particles(
    out: Path, blocks: Mapping[str, StarTable], wanted: Sequence[int]
) -> str:
    """Write particles_selected.star, the particles of classes (0-based); return what was done."""
    from icefloe.formats.star import StarTable, write_star

    if "particles" not in blocks:
        raise StarColumnError("The data STAR has no data_particles block")
    table = blocks["particles"]
    keep = np.isin(np.asarray(table["rlnClassNumber"]).astype(int), np.asarray(wanted) + 1)
    path = out / "particles_selected.star"
    rows = StarTable({name: np.asarray(c)[keep] for name, c in table.columns.items()})
    write_star(path, {**blocks, "particles": rows})
    return f"{int(keep.sum())} of {len(table)} particles in {path}"
