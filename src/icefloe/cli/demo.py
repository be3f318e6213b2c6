"""`icefloe demo`: a simulated session from movies to particles, scored against its truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from icefloe.cli.demo_scores import ExposureScore

__all__ = ["command"]


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("icefloe-demo"),
    show_default=True,
    help="Directory for the movies and the session; must be new or an earlier demo.",
)
@click.option("--threads", default=0, show_default="all cores", type=click.IntRange(0),
              help="Threads to use on the CPU.")  # fmt: skip
def command(out: Path, threads: int) -> None:
    """Simulate a session of six movies, process it, and score it against the truth.

    The size of the particles is not told: it is found. One of the movies is unusable on purpose. At
    the end stands a table of how far each result is from the truth, and where the report is. Takes
    about a minute on two cores.
    """
    import time

    from icefloe.cli.demo_scores import score_session
    from icefloe.cli.progress import RunDisplay, duration
    from icefloe.cli.reference import write_figure
    from icefloe.engine import Session, expand_inputs, register, run_session
    from icefloe.engine.setup import open_or_create
    from icefloe.formats.atomic import output_directory, write_text
    from icefloe.fourier import resolve_device, set_threads
    from icefloe.interop.relion_project import export_relion
    from icefloe.report import build_report
    from icefloe.simulate import simulate_session

    set_threads(threads)
    begin = time.perf_counter()
    session_dir = output_directory(out) / "session"
    click.echo(f"Simulating six movies into {out / 'movies'} ...")
    simulated = simulate_session(out, report=lambda files, _: click.echo(f"  {files.movie.name}"))
    click.echo(f"Simulated in {duration(time.perf_counter() - begin)}. Processing:")

    project, settings = open_or_create(session_dir, _session_settings(simulated), may_create=True)
    session = Session(project, settings, resolve_device("auto"))
    register(project, expand_inputs([str(files.movie) for files in simulated.movies]))
    with RunDisplay(session, len(simulated.movies)) as display:
        summary = run_session(session, observer=display)
    write_figure(session)
    display.summarise(summary)

    export_relion(project, settings.data.model_dump(mode="json"), absolute=False)
    page = output_directory(project.root / "report") / "report.html"
    write_text(page, build_report(project))
    _print_scores(score_session(project, out / "truth"))
    click.echo(f"Report:  {page}")
    click.echo(f"RELION:  {project.root / 'relion'} (start RELION in {project.root})")
    click.echo(f"The demo took {duration(time.perf_counter() - begin)}.")


def _session_settings(simulated: Any) -> dict[str, dict[str, Any]]:
    s = simulated.settings
    return {
        "data": {
            "pixel_size": s.movie_pixel_size,
            "voltage": s.voltage,
            "cs": s.cs,
            "amplitude_contrast": s.amplitude_contrast,
            "dose_per_frame": s.dose_per_frame,
            "gain": str(simulated.gain.resolve()),
            "gain_rotate": s.gain_rotate,
            "gain_flip": s.gain_flip,
        },
        # The same with and without torch.
        "pick": {"method": "auto"},
    }


def _print_scores(scores: list[ExposureScore]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Against the truth", title_justify="left")
    table.add_column("exposure")
    for name in ("motion put in, px", "motion left, px", "defocus, A", "defocus error, A",
                 "fit to, A", "picks", "precision", "recall", "AP"):  # fmt: skip
        table.add_column(name, justify="right")
    table.add_column("note")
    for s in scores:
        table.add_row(s.name, *(_cell(v, d) for v, d in (
            (s.motion_in, 2), (s.motion_left, 2), (s.defocus, 0), (s.defocus_error, 0),
            (s.fit_resolution, 1), (s.n_picks, 0), (s.precision, 2), (s.recall, 2),
            (s.average_precision, 2),
        )), s.note)  # fmt: skip
    width = None if Console().is_terminal else 160
    Console(width=width).print(table)


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
