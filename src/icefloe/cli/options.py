"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

__all__ = ["checked", "microscope_options", "output_options"]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound="BaseModel")


def checked(model: type[S], values: Mapping[str, Any]) -> S:
    """Return the settings that options give; those that are None were not given.

    Raises
    ------
    SettingsError
        One is out of range, named as on the command line.
    """
    from pydantic import ValidationError

    from icefloe.errors import SettingsError

    try:
        return model.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # of several together
            raise SettingsError(first["msg"].removeprefix("Value error, ")) from None
        name = "--" + str(first["loc"][0]).replace("_", "-")
        raise SettingsError(f"{name} is {first['input']}: {first['msg']}") from None


def output_options(function: F) -> F:
    """Add --out, --device and --threads; the command receives `out` and a resolved `device`."""

    @click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help="Directory for the results; made if it does not exist.",
    )
    @click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
    @click.option(
        "--threads",
        default=0,
        show_default="all cores",
        type=click.IntRange(0),
        help="Threads to use on the CPU.",
    )
    @functools.wraps(function)
    def wrapped(*args: Any, out: Path, device: str, threads: int, **kwargs: Any) -> Any:
        from icefloe.formats.atomic import output_directory
        from icefloe.fourier import resolve_device, set_threads

        set_threads(threads)
        return function(*args, out=output_directory(out), device=resolve_device(device), **kwargs)

    return wrapped  # type: ignore[return-value]


def microscope_options(function: F) -> F:
    """Add --pixel-size, --voltage, --cs and --amplitude-contrast; None where a STAR may tell."""
    for option in (
        click.option(
            "--amplitude-contrast",
            type=click.FloatRange(0, 1),
            default=None,
            help="Amplitude contrast [0.1, or from the STAR].",
        ),
        click.option(
            "--cs",
            type=float,
            default=None,
            help="Spherical aberration, mm [2.7, or from the STAR].",
        ),
        click.option(
            "--voltage",
            type=float,
            default=None,
            help="Acceleration voltage, kV [300, or from the STAR].",
        ),
        click.option(
            "--pixel-size",
            type=float,
            default=None,
            help="Pixel size of the input, A [from the STAR or the file's header].",
        ),
    ):
        function = option(function)
    return function
