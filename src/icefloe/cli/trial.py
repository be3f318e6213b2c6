"""`icefloe run --test-on N`: old and new results side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from icefloe.project import ExposureRecord

__all__ = ["show_trial", "trial_table"]


def show_trial(
    directory: Path, changes: Mapping[str, Mapping[str, Any]], count: int, device: str
) -> None:
    """Try the changes and print the table."""
    from icefloe.cli.progress import RunDisplay
    from icefloe.engine import Session
    from icefloe.engine.trial import run_trial

    session = Session.open(directory, device)
    with RunDisplay(session, count) as display:
        trial = run_trial(session, changes, count, observer=display)
    for line in trial_table(trial.old, trial.new):
        click.echo(line)
    if not trial.summary.ran:
        click.echo("These settings change no result: nothing had to be computed.")
    tried = ", ".join(f"{s}.{k} = {v}" for s, e in changes.items() for k, v in e.items())
    click.echo(f"\nTried: {tried}")
    click.echo(f"The results are in {trial.directory}; the session is as it was. To take it over:")
    click.echo(f"  icefloe run --project {directory} --adopt")


def _defocus(record: ExposureRecord) -> float | None:
    ctf = record.ctf
    return None if ctf is None else (float(ctf["defocus_u"]) + float(ctf["defocus_v"])) / 2e4


def _resolution(record: ExposureRecord) -> float | None:
    return None if record.ctf is None else record.ctf.get("fit_resolution")


def _motion(record: ExposureRecord) -> float | None:
    return record.numbers.get("motion", {}).get("motion_total")


def _picks(record: ExposureRecord) -> float | None:
    return record.numbers.get("pick", {}).get("n_picks")


def _seconds(record: ExposureRecord) -> float | None:
    return sum(record.seconds.values()) or None


_COLUMNS: tuple[tuple[str, Callable[[ExposureRecord], float | None], str], ...] = (
    ("fit to (A)", _resolution, "{:.2f}"),
    ("defocus (µm)", _defocus, "{:.3f}"),
    ("motion (A)", _motion, "{:.1f}"),
    ("picks", _picks, "{:.0f}"),
    ("time (s)", _seconds, "{:.1f}"),
)


def trial_table(old: Sequence[ExposureRecord], new: Sequence[ExposureRecord]) -> list[str]:
    """Return the lines of a table, old and new of each number, with the medians at its end."""
    rows: list[list[str]] = []
    pairs = list(zip(old, new, strict=True))
    values = [[(read(a), read(b)) for a, b in pairs] for _, read, _ in _COLUMNS]
    for index, (before, after) in enumerate(pairs):
        name = before.name if after.failure is None else f"{before.name} (fails now)"
        cells = [
            _pair(column[index], form)
            for column, (_, _, form) in zip(values, _COLUMNS, strict=True)
        ]
        rows.append([name, *cells])
    medians = ["median"]
    for column, (_, _, form) in zip(values, _COLUMNS, strict=True):
        both = [pair for pair in column if pair[0] is not None and pair[1] is not None]
        found: tuple[float | None, float | None] = (None, None)
        if both:
            found = (
                statistics.median(float(a) for a, _ in both if a is not None),
                statistics.median(float(b) for _, b in both if b is not None),
            )
        medians.append(_pair(found, form))
    rows.append(medians)
    head = ["old -> new", *(title for title, _, _ in _COLUMNS)]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        row[0].ljust(widths[0])
        + "".join(f"  {cell.rjust(width)}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in (head, *rows)
    ]


def _pair(pair: tuple[float | None, float | None], form: str) -> str:
    if pair == (None, None):
        return "-"
    old, new = ("none" if value is None else form.format(value) for value in pair)
    return f"{old} -> {new}"
