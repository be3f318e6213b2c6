"""`icefloe serve`: a page about a session in the browser."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from icefloe.cli.session_options import session_directory

if TYPE_CHECKING:
    from icefloe.project import Project

__all__ = ["command"]


@click.command(
    "serve",
    help="""Show a session in the browser, live while it is processed.

    The page is served on this machine only, and only to who has the printed address with its
    token. The second address is for looking only. Ctrl-C ends it; a run goes on. Started again
    within a day it has the same addresses, and pages that are open go on by themselves.

    From another machine: ssh -L 8790:127.0.0.1:8790 THIS-MACHINE, then open the same address.
    """,
)
@session_directory
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8790,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--new-keys",
    is_flag=True,
    help="Make new addresses; otherwise those of the last day go on working after a restart.",
)
@click.option("--calculator", is_flag=True, help="Show the calculator only; needs no session.")
def command(directory: Path, port: int, open_page: bool, new_keys: bool, calculator: bool) -> None:
    """Serve the page until interrupted."""
    from icefloe.errors import IcefloeError
    from icefloe.project import Project

    try:
        from icefloe.web import serve
    except ModuleNotFoundError as error:
        raise IcefloeError(
            f"The page needs the Python package '{error.name}', which is not installed",
            hint="Install it with: pip install 'icefloe[web]'",
        ) from error

    def started(owner: str, guest: str) -> None:
        click.echo("calculator" if calculator else f"{session.root}")
        click.echo(f"  page:          {owner}")
        click.echo(f"  looking only:  {guest}")
        click.echo("Ctrl-C ends it. Keep the addresses to yourself: they hold the keys.")
        if open_page:
            import webbrowser

            webbrowser.open(owner)

    with TemporaryDirectory(prefix="icefloe-") if calculator else nullcontext("") as empty:
        session = _empty(Path(empty) / "s") if calculator else Project.open(directory)
        try:
            serve(session, port, started, new_keys=new_keys, calculator=calculator)
        except KeyboardInterrupt:
            click.echo("The page is closed.")


def _empty(directory: Path) -> Project:
    from icefloe.engine.settings import SessionSettings
    from icefloe.project import Project, write_settings

    session = Project.create(directory)
    write_settings(session.settings_file, SessionSettings())
    return session
