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

__all__ = ["Decision", "add_decisions", "journal_path", "read_journal", "standing_decisions"]

Choice = Literal["accept", "reject", "undo"]


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


def journal_path(project: Project) -> Path:
    """Return where the journal lies."""
    return project.root / "curation" / "decisions.jsonl"


def read_journal(project: Project) -> tuple[list[Decision], int]:
    """Return all decisions in order, and the number of lines that cannot be read."""
    items, broken = read_lines(journal_path(project))
    found = []
    for item in items:
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
