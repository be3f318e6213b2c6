"""From what a person wrote to settings that hold, or to an error that says what was meant."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from icefloe.errors import SettingsError
from icefloe.project.repeated_sections import build_repeated, repeated_item

__all__ = ["build_settings", "section_model"]

M = TypeVar("M", bound=BaseModel)


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
        part = model.model_fields[section]
        if repeated_item(part) is not None:
            values[section] = build_repeated(part, entries, origin, section)
        else:
            values[section] = _section_values(section_model(part), entries, origin, section)
    try:
        return model.model_validate(values)
    except SettingsError as error:  # from a validator that compares settings
        raise SettingsError(f"{origin}: {error.found}", error.expected, error.hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        location, field = _setting_at(model, first["loc"])
        name = ".".join(location)
        about = (field.description or "") if field is not None else ""
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if first["type"] == "missing":
            raise SettingsError(f"{origin}: {name} is not set", about, "Set it") from error
        raise SettingsError(
            f"{origin}: {name} is {_lookup(content, location)!r}",
            reason,
            f"{name}: {about}" if about else "",
        ) from error


def section_model(field: FieldInfo) -> type[BaseModel]:
    """Return the model of a field that is a section."""
    annotation = field.annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"a section of settings must be a model, not {annotation}")
    return annotation


def _section_values(part: type[BaseModel], entries: Any, origin: str, name: str) -> dict[str, Any]:
    """Return a section's values with None for "", those of sections within it too."""
    if not isinstance(entries, Mapping):
        raise SettingsError(
            f"{origin}: '{name}' is {entries!r}", f"a section: [{name}] and its settings"
        )
    _refuse_unknown(part, entries, origin, "setting ", f"{name}.")
    values: dict[str, Any] = {}
    for key, value in entries.items():
        field = part.model_fields[key]
        if _is_model(field):
            values[key] = _section_values(section_model(field), value, origin, f"{name}.{key}")
        else:
            values[key] = None if value == "" and _allows_none(field) else value
    return values


def _refuse_unknown(
    model: type[BaseModel], content: Mapping[str, Any], origin: str, what: str, prefix: str = ""
) -> None:
    known = list(model.model_fields)
    for name in content:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1, 0.5)
            inner = [
                f"{key}.{match}"
                for key, field in model.model_fields.items()
                if prefix and _is_model(field)
                for match in difflib.get_close_matches(
                    str(name), list(section_model(field).model_fields), 1, 0.8
                )
            ]
            meant = " or ".join(f"'{prefix}{guess}'" for guess in inner or close)
            raise SettingsError(
                f"{origin}: there is no {what}'{prefix}{name}'",
                f"one of {', '.join(known)}",
                f"Did you mean {meant}?" if meant else "",
            )


def _is_model(field: FieldInfo) -> bool:
    annotation = field.annotation
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _allows_none(field: FieldInfo) -> bool:
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return type(None) in get_args(annotation)
    return annotation is type(None)


def _setting_at(
    model: type[BaseModel], location: Sequence[int | str]
) -> tuple[list[str], FieldInfo | None]:
    """Return the names of sections and setting in an error's location, and the setting's field."""
    names: list[str] = []
    part, field = model, None
    for key in location:
        if not isinstance(key, str) or key not in part.model_fields:
            break
        names.append(key)
        field = part.model_fields[key]
        if not _is_model(field):
            break
        part = section_model(field)
    return names, field


def _lookup(content: Any, location: Sequence[int | str]) -> Any:
    for key in location:
        content = content[key] if isinstance(content, Mapping) and key in content else None
    return content
