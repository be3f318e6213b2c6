"""`icefloe run`: all stages for every exposure of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icefloe.cli.session_options import project_option, session_options
from icefloe.cli.worker_options import WorkerChoice, worker_options

__all__ = ["command"]


@click.command(
    "run",
    help="""Process a session: all stages for every exposure.

    FILES are movies or finished micrographs (quoted patterns such as 'movies/*.tiff' work too);
    they are added to the session. Without FILES the exposures that the session knows are brought
    up to date: only what is new, or depends on something that changed, is done.

    Particles are found without being told their size: after the first good exposures templates are
    made from them, and where torch is installed a network learns the particle from what those find
    (picks/reference); with it all are picked. --diameter helps; --pick auto leaves it at the
    templates, --pick blob needs only the diameter, --templates picks with class averages or a map,
    --pick network with a trained network (the general one, or --model), --pick none not at all.

    A session that does not exist is made, if FILES are given. Options that are given are written
    into its icefloe.toml.

    With --watch FILES are patterns that are watched: movies are done as they come, until Ctrl-C or
    --until-quiet (docs/live.md). Without FILES those of the last time are watched.

    With --test-on N nothing in the session changes: the given settings are tried on N of its
    exposures, and old and new results are shown side by side. --adopt takes them over.

    An exposure that fails is recorded with its reason and the others go on; the exit status is 0
    if the run came to its end, and 1 if it could not (a full disk, a gain that cannot be read).
    """,
)
@click.argument("files", nargs=-1, type=click.Path())
@project_option
@session_options
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--watch", is_flag=True, help="Go on and do movies as they come.")
@click.option(
    "--until-quiet",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="With --watch: end when no movie came for so long.",
)
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    default="newest",
    show_default=True,
    help="With --watch: which movie comes first.",
)
@click.option(
    "--poll",
    type=click.FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: time between two looks.",
)
@click.option(
    "--test-on",
    type=click.IntRange(1),
    metavar="N",
    help="Try the given settings on N exposures, beside the session.",
)
@click.option("--adopt", is_flag=True, help="Take over the settings of the last --test-on.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option(
    "--threads",
    default=0,
    show_default="all cores",
    type=click.IntRange(0),
    help="Threads to use on the CPU.",
)
@worker_options
def command(
    files: tuple[str, ...],
    project: Path,
    changes: dict[str, dict[str, Any]],
    retry_failed: bool,
    watch: bool,
    until_quiet: float | None,
    order: str,
    poll: float,
    test_on: int | None,
    adopt: bool,
    device: str,
    threads: int,
    workers: WorkerChoice,
) -> None:
    """Add the files, run, and say what came of it."""
    _check_options(watch, until_quiet, test_on, adopt, files, changes)
    from icefloe.cli.progress import RunDisplay
    from icefloe.cli.reference import write_figure
    from icefloe.engine import Session, expand_inputs, register, run_session
    from icefloe.engine.setup import open_or_create
    from icefloe.fourier import resolve_device, set_threads

    set_threads(threads)
    resolved = resolve_device(device)
    if test_on is not None:
        from icefloe.cli.trial import show_trial

        show_trial(project, changes, test_on, resolved)
        return
    if adopt:
        from icefloe.engine.trial import adopted_changes

        changes = adopted_changes(project)
    if watch:
        from icefloe.cli.watch import watch_session

        watch_session(
            project,
            files,
            changes,
            retry_failed=retry_failed,
            device=resolved,
            worker_device=device,
            order=order,
            poll=poll,
            until_quiet=until_quiet,
            workers=workers,
            threads=threads,
        )
        return
    paths = expand_inputs(files)  # before anything is made, in case they are mistyped
    opened, settings = open_or_create(project, changes, may_create=bool(files))
    session = Session(opened, settings, resolved)
    names = register(opened, [p for p in paths if p.resolve() not in session.shared_files()])
    if not opened.read_registry():
        click.echo("The session has no exposures yet. Give movies or micrographs.", err=True)
        return
    with (
        workers.pool(opened, device=device, threads=threads) as pool,
        RunDisplay(session, len(names)) as display,
    ):
        summary = run_session(session, observer=display, retry_failed=retry_failed, pool=pool)
    write_figure(session)
    display.summarise(summary)


def _check_options(
    watch: bool,
    until_quiet: float | None,
    test_on: int | None,
    adopt: bool,
    files: tuple[str, ...],
    changes: dict[str, dict[str, Any]],
) -> None:
    if until_quiet is not None and not watch:
        raise click.UsageError("--until-quiet needs --watch")
    if test_on is not None and (watch or adopt or files):
        raise click.UsageError("--test-on goes with settings, not with files, --watch or --adopt")
    if test_on is not None and not changes:
        raise click.UsageError("--test-on needs settings to try, such as --set pick.threshold=4")
    if adopt and changes:
        raise click.UsageError("--adopt takes the settings of the last --test-on; give no others")
