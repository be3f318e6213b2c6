"""The settings file of a session: TOML that explains itself.

Every setting stands in it with its description as a comment, so that the file alone is enough to
change one. A setting that may be left open is ``""`` when it is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import tomlkit
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Comment

from icefloe.errors import ProjectError, SettingsError
from icefloe.formats.atomic import write_text
from icefloe.project.repeated_sections import repeated_item, write_repeated
from icefloe.project.settings_check import build_settings, section_model

__all__ = ["parse_assignment", "read_settings", "schema_of", "write_settings"]

M = TypeVar("M", bound=BaseModel)

_HEAD = (
    "Settings of an Icefloe session. Change a value, run again: only what depends on it is redone.",
    'Lengths are in A, angles in degrees, dose in e/A^2. "" means: not set.',
)


def write_settings(path: Path, settings: BaseModel) -> None:
    """Write every setting with its description.

    In a file that exists already, values are changed in place: its own comments stay. Settings
    that the model no longer has are removed with the comment above them.

    Parameters
    ----------
    path
        The TOML file.
    settings
        A model whose fields are models, one a section; they may hold models in turn, which become
        sections ``[outer.inner]``.
    """
    values = _as_toml(settings)
    model = type(settings)
    is_new = False
    if path.is_file():
        document = _parse(path)
        if _plain(document.get("schema", schema_of(model))) != schema_of(model):
            document["schema"] = schema_of(model)
        for section, content in values.items():
            field = model.model_fields[section]
            if section not in document:
                document[section] = _new_section(section_model(field), content)
                continue
            table: Any = document[section]
            _drop_unknown(table, set(content))
            _update(table, section_model(field), content)
    else:
        document = tomlkit.document()
        is_new = True
        for line in _HEAD:
            document.add(tomlkit.comment(line))
        document.add(tomlkit.nl())
        document["schema"] = schema_of(model)
        for section, content in values.items():
            document.add(tomlkit.nl())
            about = model.model_fields[section].description
            if about:
                for line in textwrap.wrap(about, 92):
                    document.add(tomlkit.comment(line))
            document[section] = _new_section(section_model(model.model_fields[section]), content)
    write_repeated(document, settings, new=is_new)
    write_text(path, tomlkit.dumps(document))


def schema_of(model: type[BaseModel]) -> int:
    """Return the version of a model's file: its class variable ``SCHEMA``, else 1."""
    return int(getattr(model, "SCHEMA", 1))


def read_settings(path: Path, model: type[M]) -> M:
    """Return the settings in a file.

    A file of an older schema is read if the model has a function ``migrate(content, schema)``,
    which returns what the content means today.

    Raises
    ------
    ProjectError
        There is no file.
    SettingsError
        It is not TOML, or has a setting that is unknown or out of range.
    """
    content: dict[str, Any] = _plain(_parse(path))
    today = schema_of(model)
    schema = content.pop("schema", today)
    migrate: Any = getattr(model, "migrate", None)
    if isinstance(schema, int) and 1 <= schema < today and migrate is not None:
        content = migrate(content, schema)
    elif schema != today:
        raise SettingsError(
            f"{path} has schema {schema}",
            f"schema {today}, which this version of Icefloe writes",
            "Use the version of Icefloe that made the session",
        )
    return build_settings(model, content, str(path))


def parse_assignment(text: str) -> tuple[str, str, Any]:
    """Return section, key and value of ``section.key=value``.

    The key of a section within a section is ``inner.key``. The value is read as
    TOML; what is not TOML is text.

    Raises
    ------
    SettingsError
        The text has another form.
    """
    name, equals, raw = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and all(key.split("."))):
        raise SettingsError(
            f"--set is '{text}'", "section.key=value", "For example --set pick.blob.threshold=4"
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

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        return "" if value is None else value

    fields = type(settings).model_fields
    return {
        section: plain(part)
        for section, part in settings.model_dump(mode="json").items()
        if repeated_item(fields[section]) is None
    }


def _new_section(part: type[BaseModel], content: Mapping[str, Any]) -> Any:
    table = tomlkit.table()
    # Sections within it come last, since TOML counts what follows them to them.
    for key in sorted(content, key=lambda k: isinstance(content[k], Mapping)):
        _add(table, key, content[key], part.model_fields[key])
    return table


def _update(table: Any, part: type[BaseModel], content: Mapping[str, Any]) -> None:
    """Give a table of the file the values of its model."""
    for key, value in content.items():
        field = part.model_fields[key]
        if key not in table:
            _add(table, key, value, field)
        elif isinstance(value, Mapping):
            _drop_unknown(table[key], set(value))
            _update(table[key], section_model(field), value)
        elif _plain(table[key]) != value:
            table[key] = value


def _drop_unknown(table: Any, known: set[str]) -> None:
    """Remove settings that there are no more, and what is written directly above them."""
    gone = [key for key in table if key not in known]
    if not gone:
        return
    body: list[tuple[Any, Any]] = list(table.value.body)
    kept: list[tuple[Any, Any]] = []
    for key, item in body:
        if key is not None and key.key in gone:
            while kept and kept[-1][0] is None and isinstance(kept[-1][1], Comment):
                kept.pop()
        else:
            kept.append((key, item))
    comments = [(k, i) for k, i in kept if k is None or k.key in known]
    for key in list(table):
        table.remove(key)
    table.value.body.clear()
    for key, item in comments:
        table.add(key, item) if key is not None else table.add(item)


def _add(table: Any, key: str, value: Any, field: FieldInfo) -> None:
    if isinstance(value, Mapping):
        inner = _new_section(section_model(field), value)
        if field.description:
            table.add(tomlkit.nl())
            for line in textwrap.wrap(field.description, 92):
                table.add(tomlkit.comment(line))
        table.add(key, inner)
        return
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
