"""Classes chosen by hand from a 2D classification: their templates and particles as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import InputError, SettingsError, StarColumnError
from icefloe.formats.mrc import read_mrc, write_mrc
from icefloe.formats.star import StarTable, read_star, write_star
from icefloe.fourier import resize
from icefloe.interop.relion_classes import listed_classes

__all__ = [
    "ClassSet",
    "check_numbers",
    "read_class_set",
    "select_classes",
    "write_selected_particles",
    "write_selection",
]


@dataclass(frozen=True)
class ClassSet:
    """The classes of an earlier run.

    Attributes
    ----------
    images
        (k, b, b) averages, those of Icefloe in the box and pixels in which they were made.
    pixel_size
        A.
    diameter
        Of the particle, A.
    columns
        By name, a value for each class, as in the model's blocks.
    data
        The STAR of the particles with their classes; None if there is none.
    """

    images: FloatArray
    pixel_size: float
    diameter: float
    columns: Mapping[str, list[float]]
    data: Path | None


def read_class_set(
    path: Path, blocks: Mapping[str, StarTable], resolve: Callable[[str, Path], Path]
) -> ClassSet:
    """Return the classes of a run_model.star of Icefloe or RELION.

    Parameters
    ----------
    path
        Of the model.
    blocks
        What it holds.
    resolve
        Returns the file that a STAR names; for averages that do not lie beside the model.

    Raises
    ------
    InputError, StarColumnError
        Averages are missing, or their pixel size is not known.
    """
    listed = listed_classes(blocks, path)
    # Beside the model first: a directory that was moved still works.
    name = listed[0][1]
    beside = path.with_name(Path(name).name)
    file = beside if beside.is_file() else resolve(name, path)
    images, size = read_mrc(file)
    general = blocks.get("model_general")
    if size is None and general is not None and "rlnPixelSize" in general:
        size = float(general.value("rlnPixelSize"))
    if size is None:
        raise InputError(f"The pixel size of {file} is not known")
    if listed and max(section for section, _ in listed) >= len(images):
        raise InputError(f"{file} has {len(images)} images, {path} names more")
    facts = blocks.get("icefloe")
    diameter = float(facts.value("icefloeDiameter")) if facts else 0.7 * size * images.shape[-1]
    if facts:
        # As they were classified: padding to the particles' box added nothing.
        small = round(size * images.shape[-1] / float(facts.value("icefloePixelSize")))
        images = np.asarray(resize(np.asarray(images, np.float32), (small, small)))
        size = float(facts.value("icefloePixelSize"))
    data = path.with_name(path.name.replace("_model.star", "_data.star"))
    columns: dict[str, list[float]] = {}
    for block in ("model_classes", "icefloe_classes"):
        table = blocks.get(block)
        for key, values in table.columns.items() if table is not None else ():
            if key != "rlnReferenceImage":
                columns[key] = np.asarray(values, dtype=np.float64).tolist()
    order = [section for section, _ in listed]
    return ClassSet(
        np.asarray(images, np.float32)[order],
        float(size),
        diameter,
        columns,
        data if data != path and data.is_file() else None,
    )


def select_classes(classes: ClassSet, wanted: Sequence[int], out: Path) -> tuple[int, int] | None:
    """Write templates and particles of the classes `wanted`, 0-based, into a directory.

    Returns
    -------
    tuple of int, optional
        Particles that were written, and how many there were; None if the particles are not known.
    """
    check_numbers(wanted, len(classes.images))
    write_selection(out, classes.images[list(wanted)], classes.pixel_size, classes.diameter)
    if classes.data is None:
        return None
    return write_selected_particles(out, read_star(classes.data), wanted)


def check_numbers(wanted: Sequence[int], n: int) -> None:
    """Raise SettingsError where a class number is larger than `n`."""
    wrong = [k + 1 for k in wanted if k >= n]
    if wrong:
        raise SettingsError(f"--select names class {wrong[0]}", f"numbers from 1 to {n}")


def write_selection(out: Path, images: FloatArray, pixel_size: float, diameter: float) -> None:
    """Write templates.mrcs of class averages (k, b, b)."""
    from icefloe.classes import masked_averages

    masked = masked_averages(np.asarray(images, np.float32), pixel_size, diameter)
    write_mrc(out / "templates.mrcs", masked, pixel_size)


def write_selected_particles(
    out: Path, blocks: Mapping[str, StarTable], wanted: Sequence[int]
) -> tuple[int, int]:
    """Write particles_selected.star, the particles of classes (0-based); return how many of all."""
    if "particles" not in blocks:
        raise StarColumnError("The data STAR has no data_particles block")
    table = blocks["particles"]
    keep = np.isin(np.asarray(table["rlnClassNumber"]).astype(int), np.asarray(wanted) + 1)
    rows = StarTable({name: np.asarray(c)[keep] for name, c in table.columns.items()})
    write_star(out / "particles_selected.star", {**blocks, "particles": rows})
    return int(keep.sum()), len(table)
