"""`icefloe curate`: which exposures are kept, by rules and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.session_options import session_directory

if TYPE_CHECKING:
    from icefloe.curation import Curation, Rule
    from icefloe.project import ExposureRecord, Project

__all__ = ["command"]

_NAMES_SHOWN = 6
_MANY: dict[str, Any] = {"multiple": True, "metavar": "NAME"}


@click.command(
    "curate",
    help="""Accept or reject the exposures of a session, by rules and by hand.

    Without --apply it shows what the rules would take and changes nothing. A rule is what an
    exposure must fulfil, for example

    \b
      --rule 'ctf.fit_resolution <= 6'
      --rule 'z(motion.motion_total) < 4'
      --rule "no flag 'no signal'"
      --rule '5000 <= ctf.defocus <= 30000'
      --rule 'ctf.astigmatism < 500 or z(ctf.astigmatism, 100) < 4'

    z(...) is the distance from the session's median in robust standard deviations, or from that
    of the 100 exposures nearest in order. The rules are the session's, or the built-in ones as
    long as it has none; --rule adds to them.

    --reject, --accept and --undo take names or patterns such as 'grid2_*', are written at once,
    and win over rules, whatever these become later.
    """,
)
@session_directory
@click.option("--rule", "texts", multiple=True, metavar="RULE", help="A further rule.")
@click.option(
    "--rules",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Take the rules of this file instead of the session's.",
)
@click.option(
    "--defaults/--no-defaults",
    "defaults",
    default=None,
    help="Begin with the built-in rules, or with none, instead of the session's.",
)
@click.option(
    "--apply/--preview",
    "apply",
    default=False,
    help="Keep these rules and write the lists; or only show what they take [preview].",
)
@click.option("--reject", **_MANY, help="Reject an exposure by hand.")
@click.option("--accept", **_MANY, help="Accept an exposure by hand.")
@click.option("--undo", **_MANY, help="Take back a decision by hand: the rules count again.")
@click.option("--reason", default="", metavar="TEXT", help="Why you decided so.")
@click.option("--all-names", is_flag=True, help="Name every exposure that a rule takes.")
@click.option("--numbers", is_flag=True, help="List the numbers that rules can be about.")
def command(
    directory: Path,
    texts: tuple[str, ...],
    file: Path | None,
    defaults: bool | None,
    apply: bool,
    reject: tuple[str, ...],
    accept: tuple[str, ...],
    undo: tuple[str, ...],
    reason: str,
    all_names: bool,
    numbers: bool,
) -> None:
    """Show or write the verdicts."""
    from icefloe.curation.indexed import session_index
    from icefloe.curation.store import curate, rules_path, write_lists, write_rules
    from icefloe.project import Project

    project = Project.open(directory)
    with session_index(project, lambda text: click.echo(text, err=True)) as index:
        records = index.records()
    by_hand = {"reject": reject, "accept": accept, "undo": undo}
    if reason and not any(by_hand.values()):
        raise click.UsageError("--reason goes with --reject, --accept or --undo.")
    if numbers:
        _print_numbers(records)
        return
    rules, source = _rules(project, file, defaults, texts, records)
    decided = _decide(project, by_hand, reason, [r.name for r in records])
    curation = curate(project, rules, records)
    click.echo(f"{project.root}: {len(records)} exposures, {source}")
    _print_rules(curation, all_names)
    _print_by_hand(project, curation)
    _print_totals(curation)
    if apply:
        write_rules(rules_path(project), rules)
    if apply or decided:
        # What stands on disk follows from the session's own rules.
        own, _ = _rules(project, None, None, (), records)
        shown = own if rules_path(project).is_file() else ()
        for path in write_lists(project, curate(project, shown, records)):
            click.echo(f"wrote {path}")
    else:
        click.echo("Nothing was written; --apply does.")


def _rules(
    project: Project,
    file: Path | None,
    defaults: bool | None,
    texts: Sequence[str],
    records: Sequence[ExposureRecord],
) -> tuple[tuple[Rule, ...], str]:
    """Return the rules to use and where they come from."""
    from icefloe.curation import DEFAULT_RULES, parse_rule, read_rules
    from icefloe.curation.store import rules_path

    if file is not None and defaults is not None:
        raise click.UsageError("Give either --rules or --defaults / --no-defaults.")
    own = rules_path(project)
    base: tuple[Rule, ...]
    if file is not None:
        base, source = read_rules(file), f"rules of {file}"
    elif defaults is False:
        base, source = (), "the rules given here"
    elif defaults is None and own.is_file():
        base, source = read_rules(own), "the session's rules"
    else:
        base, source = DEFAULT_RULES, "the built-in rules"
    more = tuple(parse_rule(text) for text in texts)
    _check_names(more, records)
    if base and more:
        source += f" and {len(more)} more"
    return (*base, *more), source


def _check_names(rules: Sequence[Rule], records: Sequence[ExposureRecord]) -> None:
    import difflib

    from icefloe.curation.measures import number_names
    from icefloe.errors import SettingsError

    known = number_names(records)
    for rule in rules:
        for name in rule.names:
            if known and name not in known:
                close = difflib.get_close_matches(name, known, 1)
                raise SettingsError(
                    f"No exposure has a number '{name}'",
                    "one that 'icefloe curate --numbers' lists",
                    f"Did you mean '{close[0]}'?" if close else "",
                )


def _decide(
    project: Project, by_hand: dict[str, tuple[str, ...]], reason: str, names: Sequence[str]
) -> bool:
    """Write the decisions to the journal; return whether there were any."""
    from icefloe.curation import add_decisions

    chosen = {choice: _matching(patterns, names) for choice, patterns in by_hand.items()}
    twice = sorted(set(chosen["accept"]) & set(chosen["reject"]))
    if twice:
        raise click.UsageError(f"{twice[0]} is both accepted and rejected.")
    add_decisions(project, "undo", chosen["undo"], reason)
    add_decisions(project, "reject", chosen["reject"], reason)
    add_decisions(project, "accept", chosen["accept"], reason)
    return any(chosen.values())


def _matching(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that are given, or that a pattern matches, in order."""
    import difflib
    from fnmatch import fnmatchcase

    from icefloe.errors import ProjectError

    found: set[str] = set()
    for pattern in patterns:
        # A name may itself hold brackets or stars.
        hits = [pattern] if pattern in names else [n for n in names if fnmatchcase(n, pattern)]
        if not hits:
            close = difflib.get_close_matches(pattern, names, 1)
            raise ProjectError(
                f"There is no exposure '{pattern}' in this session",
                hint=f"Did you mean '{close[0]}'?" if close else "",
            )
        found.update(hits)
    return [name for name in names if name in found]


def _print_rules(curation: Curation, all_names: bool) -> None:
    if not curation.counts:
        click.echo("No rules.")
        return
    click.echo(f"\n{'takes':>6}{'only it':>9}{'unknown':>9}  rule")
    for count in curation.counts:
        numbers = f"{len(count.taken):>6}{len(count.only):>9}{count.unknown:>9}"
        click.echo(f"{numbers}  {count.rule}")
        limit = len(count.taken) if all_names else _NAMES_SHOWN
        names = ", ".join(count.taken[:limit])
        if len(count.taken) > limit:
            names += f" and {len(count.taken) - limit} more"
        if names:
            click.echo(f"{'':>26}{names}")


def _print_by_hand(project: Project, curation: Curation) -> None:
    from icefloe.curation.journal import journal_path, read_journal, read_limits

    for chosen in read_limits(project)[-1:]:
        set_ = [f"{key} {value:g}" for key, value in chosen.limits.items() if value is not None]
        what = ", ".join(set_) or "none"
        click.echo(f"\nLimits of the picks, chosen by {chosen.who} ({chosen.time}): {what}")
    decided = [v for v in curation.verdicts.values() if v.by == "person"]
    if decided:
        click.echo("\nBy hand:")
        for verdict in decided:
            click.echo(f"  {verdict.name}  {verdict.state}: {verdict.reasons[0]}")
    _, broken = read_journal(project)
    if broken:
        click.echo(f"{journal_path(project)}: {broken} lines cannot be read", err=True)


def _print_totals(curation: Curation) -> None:
    failed = sum(v.by == "failure" for v in curation.verdicts.values())
    counts = [f"{len(curation.names('accepted'))} accepted"]
    counts.append(f"{len(curation.names('rejected'))} rejected")
    if failed:
        counts[-1] += f" ({failed} because a stage failed)"
    pending = len(curation.names("pending"))
    if pending:
        counts.append(f"{pending} not finished")
    click.echo("\n" + ", ".join(counts))


def _print_numbers(records: Sequence[ExposureRecord]) -> None:
    import numpy as np

    from icefloe.curation.measures import number_names, values_of

    names = number_names(records)
    width = max((len(name) for name in names), default=6)
    click.echo(f"{'number':<{width}}{'known':>7}{'lowest':>12}{'median':>12}{'highest':>12}")
    for name in names:
        values = values_of(records, name)
        values = values[np.isfinite(values)]
        if len(values):
            low, middle, high = np.percentile(values, (0, 50, 100))
            click.echo(f"{name:<{width}}{len(values):>7}{low:>12.5g}{middle:>12.5g}{high:>12.5g}")
