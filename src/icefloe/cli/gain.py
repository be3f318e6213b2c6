"""`icefloe gain`: estimate a gain reference from movies, find its orientation, or apply one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from icefloe._types import FloatArray
    from icefloe.motion import GainComparison, GainEstimate, GainUse

__all__ = ["command"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_OUT = click.Path(path_type=Path, dir_okay=False)
_ENOUGH = 500.0
_BEST, _GIVEN = "#c1440e", "#1f6f8b"


@click.group()
def command() -> None:
    """Estimate, orient or apply a gain reference."""


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

    from icefloe.formats.atomic import output_directory
    from icefloe.formats.mrc import write_mrc

    console = Console(stderr=True, highlight=False)
    output_directory(out.parent)
    found = _sum_movies(movies, console)
    total = found.total
    gain, defects = total.finish()
    write_mrc(out, gain, found.pixel_size)
    console.print(
        f"{out}: {total.n_frames} frames, {total.counts:.0f} counts a pixel "
        f"(error {100 / max(total.counts, 1e-9) ** 0.5:.1f} %), {int(defects.sum())} defects",
        soft_wrap=True,
    )
    if total.counts < _ENOUGH:
        console.print(
            f"warning: {_ENOUGH:.0f} counts a pixel are wanted; use more movies", style="yellow"
        )
    if found.failed:
        raise click.exceptions.Exit(1)


@command.command()
@click.argument("movies", nargs=-1, required=True, type=_FILE)
@click.option("--gain", type=_FILE, required=True, help="Gain reference.")
@click.option("--rotate", type=click.IntRange(0, 3), default=0, help="Quarter turns used now.")
@click.option("--flip", type=click.IntRange(0, 2), default=0, help="Flip used now.")
@click.option("--out", type=_OUT, help="File for a picture (PNG).")
@click.option(
    "--write", type=_OUT, help="File for the gain, oriented and inverted as needed (MRC)."
)
def orient(
    movies: tuple[Path, ...],
    gain: Path,
    rotate: int,
    flip: int,
    out: Path | None,
    write: Path | None,
) -> None:
    """Find the orientation of a gain, and whether it multiplies, from a few raw MOVIES.

    The pattern of pixels in the sum of all frames is compared with what the gain predicts in its
    8 orientations, multiplying and dividing. The exit status is 1 if that cannot be told: the
    gain is flat or symmetric, the counts are too few, or the movies are corrected already.
    """
    from rich.console import Console

    from icefloe.formats.atomic import output_directory
    from icefloe.formats.gain import read_gain
    from icefloe.formats.mrc import write_mrc
    from icefloe.motion import GainUse, compare_gain_uses
    from icefloe.motion.orientation import turned

    console = Console(stderr=True, highlight=False)
    for path in (out, write):
        if path is not None:
            output_directory(path.parent)
    found = _sum_movies(movies, console)
    factors = read_gain(gain, for_eer=found.eer)
    total = found.total.total
    assert total is not None  # _sum_movies raises where nothing was read
    fitted = _at_scale(factors, (int(total.shape[0]), int(total.shape[1])))
    result = compare_gain_uses(total, fitted)
    given = GainUse.make(rotate, flip)
    _tell(result, given, found.total.counts)
    if out is not None:
        _draw(out, total, fitted, result, given)
    if result.verdict != "found":
        raise click.exceptions.Exit(1)
    if write is not None:
        best = result.best
        # The MRC gain of EER movies divides by convention; all others multiply.
        if best.divide != found.eer:
            factors = _inverse(factors)
        write_mrc(write, turned(factors, best.rotate, best.flip).copy(), found.pixel_size)
        click.echo(f"{write}: to be used without turning or flipping")
    if found.failed:
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


@dataclass(frozen=True)
class _Summed:
    total: GainEstimate
    pixel_size: float | None
    eer: bool
    failed: int


def _sum_movies(movies: tuple[Path, ...], console: Console) -> _Summed:
    """Add up the frames of all movies; one that cannot be read is named and left out."""
    from rich.progress import Progress

    from icefloe.errors import IcefloeError, InputError
    from icefloe.formats.movie import open_movie
    from icefloe.motion import GainEstimate

    total = GainEstimate()
    pixel_size: float | None = None
    eer, failed = False, 0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("gain", total=len(movies))
        for path in movies:
            try:
                with open_movie(path) as movie:
                    total.add(movie)
                    pixel_size = pixel_size or movie.pixel_size
                    eer = eer or "camera frames" in movie.details
            except IcefloeError as error:
                failed += 1
                console.print(f"{path}: left out: {error}", style="red", markup=False)
            progress.advance(task)
    if failed == len(movies):
        raise InputError("None of the movies could be read")
    return _Summed(total, pixel_size, eer, failed)


def _at_scale(gain: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return the gain, not turned, at the scale of frames that it may fit after a turn."""
    from icefloe.errors import GainShapeError
    from icefloe.formats.gain import fit_gain

    try:
        return fit_gain(gain, shape)[0]
    except GainShapeError as error:
        try:
            return fit_gain(gain, shape[::-1])[0]
        except GainShapeError:
            raise error from None


def _inverse(gain: FloatArray) -> FloatArray:
    import numpy as np

    alive = gain > 0
    inverse = np.where(alive, 1 / np.where(alive, gain, 1), 0)
    return np.asarray(inverse / inverse[alive].mean(), dtype=np.float32)


def _tell(result: GainComparison, given: GainUse, counts: float) -> None:
    """Print the table and what follows from it."""
    best = result.best
    click.echo("use                           correlation    sigma")
    for i in sorted(range(len(result.uses)), key=lambda i: -result.scores[i]):
        use = result.uses[i]
        click.echo(f"{use!s:<30}{result.scores[i]:>+11.4f}{result.margin(use):>+9.1f}")
    click.echo(f"{counts:.3g} counts a pixel; the gain's pattern is {result.strength:.2%} RMS")
    if result.verdict == "flat":
        click.echo("Cannot tell: the gain has no pattern of pixels.")
    elif result.verdict == "absent":
        click.echo(
            f"The movies do not show this gain's pattern ({result.amplitude:.2f} "
            f"+- {result.amplitude_error:.2f} of it at best): they are corrected already, or it "
            "belongs to another camera, mode or date."
        )
    elif result.verdict == "unclear":
        click.echo(
            f"Cannot tell: the best ({best}) is only {result.confidence:.1f} sigma better than "
            "the next. More movies may tell; a symmetric gain never does."
        )
    else:
        click.echo(f"Best: {best}, by {result.confidence:.1f} sigma.")
        click.echo(f"Use --gain-rotate {best.rotate} --gain-flip {best.flip}")
        if best.divide:
            click.echo("and invert the file, which divides: --write FILE makes one that fits.")
        if given == best:
            click.echo("That is what was given.")
        elif given in result.uses:
            click.echo(
                f"What was given ({given}) is worse by {result.margin(best, given):.1f} sigma."
            )


def _draw(
    path: Path, total: FloatArray, gain: FloatArray, result: GainComparison, given: GainUse
) -> None:
    """Draw the scores, and what the best and the given use do to the sum."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from icefloe.motion.orientation import high_pass_counts, turned

    figure = Figure(figsize=(11, 7.5), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["bars"] * 3, ["curve", "given", "best"]])
    bars, curve = axes["bars"], axes["curve"]
    colors = [{result.best: _BEST, given: _GIVEN}.get(u, "0.6") for u in result.uses]
    bars.bar(range(len(result.uses)), result.scores, color=colors)
    bars.axhline(0, color="0.3", lw=0.8)
    names = [f"{'÷' if u.divide else '×'} rot {u.rotate}\nflip {u.flip}" for u in result.uses]
    bars.set_xticks(range(len(names)), names, fontsize=8)
    bars.set_ylabel("correlation with the sum")
    bars.set_title(f"best: {result.best}, by {result.confidence:.1f} sigma ({result.verdict})")
    counted = high_pass_counts(total)
    shown = tuple(slice(0, min(160, n)) for n in total.shape)
    limit = 3 * float(counted.std())
    curve.axline((0, 0), slope=1, color="0.75", lw=1)
    for key, use, color in (("given", given, _GIVEN), ("best", result.best, _BEST)):
        axis = axes[key]
        axis.set_axis_off()
        if use not in result.uses:
            axis.set_title(f"{key}: {use}: does not fit", fontsize=9)
            continue
        factors = turned(_inverse(gain) if use.divide else gain, use.rotate, use.flip)
        image = high_pass_counts(np.asarray(total * factors))
        axis.imshow(image[shown], cmap="gray", vmin=-limit, vmax=limit, origin="lower")
        axis.set_title(f"{key}: {use}\nRMS {image.std():.4f}, was {counted.std():.4f}", fontsize=9)
        response = high_pass_counts(np.where(factors > 0, 1 / np.maximum(factors, 1e-6), 1.0))
        # Pixels in groups of equal prediction: the noise of one pixel hides what is here.
        groups = np.array_split(np.argsort(response, axis=None, kind="stable"), 20)
        x, y = ([float(v.ravel()[g].mean()) for g in groups] for v in (response, counted))
        curve.plot(x, y, "o-", ms=3, lw=1, color=color, label=key)
    curve.legend(fontsize=8)
    curve.locator_params(axis="x", nbins=5)
    curve.set_xlabel("predicted response of the pixel", fontsize=9)
    curve.set_ylabel("counted", fontsize=9)
    figure.savefig(path, format="png", metadata={"Software": None})
