"""`icefloe boxsize`: the formula for a particle's box, with its numbers."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command", "parse_defocus"]


def parse_defocus(text: str) -> float:
    """Return a defocus in A from ``20000``, ``20000A``, ``2um``, ``2µm`` or ``2000nm``.

    Raises
    ------
    SettingsError
        Not a length, or a bare number that can only be micrometres.
    """
    from icefloe.errors import SettingsError

    stripped = text.strip().replace("µ", "u").replace("μ", "u").replace("Å", "A")
    units = {"um": 1e4, "nm": 10.0, "A": 1.0}
    unit = next((u for u in units if stripped.endswith(u)), "")
    try:
        value = float(stripped.removesuffix(unit)) * units.get(unit, 1.0)
    except ValueError:
        raise SettingsError(
            f"The defocus '{text}' is not a length", "A, or with its unit: 20000, 2um, 2000nm"
        ) from None
    if not unit and 0 < abs(value) < 100:
        raise SettingsError(
            f"The defocus of {text} A is smaller than any that is used",
            "A, or a number with its unit",
            f"Write {text}um if micrometres are meant",
        )
    return value


@click.command()
@click.option("--diameter", type=float, required=True, help="Longest particle diameter, A.")
@click.option("--defocus", required=True, help="Largest defocus, A, or with a unit: 2um, 2000nm.")
@click.option("--resolution", type=float, default=3.0, show_default=True, help="Aim, A.")
@click.option("--voltage", type=float, default=300.0, show_default=True, help="kV.")
@click.option("--pixel-size", type=float, default=None, help="Of the micrograph, A.")
@click.option("--box", type=int, default=None, help="A box to judge, pixels; needs --pixel-size.")
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Draw where defocus puts the detail (.png, .pdf or .svg).",
)
def command(
    diameter: float,
    defocus: str,
    resolution: float,
    voltage: float,
    pixel_size: float | None,
    box: int | None,
    picture: Path | None,
) -> None:
    """Say how large a particle's box should be, and why.

    Defocus spreads a particle's fine detail: information at resolution d lies up to lambda dF / d
    beside it. A box that is smaller than D + 2 lambda dF / d loses it.
    """
    from icefloe.errors import SettingsError
    from icefloe.optics import advise_box, wavelength

    if box is not None and (pixel_size is None or box < 2):
        raise SettingsError(f"--box is {box}", "pixels, with --pixel-size")
    if picture is not None and picture.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise SettingsError(f"--picture is {picture}", "a name that ends in .png, .pdf or .svg")
    advice = advise_box(diameter, parse_defocus(defocus), resolution, voltage, pixel_size)
    lam = wavelength(voltage)
    click.echo(f"wavelength at {voltage:g} kV         {lam:.5f} A")
    click.echo(
        f"spread       lambda dF / d      {lam:.5f} x {abs(advice.defocus):g} / {resolution:g}"
        f" = {advice.delocalisation:.1f} A on each side"
    )
    click.echo(
        f"box          D + 2 x spread     {diameter:g} + 2 x {advice.delocalisation:.1f}"
        f" = {advice.minimum:.1f} A"
    )
    if advice.pixels is not None:
        least = advice.minimum / advice.size * advice.pixels
        click.echo(
            f"in pixels    of {pixel_size:g} A  {least:.1f} -> {advice.pixels}"
            f" ({advice.size:.1f} A), even and fast to transform"
        )
    width = None if box is None or pixel_size is None else box * pixel_size
    if width is not None and width < advice.minimum:
        click.echo(f"warning: {box} pixels are {width:.1f} A, smaller than {advice.minimum:.1f} A")
    if picture is not None:
        from icefloe.cli.boxsize_picture import write_picture

        kept = write_picture(picture, advice, width)
        which = f"{advice.size:.0f} A" if width is None else f"{width:.0f} A"
        click.echo(f"A box of {which} keeps {100 * kept:.1f} % of the signal at {resolution:g} A")
