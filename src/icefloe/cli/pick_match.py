"""What `icefloe pick auto` and `icefloe pick template` share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from icefloe.cli.options import checked, microscope_options, output_options
from icefloe.cli.pick_lists import calibrate_option, defocus_of, write_calibrated, write_list

if TYPE_CHECKING:
    from icefloe._types import BoolArray, FloatArray
    from icefloe.cli.inputs import MicrographInput
    from icefloe.optics import CtfParameters
    from icefloe.picking import MatchSettings, Picks, ScoreMaps, TemplateBank

__all__ = ["SAMPLE", "match_items", "match_options", "match_settings", "run_match"]

F = TypeVar("F", bound=Callable[..., Any])
# Micrographs from which something is learned that holds for all, spread over the list.
SAMPLE = 3
_MICROSCOPE = ("pixel_size", "voltage", "cs", "amplitude_contrast")


def match_options(function: F) -> F:
    """Add what both commands can be told; the command receives all but `out` as a mapping."""
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


def match_items(micrographs: tuple[Path, ...], given: dict[str, Any]) -> list[MicrographInput]:
    """Return the micrographs on the command line."""
    from icefloe.cli.inputs import expand_micrographs

    return expand_micrographs(micrographs, **{k: given[k] for k in _MICROSCOPE})


def match_settings(given: dict[str, Any]) -> MatchSettings:
    """Return the settings that options give."""
    from icefloe.picking import MatchSettings

    values = {k: v for k, v in given.items() if k in MatchSettings.model_fields}
    values |= {"contrast": "bright" if given["bright"] else "dark", "junk": not given["no_junk"]}
    return checked(MatchSettings, values)


def run_match(
    items: list[MicrographInput],
    out: Path,
    settings: MatchSettings,
    bank: TemplateBank | None,
    given: dict[str, Any],
    *,
    use_ctf: bool,
    elsewhere: bool = False,
) -> None:
    """Pick micrographs with templates, and write what all ways of picking write.

    Parameters
    ----------
    items, settings, given
        Micrographs and choices.
    out
        Directory of the results.
    bank
        Templates; None to choose from the maps in ``from_maps`` again.
    use_ctf
        Whether templates are shown through each micrograph's CTF.
    elsewhere
        Whether a crowded or an empty micrograph, whose scores do not part by themselves, is cut by
        those of up to three others, spread over the list. They are matched when first needed.
    """
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.inputs import failures_exit
    from icefloe.errors import IcefloeError
    from icefloe.formats.image import read_image
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import picks_star
    from icefloe.interop.score_maps import load_maps, save_maps
    from icefloe.picking import picks_from_maps

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
                    maps = _scores(item, image, bank, settings, given, use_ctf)
                picks = picks_from_maps(maps, settings)
                if bank is not None and elsewhere and not (picks.split and picks.split.clear):
                    bank = replace(bank, usual=_usual(items, bank, settings, given, use_ctf))
                    elsewhere = False
                if bank is not None and maps.usual != bank.usual:
                    maps = replace(maps, usual=bank.usual)
                    picks = picks_from_maps(maps, settings)
                if given["save_maps"]:
                    save_maps(given["save_maps"], item.name, maps)
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


def _scores(
    item: MicrographInput,
    image: FloatArray,
    bank: TemplateBank,
    settings: MatchSettings,
    given: dict[str, Any],
    use_ctf: bool,
) -> ScoreMaps:
    from icefloe.picking import score_maps

    return score_maps(
        image,
        bank,
        pixel_size=item.optics.micrograph_pixel_size,
        settings=settings,
        ctf=_ctf(item) if use_ctf else None,
        mask=_mask(item, image, given["masks"], settings, bank),
        device=given["device"],
    )


def _usual(
    items: list[MicrographInput],
    bank: TemplateBank,
    settings: MatchSettings,
    given: dict[str, Any],
    use_ctf: bool,
) -> tuple[float, float, float] | None:
    """Return how noise and particles score in some micrographs; None where they do not part."""
    from icefloe.cli.inputs import readable
    from icefloe.errors import IcefloeError
    from icefloe.picking.scored import scores_elsewhere

    found = []
    for item, image in readable(items, SAMPLE):
        # What is wrong with a micrograph is told when its own turn comes.
        with suppress(IcefloeError):
            found.append(_scores(item, image, bank, settings, given, use_ctf))
    return scores_elsewhere(found, settings)


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
