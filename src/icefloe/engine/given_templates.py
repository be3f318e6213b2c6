"""Templates that a person gives a session, as a bank to pick with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from icefloe.errors import InputError

if TYPE_CHECKING:
    from icefloe.picking import TemplateBank

__all__ = ["given_templates"]


def given_templates(
    path: Path, *, pixel_size: float | None = None, diameter: float | None = None
) -> TemplateBank:
    """Return the templates in a file.

    Parameters
    ----------
    path
        Whatever `icefloe.interop.template_files` reads: class averages, a map, an atomic model.
    pixel_size
        A, in place of what the file tells.
    diameter
        Of the particle, A; found from the file or the images if it is not given.

    Raises
    ------
    InputError, MissingMetadataError, StarColumnError
        The file cannot be read, holds no square images with contrast, or has no pixel size.
    """
    from icefloe.interop.template_files import read_templates
    from icefloe.picking import template_bank

    found = read_templates(path, pixel_size=pixel_size)
    try:
        return template_bank(
            found.images, pixel_size=found.pixel_size, diameter=diameter or found.diameter
        )
    except InputError as error:
        raise type(error)(f"{path}: {error.found}", error.expected, error.hint) from error
