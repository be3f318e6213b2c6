"""`icefloe report`: one self-contained HTML page, or a PDF, about a session."""

from __future__ import annotations

from pathlib import Path

import click

from icefloe.cli.session_options import session_directory

__all__ = ["command"]


@click.command("report")
@session_directory
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The file to write [report/report.html, or report.pdf, in the session].",
)
@click.option(
    "--panels",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Most exposures with a panel of their own; tables and histograms count all.",
)
@click.option(
    "--pdf",
    is_flag=True,
    help="Write a PDF instead: distributions, series and pairs of the session's numbers.",
)
@click.option(
    "--methods",
    is_flag=True,
    help="Print the paragraph for a paper's methods section instead, with references.",
)
def command(directory: Path, out: Path | None, panels: int, pdf: bool, methods: bool) -> None:
    """Write one self-contained HTML page about a session.

    It shows what was done and what failed, how the numbers are distributed and went with time,
    and for each exposure its micrograph with picks, trajectories, spectrum and CTF fit. It needs
    no network and can be mailed. Runs while a session is being processed, too.

    Beside report/report.html it writes report/workflow.json, the same for programs: stages,
    settings, versions, inputs and outputs.
    """
    from icefloe.formats.atomic import output_directory, write_bytes
    from icefloe.project import Project
    from icefloe.report import build_report

    project = Project.open(directory)
    if methods:
        from icefloe.report.workflow import session_methods

        click.echo(session_methods(project).text, nl=False)
        return
    name = "report.pdf" if pdf else "report.html"
    target = out if out is not None else project.root / "report" / name
    output_directory(target.parent)
    if pdf:
        from icefloe.report.session_pdf import session_pdf

        content = session_pdf(project)
    else:
        content = build_report(project, panel_limit=panels).encode()
    write_bytes(target, content)
    if out is None:
        from icefloe.report.workflow import session_workflow

        workflow = target.parent / "workflow.json"
        write_bytes(workflow, f"{session_workflow(project).model_dump_json(indent=1)}\n".encode())
        click.echo(workflow)
    click.echo(f"{target} ({len(content) / 1e6:.1f} MB)")
