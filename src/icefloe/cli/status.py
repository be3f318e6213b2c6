"""`icefloe status`: what of a session is done, waiting or failed."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import click

from icefloe.cli.session_options import session_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icefloe.engine import Session
    from icefloe.engine.plan import Recorded
    from icefloe.project import ExposureRecord

__all__ = ["command"]

_MAX_FAILURES = 20
# What is worth a median: title, stage, key (several are averaged), factor, format.
_FIGURES: tuple[tuple[str, str, tuple[str, ...], float, str], ...] = (
    ("total motion", "motion", ("motion_total",), 1, "{:.1f} A"),
    ("early motion", "motion", ("motion_early",), 1, "{:.1f} A"),
    ("defocus", "ctf", ("defocus_u", "defocus_v"), 1e-4, "{:.2f} µm"),
    ("astigmatism", "ctf", ("astigmatism",), 1, "{:.0f} A"),
    ("CTF fit resolution", "ctf", ("fit_resolution",), 1, "{:.1f} A"),
    ("picks", "pick", ("n_picks",), 1, "{:.0f}"),
    ("particles", "extract", ("n_particles",), 1, "{:.0f}"),
)


@click.command("status", help="Show what of a session is done, waiting or failed.")
@session_directory
@click.option("--all-failures", is_flag=True, help="List every failure, not the first 20.")
def command(directory: Path, all_failures: bool) -> None:
    """Print the table of stages, medians and failures."""
    from icefloe.curation.indexed import session_index
    from icefloe.engine import Session
    from icefloe.engine.gain_check import read_gain_warnings

    session = Session.open(directory)
    off = session.stages_off()
    with session_index(session.project, lambda text: click.echo(text, err=True)) as index:
        recorded = index.stages()
        records = index.records(without=off, stages=recorded)
    click.echo(f"{session.project.root}: {len(records)} exposures")
    if not records:
        return
    _print_stages(session, recorded)
    if off:
        click.echo(f"Picking and extraction are off: {session.why_no_picking()}.")
    elif session.uses_reference():
        from icefloe.cli.progress import describe_reference

        click.echo(describe_reference(session))
    _print_medians(records)
    _print_live(session)
    _print_curation(session, records)
    for warning in read_gain_warnings(session):
        click.echo(f"\nWARNING: {warning}")
    unusable = sum(r.ctf is None and "ctf" in r.numbers for r in records)
    if unusable:
        click.echo(f"\nWithout a usable CTF (no Thon rings): {unusable} exposures")
    failures = [(r.name, r.failure) for r in records if r.failure is not None]
    if failures:
        shown = failures if all_failures else failures[:_MAX_FAILURES]
        click.echo(f"\nFailures ({len(failures)}):")
        for name, failure in shown:
            click.echo(f"  {name}  {failure.stage}: {failure.message}")
        if len(shown) < len(failures):
            click.echo(f"  and {len(failures) - len(shown)} more (--all-failures)")


def _print_live(session: Session) -> None:
    """Say how a live run keeps up, and what is wrong."""
    from icefloe.project.live_log import figures_text, live_figures, read_entries
    from icefloe.project.live_state import read_state
    from icefloe.project.lock import is_locked

    state = read_state(session.project)
    if state is None:
        return
    running = state.running and is_locked(session.project)
    figures = live_figures(read_entries(session.project))
    text = "Live run at work" if running else "Live run (ended)"
    if figures is not None and figures_text(figures):
        text += f": {figures_text(figures)}"
    if state.waiting:
        text += f"; {state.waiting} wait"
    click.echo(f"\n{text}")
    if running:
        click.echo(f"  watching {', '.join(state.patterns)}")
    if state.paused:
        click.echo(f"  paused: {state.paused}")
    for message in state.alarms.values():
        click.echo(f"  ALARM: {message}")
    for path, reason in state.incomplete.items():
        click.echo(f"  not whole: {reason if path in reason else f'{path}: {reason}'}")


def _print_stages(session: Session, recorded: Mapping[str, Recorded]) -> None:
    from icefloe.engine.overview import count_states
    from icefloe.project import STAGES

    counts = count_states(session, recorded=recorded)
    columns = ("done", "failed", "stale", "waiting")
    click.echo(f"\n{'stage':<10}" + "".join(f"{c:>9}" for c in columns))
    for stage in STAGES:
        if stage in counts:
            click.echo(f"{stage:<10}" + "".join(f"{counts[stage][c]:>9}" for c in columns))


def _print_curation(session: Session, records: list[ExposureRecord]) -> None:
    from icefloe.curation import load_curation

    curation = load_curation(session.project, records)
    if curation is None:
        return
    counts = [f"{len(curation.names(s))} {s}" for s in ("accepted", "rejected")]
    pending = len(curation.names("pending"))
    click.echo(f"\nCurated: {', '.join(counts)}{f', {pending} not finished' if pending else ''}")
    for cause, names in curation.by_reason():
        click.echo(f"{len(names):>6}  {cause}")


def _print_medians(records: list[ExposureRecord]) -> None:
    rows = []
    for title, stage, keys, factor, form in _FIGURES:
        found = []
        for record in records:
            numbers = record.ctf if stage == "ctf" else record.numbers.get(stage)
            values = [(numbers or {}).get(key) for key in keys]
            if values and all(v is not None for v in values):
                found.append(factor * statistics.fmean(float(v) for v in values if v is not None))
        if found:
            shown = (statistics.median(found), min(found), max(found))
            rows.append((title, *(form.format(v) for v in shown)))
    if rows:
        click.echo(f"\n{'':<20}{'median':>12}{'lowest':>12}{'highest':>12}")
        for title, median, low, high in rows:
            click.echo(f"{title:<20}{median:>12}{low:>12}{high:>12}")
