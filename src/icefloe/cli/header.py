"""`icefloe header`: what is in a file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from icefloe.errors import IcefloeError

__all__ = ["command"]


@click.command("header")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Show what is in FILES: movies, images, gains, defects, tables, coordinates, metadata."""
    from icefloe.formats.describe import describe_file

    failed = False
    for number, path in enumerate(files):
        try:
            facts = describe_file(path)
        except IcefloeError as error:
            click.echo(f"error: {error}", err=True)
            failed = True
            continue
        if number:
            click.echo()
        click.echo(str(path))
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            click.echo(f"  {name:<{width}}  {value}")
    if failed:
        sys.exit(1)
