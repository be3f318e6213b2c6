"""What the page may change: decisions by hand, rules, picks by hand. Each is checked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from icefloe.curation import Rule, add_decisions, evaluate, parse_rule, write_rules
from icefloe.curation.measures import number_names
from icefloe.curation.store import rules_path
from icefloe.errors import SettingsError
from icefloe.formats.atomic import output_directory
from icefloe.formats.coordinates import Coordinates, write_coordinates
from icefloe.project import ExposureRecord, Project
from icefloe.project.layout import natural_key
from icefloe.web.exposure import hand_picks_path

__all__ = ["DecisionsIn", "HandPicksIn", "RuleIn", "RulesIn", "decide", "parse_rules"]
__all__ += ["preview_rules", "save_picks", "save_rules"]

_TEXT = 500


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DecisionsIn(_Strict):
    """Decisions about exposures."""

    decision: Literal["accept", "reject", "undo"]
    names: tuple[str, ...] = Field(min_length=1, max_length=20000)
    reason: str = Field(default="", max_length=_TEXT)


class RuleIn(_Strict):
    """One rule, as text."""

    keep: str = Field(min_length=1, max_length=_TEXT)
    reason: str = Field(default="", max_length=_TEXT)


class RulesIn(_Strict):
    """All rules of the session."""

    rules: tuple[RuleIn, ...] = Field(max_length=200)


class HandPicksIn(_Strict):
    """All picks by hand of one micrograph, pixels."""

    name: str
    x: tuple[float, ...] = Field(max_length=50000)
    y: tuple[float, ...] = Field(max_length=50000)


def decide(project: Project, known: Mapping[str, ExposureRecord], asked: DecisionsIn) -> int:
    """Write decisions to the journal; return their number.

    Raises
    ------
    SettingsError
        There is no such exposure; nothing is written then.
    OutputError
    """
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        raise SettingsError(f"There is no exposure '{unknown[0][:80]}' in this session")
    add_decisions(project, asked.decision, list(dict.fromkeys(asked.names)), asked.reason)
    return len(asked.names)


def parse_rules(asked: RulesIn, records: Sequence[ExposureRecord]) -> tuple[Rule, ...]:
    """Return the rules that the texts mean.

    Raises
    ------
    SettingsError
        One cannot be read, or is about a number that no exposure has.
    """
    rules = tuple(parse_rule(rule.keep, rule.reason) for rule in asked.rules)
    known = set(number_names(records))
    for rule in rules:
        for name in rule.names:
            if known and name not in known and not _standard(name):
                raise SettingsError(f"No exposure has a number '{name}'", "one that the page lists")
    return rules


def _standard(name: str) -> bool:
    # The built-in rules are about numbers that a session may not have yet.
    from icefloe.curation import DEFAULT_RULES

    return any(name in rule.names for rule in DEFAULT_RULES)


def preview_rules(rules: Sequence[Rule], records: Sequence[ExposureRecord]) -> dict[str, Any]:
    """Return what each rule takes, without the decisions by hand: numbers of exposures."""
    curation = evaluate(records, rules)
    return {
        "rules": [
            {"keep": str(c.rule), "reason": c.rule.reason}
            | {"takes": len(c.taken), "only": len(c.only), "unknown": c.unknown}
            for c in curation.counts
        ],
        "accepted": len(curation.names("accepted")),
        "rejected": len(curation.names("rejected")),
        "pending": len(curation.names("pending")),
    }


def save_rules(project: Project, rules: Sequence[Rule]) -> None:
    """Make these the session's rules.

    Raises
    ------
    OutputError
    """
    write_rules(rules_path(project), rules)


def save_picks(project: Project, record: ExposureRecord, asked: HandPicksIn) -> int:
    """Write picks by hand as STAR, RELION's coordinates; return their number.

    Raises
    ------
    SettingsError
        Not as many x as y, or a pick outside the micrograph.
    OutputError
    """
    from icefloe.report.summary import micrograph_geometry

    x, y = np.asarray(asked.x, dtype=np.float64), np.asarray(asked.y, dtype=np.float64)
    if len(x) != len(y):
        raise SettingsError(f"{len(x)} x and {len(y)} y", "as many of each")
    shape, _ = micrograph_geometry(record)
    if shape is None:
        raise SettingsError(f"{record.name} has no micrograph yet", hint="Run it first")
    for values, size in ((x, shape[1]), (y, shape[0])):
        if not np.all((values >= -0.5) & (values <= size - 0.5)):  # NaN fails, too
            raise SettingsError("A pick lies outside the micrograph")
    path = hand_picks_path(project, record.name)
    output_directory(path.parent)
    write_coordinates(path, Coordinates(y, x))
    _write_list(project)
    return len(x)


def _write_list(project: Project) -> None:
    """Write the list of all picks by hand, as RELION has it: what other commands take."""
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import coordinate_files

    folder = hand_picks_path(project, "").parent
    rows = [
        (f"micrographs/{path.stem}.mrc", project.listed(path))
        for path in sorted(folder.glob("*.star"), key=lambda path: natural_key(path.stem))
    ]
    write_star(project.picks / "by_hand.star", coordinate_files(rows))
