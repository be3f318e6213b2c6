"""Options that set a session's settings: those needed most, and --set for all others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["project_option", "session_directory", "session_options"]

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)

# option: (section, key, type, help). Ranges are checked where the settings file is.
_OPTIONS: dict[str, tuple[str, str, Any, str]] = {
    "--pixel-size": ("data", "pixel_size", float, "Pixel size of the input, A [its header]."),
    "--voltage": ("data", "voltage", float, "Acceleration voltage, kV [300]."),
    "--cs": ("data", "cs", float, "Spherical aberration, mm [2.7]."),
    "--amplitude-contrast": ("data", "amplitude_contrast", float, "A fraction [0.1]."),
    "--dose-per-frame": ("data", "dose_per_frame", float, "Dose of a movie frame, e/A^2."),
    "--total-dose": ("data", "total_dose", float, "Dose of a whole movie, e/A^2, instead."),
    "--dose-file": ("data", "dose_file", _FILE, "Doses of the frames, text or mdoc, instead."),
    "--gain": ("data", "gain", _FILE, "Gain reference."),
    "--gain-rotate": ("data", "gain_rotate", int, "Turns of the gain, 0-3, as RELION's gain_rot."),
    "--gain-flip": ("data", "gain_flip", int, "Flip of the gain, 0-2, as RELION's gain_flip."),
    "--defects": ("data", "defects", _FILE, "Defect list or map."),
    "--diameter": ("pick", "diameter", str, "Particle diameter, A: one, or MIN,MAX [found]."),
    "--pick": (
        "pick",
        "method",
        str,
        "learn, auto, blob, template, network or none [learn; auto without torch].",
    ),
    "--templates": (
        "pick",
        "templates",
        _FILE,
        "Class averages, map or model to pick with.",
    ),
    "--template-pixel-size": ("pick", "template_pixel_size", float, "Theirs, A [their header]."),
    "--model": ("pick", "model", _FILE, "Weights of icefloe train; picks with that network."),
    "--box": ("extract", "box", str, "Box of the particles, pixels of the micrograph, or auto."),
}


def project_option(function: F) -> F:
    """Add --project, the session's directory; the current one by default."""
    return click.option(
        "--project",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        show_default="here",
        help="Directory of the session.",
    )(function)


def session_directory(function: F) -> F:
    """Add the session's directory, as an argument or as --project; the command gets `directory`.

    Commands that take files or names as arguments have --project alone. Nobody should need to
    remember which is which, so the others take both.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, argument: Path | None, option: Path | None, **kwargs: Any) -> Any:
        if argument is not None and option is not None and argument != option:
            raise click.UsageError(f"Two sessions are named: {argument} and --project {option}")
        return function(*args, directory=argument or option or Path(), **kwargs)

    kind = click.Path(path_type=Path, file_okay=False)
    decorated: Any = click.argument("argument", metavar="[DIRECTORY]", type=kind, required=False)(
        wrapped
    )
    return click.option(  # type: ignore[no-any-return]
        "--project",
        "option",
        type=kind,
        default=None,
        show_default="here",
        help="The same as DIRECTORY: that of the session.",
    )(decorated)


def session_options(function: F) -> F:
    """Add the options; the command receives `changes`, new values by section and key."""

    @functools.wraps(function)
    def wrapped(*args: Any, assignments: tuple[str, ...], **kwargs: Any) -> Any:
        from icefloe.project.settings_file import parse_assignment

        changes: dict[str, dict[str, Any]] = {}
        for option, (section, key, _, _) in _OPTIONS.items():
            value = kwargs.pop(_parameter(option))
            if value is not None:
                changes.setdefault(section, {})[key] = _parsed(key, value)
        for text in assignments:
            section, key, value = parse_assignment(text)
            changes.setdefault(section, {})[key] = value
        return function(*args, changes=changes, **kwargs)

    decorated: Any = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Any other setting, as in icefloe.toml.",
    )(wrapped)
    for option, (_, _, kind, text) in reversed(_OPTIONS.items()):
        decorated = click.option(option, type=kind, default=None, help=text)(decorated)
    return decorated  # type: ignore[no-any-return]


def _parameter(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _parsed(key: str, value: Any) -> Any:
    if key == "diameter":
        try:
            return [float(part) for part in value.split(",")]
        except ValueError:
            raise click.BadParameter(
                f"'{value}' is neither a number nor MIN,MAX", param_hint="--diameter"
            ) from None
    if key == "box":
        if value != "auto" and not value.isdigit():
            raise click.BadParameter(f"'{value}' is neither a number nor auto", param_hint="--box")
        return int(value) if value.isdigit() else None
    return str(value.absolute()) if isinstance(value, Path) else value
