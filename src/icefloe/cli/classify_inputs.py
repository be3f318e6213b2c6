"""Particles of a STAR file as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.cli.inputs import resolve_listed_path
from icefloe.errors import InputError, StarColumnError

if TYPE_CHECKING:
    from icefloe.formats.star import StarTable
    from icefloe.interop.optics import OpticsGroup
    from icefloe.optics import CtfParameters

__all__ = ["ParticleImages", "read_particles"]

_CHUNK = 256


@dataclass(frozen=True)
class ParticleImages:
    """Particles as they are classified.

    Attributes
    ----------
    blocks
        Of the STAR file, its particles those that are here.
    images
        (n, b, b) float32, binned.
    pixel_size
        Of `images`, A.
    ctf
        Of each, or None.
    premultiplied
        Whether they were multiplied by their CTF.
    halves
        (n,) half sets, where the file has them.
    box, file_pixel_size
        Side and pixel size, A, in the files.
    notes
        What was left out.
    """

    blocks: Mapping[str, StarTable]
    images: FloatArray
    pixel_size: float
    ctf: list[CtfParameters] | None
    premultiplied: bool
    halves: AnyArray | None
    box: int
    file_pixel_size: float
    notes: tuple[str, ...]


def read_particles(path: Path, blocks: Mapping[str, StarTable], bin_to: float) -> ParticleImages:
    """Read the stacks that a particles STAR names, and bin them on the way.

    Raises
    ------
    StarColumnError, InputError
        No particles or optics, or groups of different boxes or pixel sizes; stacks that are missing
        or shorter than the file says.
    """
    from icefloe.formats.star import require_block
    from icefloe.interop.optics import read_optics

    table = require_block(blocks, "particles", ("rlnImageName",), path=path)
    optics = require_block(
        blocks, "optics", ("rlnOpticsGroup", "rlnImagePixelSize", "rlnImageSize"), path=path
    )
    sizes = {(int(r["rlnImageSize"]), round(float(r["rlnImagePixelSize"]), 4))
             for r in optics.rows()}  # fmt: skip
    if len(sizes) != 1:
        raise StarColumnError(
            f"The optics groups of {path} have boxes and pixel sizes {sorted(sizes)}",
            "one box and one pixel size", "Extract the particles with one --bin-to",
        )  # fmt: skip
    box, pixel_size = int(optics["rlnImageSize"][0]), float(optics["rlnImagePixelSize"][0])
    images, size = _read(table["rlnImageName"].astype(str).tolist(), path, box, pixel_size, bin_to)
    premultiplied = _premultiplied(optics)
    halves = None
    if "rlnRandomSubset" in table and set(np.unique(table["rlnRandomSubset"])) == {1, 2}:
        halves = np.asarray(table["rlnRandomSubset"], dtype=np.int64) - 1
    ctf = _ctf(table, read_optics(blocks, path))
    return ParticleImages(blocks, images, size, ctf, premultiplied, halves, box, pixel_size, ())


def _premultiplied(optics: StarTable) -> bool:
    if "rlnCtfDataAreCtfPremultiplied" not in optics:
        return False
    values = set(np.asarray(optics["rlnCtfDataAreCtfPremultiplied"]).astype(int).tolist())
    if len(values) > 1:
        raise StarColumnError(
            "Some optics groups are multiplied by their CTF and others not", "all or none"
        )
    return values == {1}


def _read(
    names: list[str], star: Path, box: int, pixel_size: float, bin_to: float
) -> tuple[FloatArray, float]:
    from icefloe.classes.prepare import binned_box
    from icefloe.formats.mrc import MrcReader
    from icefloe.fourier import resize

    small, size = binned_box(box, pixel_size, bin_to) if box % 2 == 0 else (box, pixel_size)
    out = np.empty((len(names), small, small), dtype=np.float32)
    places: dict[str, list[tuple[int, int]]] = {}
    for row, name in enumerate(names):
        index, at, file = name.partition("@")
        if not at or not index.isdigit():
            raise StarColumnError(f"{star} names an image {name!r}", "000001@stack.mrcs")
        places.setdefault(file, []).append((row, int(index) - 1))
    for file, members in places.items():
        target = resolve_listed_path(file, star)
        if not target.is_file():
            raise InputError(f"There is no file {file}, which {star} names",
                             hint="Start from the directory the names are relative to")  # fmt: skip
        reader = MrcReader(target)
        try:
            if reader.shape != (box, box):
                raise InputError(f"{target} has images of {reader.shape}", f"{box} x {box}")
            if max(i for _, i in members) >= reader.count:
                raise InputError(
                    f"{target} has {reader.count} images, and {star} names image "
                    f"{max(i for _, i in members) + 1}"
                )
            raw = np.empty((box, box), reader.dtype)
            for start in range(0, len(members), _CHUNK):
                part = members[start : start + _CHUNK]
                images = np.empty((len(part), box, box), dtype=np.float32)
                for j, (_, index_in_file) in enumerate(part):
                    reader.read_into(index_in_file, raw)
                    images[j] = raw
                out[[row for row, _ in part]] = resize(images, (small, small))
        finally:
            reader.close()
    return out, size


def _ctf(table: StarTable, groups: Mapping[int, OpticsGroup]) -> list[CtfParameters] | None:
    from icefloe.optics import CtfParameters

    names = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    if any(name not in table for name in names):
        return None
    n = len(table)
    u, v, a = (np.asarray(table[name], dtype=np.float64).tolist() for name in names)
    shift = np.asarray(
        table["rlnPhaseShift"] if "rlnPhaseShift" in table else np.zeros(n), dtype=np.float64
    ).tolist()
    numbers = np.asarray(table["rlnOpticsGroup"]).tolist() if "rlnOpticsGroup" in table else [1] * n
    missing = sorted(set(numbers) - set(groups))
    if missing:
        raise StarColumnError(
            f"Particles are of optics group {missing[0]}", f"one of {sorted(groups)}"
        )
    lens = {k: (g.voltage, g.cs, g.amplitude_contrast) for k, g in groups.items()}
    return [
        CtfParameters(u[i], v[i], a[i], *lens[numbers[i]], phase_shift=shift[i]) for i in range(n)
    ]
