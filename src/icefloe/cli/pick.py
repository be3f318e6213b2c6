"""`icefloe pick`: particle coordinates from micrographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import checked, microscope_options, output_options
from icefloe.cli.pick_lists import calibrate_option, defocus_of, write_calibrated, write_list

if TYPE_CHECKING:
    from rich.console import Console

    from icefloe.cli.inputs import MicrographInput
    from icefloe.picking import BlobSettings, Picks

__all__ = ["command"]

# Micrographs in which the diameter is looked for, spread over the list.
_SAMPLE = 3


@click.group()
def command() -> None:
    """Find particles in micrographs."""


@command.command()
@click.argument(
    "micrographs", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option(
    "--diameter",
    default=None,
    help="Particle diameter, A: one number, or smallest,largest [found in three micrographs].",
)
@click.option(
    "--method",
    type=click.Choice(["template", "log", "dog"]),
    default="template",
    show_default=True,
    help="Correlation with shapes, or Laplacian or difference of Gaussians.",
)
@click.option(
    "--shape",
    type=click.Choice(["auto", "disc", "ring", "ellipse"]),
    default="auto",
    show_default=True,
    help="How particles look; auto takes of disc and ring what stands out best in each micrograph.",
)
@click.option(
    "--aspect", type=float, default=None, help="Of an ellipse: longest over shortest axis."
)
@click.option(
    "--threshold",
    type=float,
    default=None,
    help="Lowest score, standard deviations of the response [found in each micrograph].",
)
@click.option(
    "--min-distance",
    type=float,
    default=None,
    help="Smallest distance of two picks, in diameters [0.5].",
)
@click.option("--max-picks", type=int, default=None, help="At most so many a micrograph [all].")
@click.option(
    "--edge", type=float, default=None, help="Keep off the border by so many diameters [0.3]."
)
@click.option(
    "--max-contrast",
    type=float,
    default=None,
    help="Avoid what has this many times a particle's contrast and, for particles of 144 A and "
    "more, carbon and crystals; 0 avoids nothing [3].",
)
@click.option("--bright", is_flag=True, help="Particles are brighter than the ice.")
@calibrate_option
@microscope_options
@output_options
def blob(
    micrographs: tuple[Path, ...],
    diameter: str | None,
    bright: bool,
    calibrate: bool,
    out: Path,
    device: str,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    **choices: Any,
) -> None:
    """Find particles as blobs, without templates.

    MICROGRAPHS are images or a STAR that lists them. Writes NAME_picks.star for each, and
    picks.star, which RELION imports and `icefloe extract` reads.
    """
    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.inputs import expand_micrographs, failures_exit
    from icefloe.errors import IcefloeError
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import picks_star

    items = expand_micrographs(
        micrographs,
        pixel_size=pixel_size,
        voltage=voltage,
        cs=cs,
        amplitude_contrast=amplitude_contrast,
    )
    defoci = [defocus_of(item) for item in items] if calibrate else []
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    sizes = _sizes(diameter) if diameter else _found(items, bright, console)
    settings = _settings(sizes, bright, choices)
    done: list[tuple[MicrographInput, Path]] = []
    kept: dict[str, tuple[Picks, float]] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for number, item in enumerate(progress.track(items, description="Picking")):
            target = out / f"{item.name}_picks.star"
            try:
                picks = _pick(item, settings, device)
                if calibrate:
                    kept[item.name] = picks, defoci[number]
                else:
                    write_star(target, picks_star(picks.numbers()))
            except IcefloeError as error:
                console.print(f"{item.name}: error: {error}")
                continue
            done.append((item, target))
            console.print(f"{item.name}: {_line(picks)}")
    if calibrate and kept:
        write_calibrated(out, kept, console)
    if done:
        write_list(out / "picks.star", done, settings.diameter)
    failures_exit(len(items) - len(done), len(items))


def _sizes(diameter: str) -> list[float]:
    from icefloe.errors import SettingsError

    try:
        return [float(part) for part in diameter.split(",")]
    except ValueError:
        raise SettingsError(
            f"--diameter is '{diameter}'", "one number, or smallest,largest, A"
        ) from None


def _found(items: Sequence[MicrographInput], bright: bool, console: Console) -> list[float]:
    """Return the diameter that some micrographs show, and say so."""
    from icefloe.cli.inputs import readable
    from icefloe.picking import find_size

    images = [image for _, image in readable(items, _SAMPLE)]
    found = find_size(images, pixel_size=items[0].optics.micrograph_pixel_size, bright=bright)
    console.print(f"No diameter was given: {found.diameter:.0f} A is used, as {found.reason()}.")
    return [round(found.diameter, 1)]


def _settings(sizes: Sequence[float], bright: bool, choices: dict[str, Any]) -> BlobSettings:
    from icefloe.picking import BlobSettings

    return checked(
        BlobSettings,
        {"diameter": list(sizes), "contrast": "bright" if bright else "dark", **choices},
    )


def _pick(item: MicrographInput, settings: BlobSettings, device: str) -> Picks:
    from icefloe.formats.image import read_image
    from icefloe.picking import pick_blobs

    image = read_image(item.path).data
    return pick_blobs(
        image, pixel_size=item.optics.micrograph_pixel_size, settings=settings, device=device
    )


def _line(picks: Picks) -> str:
    sizes = f", {picks.shape} of {min(picks.diameter):.0f}" if len(picks) else ""
    if len(picks) and max(picks.diameter) > min(picks.diameter):
        sizes += f"-{max(picks.diameter):.0f}"
    text = f"{len(picks)} picks above {picks.threshold:.2f}{sizes + ' A' if sizes else ''}"
    return "; ".join((text, *picks.flags))


def _add_matching() -> None:
    from icefloe.cli.pick_auto import auto
    from icefloe.cli.pick_inspect import inspect
    from icefloe.cli.pick_learn import learn
    from icefloe.cli.pick_network import network
    from icefloe.cli.pick_template import template
    from icefloe.cli.pick_topaz import topaz

    for one in (auto, template, learn, network, inspect, topaz):
        command.add_command(one)


_add_matching()
