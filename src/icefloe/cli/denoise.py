"""`icefloe denoise`: micrographs for eyes and pickers, and denoisers trained on a user's halves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import checked, microscope_options

if TYPE_CHECKING:
    from icefloe.cli.inputs import MicrographInput
    from icefloe.network import DenoiserStep, DenoiserTrainSettings

__all__ = ["command"]

_FILE = click.Path(path_type=Path, dir_okay=False)
# Extent of the PNG, pixels.
_PICTURE = 1024


@click.command()
@click.argument("micrographs", nargs=-1, type=_FILE)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory for the results; with --train the weights file to write, .safetensors.",
)
@click.option(
    "--model",
    type=_FILE,
    default=None,
    help="Weights that --train wrote, to use or to go on from [the general denoiser].",
)
@click.option(
    "--train",
    "halves",
    type=_FILE,
    default=None,
    help="Train on the halves that this STAR lists, instead: corrected_micrographs.star of icefloe "
    "motion --even-odd or RELION.",
)
@click.option(
    "--keep-noise",
    type=click.FloatRange(0, 1),
    default=None,
    help="Share of the noise left in NAME.mrc, with which pickers do best; 0 for looking at it "
    "[0.5]. NAME.png has none.",
)
@click.option("--steps", type=int, default=None, help="Of --train: batches [400].")
@click.option("--seed", type=int, default=None, help="Of --train: seed of all chance [0].")
@microscope_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option(
    "--threads", default=0, show_default="all cores", type=click.IntRange(0),
    help="Threads to use on the CPU.",
)  # fmt: skip
def command(
    micrographs: tuple[Path, ...],
    out: Path,
    model: Path | None,
    halves: Path | None,
    keep_noise: float | None,
    device: str,
    threads: int,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    **choices: Any,
) -> None:
    """Take noise out of micrographs, for looking and picking.

    MICROGRAPHS are images or a STAR that lists them. Writes NAME.mrc for pickers and NAME.png for
    eyes, and micrographs.star, which icefloe pick reads: the picks fit the original micrographs.
    What is shown is a guess: extract particles from the originals, with `icefloe
    extract ORIGINALS.star --picks picks.star`.
    """
    from icefloe.cli.inputs import expand_micrographs
    from icefloe.errors import SettingsError
    from icefloe.fourier import resolve_device, set_threads

    set_threads(threads)
    place = resolve_device(device)
    given = {k: v for k, v in choices.items() if v is not None}
    if halves is not None and micrographs:
        raise SettingsError("Micrographs and --train were given", "one of the two")
    if halves is None and given:
        raise SettingsError(f"--{next(iter(given))} was given without --train", "both or none")
    if halves is not None and keep_noise is not None:
        raise SettingsError("--keep-noise was given with --train", "one of the two")
    if halves is None and not micrographs:
        raise SettingsError("No micrographs were given", "micrographs, or --train HALVES.star")
    items = expand_micrographs(
        micrographs if halves is None else (halves,),
        pixel_size=pixel_size,
        voltage=voltage,
        cs=cs,
        amplitude_contrast=amplitude_contrast,
    )
    if halves is None:
        _denoise(items, out, model, place, keep_noise)
    else:
        _train(items, halves, out, model, place, given)


def _denoise(
    items: list[MicrographInput],
    out: Path,
    model: Path | None,
    device: str,
    keep_noise: float | None,
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from icefloe.cli.inputs import failures_exit
    from icefloe.errors import IcefloeError
    from icefloe.formats.atomic import output_directory
    from icefloe.network import load_denoiser
    from icefloe.network.denoise import FOR_PICKERS

    weights = load_denoiser(model)
    noise = FOR_PICKERS if keep_noise is None else keep_noise
    output_directory(out)
    done: list[tuple[MicrographInput, Path]] = []
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for item in progress.track(items, description="Denoising"):
            target = out / f"{item.name}.mrc"
            try:
                flags = _one(item, target, weights, device, noise)
            except IcefloeError as error:
                console.print(f"{item.name}: error: {error}")
                continue
            done.append((item, target))
            console.print("; ".join((f"{item.name}: {target} written", *flags)))
    if done:
        _write_list(out / "micrographs.star", done)
        console.print(
            "For looking and picking only: extract from the original micrographs (icefloe extract "
            "ORIGINALS.star --picks picks.star). Icefloe's own pickers need no denoising"
        )
    failures_exit(len(items) - len(done), len(items))


def _one(
    item: MicrographInput, target: Path, weights: Any, device: str, noise: float
) -> tuple[str, ...]:
    """Denoise one micrograph and write it; return what was done to it."""
    from icefloe.engine.preview import micrograph_preview, write_png
    from icefloe.errors import OutputError
    from icefloe.formats.image import read_image
    from icefloe.formats.mrc import write_mrc
    from icefloe.network import denoise_image
    from icefloe.network.denoise import noise_back
    from icefloe.picking.normalise import clean_image

    if target.exists() and target.samefile(item.path):
        raise OutputError(
            f"{target} is the micrograph itself", "another place", "Give another --out"
        )
    size = item.optics.micrograph_pixel_size
    image, flags = clean_image(read_image(item.path).data)
    found = denoise_image(image, pixel_size=size, model=weights, device=device)
    write_mrc(target, noise_back(found, image, noise), size)
    write_png(target.with_suffix(".png"), micrograph_preview(found, size, _PICTURE))
    return flags


def _write_list(path: Path, done: list[tuple[MicrographInput, Path]]) -> None:
    """Write a STAR of the denoised micrographs, with the columns of the originals."""
    import numpy as np

    from icefloe.cli.pick_lists import distinct_optics
    from icefloe.formats.star import StarTable, write_star
    from icefloe.interop.optics import optics_table

    groups, numbers = distinct_optics([item.optics for item, _ in done])
    rows = [
        {**item.row, "rlnMicrographName": str(target), "rlnOpticsGroup": number}
        for (item, target), number in zip(done, numbers, strict=True)
    ]
    columns = [c for c in rows[0] if all(c in row for row in rows)]
    table = StarTable({c: np.array([row[c] for row in rows]) for c in columns})
    write_star(path, {"optics": optics_table(groups), "micrographs": table})


def _train(
    items: list[MicrographInput],
    halves: Path,
    out: Path,
    model: Path | None,
    device: str,
    given: dict[str, Any],
) -> None:
    from icefloe.errors import InputError
    from icefloe.formats.atomic import output_directory
    from icefloe.formats.image import read_image
    from icefloe.network import load_denoiser, save_denoiser, train_denoiser

    if out.suffix != ".safetensors":
        raise InputError(f"--out is {out}", "a name that ends in .safetensors")
    settings = _settings(given)
    first = load_denoiser(model)
    size = items[0].optics.micrograph_pixel_size
    pairs = []
    for item in items:
        odd, even = (item.listed(f"rlnMicrographName{k}") for k in ("Odd", "Even"))
        if odd is None or even is None:
            raise InputError(
                f"{halves} has no halves of {item.name}, or they are not where it says",
                "files in rlnMicrographNameOdd and rlnMicrographNameEven",
                "Run icefloe motion --even-odd",
            )
        if abs(item.optics.micrograph_pixel_size / size - 1) > 0.01:
            raise InputError(f"The micrographs in {halves} have several pixel sizes", "one")
        pairs.append((read_image(odd).data, read_image(even).data))
    output_directory(out.parent)
    done = train_denoiser(
        pairs, pixel_size=size, start=first, settings=settings, device=device, name=out.stem,
        progress=_report,
    )  # fmt: skip
    for flag in done.flags:
        click.echo(flag, err=True)
    save_denoiser(out, done.model)
    before, best = done.history[0], done.history[done.best]
    click.echo(
        f"Squared difference from the other half, validation strips: {before.check_loss:.5f} "
        f"before, {best.check_loss:.5f} after {best.step} batches. {out} written.",
        err=True,
    )


def _report(step: DenoiserStep) -> None:
    click.echo(
        f"batch {step.step}: loss {step.loss:.5f}, validation loss {step.check_loss:.5f}", err=True
    )


def _settings(given: dict[str, Any]) -> DenoiserTrainSettings:
    from icefloe.network import DenoiserTrainSettings

    return checked(DenoiserTrainSettings, given)
