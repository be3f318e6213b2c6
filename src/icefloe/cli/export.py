"""`icefloe export`: a session's results for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from icefloe.cli.session_options import project_option

__all__ = ["command"]


@click.group("export", help="Write a session's results for other programs.")
def command() -> None:
    """Group of the exports."""


@command.command(
    "relion",
    help="""Write RELION's STAR files into the session's directory relion/.

    Paths in them are relative to the session's directory: start RELION there, or give --absolute.
    The directory is made anew each time; one that holds files of others is left alone. Of a
    session that 'icefloe curate' was applied to only accepted exposures are in the lists; the
    others are in rejected_micrographs.star with the reasons.
    """,
)
@project_option
@click.option("--absolute", is_flag=True, help="Write absolute paths.")
def relion(project: Path, absolute: bool) -> None:
    """Write the STAR files and say what is in them."""
    from icefloe.engine import Session
    from icefloe.engine.fact_check import FactCheck
    from icefloe.engine.overview import count_states
    from icefloe.interop.relion_project import export_relion

    session = Session.open(project)
    stale = sum(row["stale"] for row in count_states(session).values())
    if stale:
        click.echo(
            f"{stale} results are older than today's settings; 'icefloe run' brings them up to "
            "date. Exporting what is there.",
            err=True,
        )
    sources = session.project.read_registry()
    facts = FactCheck(session)
    for name, listed in sources.items():  # metadata that came after their movie was done
        facts.record(name, listed)
    written = export_relion(
        session.project,
        session.settings.data.model_dump(mode="json"),
        absolute=absolute,
        data_of=lambda name: session.view(name, sources[name]).facts(),
    )
    for path, rows in written.files.items():
        click.echo(f"{path}: {rows}")
    for note in written.notes:
        click.echo(note, err=True)
    where = "anywhere" if absolute else f"in {session.project.root}"
    click.echo(f"Start RELION {where}.")
