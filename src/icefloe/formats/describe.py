"""What is in a file, in words: the text of `icefloe header`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import UnsupportedFormatError
from icefloe.formats.coordinates import read_coordinates
from icefloe.formats.cryosparc import read_cs
from icefloe.formats.epu import read_epu
from icefloe.formats.frames import open_binary
from icefloe.formats.gain import read_gain
from icefloe.formats.image import read_image
from icefloe.formats.mdoc import read_mdoc
from icefloe.formats.movie import file_kind, open_movie
from icefloe.formats.star import read_star

__all__ = ["describe_file"]


def describe_file(path: str | Path) -> dict[str, str]:
    """Return facts about a file of any format that is read here, in the order to print them.

    Raises
    ------
    UnsupportedFormatError
        No known format.
    InputError and its subclasses
        A known one that cannot be read.
    """
    path = Path(path)
    by_suffix = {
        ".star": _star,
        ".cs": _cs,
        ".box": _coordinates,
        ".cbox": _coordinates,
        ".csv": _coordinates,
        ".mdoc": _mdoc,
        ".xml": _epu,
    }
    describe = by_suffix.get(path.suffix.lower())
    if describe is not None:
        return describe(path)
    kind = file_kind(path)
    if kind in ("mrc", "tiff", "eer"):
        return _movie(path)
    if kind in ("png", "jpeg"):
        image = read_image(path)
        return {"format": kind.upper(), **_array(image.data), **_statistics(image.data)}
    if _is_text(path):
        return _text(path)
    raise UnsupportedFormatError(f"{path} is {kind}", "a format that Icefloe reads")


def _movie(path: Path) -> dict[str, str]:
    with open_movie(path) as movie:
        facts = dict(movie.details)
        facts["size"] = f"{movie.shape[1]} x {movie.shape[0]} (columns x rows)"
        facts["fractions" if facts["format"] == "EER" else "frames"] = str(len(movie))
        facts["type"] = str(movie.dtype)
        unknown = "not in the file"
        facts["pixel size"] = f"{movie.pixel_size:g} A" if movie.pixel_size else unknown
        if path.suffix.lower() == ".gain" or "gain" in path.name.lower():
            facts.update(_gain(path))
        elif len(movie) == 1:
            facts.update(_statistics(movie[0]))
        else:
            facts.update({f"first frame, {k}": v for k, v in _statistics(movie[0]).items()})
    return facts


def _gain(path: Path) -> dict[str, str]:
    gain = read_gain(path)
    return {**_statistics(gain), "dead pixels": str(int(np.count_nonzero(gain == 0)))}


def _array(data: NDArray[Any]) -> dict[str, str]:
    return {"size": f"{data.shape[1]} x {data.shape[0]} (columns x rows)", "type": str(data.dtype)}


def _statistics(data: NDArray[Any]) -> dict[str, str]:
    values = data.astype(np.float64)
    return {
        "range": f"{values.min():g} to {values.max():g}",
        "mean": f"{values.mean():.6g}",
        "deviation": f"{values.std():.6g}",
    }


def _star(path: Path) -> dict[str, str]:
    facts = {"format": "STAR"}
    for name, table in read_star(path).items():
        rows = f"{len(table)} rows" if table.loop else "values"
        facts[f"data_{name}"] = f"{rows}: {', '.join(table.columns)}"
    return facts


def _cs(path: Path) -> dict[str, str]:
    columns = read_cs(path)
    rows = len(next(iter(columns.values()), np.zeros(0)))
    return {"format": "cryoSPARC table", "rows": str(rows), "fields": ", ".join(columns)}


def _coordinates(path: Path) -> dict[str, str]:
    found = read_coordinates(path)
    facts = {"format": f"coordinates ({path.suffix})", "particles": str(len(found))}
    if len(found):
        facts["x"] = f"{found.x.min():g} to {found.x.max():g}"
        facts["y"] = f"{found.y.min():g} to {found.y.max():g}"
        if found.score is not None:
            facts["score"] = f"{found.score.min():g} to {found.score.max():g}"
        if found.diameter is not None:
            facts["box"] = f"{np.median(found.diameter):g}"
    return facts


def _mdoc(path: Path) -> dict[str, str]:
    mdoc = read_mdoc(path)
    facts = {"format": "SerialEM mdoc", "sections": str(len(mdoc.sections))}
    if mdoc.voltage is not None:
        facts["voltage"] = f"{mdoc.voltage:g} kV"
    for section in mdoc.sections[:1]:
        for name, value, unit in (
            ("movie", section.movie, ""),
            ("pixel size", section.pixel_size, " A"),
            ("dose", section.dose, " e/A^2"),
            ("frames", section.frame_count, ""),
            ("defocus", section.defocus, " A"),
            ("gain reference", section.gain_reference, ""),
            ("defect file", section.defect_file, ""),
        ):
            if value is not None:
                text = f"{value:g}" if isinstance(value, float) else str(value)
                facts[name] = text + unit
    return facts


def _epu(path: Path) -> dict[str, str]:
    facts = {"format": "EPU XML"}
    units = {"pixel_size": " A", "voltage": " kV", "dose": " e/A^2", "exposure_time": " s"}
    units |= {"defocus": " A", "stage_position": " um", "tilt": " degrees"}
    for name, value in vars(read_epu(path)).items():
        if value is not None:
            facts[name.replace("_", " ")] = f"{value}{units.get(name, '')}"
    return facts


def _is_text(path: Path) -> bool:
    with open_binary(path) as handle:
        start = handle.read(4096)
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in start)


def _text(path: Path) -> dict[str, str]:
    with open_binary(path) as handle:
        lines = [line.split() for line in handle.read().decode("latin-1").splitlines()]
    rows = [words for words in lines if words and not words[0].startswith("#")]
    if any(words[0].startswith("CameraSize") for words in rows):
        return {"format": "SerialEM defect list", **{w[0]: " ".join(w[1:]) for w in rows[:3]}}
    if rows and all(len(words) == 4 and _all_numbers(words) for words in rows):
        return {"format": "defect list (x y width height)", "boxes": str(len(rows))}
    raise UnsupportedFormatError(f"{path} is a text of no known format")


def _all_numbers(words: list[str]) -> bool:
    return all(word.replace(".", "", 1).isdigit() for word in words)
