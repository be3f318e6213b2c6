"""`icefloe provenance`: which version, settings and machine made a session's results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from icefloe.project import Project
    from icefloe.project.runs import RunRecord

__all__ = ["command"]


@click.command(
    "provenance",
    help="""Show which version, settings and machine made the results.

    Without EXPOSURE: every run on the session, with the number of results that still stand from
    it. With EXPOSURE: each of its stages, its input, and its files with their checksums.
    """,
)
@click.argument("names", nargs=-1, metavar="[DIRECTORY] [EXPOSURE]")
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    show_default="here",
    help="The session; then EXPOSURE is the only argument.",
)
def command(names: tuple[str, ...], project: Path | None) -> None:
    """Print the runs of a session, or the origin of one exposure's results."""
    rest = list(names)
    directory = project or Path(rest.pop(0) if rest else "")
    exposure = rest.pop(0) if rest else None
    if rest:
        raise click.UsageError(f"Not understood: {' '.join(rest)}")
    _show(directory, exposure)


def _show(directory: Path, exposure: str | None) -> None:
    from icefloe.project import Project
    from icefloe.project.runs import read_runs

    project = Project.open(directory)
    runs, broken = read_runs(project)
    if exposure is None:
        _print_runs(project, runs)
    else:
        _print_exposure(project, exposure, runs)
    if broken:
        click.echo(f"runs.jsonl: {broken} lines cannot be read", err=True)


def _print_runs(project: Project, runs: dict[str, RunRecord]) -> None:
    from icefloe.project import STAGES, read_sidecar

    standing: Counter[str] = Counter()
    for name in project.read_registry():
        for stage in STAGES:
            sidecar = read_sidecar(project.sidecar(name, stage))
            if sidecar is not None:
                standing[sidecar.run] += 1
    for run in runs.values():
        click.echo(f"{run.id}  {run.time}  {run.outcome or 'killed, or still working'}")
        if run.outcome:
            click.echo(f"  exposures    {run.ran}, {run.failed} failed")
        click.echo(f"  results      {standing[run.id]} stand")
        _print_origin(project, run)
    if standing[""]:
        click.echo(f"{standing['']} results are of versions that did not record their runs")


def _print_origin(project: Project, run: RunRecord) -> None:
    from icefloe.project.runs import settings_path

    machine = run.machine
    click.echo(f"  icefloe      {run.version}")
    click.echo(f"  settings     {settings_path(project, run.settings)}")
    for role, identity in run.inputs.items():
        click.echo(f"  {role:<12} {identity.get('path')} ({identity.get('size')} bytes)")
    if machine:
        device = machine.get("accelerator") or machine.get("device", "")
        click.echo(
            f"  machine      {machine.get('host')}, {machine.get('system')}, "
            f"{machine.get('processor')}, {machine.get('threads')} threads, {device}"
        )
        libraries = {"python": machine.get("python"), **machine.get("libraries", {})}
        click.echo(f"  libraries    {', '.join(f'{k} {v}' for k, v in libraries.items())}")
    if run.command:
        click.echo(f"  command      {' '.join(run.command)}")


def _print_exposure(project: Project, name: str, runs: dict[str, RunRecord]) -> None:
    import difflib

    from icefloe.errors import ProjectError
    from icefloe.project import STAGES, read_sidecar

    sources = project.read_registry()
    if name not in sources:
        close = difflib.get_close_matches(name, sources, 1)
        raise ProjectError(
            f"There is no exposure '{name}' in this session",
            hint=f"Did you mean '{close[0]}'?" if close else "",
        )
    click.echo(f"{name}: {project.locate(sources[name])}")
    used: dict[str, None] = {}
    for stage in STAGES:
        sidecar = read_sidecar(project.sidecar(name, stage))
        if sidecar is None:
            continue
        used[sidecar.run] = None
        made = f"run {sidecar.run}" if sidecar.run else "a run that was not recorded"
        click.echo(f"\n{stage}: {sidecar.status}, icefloe {sidecar.version}, {made}")
        if sidecar.input is not None:
            size, time = sidecar.input.size, sidecar.input.mtime_ns
            click.echo(f"  from {sidecar.input.path} ({size} bytes, changed at {time} ns)")
        for upstream, fingerprint in sidecar.upstream.items():
            click.echo(f"  from {upstream} {fingerprint}")
        click.echo(f"  settings {sidecar.settings_hash}, result {sidecar.fingerprint or 'stale'}")
        for role, path in sidecar.files.items():
            written = sidecar.written.get(role)
            about = f"  {written.size} bytes  {written.checksum}" if written else ""
            click.echo(f"  wrote {path}{about}")
    for run in used:
        if run in runs:
            click.echo(f"\nrun {run}, {runs[run].time}")
            _print_origin(project, runs[run])
