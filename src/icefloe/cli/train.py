"""`icefloe train`: teach the neural picker a particle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import checked, microscope_options

if TYPE_CHECKING:
    from icefloe._types import FloatArray
    from icefloe.cli.inputs import MicrographInput
    from icefloe.formats.coordinates import Coordinates
    from icefloe.network import Training, TrainSettings, TrainStep

__all__ = ["command"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("micrographs", nargs=-1, required=True, type=_FILE)
@click.option(
    "--picks",
    required=True,
    multiple=True,
    type=_FILE,
    help="Picks in any program's files: picks.star, particles.star, .box, .cbox, .csv, Topaz's "
    "tables. Repeat for several files; micrographs without picks are left out.",
)
@click.option("--diameter", required=True, type=float, help="Particle diameter, A, the longest.")
@click.option(
    "--out",
    required=True,
    type=_FILE,
    help="Weights file to write, .safetensors; the curve goes beside it as PNG.",
)
@click.option(
    "--start", type=_FILE, default=None, help="Weights to go on from [the general model]."
)
@click.option(
    "--objective",
    type=click.Choice(["pn", "truncated", "nnpu", "ge-binomial"]),
    default=None,
    help="How places without a pick are taken: empty (pn), empty unless the network is sure of a "
    "particle (truncated), or with missed particles (nnpu, ge-binomial) [nnpu].",
)
@click.option(
    "--missing", type=float, default=None, help="Share of the particles not picked; for nnpu and "
    "ge-binomial [0.1, or as many as the first network finds beside the picks].",
)  # fmt: skip
@click.option("--steps", type=int, default=None, help="Batches to train on, at most [300].")
@click.option("--seed", type=int, default=None, help="Seed of all chance [0].")
@click.option("--bright", is_flag=True, help="Particles are brighter than the ice.")
@microscope_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option(
    "--threads", default=0, show_default="all cores", type=click.IntRange(0),
    help="Threads to use on the CPU.",
)  # fmt: skip
def command(
    micrographs: tuple[Path, ...],
    picks: tuple[Path, ...],
    diameter: float,
    out: Path,
    start: Path | None,
    bright: bool,
    device: str,
    threads: int,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    **choices: Any,
) -> None:
    """Train the neural picker on picks in a few of your micrographs.

    MICROGRAPHS are images or a STAR that lists them; those without picks are left out. Pick three
    or more completely, some hundred particles in all, and use the result with
    `icefloe pick network --model`. Where only some particles were picked, that is noticed and said.
    """
    from icefloe.cli.inputs import expand_micrographs
    from icefloe.cli.train_picture import draw_training
    from icefloe.errors import InputError
    from icefloe.formats.atomic import output_directory
    from icefloe.formats.image import read_image
    from icefloe.fourier import resolve_device, set_threads
    from icefloe.network import load_model, save_model, train_network

    set_threads(threads)
    place = resolve_device(device)
    if out.suffix != ".safetensors":
        raise InputError(f"--out is {out}", "a name that ends in .safetensors")
    output_directory(out.parent)
    settings = _settings(bright, choices)
    first = load_model(start)
    items = expand_micrographs(
        micrographs,
        pixel_size=pixel_size,
        voltage=voltage,
        cs=cs,
        amplitude_contrast=amplitude_contrast,
    )
    chosen, marks = _with_picks(items, picks)
    size = chosen[0].optics.micrograph_pixel_size
    alike = [abs(i.optics.micrograph_pixel_size / size - 1) < 0.01 for i in chosen]
    if not all(alike):
        other = chosen[alike.index(False)]
        raise InputError(
            f"{chosen[0].name} has pixels of {size:g} A, {other.name} of "
            f"{other.optics.micrograph_pixel_size:g} A",
            "one pixel size",
        )
    images = [read_image(item.path).data for item in chosen]
    total = sum(len(y) for y, _ in marks)
    click.echo(f"{total} picks in {len(images)} micrographs", err=True)
    done = train_network(
        images,
        marks,
        pixel_size=size,
        diameter=diameter,
        start=first,
        settings=settings,
        device=place,
        name=out.stem,
        progress=_report,
    )
    for flag in done.flags:
        click.echo(flag, err=True)
    save_model(out, done.model)
    draw_training(done, out.with_suffix(".png"))
    _summarise(done, out)


def _settings(bright: bool, choices: dict[str, Any]) -> TrainSettings:
    from icefloe.network import TrainSettings

    return checked(TrainSettings, {"contrast": "bright" if bright else "dark", **choices})


def _with_picks(
    items: list[MicrographInput], files: tuple[Path, ...]
) -> tuple[list[MicrographInput], list[tuple[FloatArray, FloatArray]]]:
    """Return the micrographs that have picks, and their picks.

    Raises
    ------
    InputError
        No names agree.
    """
    from icefloe.cli.inputs import resolve_listed_path
    from icefloe.errors import InputError
    from icefloe.interop.coordinate_sets import read_sets

    sets: dict[str, Coordinates] = read_sets(files, resolve_listed_path)
    chosen = [item for item in items if len(sets.get(item.name, ())) > 0]
    if not chosen:
        raise InputError(
            f"None of the {len(items)} micrographs ({items[0].name}, ...) has picks; there are "
            f"some of {', '.join(list(sets)[:3]) or 'none'}",
            "coordinate files named after their micrographs",
        )
    unused = len(set(sets) - {item.name for item in chosen})
    if unused:
        click.echo(f"Picks of {unused} micrographs that were not given are left out", err=True)
    return chosen, [(sets[item.name].y, sets[item.name].x) for item in chosen]


def _report(step: TrainStep) -> None:
    click.echo(
        f"batch {step.step}: loss {step.loss:.4f}, validation loss {step.check_loss:.4f}, "
        f"average precision {step.average_precision:.3f}",
        err=True,
    )


def _summarise(done: Training, out: Path) -> None:
    before, best = done.history[0], done.history[done.best]
    click.echo(
        f"Average precision on the validation strips {before.average_precision:.3f} before, "
        f"{best.average_precision:.3f} after {best.step} batches. {out} and "
        f"{out.with_suffix('.png')} written.",
        err=True,
    )
