"""`icefloe reference`: what a session picks with, and how to replace it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from icefloe.cli.session_options import project_option

if TYPE_CHECKING:
    from icefloe.engine import Session

__all__ = ["command", "write_figure"]


@click.command("reference")
@project_option
@click.option(
    "--templates",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    help="Use these instead: class averages (.mrcs, a STAR or .cs), a map, an atomic model.",
)
@click.option(
    "--template-pixel-size", type=float, default=None, help="Theirs, A [from their header]."
)
@click.option(
    "--redo", is_flag=True, help="Make it again from the session's exposures, those of today."
)
def command(
    project: Path, templates: Path | None, template_pixel_size: float | None, redo: bool
) -> None:
    """Show or replace the reference that a session of method auto or learn picks with.

    The reference is made by `icefloe run` from the first good exposures, and lies in
    picks/reference: templates.mrcs, a figure, and reference.json, which says from what and why.
    After it was replaced, `icefloe run` picks all exposures again.
    """
    from icefloe.cli.progress import describe_reference
    from icefloe.engine import Session
    from icefloe.engine.given_templates import given_templates
    from icefloe.engine.reference import Reference
    from icefloe.engine.reference_files import forget_reference, write_reference
    from icefloe.engine.reference_gate import ReferenceGate
    from icefloe.engine.setup import change_settings
    from icefloe.engine.stages import STANDARD_STAGES
    from icefloe.errors import ProjectError
    from icefloe.project import project_lock

    if templates is not None and redo:
        raise click.UsageError("--templates and --redo exclude each other")
    session = Session.open(project)
    if templates is not None or redo:
        with project_lock(session.project):
            if not session.uses_reference():
                changed = change_settings(
                    session.project, session.settings, {"pick": {"method": "auto"}}
                )
                session = Session(session.project, changed)
                click.echo("pick.method is now auto.")
            if templates is not None:
                diameter = session.settings.pick.match_settings().diameter
                bank = given_templates(templates, pixel_size=template_pixel_size, diameter=diameter)
                given = {"file": str(templates.absolute()), "count": len(bank.images)}
                ctf = session.settings.pick.template_ctf
                made = Reference("template", bank.diameter, bank, ctf, given, bank.flags)
                write_reference(session.project, made, origin="user", settings_hash="")
                session.reference_changed()
            else:
                forget_reference(session.project)
                session.reference_changed()
                gate = ReferenceGate(session, STANDARD_STAGES, tell=_say)
                if gate.make(ended=True) is None:
                    raise ProjectError(
                        f"{session.project.root} has no exposure for a reference yet",
                        hint="Run 'icefloe run' first, which makes it",
                    )
        click.echo("Next: 'icefloe run' picks and extracts all exposures with it.")
    elif not session.uses_reference():
        method = session.settings.pick.method
        click.echo(f"pick.method is {method}: no reference is used.")
        return
    click.echo(describe_reference(session))
    write_figure(session)


def _say(what: str) -> None:
    click.echo(f"{what.capitalize()} ...", err=True)


def write_figure(session: Session) -> None:
    """Draw why the reference has its size, beside it, if that is known and not drawn yet."""
    from icefloe.formats.atomic import write_bytes
    from icefloe.report.figures.picks import size_evidence

    stored = session.reference() if session.uses_reference() else None
    path = session.project.reference / "reference.svg"
    if stored is not None and "sizes" in stored.reference.numbers and not path.exists():
        write_bytes(path, size_evidence(stored.reference.numbers, stored.reference.diameter))
