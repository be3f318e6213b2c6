"""What `icefloe ctf` says of defocus over the micrograph and of thickness."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["local_line", "picture_surface", "read_local", "write_local"]


def write_local(path: Path, further: Mapping[str, Any]) -> None:
    """Write the figures of `icefloe.ctf.further_numbers`; remove those of an earlier run."""
    import json

    from icefloe.formats.atomic import write_text

    if further:
        write_text(path, json.dumps(further, indent=1) + "\n")
    else:
        path.unlink(missing_ok=True)


def read_local(picture: Path | None) -> dict[str, Any] | None:
    """Return the local CTF that lies beside the picture NAME.ctf of a micrograph, if any.

    Raises
    ------
    InputError
        The file is damaged.
    """
    import json

    from icefloe.errors import InputError

    path = None if picture is None else picture.with_name(f"{picture.stem}_local.json")
    if path is None or not path.is_file():
        return None
    try:
        local = json.loads(path.read_text(encoding="utf-8")).get("local")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({error})", "what icefloe ctf wrote", "Run icefloe ctf again"
        ) from None
    return local if isinstance(local, dict) else None


def local_line(further: Mapping[str, Any]) -> str:
    """Return the end of a line about one micrograph, empty where there is nothing to say."""
    text = ""
    local = further.get("local", {})
    if local.get("used"):
        text += f"; tilt {local['tilt_angle']:.1f} +- {local['tilt_error']:.1f} degrees"
        if local["tilt_axis_error"] is not None:
            text += f" about an axis at {local['tilt_axis']:.0f}"
    thickness = further.get("thickness")
    if thickness is not None and thickness["thickness"] is not None:
        text += (
            f"; thickness {thickness['thickness'] / 10:.1f} "
            f"+- {thickness['thickness_error'] / 10:.1f} nm"
        )
    elif thickness is not None:
        text += f"; {', '.join(thickness['flags'])}"
        if thickness["thickness_upper"] is not None:
            text += f" (below {thickness['thickness_upper'] / 10:.0f} nm)"
    return text


def picture_surface(further: Mapping[str, Any]) -> tuple[list[list[float]] | None, str]:
    """Return the defocus over the micrograph for the picture of a fit, and a note on it."""
    local = further.get("local", {})
    if not local.get("used"):
        return None, ""
    from icefloe.ctf import DefocusSurface
    from icefloe.report.figures import surface_grid

    surface = DefocusSurface.from_numbers(local["surface"])
    note = f"tilt {local['tilt_angle']:.1f} degrees, axis {local['tilt_axis']:.0f}"
    return surface_grid(surface.at, surface.shape), note
