"""Extracted particles as cryoSPARC's table: image, CTF and place of each.

Fields and units are those of tables that cryoSPARC wrote: 0-based indices into the stack, angles in
radians, places as fractions counted from the lower left corner, shapes as (ny, nx). The images stay
in the .mrcs files that the STAR names; their rows are not turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import InputError, StarColumnError
from icefloe.formats.cryosparc import write_cs
from icefloe.formats.star import StarTable
from icefloe.interop.cryosparc_group import path_in_group, write_result_group
from icefloe.interop.cryosparc_picks import micrograph_fields, uid

__all__ = ["cryosparc_particles", "write_cryosparc_particles"]

_OPTICS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
_PSIZE, _SIDE = "rlnImagePixelSize", "rlnImageSize"


def cryosparc_particles(
    blocks: Mapping[str, StarTable],
    shapes: Mapping[str, tuple[int, int]] | None = None,
    *,
    bright: bool = True,
) -> dict[str, NDArray[Any]]:
    """Return the columns of a particles.cs.

    Parameters
    ----------
    blocks
        Optics and particles, as in particles.star.
    shapes
        (ny, nx) of the micrographs by rlnMicrographName; without it the table has no places.
    bright
        Particles are bright, as RELION's are.

    Raises
    ------
    StarColumnError
        A block or a column is missing.
    InputError
        An image name is not ``number@file``, or the size of a micrograph is not known.
    """
    for name in ("optics", "particles"):
        if name not in blocks:
            raise StarColumnError(f"There is no data_{name} block", "RELION 3.1's particles.star")
    optics, table = blocks["optics"], blocks["particles"]
    needed = {"optics": (*_OPTICS, _PSIZE, _SIDE), "particles": ("rlnImageName", "rlnOpticsGroup")}
    for name, columns in needed.items():
        if missing := [c for c in columns if c not in blocks[name]]:
            raise StarColumnError(f"The {name} have no {', '.join(missing)}", "particles.star")
    n = len(table)
    names = [str(v).partition("@") for v in table["rlnImageName"].tolist()]
    if bad := [v for v in names if not (v[0].isdigit() and v[2])]:
        raise InputError(f"The image '{''.join(bad[0])}' is not in a stack", "number@file.mrcs")
    numbers = np.asarray(optics["rlnOpticsGroup"], dtype=np.int64).tolist()
    row = {number: i for i, number in enumerate(numbers)}
    group = np.array([row[int(g)] for g in table["rlnOpticsGroup"].tolist()], dtype=np.intp)

    def shared(name: str) -> NDArray[Any]:
        return np.asarray(optics[name], dtype=np.float64)[group]

    side = shared(_SIDE).astype(np.uint32)
    signature = uid("icefloe")
    result: dict[str, NDArray[Any]] = {
        "uid": np.array([uid(f"{f}:{i}") for i, _, f in names], dtype=np.uint64),
        "blob/path": np.array([f for _, _, f in names], dtype=object),
        "blob/idx": np.array([int(i) - 1 for i, _, _ in names], dtype=np.uint32),
        "blob/shape": np.stack([side, side], axis=1),
        "blob/psize_A": shared(_PSIZE).astype(np.float32),
        "blob/sign": np.full(n, -1 if bright else 1, dtype=np.float32),
        "blob/import_sig": np.full(n, signature, dtype=np.uint64),
    }
    if "rlnDefocusU" in table:
        result |= _ctf(table, group, *(shared(name) for name in _OPTICS))
    if shapes is not None and "rlnCoordinateX" in table:
        result |= _places(table, optics, group, shapes)
    return result


def write_cryosparc_particles(
    path: str | Path,
    blocks: Mapping[str, StarTable],
    shapes: Mapping[str, tuple[int, int]] | None = None,
    *,
    bright: bool = True,
    root: Path | None = None,
) -> Path:
    """Write `cryosparc_particles` as a .cs file, and beside it the .csg file that imports it.

    Parameters
    ----------
    path
        The .cs file. Stacks below its directory are named from there.
    blocks, shapes, bright
        As of `cryosparc_particles`.
    root
        Directory from which the STAR's names are counted; None is the working directory.

    Returns
    -------
    Path
        The .csg file.
    """
    path = Path(path)
    columns = cryosparc_particles(blocks, shapes, bright=bright)
    stacks = columns["blob/path"].tolist()
    moved = {one: path_in_group(one, path.parent, root=root) for one in set(stacks)}
    columns["blob/path"] = np.array([moved[one] for one in stacks], dtype=object)
    write_cs(path, columns)
    return write_result_group(path, columns, len(stacks), title="Particles from Icefloe")


def _ctf(
    table: StarTable,
    group: NDArray[np.intp],
    voltage: NDArray[Any],
    cs: NDArray[Any],
    contrast: NDArray[Any],
) -> dict[str, NDArray[Any]]:
    n = len(table)

    def column(name: str, default: float) -> NDArray[np.float64]:
        return np.asarray(table[name], np.float64) if name in table else np.full(n, default)

    single: dict[str, NDArray[Any]] = {
        "ctf/accel_kv": voltage,
        "ctf/cs_mm": cs,
        "ctf/amp_contrast": contrast,
        "ctf/df1_A": column("rlnDefocusU", 0),
        "ctf/df2_A": column("rlnDefocusV", 0),
        "ctf/df_angle_rad": np.deg2rad(column("rlnDefocusAngle", 0)),
        "ctf/phase_shift_rad": np.deg2rad(column("rlnPhaseShift", 0)),
        "ctf/scale": column("rlnCtfScalefactor", 1),
        "ctf/scale_const": np.zeros(n),
        "ctf/bfactor": column("rlnCtfBfactor", 0),
    }
    widths = {"shift_A": 2, "tilt_A": 2, "trefoil_A": 2, "tetra_A": 4, "anisomag": 4}
    return {
        "ctf/type": np.full(n, "imported", dtype=object),
        "ctf/exp_group_id": group.astype(np.uint32),
        **{name: np.asarray(values, dtype=np.float32) for name, values in single.items()},
        **{f"ctf/{name}": np.zeros((n, k), dtype=np.float32) for name, k in widths.items()},
    }


def _places(
    table: StarTable,
    optics: StarTable,
    group: NDArray[np.intp],
    shapes: Mapping[str, tuple[int, int]],
) -> dict[str, NDArray[Any]]:
    """Return where the particles are: coordinates less the origins, which are in A."""
    names = table["rlnMicrographName"].astype(str)
    if missing := sorted(set(names.tolist()) - set(shapes)):
        raise InputError(f"The size of {missing[0]} is not known", "the size of each micrograph")
    for size in ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize"):
        if size in optics:
            pixel = np.asarray(optics[size], dtype=np.float64)[group]
            break
    else:
        raise StarColumnError("The optics have no pixel size of the micrographs")
    yx = []
    for axis in "YX":
        place = np.asarray(table[f"rlnCoordinate{axis}"], dtype=np.float64)
        if f"rlnOrigin{axis}Angst" in table:
            place = place - np.asarray(table[f"rlnOrigin{axis}Angst"], np.float64) / pixel
        yx.append(place)
    size_yx = np.array([shapes[name] for name in names.tolist()], dtype=np.uint32).reshape(-1, 2)
    return micrograph_fields(names.tolist(), names.tolist(), size_yx, *yx)
