"""`icefloe pick network`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import checked, microscope_options, output_options

if TYPE_CHECKING:
    from icefloe.cli.inputs import MicrographInput
    from icefloe.network import NetworkSettings, PickerModel

__all__ = ["network", "network_settings", "pick_all"]


@click.command()
@click.argument(
    "micrographs", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option(
    "--diameter",
    type=float,
    default=None,
    help="Particle diameter, A, the longest [that the model was trained for].",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Weights that icefloe train wrote [the general model].",
)
@click.option(
    "--threshold",
    type=float,
    default=None,
    help="Lowest score to keep: the probability that a pick is right [0.4].",
)
@click.option("--min-distance", type=float, default=None, help="Of two picks, in diameters [0.5].")
@click.option("--max-picks", type=int, default=None, help="At most so many a micrograph [all].")
@click.option(
    "--edge", type=float, default=None, help="Keep off the border, in diameters [0.1, or as far as "
    "the picks that --model was trained on].",
)  # fmt: skip
@click.option("--bright", is_flag=True, help="Particles are brighter than the ice.")
@microscope_options
@output_options
def network(
    micrographs: tuple[Path, ...],
    diameter: float | None,
    model: Path | None,
    bright: bool,
    out: Path,
    device: str,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    **choices: Any,
) -> None:
    """Find particles with a neural network: the general one, or one that you trained.

    MICROGRAPHS are images or a STAR that lists them. Writes NAME_picks.star for each, and
    picks.star, which RELION imports and `icefloe extract` reads.
    """
    from icefloe.cli.inputs import expand_micrographs
    from icefloe.errors import MissingMetadataError
    from icefloe.network import load_model

    settings = network_settings(bright, choices)
    weights = load_model(model)
    diameter = diameter or weights.card.diameter
    if diameter is None:
        raise MissingMetadataError("No particle diameter was given", "one in A", "Give --diameter")
    items = expand_micrographs(
        micrographs,
        pixel_size=pixel_size,
        voltage=voltage,
        cs=cs,
        amplitude_contrast=amplitude_contrast,
    )
    pick_all(items, out, weights, diameter, settings, device)


def pick_all(
    items: Sequence[MicrographInput],
    out: Path,
    model: PickerModel,
    diameter: float,
    settings: NetworkSettings,
    device: str,
    *,
    judged: bool = True,
) -> None:
    """Pick micrographs with a network, and write what all ways of picking write.

    With `judged`, the model's scores come from marks or simulated truth, and it is said how many
    picks are likely right.
    """
    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.inputs import failures_exit
    from icefloe.cli.pick_lists import write_list
    from icefloe.errors import IcefloeError
    from icefloe.formats.image import read_image
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import picks_star
    from icefloe.network import pick_network

    done: list[tuple[MicrographInput, Path]] = []
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for item in progress.track(items, description="Picking"):
            target = out / f"{item.name}_picks.star"
            try:
                picks = pick_network(
                    read_image(item.path).data,
                    pixel_size=item.optics.micrograph_pixel_size,
                    diameter=diameter,
                    model=model,
                    settings=settings,
                    device=device,
                )
                write_star(target, picks_star(picks.numbers()))
            except IcefloeError as error:
                console.print(f"{item.name}: error: {error}")
                continue
            done.append((item, target))
            line = f"{item.name}: {len(picks)} picks above {picks.threshold:g}"
            if len(picks) and judged:
                line += f", of which {picks.score.sum():.0f} are likely right"
            console.print("; ".join((line, *picks.flags)))
    if done:
        write_list(out / "picks.star", done, (diameter, diameter))
    failures_exit(len(items) - len(done), len(items))


def network_settings(bright: bool, choices: dict[str, Any]) -> NetworkSettings:
    """Return the settings that options give.

    Raises
    ------
    SettingsError
        One is out of range.
    """
    from icefloe.network import NetworkSettings

    return checked(NetworkSettings, {"contrast": "bright" if bright else "dark", **choices})
