"""Classes chosen by hand, also long after they were made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from icefloe.errors import SettingsError

if TYPE_CHECKING:
    from icefloe.formats.star import StarTable

__all__ = ["chosen_numbers", "particles_text", "reselect"]


def chosen_numbers(text: str | None) -> list[int] | None:
    """Return the 0-based classes of ``1,4,7-9``; None for None.

    Raises
    ------
    SettingsError
        It is no list of numbers.
    """
    if text is None:
        return None
    found: list[int] = []
    try:
        for part in text.replace(" ", "").split(","):
            first, dash, last = part.partition("-")
            found += range(int(first) - 1, int(last) if dash else int(first))
    except ValueError:
        raise SettingsError(f"--select is '{text}'", "numbers of classes such as 1,4,7-9") from None
    if not found or min(found) < 0:
        raise SettingsError(f"--select is '{text}'", "numbers of classes, from 1")
    return list(dict.fromkeys(found))


def reselect(path: Path, blocks: Mapping[str, StarTable], wanted: list[int], out: Path) -> str:
    """Write templates and particles of other classes of an earlier run; return what was done.

    Raises
    ------
    InputError, SettingsError, StarColumnError
    """
    from icefloe.cli.inputs import resolve_listed_path
    from icefloe.interop.class_selection import read_class_set, select_classes

    classes = read_class_set(path, blocks, resolve_listed_path)
    written = select_classes(classes, wanted, out)
    text = f"{len(wanted)} templates in {out / 'templates.mrcs'}"
    return text if written is None else f"{text}; {particles_text(written, out)}"


def particles_text(written: tuple[int, int], out: Path) -> str:
    """Return what was written by `write_selected_particles`, in words."""
    return f"{written[0]} of {written[1]} particles in {out / 'particles_selected.star'}"
