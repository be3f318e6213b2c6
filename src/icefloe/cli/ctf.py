"""`icefloe ctf`: estimate the CTF of micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import checked, microscope_options, output_options

if TYPE_CHECKING:
    from icefloe.cli.inputs import MicrographInput
    from icefloe.ctf import CtfResult, CtfSettings
    from icefloe.interop.optics import OpticsGroup

__all__ = ["command"]


@click.command()
@click.argument(
    "micrographs", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--min-defocus", "defocus_min", type=float, help="Smallest defocus, A [5000].")
@click.option("--max-defocus", "defocus_max", type=float, help="Largest defocus, A [50000].")
@click.option("--defocus-step", type=float, help="Step of the search, A [100].")
@click.option(
    "--resolution", type=(float, float), metavar="LOW HIGH", help="Fitted range, A [30 5]."
)
@click.option("--box", type=int, help="Size of the spectrum, pixels [512].")
@click.option("--max-astigmatism", type=float, help="Largest astigmatism, A [4000].")
@click.option(
    "--astigmatism-prior", type=float, help="Expected astigmatism, A; restrains it [off]."
)
@click.option("--phase-shift", is_flag=True, help="Fit the phase shift of a phase plate too.")
@click.option(
    "--phase-range", type=(float, float), metavar="MIN MAX", help="Its range, degrees [0 180]."
)
@click.option("--phase-step", "phase_shift_step", type=float, help="Its step, degrees [10].")
@click.option(
    "--local/--no-local",
    default=None,
    help="Use the defocus of each place: always, never [where it varies beyond doubt].",
)
@click.option("--max-tilt", type=float, help="Largest tilt that is looked for, degrees [65].")
@click.option("--thickness", is_flag=True, help="Fit the thickness of the specimen too.")
@click.option(
    "--pictures/--no-pictures",
    default=True,
    show_default=True,
    help="Write a picture of each fit, NAME_ctf.svg.",
)
@microscope_options
@output_options
def command(
    micrographs: tuple[Path, ...],
    out: Path,
    pictures: bool,
    device: str,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    **choices: Any,
) -> None:
    """Estimate the CTF of MICROGRAPHS: images, or a STAR that lists them.

    With a corrected_micrographs.star, the power spectra it names are fitted, else the micrographs
    without dose weighting. Writes micrographs_ctf.star, and for each micrograph NAME.ctf (the
    spectrum beside the fit), NAME_ctf.txt and NAME_ctf_avrot.txt as CTFFIND does, NAME_local.json
    with tilt, defocus over the micrograph and thickness, and the picture NAME_ctf.svg, the last
    also where the fit failed. 'icefloe extract' gives each particle the defocus of its place.
    """
    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.ctf_local import local_line, picture_surface, write_local
    from icefloe.cli.ctf_pictures import write_ctf_picture
    from icefloe.cli.inputs import expand_micrographs, failures_exit
    from icefloe.errors import FitError, IcefloeError
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_ctf import micrographs_ctf

    settings = _settings(choices)
    items = expand_micrographs(
        micrographs,
        pixel_size=pixel_size,
        voltage=voltage,
        cs=cs,
        amplitude_contrast=amplitude_contrast,
    )
    rows: list[dict[str, Any]] = []
    groups: list[OpticsGroup] = []
    failed = 0
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for item in progress.track(items, description="Fitting"):
            try:
                result, further = _fit(item, settings, device)
                if pictures:
                    write_ctf_picture(item, result, settings, out, *picture_surface(further))
                if result.failed:
                    raise FitError(
                        f"{', '.join(result.flags)} (signal to noise {result.snr:.1f})",
                        hint="; ".join((*result.advice, "Left out of micrographs_ctf.star")),
                    )
                _write(item, result, settings, out)
                write_local(out / f"{item.name}_local.json", further)
            except IcefloeError as error:
                failed += 1
                console.print(f"{item.name}: error: {error}")
                continue
            rows.append(_row(item, result, out, _group_number(item.optics, groups)))
            console.print(f"{item.name}: {_line(result)}{local_line(further)}")
    if rows:
        write_star(out / "micrographs_ctf.star", micrographs_ctf(rows, groups))
    failures_exit(failed, len(items))


def _settings(choices: dict[str, Any]) -> CtfSettings:
    from icefloe.ctf import CtfSettings

    given = {k: v for k, v in choices.items() if v is not None}
    if "resolution" in given:
        given["low_resolution"], given["high_resolution"] = given.pop("resolution")
    if "local" in given:
        given["local"] = "on" if given["local"] else "off"
    if "phase_range" in given:
        given["phase_shift_min"], given["phase_shift_max"] = given.pop("phase_range")
    return checked(CtfSettings, given)


def _fit(
    item: MicrographInput, settings: CtfSettings, device: str
) -> tuple[CtfResult, dict[str, Any]]:
    from icefloe.ctf import estimate_ctf, estimate_ctf_from_spectrum, further_numbers
    from icefloe.errors import MissingMetadataError
    from icefloe.formats.image import read_image

    optics: dict[str, Any] = {
        "voltage": item.optics.voltage,
        "cs": item.optics.cs,
        "amplitude_contrast": item.optics.amplitude_contrast,
        "settings": settings,
    }
    listed = item.listed("rlnCtfPowerSpectrum")
    size = item.optics.micrograph_pixel_size
    if listed is not None:
        image = read_image(listed)
        if image.pixel_size is None:
            raise MissingMetadataError(
                f"The pixel size of {listed} is not known: its header has none",
                hint="Make it again, or give the micrograph itself",
            )
        result = estimate_ctf_from_spectrum(image.data, pixel_size=image.pixel_size, **optics)
        if settings.local == "off" and not settings.thickness:
            return result, {}
    data = read_image(item.listed("rlnMicrographNameNoDW") or item.path).data
    if listed is None:
        result = estimate_ctf(data, pixel_size=size, device=device, **optics)
    return further_numbers(result, data, pixel_size=size, settings=settings)


def _write(item: MicrographInput, result: CtfResult, settings: CtfSettings, out: Path) -> None:
    from icefloe.formats.atomic import write_text
    from icefloe.formats.mrc import write_mrc
    from icefloe.interop.relion_ctf import ctffind_avrot_text, ctffind_text

    numbers, name = result.numbers(), str(item.path)
    write_mrc(out / f"{item.name}.ctf", result.diagnostic, result.spectrum_pixel_size)
    write_text(out / f"{item.name}_ctf.txt", ctffind_text(numbers, name, settings))
    write_text(out / f"{item.name}_ctf_avrot.txt", ctffind_avrot_text(numbers, name, settings))


def _row(item: MicrographInput, result: CtfResult, out: Path, group: int) -> dict[str, Any]:
    return {
        "micrograph": item.row.get("rlnMicrographName", item.path),
        "no_dw": item.row.get("rlnMicrographNameNoDW"),
        "optics_group": group,
        "ctf_image": f"{out / item.name}.ctf:mrc",
        "ctf": result.numbers(),
        "row": item.row,
    }


def _group_number(optics: OpticsGroup, groups: list[OpticsGroup]) -> int:
    """Return the number of a group in the output; adds it, renumbered where that is taken."""
    from dataclasses import replace

    for group in groups:
        if replace(group, number=optics.number, name=optics.name) == optics:
            return group.number
    taken = {g.number for g in groups}
    number = optics.number if optics.number not in taken else max(taken) + 1
    name = optics.name
    if name in {g.name for g in groups}:
        name = f"opticsGroup{number}"
    groups.append(replace(optics, number=number, name=name))
    return number


def _line(result: CtfResult) -> str:
    p, errors = result.parameters, result.errors
    text = (
        f"defocus {p.defocus / 1e4:.3f} µm +- {errors.defocus:.0f} A, "
        f"astigmatism {p.astigmatism:.0f} +- {errors.astigmatism:.0f} A "
        f"at {p.defocus_angle:.0f} +- {errors.angle:.0f} degrees, "
    )
    if p.phase_shift:
        text += f"phase shift {p.phase_shift:.0f} +- {errors.phase_shift:.0f} degrees, "
    text += f"rings to {result.fit_resolution:.1f} A"
    return "; ".join((text, *result.flags, *result.advice))
