"""`icefloe run --watch`: a session that follows the microscope."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, cast

import click

from icefloe.cli.worker_options import WorkerChoice

__all__ = ["watch_session"]

_MAGIC = "*?["


def watch_session(
    project: Path,
    patterns: tuple[str, ...],
    changes: dict[str, dict[str, Any]],
    *,
    retry_failed: bool,
    device: str,
    worker_device: str,
    order: str,
    poll: float,
    until_quiet: float | None,
    workers: WorkerChoice,
    threads: int,
) -> None:
    """Watch, do what comes, and say what came of it."""
    from icefloe.cli.live_display import LiveDisplay
    from icefloe.cli.reference import write_figure
    from icefloe.cli.stop_request import requests_to_stop
    from icefloe.engine import Session
    from icefloe.engine.live import run_live
    from icefloe.engine.live_options import LiveOptions
    from icefloe.engine.setup import open_or_create
    from icefloe.project import Project
    from icefloe.project.live_state import read_state

    if not patterns:
        state = read_state(Project.open(project))
        if state is None:
            raise click.UsageError("--watch needs patterns, such as 'movies/*.tiff' in quotes")
        patterns = state.patterns
    elif len(patterns) > 1 and not any(c in p for p in patterns for c in _MAGIC):
        click.echo(
            f"Watching for {len(patterns)} files by name: the shell may have expanded a pattern. "
            "Put patterns in quotes to see new files.",
            err=True,
        )
    opened, settings = open_or_create(project, changes, may_create=True)
    session = Session(opened, settings, device)
    options = LiveOptions(
        patterns=tuple(os.path.abspath(p) for p in patterns),  # noqa: PTH100
        order=cast(Literal["newest", "oldest"], order),
        poll_seconds=poll,
        quiet_minutes=until_quiet,
    )
    display = LiveDisplay(session)
    with (
        requests_to_stop() as stop,
        workers.pool(opened, device=worker_device, threads=threads) as pool,
        display,
    ):
        summary = run_live(
            session, options, observer=display, retry_failed=retry_failed, stop=stop, pool=pool
        )
    display.summarise(summary)
    if not stop():
        write_figure(session)
    else:
        click.echo("The same command goes on from here.", err=True)
