"""A block of a STAR file in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import StarColumnError, StarFormatError

__all__ = ["StarTable", "as_column", "require_block", "text_column"]


@dataclass
class StarTable:
    """One block of a STAR file.

    Parameters
    ----------
    columns
        Arrays of one length by label, the label without its leading underscore, in file order.
    loop
        True for a table, False for a list of single values (columns of length 1).

    Raises
    ------
    StarFormatError
        Columns of unequal length, or a list with other than one row.
    """

    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    loop: bool = True

    def __post_init__(self) -> None:
        self.columns = {name: as_column(values) for name, values in self.columns.items()}
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise StarFormatError(f"Columns of unequal length: {lengths}", "one length")
        if not self.loop and self.columns and len(self) != 1:
            raise StarFormatError(
                f"A list of values with {len(self)} rows", "one row", "Use a loop"
            )

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> StarTable:
        """Make a table from mappings with the same keys; `columns` gives those of an empty one.

        Raises
        ------
        StarColumnError
            A row lacks a column.
        """
        listed = list(rows)
        names = list(columns) or (list(listed[0]) if listed else [])
        try:
            return cls({name: as_column([row[name] for row in listed]) for name in names})
        except KeyError as error:
            raise StarColumnError(
                f"A row has no value for {error.args[0]}", f"every row to have {', '.join(names)}"
            ) from error

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> StarTable:
        """Make a list block from single values."""
        return cls({name: as_column([value]) for name, value in values.items()}, loop=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise StarColumnError(
                f"There is no column {name}", hint=f"Columns present: {', '.join(self.columns)}"
            ) from None

    def value(self, name: str) -> Any:
        """Return the first entry of a column as a plain Python value.

        Raises
        ------
        StarColumnError
            The column is missing or empty.
        """
        column = self[name]
        if not len(column):
            raise StarColumnError(f"The column {name} is empty", "at least one row")
        return column[0].item() if isinstance(column[0], np.generic) else column[0]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a dictionary of plain Python values."""
        names = list(self.columns)
        for values in zip(*(column.tolist() for column in self.columns.values()), strict=True):
            yield dict(zip(names, values, strict=True))


def require_block(
    blocks: Mapping[str, StarTable], name: str, columns: Sequence[str] = (), *, path: object = ""
) -> StarTable:
    """Return the block `name`, certain to have `columns`.

    Raises
    ------
    StarColumnError
        The block or one of the columns is missing; says which are there.
    """
    where = f" in {path}" if str(path) else ""
    if name not in blocks:
        present = ", ".join(f"data_{block}" for block in blocks) or "none"
        raise StarColumnError(f"No block data_{name}{where}", hint=f"Blocks present: {present}")
    table = blocks[name]
    missing = [column for column in columns if column not in table]
    if missing:
        raise StarColumnError(
            f"data_{name}{where} has no column {', '.join(missing)}",
            hint=f"Columns present: {', '.join(table.columns)}",
        )
    return table


def text_column(values: Sequence[Any]) -> NDArray[Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def as_column(values: Any) -> NDArray[Any]:
    """Return int64, float64 or an object array of text."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise StarFormatError(f"A column of shape {array.shape}", "one dimension")
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = values.tolist()
    return text_column(["None" if value is None else str(value) for value in values])
