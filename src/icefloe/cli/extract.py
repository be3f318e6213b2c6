"""`icefloe extract`: particle stacks from picked micrographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import microscope_options, output_options

if TYPE_CHECKING:
    from icefloe._types import AnyArray
    from icefloe.cli.extract_inputs import Picked
    from icefloe.extraction import ExtractSettings, ParticleStack
    from icefloe.interop.optics import OpticsGroup

__all__ = ["command"]


@click.command()
@click.argument("star", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--box", default="auto", show_default=True, help="Pixels of the micrograph, or auto.")
@click.option("--bin-to", type=float, default=None, help="Pixel size to bin to, A [as it is].")
@click.option(
    "--diameter", type=float, default=None, help="Longest diameter, A, for --box auto [as picked]."
)
@click.option(
    "--resolution", type=float, default=None, help="Resolution aimed at, A, for --box auto [3]."
)
@click.option(
    "--picks",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="List of coordinate files (picks.star, autopick.star) where STAR is not one.",
)
@click.option(
    "--ctf",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="micrographs_ctf.star, whose CTFs the particles get.",
)
@click.option(
    "--recentre", is_flag=True, help="Move particles to where a refinement found them (origins)."
)
@click.option("--min-score", type=float, default=None, help="Leave out picks with a lower score.")
@click.option(
    "--small-bin-to",
    type=float,
    default=None,
    help="Pixel size, A, of a second, smaller stack of the same particles, for 2D classes.",
)
@click.option(
    "--ctf-correct",
    type=click.Choice(["none", "flip", "multiply"]),
    default=None,
    help="Flip phases by the CTF, or multiply by it [none: refinement does it].",
)
@click.option(
    "--ctf-box", type=int, default=None, help="Window in which the CTF is applied [1.5 boxes]."
)
@click.option(
    "--white-dust", type=float, default=None, help="Replace pixels so many sd brighter [off]."
)
@click.option(
    "--black-dust", type=float, default=None, help="Replace pixels so many sd darker [off]."
)
@click.option(
    "--background-diameter",
    type=float,
    default=None,
    help="Circle outside which is background, A [3/4 of the box].",
)
@click.option(
    "--edge",
    type=click.Choice(["replicate", "drop"]),
    default=None,
    help="Boxes over the border: repeat its pixels, or drop the particle [replicate].",
)
@click.option("--no-invert", is_flag=True, help="Leave dark particles dark.")
@click.option("--no-normalise", is_flag=True, help="Leave grey levels as they are.")
@click.option(
    "--float16", is_flag=True, help="Write half-precision stacks (MRC mode 12; RELION 4 and later)."
)
@click.option("--cryosparc", is_flag=True, help="Write particles.cs and .csg as well.")
@microscope_options
@output_options
def command(
    star: Path,
    picks: Path | None,
    ctf: Path | None,
    recentre: bool,
    ctf_correct: str | None,
    min_score: float | None,
    float16: bool,
    cryosparc: bool,
    out: Path,
    device: str,
    diameter: float | None,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    no_invert: bool,
    no_normalise: bool,
    **choices: Any,
) -> None:
    """Cut out picked particles.

    STAR is picks.star of `icefloe pick`, RELION's autopick.star, a micrographs STAR with --picks,
    or particles.star of a classification or refinement, to extract again; --ctf then names the
    micrographs. Writes Particles/NAME.mrcs for each micrograph, and particles.star.
    """
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.extract_inputs import list_picked
    from icefloe.cli.extract_job import Extractor, read_ahead
    from icefloe.cli.inputs import failures_exit
    from icefloe.errors import IcefloeError, InputError
    from icefloe.formats.atomic import output_directory, write_text

    given = {
        "pixel_size": pixel_size,
        "voltage": voltage,
        "cs": cs,
        "amplitude_contrast": amplitude_contrast,
    }
    listing = list_picked(star, picks, ctf, given, recentre=recentre)
    choices["ctf"] = ctf_correct
    settings = _settings(
        {**choices, "invert": not no_invert, "normalise": not no_normalise}, listing.items
    )
    diameter = diameter or listing.diameter
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    for warning in _box_warnings(settings, listing.items, diameter):
        console.print(f"warning: {warning}")
    with_ctf = any(item.ctf for item in listing.items)
    failures = list(listing.unavailable)
    for name, reason in failures:
        console.print(f"{name}: error: {reason}")
    particles, small = _Table(), _Table()
    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as writer,
    ):
        extract = Extractor(
            output_directory(out / "Particles"),
            settings,
            diameter=diameter,
            min_score=min_score,
            float16=float16,
            device=device,
            pool=writer,
        )
        for item, image in progress.track(
            read_ahead(listing.items, reader),
            total=len(listing.items),
            description="Extracting",
        ):
            name = item.micrograph.name
            try:
                if with_ctf and item.ctf is None:
                    raise InputError("There is no CTF for it, and the others have one")
                done = extract(item, image.result())
            except IcefloeError as error:
                failures.append((name, str(error)))
                console.print(f"{name}: error: {error}")
                continue
            stack = done.stack
            text = f"{len(stack)} particles of {stack.box} px, {stack.pixel_size:.4g} A"
            if stack.small is not None:
                text += f" and of {stack.small.box} px, {stack.small.pixel_size:.4g} A"
            console.print("; ".join((f"{name}: {text}", *stack.flags)))
            particles.add(item, stack, done.columns, done.shape)
            if done.small is not None and stack.small is not None:
                small.add(item, stack.small, done.small, done.shape)
        extract.finish()
    failed = out / "failed.txt"
    if failures:
        write_text(failed, "".join(f"{name}: {reason}\n" for name, reason in failures))
    else:
        failed.unlink(missing_ok=True)
    total = len(listing.items) + len(listing.unavailable)
    if not particles.parts:
        failures_exit(len(failures), total)
        raise InputError("There is not one particle to extract", "picks inside the micrographs")
    for name, table in (("particles.star", particles), ("particles_small.star", small)):
        if table.parts:
            n = table.write(out / name, cryosparc=cryosparc, bright=settings.invert)
            click.echo(f"{n} particles in {out / name}", err=True)
    if particles.left_out:
        click.echo(f"Columns that not all have: {', '.join(particles.left_out)}", err=True)
    if settings.ctf == "flip":
        click.echo("Phases were flipped: tell relion_refine so with --ctf_phase_flipped", err=True)
    failures_exit(len(failures), total)


class _Table:
    """The particles of all micrographs, on their way into one STAR file."""

    def __init__(self) -> None:
        self.parts: list[dict[str, AnyArray]] = []
        self._groups: dict[int, tuple[OpticsGroup, float, int]] = {}
        self._shapes: dict[str, tuple[int, int]] = {}

    def add(
        self,
        item: Picked,
        stack: ParticleStack,
        columns: dict[str, AnyArray],
        shape: tuple[int, int],
    ) -> None:
        group = item.micrograph.optics
        self._groups[group.number] = (group, stack.pixel_size, stack.box)
        self._shapes[item.listed_name] = shape
        if len(stack):
            self.parts.append(columns)

    @property
    def left_out(self) -> list[str]:
        """Columns that are not written because some micrographs lack them."""
        every = dict.fromkeys(name for part in self.parts for name in part)
        return [name for name in every if not all(name in part for part in self.parts)]

    def write(self, path: Path, *, cryosparc: bool, bright: bool) -> int:
        """Write the STAR file, and cryoSPARC's table if wanted; return the number of particles."""
        from icefloe.formats.star import write_star
        from icefloe.interop.relion_particles import join_columns, particles_star

        numbers = sorted(self._groups)
        blocks = particles_star(
            join_columns(self.parts),
            [self._groups[n][0] for n in numbers],
            pixel_size={n: self._groups[n][1] for n in numbers},
            box={n: self._groups[n][2] for n in numbers},
        )
        write_star(path, blocks)
        if cryosparc:
            from icefloe.interop.cryosparc_particles import write_cryosparc_particles

            table = path.with_suffix(".cs")
            write_cryosparc_particles(table, blocks, self._shapes, bright=bright)
        return len(blocks["particles"])


def _box_warnings(
    settings: ExtractSettings, items: Sequence[Picked], diameter: float | None
) -> list[str]:
    """Return what to say of a box that is too small, once for each pixel size."""
    from icefloe.extraction import box_warning

    optics = {(i.micrograph.optics.micrograph_pixel_size, i.micrograph.optics.voltage): None
              for i in items}  # fmt: skip
    found = (
        box_warning(settings, pixel_size=size, diameter=diameter, voltage=voltage)
        for size, voltage in optics
        if size > 0
    )
    return [text for text in found if text is not None]


def _settings(choices: dict[str, Any], listed: Sequence[Picked]) -> ExtractSettings:
    from pydantic import ValidationError

    from icefloe.errors import SettingsError
    from icefloe.extraction import ExtractSettings

    values = {k: v for k, v in choices.items() if v is not None}
    defoci = [item.ctf["rlnDefocusU"] for item in listed if item.ctf]
    if defoci:
        values["max_defocus"] = max(0.0, *defoci)
    try:
        return ExtractSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).replace("_", "-") + ": " if first["loc"] else ""
        text = first["msg"].removeprefix("Value error, ")
        hint = "--box takes auto or an even number of pixels" if "box" in name + text else ""
        raise SettingsError(name + text, hint=hint) from None
