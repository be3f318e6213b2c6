"""Sections of a settings file that may come several times: ``[[group]]``, a table each.

Each has only what is set in it. They are written in place only where they differ, so that a
person's comments stay.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

import tomlkit
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from icefloe.errors import SettingsError

__all__ = ["about_repeated", "build_repeated", "repeated_item", "write_repeated"]


def repeated_item(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a section that comes several times, tuple[Model, ...]; else None."""
    arguments = get_args(field.annotation)
    if get_origin(field.annotation) is tuple and len(arguments) == 2:
        item = arguments[0]
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None


def write_repeated(document: tomlkit.TOMLDocument, settings: BaseModel, *, new: bool) -> None:
    """Put the repeated sections of settings into a document, explained where it is new."""
    content = settings.model_dump(mode="json")
    for section, field in type(settings).model_fields.items():
        if repeated_item(field) is None:
            continue
        tables = [{k: v for k, v in one.items() if v is not None} for one in content[section]]
        if new:
            document.add(tomlkit.nl())
            for line in about_repeated(section, field):
                document.add(tomlkit.comment(line))
        known: Any = document.get(section, [])
        if (known.unwrap() if hasattr(known, "unwrap") else known) == tables:
            continue
        document.pop(section, None)
        if tables:
            array = tomlkit.aot()
            for one in tables:
                table = tomlkit.table()
                for key, value in one.items():
                    table.add(key, value)
                array.append(table)
            document[section] = array


def about_repeated(section: str, field: FieldInfo) -> list[str]:
    """Return the lines that explain a section."""
    item = repeated_item(field)
    lines = textwrap.wrap(field.description or "", 92)
    lines.append(f"[[{section}]]")
    for key, one in (item.model_fields if item is not None else {}).items():
        text = f"{key} = ...   {one.description or ''}"
        lines += textwrap.wrap(text, 92, subsequent_indent="    ")
    return lines


def build_repeated(
    field: FieldInfo, entries: Any, origin: str, section: str
) -> tuple[BaseModel, ...]:
    """Return a section's models.

    Raises
    ------
    SettingsError
        It is no list of tables, or a setting in one is unknown or out of range.
    """
    item = repeated_item(field)
    assert item is not None
    if not isinstance(entries, Sequence) or not all(isinstance(e, Mapping) for e in entries):
        raise SettingsError(
            f"{origin}: '{section}' is {entries!r}",
            f"tables: [[{section}]] and their settings",
            "Edit icefloe.toml",
        )
    return tuple(
        _one(item, content, f"{origin}: [[{section}]] number {number}")
        for number, content in enumerate(entries, 1)
    )


def _one(item: type[BaseModel], content: Mapping[str, Any], where: str) -> BaseModel:
    known = list(item.model_fields)
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1, 0.5)
            raise SettingsError(
                f"{where}: there is no setting '{key}'",
                f"one of {', '.join(known)}",
                f"Did you mean '{close[0]}'?" if close else "",
            )
    try:
        return item.model_validate({k: None if v == "" else v for k, v in content.items()})
    except SettingsError as error:
        raise SettingsError(f"{where}: {error.found}", error.expected, error.hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        field = item.model_fields.get(key)
        about = f"{key}: {field.description}" if field is not None else ""
        if first["type"] == "missing":
            raise SettingsError(f"{where}: {key} is not set", about, "Set it") from error
        raise SettingsError(f"{where}: {key} is {content.get(key)!r}", reason, about) from error
