"""`icefloe verify`: is all that a session recorded still there and unchanged?"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from icefloe.cli.session_options import session_directory

if TYPE_CHECKING:
    from icefloe.project import Project
    from icefloe.project.verify import Finding, Verification

__all__ = ["command"]

_SHOWN = 20


@click.command(
    "verify",
    help="""Check that all files of a session are there and unchanged.

    Every file that a stage wrote is compared with the size and checksum recorded then, every
    movie with its size and time. The exit status is 1 if anything is missing or different. Files
    that no stage recorded, and what a killed run left half written, are named but harmless.

    --redo marks the stages whose files are damaged; 'icefloe run' then makes them again, from
    their input and settings, with the same result.
    """,
)
@session_directory
@click.option("--quick", is_flag=True, help="Compare sizes only; reads no file.")
@click.option("--redo", is_flag=True, help="Let the next run make again what is damaged.")
@click.option(
    "--inputs/--no-inputs",
    default=True,
    help="Look for the movies, too; or not, when they were archived [--inputs].",
)
@click.option("--all", "show_all", is_flag=True, help="List every finding, not the first 20.")
@click.pass_context
def command(
    context: click.Context, directory: Path, quick: bool, redo: bool, inputs: bool, show_all: bool
) -> None:
    """Check, say what was found, and mark what is to be redone."""
    from icefloe.project import Project, project_lock
    from icefloe.project.redo import mark_stale, stages_to_redo

    project = Project.open(directory)
    result = _check(project, quick, inputs)
    shown = None if show_all else _SHOWN
    wrong = result.wrong
    _print("Wrong", wrong, shown)
    _print("Noted", [f for f in result.findings if not f.wrong], shown)
    stages, lost = stages_to_redo(project, result.findings)
    for name, impossible in lost.items():
        click.echo(f"{name}: {', '.join(impossible)} cannot be made again, since the input is gone")
    if stages:
        counts = Counter(stage for chosen in stages.values() for stage in chosen)
        text = ", ".join(f"{stage} of {count}" for stage, count in counts.items())
        if redo:
            with project_lock(project):
                mark_stale(project, stages)
            click.echo(f"Marked: {text} exposures. 'icefloe run --project {directory}' makes them.")
        else:
            click.echo(f"To make again: {text} exposures; 'icefloe verify --redo' marks them.")
    if wrong:
        context.exit(1)
    click.echo("Nothing is wrong.")


def _check(project: Project, quick: bool, inputs: bool) -> Verification:
    import sys

    from icefloe.project.verify import verify_project

    begin = time.perf_counter()

    def progress(count: int, total: int) -> None:
        if count % 20 == 0 or count == total:
            click.echo(f"\r{count} of {total} exposures checked", nl=count == total, err=True)

    tell = progress if sys.stderr.isatty() else None
    result = verify_project(project, quick=quick, inputs=inputs, progress=tell)
    how = "by size" if quick else "by checksum"
    click.echo(
        f"{project.root}: {result.exposures} exposures, {result.files} files "
        f"({result.size / 1e9:.2f} GB) checked {how} in {time.perf_counter() - begin:.1f} s"
    )
    if result.without_checksum:
        click.echo(
            f"{result.without_checksum} files were written by a version that recorded no "
            "checksum: only their structure was checked"
        )
    return result


def _print(title: str, findings: list[Finding], limit: int | None) -> None:
    if not findings:
        return
    click.echo(f"\n{title} ({len(findings)}):")
    for finding in findings[:limit]:
        whose = f"{finding.exposure} {finding.stage}: " if finding.exposure else ""
        click.echo(f"  {whose}{finding.path} {finding.text}")
    if limit is not None and len(findings) > limit:
        click.echo(f"  and {len(findings) - limit} more (--all)")
