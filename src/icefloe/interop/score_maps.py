"""Maps of scores on disk, from which picks can be chosen again.

A micrograph gets `NAME_maps.npz`, which holds everything, and for other programs `NAME_score.mrc`,
`NAME_angle.mrc` and `NAME_template.mrc` at the pixel size of the search.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from icefloe.errors import InputError
from icefloe.formats.atomic import atomic_path, output_directory
from icefloe.formats.mrc import write_mrc
from icefloe.picking.scored import ScoreMaps

__all__ = ["load_maps", "save_maps"]

_VIEWED = ("score", "angle", "template")
_VERSION = 1


def save_maps(directory: str | Path, name: str, maps: ScoreMaps) -> Path:
    """Write a micrograph's maps and return the archive's path."""
    folder = output_directory(Path(directory))
    pixel_size = maps.pixel_size / maps.scale[0]
    for kind in _VIEWED:
        write_mrc(folder / f"{name}_{kind}.mrc", getattr(maps, kind).astype(np.float32), pixel_size)
    arrays: dict[str, object] = {f.name: getattr(maps, f.name) for f in fields(maps)}
    arrays["flags"] = np.array(maps.flags, dtype=np.str_)
    for name_of in ("junk", "usual"):
        if arrays[name_of] is None:
            del arrays[name_of]
    path = folder / f"{name}_maps.npz"
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, version=_VERSION, **arrays)  # type: ignore[arg-type]
    return path


def load_maps(directory: str | Path, name: str) -> ScoreMaps:
    """Read what `save_maps` wrote.

    Raises
    ------
    InputError
        There are no maps of that micrograph, or the file is not one.
    """
    path = Path(directory) / f"{name}_maps.npz"
    if not path.is_file():
        raise InputError(
            f"There are no maps {path}", hint="Match first, with --save-maps and this directory"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = dict(archive.items())
        if int(found["version"]) != _VERSION:
            raise InputError(
                f"{path} is of version {int(found['version'])}", f"{_VERSION}", "Match again"
            )

        def several(key: str) -> list[float]:
            return [v.item() for v in found[key]]

        covered = tuple(int(v) for v in several("covered"))
        (sy, sx), (oy, ox), (ny, nx) = (several(k) for k in ("scale", "origin", "full"))
        low, high, width = several("usual") if "usual" in found else (0.0, 0.0, 0.0)
        return ScoreMaps(
            **{k: found[k] for k in (*_VIEWED, "level", "power")},
            junk=found.get("junk"),
            covered=(covered[0], covered[1], covered[2], covered[3]),
            scale=(sy, sx),
            origin=(int(oy), int(ox)),
            full=(int(ny), int(nx)),
            pixel_size=float(found["pixel_size"]),
            diameter=float(found["diameter"]),
            flags=tuple(str(v) for v in found["flags"]),
            usual=(low, high, width) if "usual" in found else None,
        )
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error})", "NAME_maps.npz"
        ) from None
