"""`icefloe gain`: estimate a gain reference from movies, or apply one."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_OUT = click.Path(path_type=Path, dir_okay=False)
_ENOUGH = 500.0


@click.group()
def command() -> None:
    """Estimate or apply a gain reference."""


@command.command()
@click.argument("movies", nargs=-1, required=True, type=_FILE)
@click.option("--out", type=_OUT, required=True, help="File for the gain (MRC).")
def estimate(movies: tuple[Path, ...], out: Path) -> None:
    """Estimate the gain from MOVIES of one detector mode.

    The gain is the inverse of the mean of all frames, in the movies' orientation, with median 1
    and zero at defects. It needs some 500 counts a pixel to have an error below 5 %: at 1 count a
    pixel and frame, 13 movies of 40 frames.
    """
    from rich.console import Console
    from rich.progress import Progress

    from icefloe.errors import IcefloeError, InputError
    from icefloe.formats.atomic import output_directory
    from icefloe.formats.movie import open_movie
    from icefloe.formats.mrc import write_mrc
    from icefloe.motion import GainEstimate

    console = Console(stderr=True, highlight=False)
    output_directory(out.parent)
    total = GainEstimate()
    pixel_size: float | None = None
    failed = 0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("gain", total=len(movies))
        for path in movies:
            try:
                with open_movie(path) as movie:
                    total.add(movie)
                    pixel_size = pixel_size or movie.pixel_size
            except IcefloeError as error:
                failed += 1
                console.print(f"{path}: left out: {error}", style="red", markup=False)
            progress.advance(task)
    if failed == len(movies):
        raise InputError("None of the movies could be read")
    gain, defects = total.finish()
    write_mrc(out, gain, pixel_size)
    console.print(
        f"{out}: {total.n_frames} frames, {total.counts:.0f} counts a pixel "
        f"(error {100 / max(total.counts, 1e-9) ** 0.5:.1f} %), {int(defects.sum())} defects",
        soft_wrap=True,
    )
    if total.counts < _ENOUGH:
        console.print(
            f"warning: {_ENOUGH:.0f} counts a pixel are wanted; use more movies", style="yellow"
        )
    if failed:
        raise click.exceptions.Exit(1)


@command.command()
@click.argument("movie", type=_FILE)
@click.option("--gain", type=_FILE, required=True, help="Gain reference.")
@click.option("--rotate", type=click.IntRange(0, 3), default=0, help="Quarter turns, as RELION's.")
@click.option(
    "--flip", type=click.IntRange(0, 2), default=0, help="Then flip: 1 up-down, 2 left-right."
)
@click.option("--out", type=_OUT, required=True, help="File for the corrected movie (MRC stack).")
def apply(movie: Path, gain: Path, rotate: int, flip: int, out: Path) -> None:
    """Multiply the frames of MOVIE by a gain and write them as an MRC stack."""
    import numpy as np

    from icefloe.formats.atomic import output_directory
    from icefloe.formats.gain import fit_gain, orient_gain, read_gain
    from icefloe.formats.movie import open_movie
    from icefloe.formats.mrc import MrcStackWriter

    output_directory(out.parent)
    with open_movie(movie) as frames:
        eer = "camera frames" in frames.details
        factors, notice = fit_gain(
            orient_gain(read_gain(gain, for_eer=eer), rotate, flip), frames.shape
        )
        if notice:
            click.echo(notice, err=True)
        with MrcStackWriter(out, frames.shape, frames.pixel_size, dtype=np.float32) as writer:
            for frame in frames:
                writer.append(frame.astype(np.float32) * factors)
    click.echo(f"{out}: {len(frames)} frames", err=True)
