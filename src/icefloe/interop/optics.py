"""Optics groups: the table that RELION keeps at the top of every STAR file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icefloe.errors import StarColumnError

if TYPE_CHECKING:
    from icefloe.formats.star import StarTable

__all__ = ["OpticsGroup", "optics_table", "read_optics"]


@dataclass(frozen=True)
class OpticsGroup:
    """One microscope setting, shared by many exposures.

    Attributes
    ----------
    number
        1-based number that rows refer to as rlnOpticsGroup.
    name
        rlnOpticsGroupName.
    voltage, cs, amplitude_contrast
        kV, mm and a fraction.
    original_pixel_size
        Pixel size of the movie, A.
    micrograph_pixel_size
        Pixel size of the micrograph, A.
    extra
        Further columns, kept as they were read.
    """

    voltage: float
    cs: float
    amplitude_contrast: float
    original_pixel_size: float
    micrograph_pixel_size: float
    number: int = 1
    name: str = "opticsGroup1"
    extra: Mapping[str, Any] = field(default_factory=dict)


def optics_table(
    groups: Sequence[OpticsGroup],
    *,
    image_pixel_size: float | None = None,
    image_size: int | None = None,
    premultiplied: bool = False,
) -> StarTable:
    """Return the data_optics block of a micrograph STAR, or of a particle STAR.

    Parameters
    ----------
    groups
        The optics groups.
    image_pixel_size, image_size
        Pixel size (A) and box (px) of extracted particles; given together for a particle STAR.
    premultiplied
        Whether particles were multiplied by their CTF.
    """
    from icefloe.formats.star import StarTable

    rows: list[dict[str, Any]] = []
    for g in groups:
        row: dict[str, Any] = {
            "rlnOpticsGroupName": g.name,
            "rlnOpticsGroup": g.number,
            **g.extra,
            "rlnMicrographOriginalPixelSize": float(g.original_pixel_size),
            "rlnVoltage": float(g.voltage),
            "rlnSphericalAberration": float(g.cs),
            "rlnAmplitudeContrast": float(g.amplitude_contrast),
        }
        if image_pixel_size is None:
            row["rlnMicrographPixelSize"] = float(g.micrograph_pixel_size)
        else:
            row["rlnImagePixelSize"] = float(image_pixel_size)
            row["rlnImageSize"] = image_size
            row["rlnImageDimensionality"] = 2
            row["rlnCtfDataAreCtfPremultiplied"] = int(premultiplied)
        rows.append(row)
    return StarTable.from_rows(rows)


_COLUMNS = {
    "rlnVoltage": "voltage",
    "rlnSphericalAberration": "cs",
    "rlnAmplitudeContrast": "amplitude_contrast",
}
# RELION writes these itself, from other attributes; they are not carried in `extra`.
_OWN = {
    "rlnOpticsGroup", "rlnOpticsGroupName", "rlnMicrographOriginalPixelSize",
    "rlnMicrographPixelSize", "rlnImagePixelSize", "rlnImageSize", "rlnImageDimensionality",
    "rlnCtfDataAreCtfPremultiplied", *_COLUMNS,
}  # fmt: skip


def read_optics(blocks: Mapping[str, StarTable], path: str | Path) -> dict[int, OpticsGroup]:
    """Return the optics groups of a STAR file by number.

    Raises
    ------
    StarColumnError
        There is no data_optics block, or it lacks a column.
    """
    if "optics" not in blocks:
        raise StarColumnError(
            f"{path} has no data_optics block (its blocks are {', '.join(blocks) or 'none'})",
            "a STAR of RELION 3.1 or later",
            "Convert an older file with relion_convert_star, or give --pixel-size, --voltage and "
            "--cs with the micrographs themselves",
        )
    table = blocks["optics"]
    missing = [c for c in ("rlnOpticsGroup", *_COLUMNS) if c not in table]
    pixel = [
        c
        for c in ("rlnMicrographPixelSize", "rlnImagePixelSize", "rlnMicrographOriginalPixelSize")
        if c in table
    ]
    if missing or not pixel:
        missing += [] if pixel else ["rlnMicrographPixelSize"]
        raise StarColumnError(
            f"The data_optics block of {path} lacks {', '.join(missing)}",
            hint="Add the column, or import the micrographs again",
        )
    groups = {}
    for row in table.rows():
        number = int(row["rlnOpticsGroup"])
        size = float(row[pixel[0]])
        groups[number] = OpticsGroup(
            number=number,
            name=str(row.get("rlnOpticsGroupName", f"opticsGroup{number}")),
            original_pixel_size=float(row.get("rlnMicrographOriginalPixelSize", size)),
            micrograph_pixel_size=size,
            extra={k: v for k, v in row.items() if k not in _OWN},
            **{attribute: float(row[column]) for column, attribute in _COLUMNS.items()},
        )
    return groups
