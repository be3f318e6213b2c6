"""The settings file of a session: TOML that explains itself.

Every setting stands in it with its description as a comment, so that the file alone is enough to
change one. A setting that may be left open is ``""`` when it is. A section that may come several
times, ``[[group]]``, has in each only what is set.
"""

from __future__ import annotations

import difflib
import textwrap
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import tomlkit
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from tomlkit.exceptions import TOMLKitError

from icefloe.errors import ProjectError, SettingsError
from icefloe.formats.atomic import write_text

__all__ = ["build_settings", "parse_assignment", "read_settings", "write_settings"]

M = TypeVar("M", bound=BaseModel)

SCHEMA = 1
_HEAD = (
    "Settings of an Icefloe session. Change a value, run again: only what depends on it is redone.",
    'Lengths are in A, angles in degrees, dose in e/A^2. "" means: not set.',
)


def write_settings(path: Path, settings: BaseModel) -> None:
    """Write every setting with its description.

    In a file that exists already, values are changed in place: its own comments stay.

    Parameters
    ----------
    path
        The TOML file.
    settings
        A model whose fields are models, one a section.
    """
    values = _as_toml(settings)
    repeated = _repeated(settings)
    if path.is_file():
        document = _parse(path)
        for section, tables in repeated.items():
            # Only where they differ: a person's comments between them stay.
            if _plain(document.get(section, [])) != tables:
                document.pop(section, None)
                if tables:
                    document[section] = _array_of_tables(tables)
        for section, content in values.items():
            if section not in document:
                document[section] = _new_section(type(getattr(settings, section)), content)
                continue
            fields = type(getattr(settings, section)).model_fields
            table: Any = document[section]
            for key, value in content.items():
                if key not in table:
                    _add(table, key, value, fields[key])
                elif _plain(table[key]) != value:
                    table[key] = value
    else:
        document = tomlkit.document()
        for line in _HEAD:
            document.add(tomlkit.comment(line))
        document.add(tomlkit.nl())
        document["schema"] = SCHEMA
        for section, content in values.items():
            document.add(tomlkit.nl())
            about = type(settings).model_fields[section].description
            if about:
                for line in textwrap.wrap(about, 92):
                    document.add(tomlkit.comment(line))
            document[section] = _new_section(type(getattr(settings, section)), content)
        for section, tables in repeated.items():
            document.add(tomlkit.nl())
            for line in _about_repeated(type(settings).model_fields[section], section):
                document.add(tomlkit.comment(line))
            if tables:
                document[section] = _array_of_tables(tables)
    write_text(path, tomlkit.dumps(document))


def read_settings(path: Path, model: type[M]) -> M:
    """Return the settings in a file.

    Raises
    ------
    ProjectError
        There is no file.
    SettingsError
        It is not TOML, or has a setting that is unknown or out of range.
    """
    content: dict[str, Any] = _plain(_parse(path))
    schema = content.pop("schema", SCHEMA)
    if schema != SCHEMA:
        raise SettingsError(
            f"{path} has schema {schema}",
            f"schema {SCHEMA}, which this version of Icefloe writes",
            "Use the version of Icefloe that made the session",
        )
    return build_settings(model, content, str(path))


def build_settings(model: type[M], content: Mapping[str, Any], origin: str) -> M:
    """Return a model made from nested dictionaries in which ``""`` may stand for None.

    Parameters
    ----------
    model
        The class of the settings.
    content
        A dictionary a section.
    origin
        The file or option that the values come from, for messages.

    Raises
    ------
    SettingsError
        A setting is unknown or out of range; the message names it and what is allowed.
    """
    _refuse_unknown(model, content, origin, "section ")
    values: dict[str, Any] = {}
    for section, entries in content.items():
        item = _item_of(model.model_fields[section])
        if item is not None:
            values[section] = _build_repeated(item, entries, origin, section)
            continue
        part = _model_of(model.model_fields[section])
        if not isinstance(entries, Mapping):
            raise SettingsError(
                f"{origin}: '{section}' is {entries!r}", f"a section: [{section}] and its settings"
            )
        _refuse_unknown(part, entries, origin, "setting ", f"{section}.")
        values[section] = {
            key: None if value == "" and _allows_none(part.model_fields[key]) else value
            for key, value in entries.items()
        }
    try:
        return model.model_validate(values)
    except SettingsError as error:  # from a validator that compares settings
        raise SettingsError(f"{origin}: {error.found}", error.expected, error.hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        repeated = len(first["loc"]) > 1 and isinstance(first["loc"][1], int)
        place = first["loc"][: 3 if repeated else 2]
        name = ".".join(str(p + 1 if isinstance(p, int) else p) for p in place)
        about = _describe(model, first["loc"])
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if first["type"] == "missing":
            raise SettingsError(f"{origin}: {name} is not set", about, "Set it") from error
        raise SettingsError(
            f"{origin}: {name} is {_lookup(content, place)!r}",
            reason,
            f"{name}: {about}" if about else "",
        ) from error


def parse_assignment(text: str) -> tuple[str, str, Any]:
    """Return section, key and value of ``section.key=value``.

    The value is read as TOML; what is not TOML is text.

    Raises
    ------
    SettingsError
        The text has another form.
    """
    name, equals, raw = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise SettingsError(
            f"--set is '{text}'", "section.key=value", "For example --set pick.threshold=4"
        )
    try:
        value: Any = tomlkit.parse(f"value = {raw.strip()}").unwrap()["value"]
    except TOMLKitError:
        value = raw.strip()
    return section, key, value


def _parse(path: Path) -> tomlkit.TOMLDocument:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProjectError(f"{path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text", "a TOML file") from error
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise SettingsError(
            f"{path} is not TOML: {error}", "lines such as name = 1.5 under [section]"
        ) from error


def _plain(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value


def _as_toml(settings: BaseModel) -> dict[str, dict[str, Any]]:
    """Return the settings with "" for None, as a TOML file that is read gives them."""
    return {
        section: {k: "" if v is None else v for k, v in content.items()}
        for section, content in settings.model_dump(mode="json").items()
        if _item_of(type(settings).model_fields[section]) is None
    }


def _repeated(settings: BaseModel) -> dict[str, list[dict[str, Any]]]:
    """Return the sections that come several times, with what is set in each."""
    return {
        section: [{k: v for k, v in one.items() if v is not None} for one in content]
        for section, content in settings.model_dump(mode="json").items()
        if _item_of(type(settings).model_fields[section]) is not None
    }


def _array_of_tables(tables: Sequence[Mapping[str, Any]]) -> Any:
    array = tomlkit.aot()
    for content in tables:
        table = tomlkit.table()
        for key, value in content.items():
            table.add(key, value)
        array.append(table)
    return array


def _about_repeated(field: FieldInfo, section: str) -> list[str]:
    item = _item_of(field)
    assert item is not None
    lines = textwrap.wrap(field.description or "", 92)
    lines.append(f"[[{section}]]")
    for key, one in item.model_fields.items():
        text = f"{key} = ...   {one.description or ''}"
        lines += textwrap.wrap(text, 92, subsequent_indent="    ")
    return lines


def _build_repeated(
    item: type[BaseModel], entries: Any, origin: str, section: str
) -> list[dict[str, Any]]:
    if not isinstance(entries, Sequence) or not all(isinstance(e, Mapping) for e in entries):
        raise SettingsError(
            f"{origin}: '{section}' is {entries!r}",
            f"tables: [[{section}]] and their settings",
            "Edit icefloe.toml",
        )
    out = []
    for content in entries:
        _refuse_unknown(item, content, origin, "setting ", f"{section}.")
        out.append({k: None if v == "" else v for k, v in content.items()})
    return out


def _new_section(part: type[BaseModel], content: Mapping[str, Any]) -> Any:
    table = tomlkit.table()
    for key, value in content.items():
        _add(table, key, value, part.model_fields[key])
    return table


def _add(table: Any, key: str, value: Any, field: FieldInfo) -> None:
    for line in textwrap.wrap(field.description or "", 92):
        table.add(tomlkit.comment(line))
    for line in textwrap.wrap(_choices(field), 92):
        table.add(tomlkit.comment(line))
    table.add(key, value)


def _choices(field: FieldInfo) -> str:
    """Return the allowed values of an enumeration, the only ones that a range does not show."""
    options: list[str] = []
    for annotation in (field.annotation, *get_args(field.annotation)):
        if get_origin(annotation) is Literal:
            options += [str(o) for o in get_args(annotation)]
    return f"One of: {', '.join(options)}." if len(options) > 1 else ""


def _model_of(field: FieldInfo) -> type[BaseModel]:
    annotation = field.annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"a section of settings must be a model, not {annotation}")
    return annotation


def _item_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a section that comes several times, tuple[Model, ...]; else None."""
    arguments = get_args(field.annotation)
    if get_origin(field.annotation) is tuple and len(arguments) == 2:
        item = arguments[0]
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None


def _allows_none(field: FieldInfo) -> bool:
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return type(None) in get_args(annotation)
    return annotation is type(None)


def _refuse_unknown(
    model: type[BaseModel], content: Mapping[str, Any], origin: str, what: str, prefix: str = ""
) -> None:
    known = list(model.model_fields)
    for name in content:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1, 0.5)
            raise SettingsError(
                f"{origin}: there is no {what}'{prefix}{name}'",
                f"one of {', '.join(known)}",
                f"Did you mean '{prefix}{close[0]}'?" if close else "",
            )


def _describe(model: type[BaseModel], location: Sequence[int | str]) -> str:
    section = model.model_fields[str(location[0])]
    item = _item_of(section)
    part, key = (item, location[2:3]) if item is not None else (_model_of(section), location[1:2])
    field = part.model_fields.get(str(key[0])) if key else None
    return (field.description or "") if field is not None else ""


def _lookup(content: Any, location: Sequence[int | str]) -> Any:
    for key in location:
        if isinstance(key, int):
            content = content[key] if isinstance(content, Sequence) else None
        else:
            content = content[key] if isinstance(content, Mapping) and key in content else None
    return content
