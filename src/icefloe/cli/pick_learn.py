"""`icefloe pick learn`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import checked, microscope_options, output_options

if TYPE_CHECKING:
    from icefloe.network import Learned, TrainStep

__all__ = ["learn"]


@click.command()
@click.argument(
    "micrographs", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--diameter", type=float, default=None, help="Particle diameter, A [found].")
@click.option(
    "--threshold",
    type=float,
    default=None,
    help="Lowest score to keep: how likely the template would take it, 0 to 1 [0.4].",
)
@click.option("--min-distance", type=float, default=None, help="Of two picks, in diameters [0.5].")
@click.option("--max-picks", type=int, default=None, help="At most so many a micrograph [all].")
@click.option("--edge", type=float, default=None, help="Keep off the border, in diameters [0.1].")
@click.option("--bright", is_flag=True, help="Particles are brighter than the ice.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the training."
)
@microscope_options
@output_options
def learn(
    micrographs: tuple[Path, ...],
    diameter: float | None,
    bright: bool,
    seed: int,
    out: Path,
    device: str,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    **choices: Any,
) -> None:
    """Find particles with nothing given: a network learns them from `pick auto`.

    A template is made from three micrographs, as `icefloe pick auto` does; what it finds in up to
    ten of them teaches the general network this particle, within a minute or two; and the network
    picks all. MICROGRAPHS are images or a STAR that lists them. Writes NAME_picks.star for each,
    picks.star, which RELION imports and `icefloe extract` reads, template.mrcs, and
    learned.safetensors, which `icefloe pick network --model` takes, with a picture of the training.
    It needs torch.
    """
    from icefloe.cli.inputs import expand_micrographs, readable
    from icefloe.cli.pick_auto import bootstrapped
    from icefloe.cli.pick_network import network_settings, pick_all
    from icefloe.cli.train_picture import draw_training
    from icefloe.network import learn_particle, load_model, save_model
    from icefloe.network.learn import LEARNING, MICROGRAPHS
    from icefloe.picking import MatchSettings

    load_model()  # without torch, say so at once
    settings = network_settings(bright, choices)
    match = checked(MatchSettings, {"diameter": diameter, "contrast": settings.contrast})
    items = expand_micrographs(
        micrographs,
        pixel_size=pixel_size,
        voltage=voltage,
        cs=cs,
        amplitude_contrast=amplitude_contrast,
    )
    bank = bootstrapped(items, match, out).bank
    learned = learn_particle(
        (image for _, image in readable(items, MICROGRAPHS)),
        bank,
        pixel_size=items[0].optics.micrograph_pixel_size,
        match=match,
        settings=LEARNING.model_copy(update={"seed": seed}),
        device=device,
        progress=_report,
    )
    save_model(out / "learned.safetensors", learned.training.model)
    draw_training(learned.training, out / "learned.png")
    _summarise(learned)
    model = learned.training.model
    pick_all(items, out, model, bank.diameter, settings, device, judged=False)


def _report(step: TrainStep) -> None:
    click.echo(
        f"batch {step.step}: of the template's picks, average precision "
        f"{step.average_precision:.3f} in the validation strips",
        err=True,
    )


def _summarise(learned: Learned) -> None:
    done = learned.training
    click.echo(
        f"Learned from {sum(learned.picks)} picks of the template in {len(learned.picks)} "
        f"micrographs, {done.history[done.best].step} batches.",
        err=True,
    )
    for flag in done.flags:
        click.echo(flag, err=True)
