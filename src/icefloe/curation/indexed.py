"""A session's index with the decisions and verdicts in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from icefloe.curation.evaluate import Verdict
from icefloe.curation.journal import journal_path, read_journal
from icefloe.curation.store import load_curation, rules_path
from icefloe.errors import SettingsError
from icefloe.project import Project
from icefloe.project.index import Index, open_index

__all__ = ["session_index"]


@contextmanager
def session_index(project: Project, tell: Callable[[str], None] | None = None) -> Iterator[Index]:
    """Give the index of a session with every table brought up to date.

    Parameters
    ----------
    project
        The session.
    tell
        Is told when an index was thrown away, or could not be written.

    There are no verdicts while the file of rules cannot be read.
    """
    with open_index(project, tell) as index:
        _refresh_decisions(index, project)
        _refresh_verdicts(index, project)
        yield index


def _refresh_decisions(index: Index, project: Project) -> None:
    made_from = _state(journal_path(project))
    if index.made_from("decisions") != made_from:
        decisions, _ = read_journal(project)
        rows = (
            (i, d.time, d.who, d.exposure, d.decision, d.reason) for i, d in enumerate(decisions, 1)
        )
        index.replace("decisions", rows, made_from=made_from)


def _refresh_verdicts(index: Index, project: Project) -> None:
    # Forgotten by the index when any exposure changes: rules compare exposures with each other.
    made_from = f"{_state(journal_path(project))} {_state(rules_path(project))}"
    if index.made_from("verdicts") != made_from:
        verdicts: Mapping[str, Verdict] = {}
        with suppress(SettingsError):  # a command that needs the rules says what is wrong
            if rules_path(project).is_file() or journal_path(project).is_file():
                curation = load_curation(project, index.records())
                verdicts = {} if curation is None else curation.verdicts
        rows = (
            (v.name, v.state, v.by, json.dumps(v.reasons, ensure_ascii=False))
            for v in verdicts.values()
        )
        index.replace("verdicts", rows, made_from=made_from)


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "none"
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"
