"""`icefloe pick template`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icefloe.cli.pick_match import match_items, match_options, match_settings, run_match

__all__ = ["template"]


@click.command()
@click.option(
    "--templates",
    default=None,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Class averages (.mrcs, RELION's _model.star or a STAR with rlnReferenceImage, "
    "cryoSPARC's .cs), or a map (.mrc) or atomic model (.pdb, .cif), which are projected.",
)
@click.option("--classes", default=None, help="Numbers of the images to take: 1,4,7 [all].")
@click.option(
    "--min-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Least part of the particles that a class must hold (_model.star) [any].",
)
@click.option(
    "--template-pixel-size", type=float, default=None, help="A [from the templates' header]."
)
@click.option(
    "--invert",
    type=click.Choice(["auto", "yes", "no"]),
    default="auto",
    show_default=True,
    help="Whether the templates' particles are dark.",
)
@click.option(
    "--directions", type=click.IntRange(1), default=12, show_default=True,
    help="Directions in which a map or model is projected.",
)  # fmt: skip
@click.option("--angle-step", type=float, default=None, help="In-plane angle, degrees [5].")
@click.option(
    "--no-ctf", is_flag=True, help="Do not give the templates the micrographs' CTF, though known."
)
@match_options
def template(
    micrographs: tuple[Path, ...],
    templates: Path | None,
    classes: str | None,
    min_share: float,
    template_pixel_size: float | None,
    invert: str,
    directions: int,
    no_ctf: bool,
    out: Path,
    **given: Any,
) -> None:
    """Find particles that look like class averages, or like projections of a map.

    MICROGRAPHS are images or a STAR that lists them; with a STAR that knows the defocus, templates
    are seen through each micrograph's CTF.
    """
    from icefloe.errors import SettingsError
    from icefloe.interop.template_files import read_templates
    from icefloe.picking import template_bank

    if given["from_maps"]:
        run_match(
            match_items(micrographs, given), out, match_settings(given), None, given, use_ctf=False
        )
        return
    if templates is None:
        raise SettingsError("No templates were given", "--templates FILE, or --from-maps DIR")
    found = read_templates(
        templates,
        pixel_size=template_pixel_size,
        classes=_numbers(classes),
        min_share=min_share,
        directions=directions,
    )
    bank = template_bank(
        found.images,
        pixel_size=found.pixel_size,
        diameter=given["diameter"] or found.diameter,
        contrast={"auto": "auto", "yes": "dark", "no": "bright"}[invert],
        numbers=found.numbers,
    )
    click.echo(f"{len(bank.images)} templates of {bank.diameter:.0f} A", err=True)
    items, settings = match_items(micrographs, given), match_settings(given)
    own = settings.threshold is None and len(items) > 1
    run_match(items, out, settings, bank, given, use_ctf=not no_ctf, elsewhere=own)


def _numbers(text: str | None) -> tuple[int, ...]:
    from icefloe.errors import SettingsError

    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise SettingsError(f"--classes is '{text}'", "numbers, such as 1,4,7") from None
