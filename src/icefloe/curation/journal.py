"""What a person decided: a journal to which lines are only added.

Each line is a JSON object with time, who, exposure, decision and reason. It is flushed to disk
before the command returns. A line that a crash cut short is passed over and does no harm to those
before and after it.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from icefloe.formats.jsonl import append_lines, read_lines
from icefloe.project import Project

__all__ = ["Decision", "LimitsDecision", "add_decisions", "add_limits", "journal_path"]
__all__ += ["read_journal", "read_limits", "standing_decisions"]

Choice = Literal["accept", "reject", "undo"]
_LIMITS = "limits"  # a line about the picks of all exposures


@dataclass(frozen=True)
class Decision:
    """One decision about one exposure.

    Attributes
    ----------
    time
        UTC, ISO 8601.
    who
        Name of the user.
    exposure
        Its name in the session.
    decision
        ``accept`` or ``reject``, which win over the rules, or ``undo``: the rules count again.
    reason
        In the user's words, may be empty.
    """

    time: str
    who: str
    exposure: str
    decision: Choice
    reason: str = ""


@dataclass(frozen=True)
class LimitsDecision:
    """Limits of picks that were chosen for all exposures.

    Attributes
    ----------
    time, who
        As of a `Decision`.
    limits
        The setting ``pick.limits`` from then on.
    """

    time: str
    who: str
    limits: Mapping[str, float | None]


def journal_path(project: Project) -> Path:
    """Return where the journal lies."""
    return project.root / "curation" / "decisions.jsonl"


def read_journal(project: Project) -> tuple[list[Decision], int]:
    """Return all decisions in order, and the number of lines that cannot be read."""
    items, broken = read_lines(journal_path(project))
    found = []
    for item in items:
        if item.get("decision") == _LIMITS:
            continue
        decision = _parse(item)
        if decision is None:
            broken += 1
        else:
            found.append(decision)
    return found, broken


def standing_decisions(decisions: Iterable[Decision]) -> dict[str, Decision]:
    """Return the decision that counts for each exposure: the last one, none after an undo."""
    last: dict[str, Decision] = {}
    for decision in decisions:
        if decision.decision == "undo":
            last.pop(decision.exposure, None)
        else:
            last[decision.exposure] = decision
    return last


def add_decisions(
    project: Project, choice: Choice, exposures: Sequence[str], reason: str = ""
) -> list[Decision]:
    """Write a decision about each exposure to the journal and return them.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    if not exposures:
        return []
    now = datetime.now(UTC).isoformat(timespec="seconds")
    who = _user()
    added = [Decision(now, who, name, choice, reason) for name in exposures]
    append_lines(journal_path(project), map(asdict, added))
    return added


def add_limits(project: Project, limits: Mapping[str, float | None]) -> None:
    """Write to the journal that these limits of picks were chosen.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"time": now, "who": _user(), "decision": _LIMITS, "limits": dict(limits)}
    append_lines(journal_path(project), [line])


def read_limits(project: Project) -> list[LimitsDecision]:
    """Return the limits of picks that were chosen, in order."""
    items, _ = read_lines(journal_path(project))
    return [
        LimitsDecision(str(item.get("time")), str(item.get("who")), dict(item["limits"]))
        for item in items
        if item.get("decision") == _LIMITS and isinstance(item.get("limits"), Mapping)
    ]


def _parse(item: Mapping[str, Any]) -> Decision | None:
    try:
        decision = Decision(**{str(k): str(v) for k, v in item.items()})  # type: ignore[arg-type]
    except TypeError:
        return None
    return decision if decision.decision in get_args(Choice) else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())
