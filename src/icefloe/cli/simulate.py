"""`icefloe simulate`: movies with a known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["command"]


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory for the results; made if it does not exist.",
)
@click.option("--movies", default=6, show_default=True, type=click.IntRange(1), help="How many.")
@click.option(
    "--format",
    "kind",
    default="tiff",
    show_default=True,
    type=click.Choice(["mrc", "tiff", "eer"]),
    help="Format of the movies.",
)
@click.option(
    "--aligned",
    is_flag=True,
    help="Write aligned micrographs (MRC) instead of movies: no motion, no gain.",
)
@click.option(
    "--size", default=2048, show_default=True, type=click.IntRange(32), help="Frame side, pixels."
)
@click.option("--frames", default=20, show_default=True, type=click.IntRange(1), help="Frames.")
@click.option("--pixel-size", default=1.0, show_default=True, help="Pixel size, A.")
@click.option("--dose-per-frame", default=1.2, show_default=True, help="Electrons per A^2.")
@click.option("--voltage", default=300.0, show_default=True, help="Acceleration voltage, kV.")
@click.option(
    "--defocus",
    nargs=2,
    type=float,
    default=(8000.0, 22000.0),
    show_default=True,
    help="Smallest and largest defocus, A.",
)
@click.option(
    "--particle",
    default="cage",
    show_default=True,
    help="'cage', or a PDB or mmCIF file (may be .gz).",
)
@click.option(
    "--gain-rotate",
    default=0,
    show_default=True,
    type=click.IntRange(0, 3),
    help="Store the gain so that it needs this many quarter turns (RELION's --gain_rot).",
)
@click.option(
    "--gain-flip",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2),
    help="... and this flip: 1 up-down, 2 left-right (RELION's --gain_flip).",
)
@click.option(
    "--unusable",
    default="none",
    show_default=True,
    type=click.Choice(["none", "drift", "truncated"]),
    help="Ruin one of the movies.",
)
@click.option("--seed", default=0, show_default=True, help="Another number, other movies.")
@click.option(
    "--set",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting, such as tilt=20 or n_particles=100; see docs/simulator.md.",
)
@click.option(
    "--threads",
    default=0,
    show_default="all cores",
    type=click.IntRange(0),
    help="Threads to use on the CPU. The results do not depend on it.",
)
def command(
    out: Path,
    movies: int,
    kind: Any,
    aligned: bool,
    size: int,
    defocus: tuple[float, float],
    unusable: Any,
    others: tuple[str, ...],
    threads: int,
    **chosen: Any,
) -> None:
    """Make movies of single particles with a known truth.

    Motion, CTF, damage, ice, gain and defects follow the physics in docs/simulator.md. The truth
    about NAME is in truth/NAME_truth.npz.
    """
    from icefloe.errors import SettingsError
    from icefloe.fourier import set_threads

    set_threads(threads)
    if unusable != "none" and (aligned or movies < 2):
        raise SettingsError(
            f"--unusable {unusable} for {movies} {'micrographs' if aligned else 'movie'}",
            "at least two movies, without --aligned",
        )

    from icefloe.simulate import MovieFiles, SimulationSettings, simulate_session
    from icefloe.simulate.session import simulate_micrographs

    chosen["n_frames"] = chosen.pop("frames")
    values = {"shape": (size, size)} | chosen | _others(others)
    settings = SimulationSettings.make(**values)

    def report(files: MovieFiles, one: SimulationSettings) -> None:
        size_mb = files.movie.stat().st_size / 1e6
        click.echo(f"{files.movie}  {size_mb:.1f} MB  defocus {one.defocus:.0f} A", err=True)

    if aligned:
        simulate_micrographs(out, movies, settings=settings, defocus_range=defocus, report=report)
        click.echo(f"{movies} micrographs in {out}/micrographs, their truths in {out}/truth")
        return
    session = simulate_session(
        out,
        movies,
        settings=settings,
        defocus_range=defocus,
        format=kind,
        unusable=unusable,
        report=report,
    )
    ny, nx = settings.movie_shape
    click.echo(
        f"{movies} movies of {settings.n_frames} frames, {nx} x {ny} pixels of "
        f"{settings.movie_pixel_size:g} A, {settings.dose_per_frame:g} e/A^2 a frame, in "
        f"{out}/movies; their truths in {out}/truth"
    )
    click.echo(
        f"gain {session.gain} (--gain-rotate {settings.gain_rotate} "
        f"--gain-flip {settings.gain_flip}), defects {session.defects}"
    )
    if session.unusable is not None:
        click.echo(f"{session.unusable} is unusable ({unusable})")


def _others(texts: tuple[str, ...]) -> dict[str, object]:
    """Return the settings of --set NAME=VALUE; pydantic turns the text into numbers."""
    from icefloe.errors import SettingsError

    found: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text}", "NAME=VALUE")
        found[name.strip()] = value.strip()
    return found
