"""`icefloe run`: all stages for every exposure of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icefloe.cli.session_options import project_option, session_options

__all__ = ["command"]


@click.command(
    "run",
    help="""Process a session: all stages for every exposure.

    FILES are movies or finished micrographs (quoted patterns such as 'movies/*.tiff' work too);
    they are added to the session. Without FILES the exposures that the session knows are brought
    up to date: only what is new, or depends on something that changed, is done.

    Particles are found without being told their size: after the first good exposures templates are
    made from them (picks/reference), with which all are picked. --diameter helps; --pick blob
    needs only that, --templates picks with class averages or a map, --pick none not at all.

    A session that does not exist is made, if FILES are given. Options that are given are written
    into its icefloe.toml.

    An exposure that fails is recorded with its reason and the others go on; the exit status is 0
    if the run came to its end, and 1 if it could not (a full disk, a gain that cannot be read).
    """,
)
@click.argument("files", nargs=-1, type=click.Path())
@project_option
@session_options
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option(
    "--threads",
    default=0,
    show_default="all cores",
    type=click.IntRange(0),
    help="Threads to use on the CPU.",
)
def command(
    files: tuple[str, ...],
    project: Path,
    changes: dict[str, dict[str, Any]],
    retry_failed: bool,
    device: str,
    threads: int,
) -> None:
    """Add the files, run, and say what came of it."""
    from icefloe.cli.progress import RunDisplay
    from icefloe.cli.reference import write_figure
    from icefloe.engine import Session, expand_inputs, register, run_session
    from icefloe.engine.setup import open_or_create
    from icefloe.fourier import resolve_device, set_threads

    set_threads(threads)
    resolved = resolve_device(device)
    paths = expand_inputs(files)  # before anything is made, in case they are mistyped
    opened, settings = open_or_create(project, changes, may_create=bool(files))
    session = Session(opened, settings, resolved)
    names = register(opened, [p for p in paths if p.resolve() not in session.shared_files()])
    if not opened.read_registry():
        click.echo("The session has no exposures yet. Give movies or micrographs.", err=True)
        return
    with RunDisplay(session, len(names)) as display:
        summary = run_session(session, observer=display, retry_failed=retry_failed)
    write_figure(session)
    display.summarise(summary)
