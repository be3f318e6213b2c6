"""What a person decided: a journal to which lines are only added.

Each line is a JSON object with time, who, exposure, decision and reason. It is flushed to disk
before the command returns. A line that a crash cut short is passed over and does no harm to those
before and after it.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from icefloe.errors import OutputError
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
    try:
        lines = journal_path(project).read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise OutputError(f"{journal_path(project)} cannot be read ({error.strerror})") from error
    found, broken = [], 0
    for line in lines:
        if not line.strip():
            continue
        decision = _parse(line)
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
    text = "".join(json.dumps(asdict(d), ensure_ascii=False) + "\n" for d in added)
    path = journal_path(project)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # A line that was cut short must not swallow the next one.
            size = handle.seek(0, os.SEEK_END)
            if size:
                handle.seek(size - 1)
                if handle.read(1) != b"\n":
                    text = "\n" + text
            handle.write(text.encode())
            handle.flush()
            os.fsync(handle.fileno())
        if is_new:
            _sync_directory(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error})",
            "a session directory that you may write to",
        ) from error
    return added


def _parse(line: bytes) -> Decision | None:
    try:
        content = json.loads(line.decode())
        decision = Decision(**{str(k): str(v) for k, v in content.items()})  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError):
        return None
    return decision if decision.decision in get_args(Choice) else None


def _sync_directory(directory: Path) -> None:
    # The name of a new file is safe only when its directory is on disk, too.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())
