"""`icefloe extract`: particle stacks from picked micrographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import microscope_options, output_options

if TYPE_CHECKING:
    from icefloe._types import AnyArray
    from icefloe.cli.inputs import MicrographInput
    from icefloe.extraction import ExtractSettings, ParticleStack

__all__ = ["command"]


@dataclass(frozen=True)
class _Picked:
    """A micrograph with its coordinate file and its CTF."""

    micrograph: MicrographInput
    listed_name: str
    coordinates: Path
    ctf: Mapping[str, float] | None


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
@click.option("--min-score", type=float, default=None, help="Leave out picks with a lower score.")
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
@microscope_options
@output_options
def command(
    star: Path,
    picks: Path | None,
    ctf: Path | None,
    min_score: float | None,
    float16: bool,
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

    STAR is picks.star of `icefloe pick`, RELION's autopick.star, or a micrographs STAR with
    --picks. Writes Particles/NAME.mrcs for each micrograph, and particles.star.
    """
    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.inputs import failures_exit
    from icefloe.errors import IcefloeError, InputError
    from icefloe.formats.atomic import output_directory
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_particles import join_columns, particles_star

    given = {
        "pixel_size": pixel_size,
        "voltage": voltage,
        "cs": cs,
        "amplitude_contrast": amplitude_contrast,
    }
    listed, picked_diameter = _listed(star, picks, ctf, given)
    with_ctf = any(item.ctf for item in listed)
    settings = _settings(
        {**choices, "invert": not no_invert, "normalise": not no_normalise}, listed
    )
    stacks = output_directory(out / "Particles")
    parts: list[dict[str, AnyArray]] = []
    sizes: dict[int, tuple[float, int]] = {}
    failed = 0
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for item in progress.track(listed, description="Extracting"):
            name = item.micrograph.name
            try:
                if with_ctf and item.ctf is None:
                    raise InputError("There is no CTF for it, and the others have one")
                stack, columns = _extract(
                    item,
                    settings,
                    stacks / f"{name}.mrcs",
                    diameter or picked_diameter,
                    min_score,
                    float16=float16,
                    device=device,
                )
            except IcefloeError as error:
                failed += 1
                console.print(f"{name}: error: {error}")
                continue
            text = f"{len(stack)} particles of {stack.box} px, {stack.pixel_size:.4g} A"
            console.print("; ".join((f"{name}: {text}", *stack.flags)))
            sizes[item.micrograph.optics.number] = (stack.pixel_size, stack.box)
            if len(stack):
                parts.append(columns)
    if not parts:
        raise InputError("There is not one particle to extract", "picks inside the micrographs")
    groups = {item.micrograph.optics.number: item.micrograph.optics for item in listed}
    blocks = particles_star(
        join_columns(parts),
        [groups[n] for n in sorted(sizes)],
        pixel_size={n: size for n, (size, _) in sizes.items()},
        box={n: box for n, (_, box) in sizes.items()},
    )
    write_star(out / "particles.star", blocks)
    total = len(blocks["particles"])
    click.echo(f"{total} particles in {out / 'particles.star'}", err=True)
    failures_exit(failed, len(listed))


def _settings(choices: dict[str, Any], listed: list[_Picked]) -> ExtractSettings:
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


def _listed(
    star: Path, picks: Path | None, ctf: Path | None, given: Mapping[str, float | None]
) -> tuple[list[_Picked], float | None]:
    """Return what to extract, and the diameter that was picked with, if it is known."""
    from icefloe.cli.inputs import expand_micrographs, resolve_listed_path
    from icefloe.errors import InputError, StarColumnError
    from icefloe.formats.star import read_star, require_block
    from icefloe.interop.relion_particles import ctf_row

    list_path = picks or star
    for path in (star, picks, ctf):
        if path is not None and not path.is_file():
            raise InputError(f"There is no file {path}", hint="Check the path")
    blocks = read_star(list_path)
    if "coordinate_files" not in blocks:
        raise StarColumnError(
            f"{list_path} lists no coordinates (its blocks are {', '.join(blocks) or 'none'})",
            "a data_coordinate_files block",
            "Give picks.star or autopick.star, with --picks if STAR lists micrographs",
        )
    names = ("rlnMicrographName", "rlnMicrographCoordinates")
    table = require_block(blocks, "coordinate_files", names, path=list_path)
    pairs = [(str(m), str(c)) for m, c in zip(*(table[n] for n in names), strict=True)]
    diameter = None
    if "icefloe" in blocks and "icefloeDiameterMax" in blocks["icefloe"]:
        diameter = float(blocks["icefloe"].value("icefloeDiameterMax"))

    source = ctf or next(
        (
            p
            for p in (star, list_path)
            if "micrographs" in (blocks if p == list_path else read_star(p))
        ),
        None,
    )
    if source is not None:
        micrographs = expand_micrographs([source], **given)
    else:
        # RELION's autopick.star alone: the images themselves, and what the options say.
        micrographs = expand_micrographs(
            [resolve_listed_path(name, list_path) for name, _ in pairs], **given
        )
    by_name = {str(m.row.get("rlnMicrographName", m.path)): m for m in micrographs}
    by_stem = {m.name: m for m in micrographs}
    found: list[_Picked] = []
    missing = []
    for name, coordinates in pairs:
        item = by_name.get(name) or by_stem.get(Path(name).stem)
        if item is None:
            missing.append(name)
            continue
        path = resolve_listed_path(coordinates, list_path)
        found.append(_Picked(item, name, path, ctf_row(item.row)))
    if missing:
        click.echo(f"{len(missing)} picked micrographs are not in {source}: left out", err=True)
    return found, diameter


def _extract(
    item: _Picked,
    settings: ExtractSettings,
    target: Path,
    diameter: float | None,
    min_score: float | None,
    *,
    float16: bool,
    device: str,
) -> tuple[ParticleStack, dict[str, AnyArray]]:
    import numpy as np

    from icefloe.extraction import extract_particles
    from icefloe.formats.image import read_image
    from icefloe.formats.mrc import write_mrc
    from icefloe.interop.relion_particles import particle_columns
    from icefloe.interop.relion_picks import read_picks

    picks = read_picks(item.coordinates)
    chosen = np.ones(len(picks.y), dtype=np.bool_)
    if min_score is not None:
        # A pick without a score, such as one made by hand, stays.
        chosen = ~(picks.score < min_score)
    optics = item.micrograph.optics
    stack = extract_particles(
        read_image(item.micrograph.path).data,
        picks.y[chosen],
        picks.x[chosen],
        pixel_size=optics.micrograph_pixel_size,
        diameter=diameter,
        voltage=optics.voltage,
        settings=settings,
        device=device,
    )
    if len(stack):
        write_mrc(target, stack.images, stack.pixel_size, float16=float16)
    columns = particle_columns(
        stack.numbers(),
        stack_name=str(target),
        micrograph_name=item.listed_name,
        optics_group=optics.number,
        ctf=item.ctf,
        extra={name: values[chosen] for name, values in picks.columns.items()},
    )
    return stack, columns
