"""`icefloe pick auto` and `icefloe pick template`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from icefloe.cli.options import microscope_options, output_options
from icefloe.cli.pick_lists import calibrate_option, defocus_of, write_calibrated, write_list

if TYPE_CHECKING:
    from icefloe._types import BoolArray, FloatArray
    from icefloe.cli.inputs import MicrographInput
    from icefloe.optics import CtfParameters
    from icefloe.picking import Bootstrap, MatchSettings, Picks, TemplateBank

__all__ = ["auto", "bootstrapped", "template"]

F = TypeVar("F", bound=Callable[..., Any])
# Micrographs from which `auto` makes its template, spread over the list.
_SAMPLE = 3
_MICROSCOPE = ("pixel_size", "voltage", "cs", "amplitude_contrast")


def _options(function: F) -> F:
    for option in (
        click.argument(
            "micrographs", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
        ),
        click.option("--diameter", type=float, default=None, help="Particle diameter, A [found]."),
        click.option(
            "--threshold",
            type=float,
            default=None,
            help="Lowest correlation coefficient to keep [found in each micrograph].",
        ),
        click.option(
            "--max-score", type=float, default=None, help="Highest correlation coefficient [1]."
        ),
        click.option(
            "--min-power",
            type=float,
            default=None,
            help="Lowest power (mean square about the pick), in that of the median pick [0].",
        ),
        click.option(
            "--max-power",
            type=float,
            default=None,
            help="Highest power, in that of the median pick [no limit].",
        ),
        click.option(
            "--low-pass",
            type=float,
            default=None,
            help="Low-pass of the templates, A [what the pixels of the search hold].",
        ),
        click.option(
            "--whiten", is_flag=True, help="Flatten the micrographs' spectrum before matching."
        ),
        click.option(
            "--save-maps",
            type=click.Path(path_type=Path, file_okay=False),
            default=None,
            help="Directory for maps of score, angle and template (.npz and .mrc).",
        ),
        click.option(
            "--from-maps",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            default=None,
            help="Choose picks from the maps in this directory again, without matching.",
        ),
        click.option(
            "--min-distance", type=float, default=None, help="Of two picks, in diameters [0.6]."
        ),
        click.option("--max-picks", type=int, default=None, help="At most so many a micrograph."),
        click.option(
            "--edge", type=float, default=None, help="Keep off the border, in diameters [0.05]."
        ),
        click.option(
            "--max-contrast",
            type=float,
            default=None,
            help="Avoid what has this many times a particle's contrast; 0 avoids nothing [3].",
        ),
        click.option("--bright", is_flag=True, help="Particles are brighter than the ice."),
        click.option("--no-junk", is_flag=True, help="Also pick on carbon and contamination."),
        click.option(
            "--masks",
            type=click.Path(path_type=Path, file_okay=False),
            default=None,
            help="Directory of masks of junk, NAME_mask.mrc, 1 where nothing may be picked: those "
            "that are there are used, the others are written.",
        ),
    ):
        function = option(function)
    function = calibrate_option(function)
    return output_options(microscope_options(function))


@click.command()
@_options
def auto(micrographs: tuple[Path, ...], out: Path, **given: Any) -> None:
    """Find particles with nothing given: size and template come from the data.

    MICROGRAPHS are images or a STAR that lists them. Three of them, spread over the list, give one
    template for all, written as template.mrcs. Writes NAME_picks.star for each, and picks.star,
    which RELION imports and `icefloe extract` reads.
    """
    items, settings = _items(micrographs, given), _settings(given)
    if given["from_maps"]:
        _run(items, out, settings, None, given, use_ctf=False)
        return
    found = bootstrapped(items, settings, out)
    _run(items, out, settings, found.bank, given, use_ctf=False)


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
@_options
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
        _run(_items(micrographs, given), out, _settings(given), None, given, use_ctf=False)
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
    items, settings = _items(micrographs, given), _settings(given)
    if settings.threshold is None and len(items) > 1:
        bank = _with_usual(items, settings, bank, given, use_ctf=not no_ctf)
    _run(items, out, settings, bank, given, use_ctf=not no_ctf)


def _with_usual(
    items: list[MicrographInput],
    settings: MatchSettings,
    bank: TemplateBank,
    given: dict[str, Any],
    *,
    use_ctf: bool,
) -> TemplateBank:
    """Return the bank with the scores of noise and particles in micrographs spread over the list.

    A crowded or an empty micrograph, whose scores do not part by themselves, is cut by those.
    """
    from dataclasses import replace

    from icefloe.cli.inputs import readable
    from icefloe.errors import IcefloeError
    from icefloe.picking import score_maps
    from icefloe.picking.scored import scores_elsewhere

    found = []
    # What is wrong with a micrograph is told when its own turn comes.
    with suppress(IcefloeError):
        for item, image in readable(items, _SAMPLE):
            with suppress(IcefloeError):
                found.append(
                    score_maps(
                        image,
                        bank,
                        pixel_size=item.optics.micrograph_pixel_size,
                        settings=settings,
                        ctf=_ctf(item) if use_ctf else None,
                        mask=_mask(item, image, given["masks"], settings, bank),
                        device=given["device"],
                    )
                )
    return replace(bank, usual=scores_elsewhere(found, settings))


def bootstrapped(items: list[MicrographInput], settings: MatchSettings, out: Path) -> Bootstrap:
    """Make a template from micrographs spread over the list, write it, and say why it is so."""
    from icefloe.cli.inputs import readable
    from icefloe.formats.mrc import write_mrc
    from icefloe.picking import bootstrap_bank

    images = [image for _, image in readable(items, _SAMPLE)]
    pixel_size = items[0].optics.micrograph_pixel_size
    found = bootstrap_bank(images, pixel_size=pixel_size, settings=settings)
    write_mrc(out / "template.mrcs", found.bank.images, found.bank.pixel_size)
    click.echo(_why(found), err=True)
    return found


def _numbers(text: str | None) -> tuple[int, ...]:
    from icefloe.errors import SettingsError

    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise SettingsError(f"--classes is '{text}'", "numbers, such as 1,4,7") from None


def _items(micrographs: tuple[Path, ...], given: dict[str, Any]) -> list[MicrographInput]:
    from icefloe.cli.inputs import expand_micrographs

    return expand_micrographs(micrographs, **{k: given[k] for k in _MICROSCOPE})


def _settings(given: dict[str, Any]) -> MatchSettings:
    from pydantic import ValidationError

    from icefloe.errors import SettingsError
    from icefloe.picking import MatchSettings

    values = {k: v for k, v in given.items() if k in MatchSettings.model_fields and v is not None}
    values |= {"contrast": "bright" if given["bright"] else "dark", "junk": not given["no_junk"]}
    try:
        return MatchSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).replace("_", "-")
        raise SettingsError(f"{name} is {first['input']}: {first['msg']}") from None


def _why(found: Bootstrap) -> str:
    return (
        f"Particles of {found.bank.diameter:.0f} A, from {found.n_windows} of them: "
        f"{found.reason()}"
    )


def _run(
    items: list[MicrographInput],
    out: Path,
    settings: MatchSettings,
    bank: TemplateBank | None,
    given: dict[str, Any],
    *,
    use_ctf: bool,
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.inputs import failures_exit
    from icefloe.errors import IcefloeError
    from icefloe.formats.image import read_image
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import picks_star
    from icefloe.interop.score_maps import load_maps, save_maps
    from icefloe.picking import picks_from_maps, score_maps

    defoci = {i.name: defocus_of(i) for i in items} if given["calibrate"] else {}
    kept: dict[str, tuple[Picks, float]] = {}
    done: list[tuple[MicrographInput, Path]] = []
    diameters: list[float] = []
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    unknown = sum(_ctf(item) is None for item in items) if use_ctf else 0
    if unknown:
        console.print(
            f"The CTF of {unknown} of {len(items)} micrographs is not known: the templates are "
            "compared as they are there. A STAR of `icefloe ctf` has it; --no-ctf if the "
            "templates do."
        )
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for item in progress.track(items, description="Picking"):
            target = out / f"{item.name}_picks.star"
            try:
                if bank is None:
                    maps = load_maps(given["from_maps"], item.name)
                else:
                    image = read_image(item.path).data
                    maps = score_maps(
                        image,
                        bank,
                        pixel_size=item.optics.micrograph_pixel_size,
                        settings=settings,
                        ctf=_ctf(item) if use_ctf else None,
                        mask=_mask(item, image, given["masks"], settings, bank),
                        device=given["device"],
                    )
                if given["save_maps"]:
                    save_maps(given["save_maps"], item.name, maps)
                picks = picks_from_maps(maps, settings)
                if given["calibrate"]:
                    kept[item.name] = picks, defoci[item.name]
                else:
                    write_star(target, picks_star(picks.numbers()))
            except IcefloeError as error:
                console.print(f"{item.name}: error: {error}")
                continue
            done.append((item, target))
            diameters.append(maps.diameter)
            line = f"{item.name}: {len(picks)} picks above {picks.threshold:.3f}"
            console.print("; ".join((line, *picks.flags)))
    if kept:
        write_calibrated(out, kept, console)
    if done:
        usual = None if bank is None else bank.usual
        write_list(out / "picks.star", done, (min(diameters), max(diameters)), usual)
    failures_exit(len(items) - len(done), len(items))


def _ctf(item: MicrographInput) -> CtfParameters | None:
    from icefloe.optics import CtfParameters

    row = item.row
    if "rlnDefocusU" not in row or "rlnDefocusV" not in row:
        return None
    return CtfParameters(
        float(row["rlnDefocusU"]),
        float(row["rlnDefocusV"]),
        float(row.get("rlnDefocusAngle", 0.0)),
        voltage=item.optics.voltage,
        cs=item.optics.cs,
        amplitude_contrast=item.optics.amplitude_contrast,
        phase_shift=float(row.get("rlnPhaseShift", 0.0)),
    )


def _mask(
    item: MicrographInput,
    image: FloatArray,
    folder: Path | None,
    settings: MatchSettings,
    bank: TemplateBank,
) -> BoolArray | None:
    """Return a mask from a file, or write the one found from the image, or None."""
    if folder is None:
        return None
    import numpy as np

    from icefloe.errors import InputError
    from icefloe.formats.atomic import output_directory
    from icefloe.formats.mrc import read_mrc, write_mrc
    from icefloe.picking import whole_mask

    path = output_directory(folder) / f"{item.name}_mask.mrc"
    if path.is_file():
        data, _ = read_mrc(path)
        if data.ndim != 2:
            raise InputError(f"{path} has the shape {data.shape}", "one image")
        return np.asarray(data > 0.5)
    pixel_size = item.optics.micrograph_pixel_size
    diameter = settings.diameter or bank.diameter
    mask = whole_mask(
        image,
        diameter / pixel_size,
        pixel_size=pixel_size,
        bright=settings.contrast == "bright",
    )
    write_mrc(path, mask.astype(np.int8), pixel_size * image.shape[0] / mask.shape[0])
    return mask
