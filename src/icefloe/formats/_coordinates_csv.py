"""Coordinates as comma-separated text: a header with x and y, or columns x, y[, score]."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import InputError
from icefloe.formats.frames import open_binary

__all__ = ["NUMBERS", "csv_columns", "csv_text"]

NUMBERS = ("x", "y", "score", "diameter")


def csv_columns(path: Path) -> dict[str, NDArray[Any]]:
    """Return all columns; x, y, score and diameter are numbers, the others where they can be.

    Raises
    ------
    InputError
        No rows, fewer than two columns, or a row without numbers.
    """
    with open_binary(path) as handle:
        text = handle.read().decode("utf-8-sig", "replace")
    rows = [row for row in csv.reader(text.splitlines()) if row and not row[0].startswith("#")]
    if not rows:
        raise InputError(f"{path} has no rows", "a header line x,y and numbers")
    header = [name.strip() for name in rows[0]]
    names = [name.lower() for name in header]
    if "x" in names and "y" in names:
        rows = rows[1:]
    else:
        header = names = ["x", "y", "score"][: len(rows[0])]
    if "y" not in names:
        raise InputError(f"{path} has one column", "x,y[,score]")
    places = {name: names.index(name) for name in NUMBERS if name in names}
    try:
        columns: dict[str, NDArray[Any]] = {
            name: np.array([float(row[place]) for row in rows], dtype=np.float64)
            for name, place in places.items()
        }
        for place, name in enumerate(header):
            if place not in places.values():
                columns[name] = _column([row[place].strip() for row in rows])
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} has a row without numbers ({error})", "x,y[,score]") from None
    return columns


def csv_text(columns: Mapping[str, NDArray[Any]]) -> str:
    """Return columns of one length as text with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])
    return text.getvalue()


def _column(texts: list[str]) -> NDArray[Any]:
    try:
        return np.array([float(text) for text in texts], dtype=np.float64)
    except ValueError:
        return np.array(texts, dtype=object)
