"""cryoSPARC's `.cs` tables: NumPy structured arrays with fields such as `blob/path`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import InputError, UnsupportedFormatError
from icefloe.formats.atomic import atomic_path
from icefloe.formats.frames import open_binary

__all__ = ["read_cs", "write_cs"]

# The header of a table with many fields is longer than what NumPy takes for safe by default.
_MAX_HEADER = 1_000_000


def read_cs(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read the columns of a `.cs` file by field, such as `ctf/df1_A`.

    Fields of several numbers give (n, k); bytes become text in an object array.

    Raises
    ------
    UnsupportedFormatError
        Not a table, or one with pickled objects, which are never loaded.
    InputError
        It cannot be read, or ends early.
    """
    with open_binary(path) as handle:
        if handle.read(6) != b"\x93NUMPY":
            raise UnsupportedFormatError(f"{path} is not a .cs table", "an uncompressed NumPy file")
        handle.seek(0)
        try:
            table = np.lib.format.read_array(
                handle, allow_pickle=False, max_header_size=_MAX_HEADER
            )
        except (ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read ({error})", "a whole .cs table") from error
    names = table.dtype.names
    if names is None or table.ndim != 1:
        raise UnsupportedFormatError(f"{path} is a NumPy file but no table", "named fields")
    return {name: _text(table[name]) for name in names}


def _text(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind not in "SU":
        return np.ascontiguousarray(column)
    values = column.tolist()
    texts = np.empty(len(values), dtype=object)
    texts[:] = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
    return texts


def write_cs(path: str | Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write columns as a `.cs` file, whole or not at all; text becomes fixed-width bytes.

    Raises
    ------
    InputError
        Columns of unequal length.
    OutputError
    """
    stored = {name: _bytes(np.asarray(values)) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in stored.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"Columns of unequal length: {lengths}", "one length")
    dtype = np.dtype([(name, values.dtype, values.shape[1:]) for name, values in stored.items()])
    table = np.zeros(next(iter(lengths.values()), 0), dtype=dtype)
    for name, values in stored.items():
        table[name] = values
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.lib.format.write_array(handle, table, allow_pickle=False)


def _bytes(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind not in "OU":
        return values
    encoded = [str(value).encode() for value in values.tolist()]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")
