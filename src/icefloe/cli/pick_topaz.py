"""`icefloe pick topaz`: Topaz, where it is installed, on our micrographs, with our lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import microscope_options

if TYPE_CHECKING:
    from icefloe.cli.inputs import MicrographInput
    from icefloe.formats.coordinates import Coordinates
    from icefloe.interop.topaz_program import TopazPlan

__all__ = ["topaz"]

# Micrographs for one start of Topaz: its start costs seconds, and results should not wait for all.
_AT_A_TIME = 50


@click.command()
@click.argument(
    "micrographs", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--diameter", type=float, required=True, help="Particle diameter, A.")
@click.option(
    "--model",
    default="resnet8_u32",
    show_default=True,
    help="Pretrained network, or a file that topaz train wrote.",
)
@click.option(
    "--threshold",
    type=float,
    default=0.0,
    show_default=True,
    help="Lowest score; Topaz's own default is -6, which keeps nearly everything.",
)
@click.option(
    "--scale",
    type=click.IntRange(1),
    default=None,
    help="Reduce micrographs by this [a particle becomes about 36 pixels].",
)
@click.option(
    "--radius",
    type=click.IntRange(1),
    default=None,
    help="Radius, pixels of the reduced image [half a diameter].",
)
@click.option("--executable", default=None, help="The program [topaz on the PATH].")
@click.option(
    "--python",
    "environment",
    type=click.Path(path_type=Path),
    default=None,
    help="Python environment in which Topaz is installed, instead.",
)
@click.option("--gpu", type=int, default=-1, show_default="the CPU", help="Number of the card.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory for the results; made if it does not exist.",
)
@microscope_options
def topaz(
    micrographs: tuple[Path, ...],
    diameter: float,
    executable: str | None,
    environment: Path | None,
    out: Path,
    **given: Any,
) -> None:
    """Let an installed Topaz pick.

    Icefloe reduces MICROGRAPHS (images, or a STAR that lists them) to the size that Topaz expects,
    starts it, and brings its coordinates back to the micrographs' pixels. Writes NAME_picks.star
    for each, and picks.star, which RELION imports and `icefloe extract` reads.
    """
    from icefloe.cli.inputs import expand_micrographs, failures_exit
    from icefloe.cli.pick_lists import write_list
    from icefloe.formats.atomic import output_directory
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import picks_star
    from icefloe.interop.topaz_program import find_topaz, topaz_plan

    command = find_topaz(executable, environment)
    optics = ("pixel_size", "voltage", "cs", "amplitude_contrast")
    items = expand_micrographs(micrographs, **{name: given[name] for name in optics})
    plans: dict[TopazPlan, list[MicrographInput]] = {}
    for item in items:
        size = item.optics.micrograph_pixel_size
        plan = topaz_plan(diameter, size, scale=given["scale"], radius=given["radius"])
        plans.setdefault(plan, []).append(item)
    output_directory(out)
    done: list[tuple[MicrographInput, Path]] = []
    for plan, alike in plans.items():
        click.echo(
            f"Topaz: micrographs reduced by {plan.scale}, radius {plan.radius} pixels", err=True
        )
        for start in range(0, len(alike), _AT_A_TIME):
            part = alike[start : start + _AT_A_TIME]
            for item, place in _pick(command, part, plan, given):
                target = out / f"{item.name}_picks.star"
                numbers = {"y": place.y, "x": place.x, "score": place.score}
                write_star(target, picks_star(numbers))
                done.append((item, target))
                click.echo(f"{item.name}: {len(place)} picks", err=True)
    if done:
        write_list(out / "picks.star", done, (diameter, diameter))
    failures_exit(len(items) - len(done), len(items))


def _pick(
    command: Sequence[str],
    items: Sequence[MicrographInput],
    plan: TopazPlan,
    given: dict[str, Any],
) -> list[tuple[MicrographInput, Coordinates]]:
    """Return the picks of those micrographs that can be read, and say which cannot."""
    import tempfile

    from icefloe.errors import IcefloeError
    from icefloe.formats.image import read_image
    from icefloe.interop.topaz_program import run_topaz, write_reduced

    with tempfile.TemporaryDirectory(prefix="icefloe-topaz-") as folder:
        factors = {}
        for item in items:
            try:
                image = read_image(item.path).data
                size = item.optics.micrograph_pixel_size
                reduced = Path(folder) / f"{item.name}.mrc"
                factors[item.name] = write_reduced(reduced, image, plan, size)
            except IcefloeError as error:
                click.echo(f"{item.name}: error: {error}", err=True)
        if not factors:
            return []
        sets = run_topaz(
            command,
            Path(folder),
            factors,
            plan,
            model=given["model"],
            threshold=given["threshold"],
            gpu=given["gpu"],
        )
    return [(item, sets[item.name]) for item in items if item.name in sets]
