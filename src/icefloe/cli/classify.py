"""`icefloe classify`: 2D class averages from extracted particles, and templates from classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import output_options

if TYPE_CHECKING:
    from icefloe.classes import Classification, ClassifySettings

__all__ = ["command"]


@click.command()
@click.argument("star", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--classes", type=click.IntRange(1), default=None, help="Number of classes [50].")
@click.option(
    "--diameter", type=float, default=None, help="Longest particle diameter, A [0.7 of the box]."
)
@click.option("--iterations", type=int, default=None, help="Rounds of comparison [20].")
@click.option("--resolution", type=float, default=None, help="Finest detail that decides, A [12].")
@click.option("--bin-to", type=float, default=None, help="Pixel size to work at, A [4].")
@click.option(
    "--max-shift", type=float, default=None, help="Farthest off the middle of an image, A [20]."
)
@click.option(
    "--ctf",
    type=click.Choice(["multiply", "flip", "none"]),
    default=None,
    help="Correct for the CTF in full, by its signs, or not [multiply].",
)
@click.option("--seed", type=click.IntRange(0), default=None, help="Of the random start [0].")
@click.option(
    "--select",
    default=None,
    metavar="1,4,7",
    help="Classes that become templates [the best ones that differ, score at least --threshold].",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Lowest score of a class that becomes a template; three are kept at least.",
)
@output_options
def command(
    star: Path, select: str | None, threshold: float, out: Path, device: str, **choices: Any
) -> None:
    """Make 2D class averages, rank them, and take the best as templates.

    STAR is particles.star of `icefloe extract` or RELION. Writes run_classes.mrcs, run_model.star
    and run_data.star as RELION does, classes numbered by rank, a picture of them (classes.png), and
    templates.mrcs for `icefloe pick template` with particles_selected.star.

    With run_model.star of an earlier run and --select, only the templates are chosen anew.
    """
    from icefloe.cli.classify_inputs import read_particles
    from icefloe.cli.classify_select import chosen_numbers, reselect
    from icefloe.errors import InputError, SettingsError
    from icefloe.formats.star import read_star

    if not star.is_file():
        raise InputError(f"There is no file {star}", hint="Check the path")
    wanted = chosen_numbers(select)
    blocks = read_star(star)
    if "model_classes" in blocks:
        if wanted is None:
            raise SettingsError(
                f"{star} lists classes that are made", "--select 1,4,7 to make templates of them"
            )
        click.echo(reselect(star, blocks, wanted, out), err=True)
        return
    settings = _settings(choices)
    stack = read_particles(star, blocks, settings.bin_to)
    for note in stack.notes:
        click.echo(f"warning: {note}", err=True)
    result = _classify(stack.images, stack.ctf, stack, settings, device)
    for flag in result.flags:
        click.echo(f"warning: {flag}", err=True)
    from icefloe.cli.classify_outputs import write_results

    click.echo(write_results(out, stack, result, wanted, threshold))


def _settings(choices: dict[str, Any]) -> ClassifySettings:
    from pydantic import ValidationError

    from icefloe.classes import ClassifySettings
    from icefloe.errors import SettingsError

    try:
        return ClassifySettings(**{k: v for k, v in choices.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise SettingsError(f"--{name}: {first['msg']} ({first['input']})") from None


def _classify(
    images: Any, ctf: Any, stack: Any, settings: ClassifySettings, device: str
) -> Classification:
    from rich.console import Console
    from rich.progress import Progress

    from icefloe.classes import classify_particles

    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Classifying", total=settings.iterations)
        return classify_particles(
            images,
            ctf,
            pixel_size=stack.pixel_size,
            premultiplied=stack.premultiplied,
            halves=stack.halves,
            settings=settings,
            device=device,
            progress=lambda i, n: bar.update(task, completed=i, total=n),
        )
