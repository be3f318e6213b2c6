"""Templates from a file: class averages, or a map that is projected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from icefloe.errors import InputError

if TYPE_CHECKING:
    from icefloe.picking import TemplateBank

__all__ = ["read_templates"]

# Directions in which a map is projected; each gives two templates.
_DIRECTIONS = 12


def read_templates(
    path: Path, *, pixel_size: float | None = None, diameter: float | None = None
) -> TemplateBank:
    """Return the templates in a file.

    Parameters
    ----------
    path
        Class averages (.mrcs), one image, or a map (a cube in .mrc), which is projected.
    pixel_size
        A; if it is not given, the header's.
    diameter
        Of the particle, A; found from the images if it is not given.

    Raises
    ------
    InputError, MissingMetadataError
        The file cannot be read, holds no square images with contrast, or has no pixel size.
    """
    from icefloe.formats.mrc import read_mrc
    from icefloe.picking import even_directions, project_volume, template_bank

    data, header = read_mrc(path)
    if data.ndim == 3 and path.suffix != ".mrcs" and len(set(data.shape)) == 1:
        data = project_volume(data, even_directions(_DIRECTIONS))
    try:
        return template_bank(data, pixel_size=pixel_size or header or 0.0, diameter=diameter)
    except InputError as error:
        raise type(error)(f"{path}: {error.found}", error.expected, error.hint) from error
