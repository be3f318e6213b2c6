"""`icefloe init`: a session directory with its commented settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icefloe.cli.session_options import session_options

__all__ = ["command"]


@click.command("init", help="Make a session directory with its settings file.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@session_options
def command(directory: Path, changes: dict[str, dict[str, Any]]) -> None:
    """Make the session."""
    from icefloe.engine.setup import change_settings, first_settings
    from icefloe.errors import ProjectError
    from icefloe.project import Project

    if (directory / "icefloe.toml").exists():
        raise ProjectError(
            f"{directory} is a session already",
            hint=f"Edit {directory / 'icefloe.toml'}, or give the options to 'icefloe run'",
        )
    project = Project.create(directory)
    settings = change_settings(project, first_settings(), changes)
    click.echo(f"{project.settings_file}: every setting, commented.")
    missing = [
        option
        for option, value in (
            ("--pixel-size", settings.data.pixel_size),
            ("--dose-per-frame", settings.data.dose_per_frame or settings.data.total_dose),
        )
        if value is None
    ]
    if missing:
        click.echo(f"Not set yet: {', '.join(missing)}. Set them there or give them to 'run'.")
    click.echo(f"Next: icefloe run 'movies/*.tiff' --project {directory}")
