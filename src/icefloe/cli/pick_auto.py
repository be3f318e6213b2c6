"""`icefloe pick auto`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.pick_match import (
    SAMPLE,
    match_items,
    match_options,
    match_settings,
    run_match,
)

if TYPE_CHECKING:
    from icefloe.cli.inputs import MicrographInput
    from icefloe.picking import Bootstrap, MatchSettings

__all__ = ["auto", "bootstrapped"]


@click.command()
@match_options
def auto(micrographs: tuple[Path, ...], out: Path, **given: Any) -> None:
    """Find particles with nothing given: size and template come from the data.

    MICROGRAPHS are images or a STAR that lists them. Three of them, spread over the list, give one
    template for all, written as template.mrcs. Writes NAME_picks.star for each, and picks.star,
    which RELION imports and `icefloe extract` reads.
    """
    items, settings = match_items(micrographs, given), match_settings(given)
    if given["from_maps"]:
        run_match(items, out, settings, None, given, use_ctf=False)
        return
    found = bootstrapped(items, settings, out)
    run_match(items, out, settings, found.bank, given, use_ctf=False)


def bootstrapped(items: list[MicrographInput], settings: MatchSettings, out: Path) -> Bootstrap:
    """Make a template from micrographs spread over the list, write it, and say why it is so."""
    from icefloe.cli.inputs import readable
    from icefloe.formats.mrc import write_mrc
    from icefloe.picking import bootstrap_bank

    images = [image for _, image in readable(items, SAMPLE)]
    pixel_size = items[0].optics.micrograph_pixel_size
    found = bootstrap_bank(images, pixel_size=pixel_size, settings=settings)
    write_mrc(out / "template.mrcs", found.bank.images, found.bank.pixel_size)
    click.echo(_why(found), err=True)
    return found


def _why(found: Bootstrap) -> str:
    return (
        f"Particles of {found.bank.diameter:.0f} A, from {found.n_windows} of them: "
        f"{found.reason()}"
    )
