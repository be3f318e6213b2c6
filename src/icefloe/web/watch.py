"""Keeps the page's table up to date with the files of the session."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from icefloe.curation import (
    Curation,
    Rule,
    evaluate,
    read_journal,
    read_rules,
    standing_decisions,
    write_lists,
)
from icefloe.curation.journal import journal_path
from icefloe.curation.store import figures_only, rules_path
from icefloe.errors import IcefloeError
from icefloe.project import ExposureRecord, Project, load_record
from icefloe.project.index import Index, open_index
from icefloe.web.places import read_places
from icefloe.web.scores import pick_scores
from icefloe.web.table import Table

__all__ = ["Watch", "current_rules"]

_ANY_PICKED = "SELECT 1 FROM stages WHERE stage = 'pick' LIMIT 1"

Signature = tuple[tuple[Any, ...], ...]


def current_rules(project: Project) -> tuple[Rule, ...]:
    """Return the rules that the session has; none until some were saved.

    Raises
    ------
    SettingsError
        Their file cannot be read.
    """
    path = rules_path(project)
    return read_rules(path) if path.is_file() else ()


class Watch:
    """The session's exposures as of the last `poll`.

    Attributes
    ----------
    project
        The session.
    table
        What is shown; replaced values only under `lock`.
    problem
        Why rules or settings cannot be read; empty if they can.
    """

    def __init__(self, project: Project) -> None:
        self.project, self.table, self.problem = project, Table(), ""
        self.lock = threading.Lock()
        self._polling = threading.Lock()
        self._signatures: dict[str, Signature] = {}
        self._judged: Curation | None = None
        self._stamp: tuple[Any, ...] = ()
        self._off: tuple[str, ...] = ()
        self._read: tuple[tuple[int, ...] | None, tuple[str, ...]] = (None, ())
        self._finished: list[float] = []

    def poll(self) -> bool:
        """Look at the files; return whether anything changed. One thread at a time does."""
        with self._polling:
            return self._poll()

    def judge(self) -> bool:
        """Take over new rules and decisions only, which is quick; return whether they changed."""
        with self._polling:
            records = self.table.records
            verdicts = self._verdicts(records, changed=False)
            with self.lock:
                return self.table.update({}, list(records), verdicts)

    def _poll(self) -> bool:
        self.problem = ""
        off = self._stages_off()
        with open_index(self.project) as index:
            signatures, sources = _signatures(index)
            if off and index.connection.execute(_ANY_PICKED).fetchone():
                off = ()  # what was picked with earlier settings is there to be seen
            fresh: dict[str, ExposureRecord]
            if not self.table.records or off != self._off:
                fresh = {r.name: r for r in index.records(without=off)}
            else:
                fresh = self._reread(signatures, sources, off)
        fresh = {name: record for name, record in fresh.items() if name in signatures}
        gone = len(signatures) != len(self.table.records) or bool(fresh)
        self._signatures, self._off = signatures, off
        self._finished = _last_written(signatures)
        order = list(signatures)
        records = {name: fresh.get(name) or self.table.records[name] for name in order}
        verdicts = self._verdicts(records, changed=gone)
        places = read_places(self.project, fresh)
        with self.lock:
            self.table.places.update(places)
            return self.table.update(fresh, order, verdicts)

    def _reread(
        self, signatures: Mapping[str, Signature], sources: Mapping[str, str], off: tuple[str, ...]
    ) -> dict[str, ExposureRecord]:
        changed = [n for n, s in signatures.items() if self._signatures.get(n) != s]
        return {
            name: figures_only(load_record(self.project, name, sources[name], without=off))
            for name in changed
        }

    def _stages_off(self) -> tuple[str, ...]:
        from icefloe.engine import Session

        stamp = _stamp(self.project.settings_file)
        if stamp != self._read[0]:
            try:
                self._read = (stamp, tuple(Session.open(self.project.root).stages_off()))
            except IcefloeError as error:
                self.problem = str(error)
        return self._read[1]

    def _verdicts(
        self, records: Mapping[str, ExposureRecord], *, changed: bool
    ) -> dict[str, tuple[str, str]]:
        stamp = (_stamp(rules_path(self.project)),)
        if self._judged is None or changed or stamp != self._stamp:
            # The slow part: rules compare every exposure with all others.
            try:
                rules = current_rules(self.project)
            except IcefloeError as error:
                self.problem, rules = str(error), ()
            self._judged, self._stamp = evaluate(list(records.values()), rules), stamp
        found = {n: (str(v.state), str(v.by)) for n, v in self._judged.verdicts.items()}
        decisions, _ = read_journal(self.project)
        for name, decision in standing_decisions(decisions).items():
            if name in found:
                state = "accepted" if decision.decision == "accept" else "rejected"
                found[name] = (state, "person")
        return found

    def pace(self) -> dict[str, float | None]:
        """Return how fast exposures are done, an hour, and for how many seconds they last.

        The pace is that of the last ones; None where it cannot be told.
        """
        last = self._finished
        span = last[-1] - last[0] if len(last) > 2 else 0.0
        if span <= 0:
            return {"per_hour": None, "seconds_left": None}
        with self.lock:
            states = [record.state for record in self.table.records.values()]
        rate = (len(last) - 1) / span
        waiting = sum(state in ("waiting", "stale") for state in states)
        return {"per_hour": round(3600 * rate, 1), "seconds_left": round(waiting / rate)}

    def records(self) -> list[ExposureRecord]:
        """Return the exposures' records without lists, in order."""
        with self.lock:
            return list(self.table.records.values())

    def record(self, name: str) -> ExposureRecord | None:
        """Return an exposure with all its lists, read from its files; None if there is none.

        The name is only ever looked up among those of the session.
        """
        with self.lock:
            known = self.table.records.get(name)
        if known is None:
            return None
        listed = self.project.listed(known.source)
        return load_record(self.project, known.name, listed, without=self._off)

    def scores(self) -> dict[str, Any]:
        """Return how scores and powers of picks are distributed, see `pick_scores`."""
        return pick_scores(self.project, self.records(), self._off)

    def write_lists(self) -> None:
        """Write the lists of accepted and rejected exposures, as 'icefloe curate' does."""
        from icefloe.curation import curate

        if rules_path(self.project).is_file() or journal_path(self.project).is_file():
            rules = current_rules(self.project)
            write_lists(self.project, curate(self.project, rules, self.records()))


def _signatures(index: Index) -> tuple[dict[str, Signature], dict[str, str]]:
    """Return by exposure what its record depends on, in order, and where it comes from."""
    query = "SELECT exposure, stage, size, mtime_ns, inode, missing FROM stages"
    stages: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for name, *rest in index.connection.execute(query):
        stages[name].append(tuple(rest))
    found, sources = {}, {}
    rows = index.connection.execute("SELECT name, source FROM exposures ORDER BY position")
    for name, source in rows:
        found[name] = ((source,), *sorted(stages.get(name, ())))
        sources[name] = source
    return found, sources


def _last_written(signatures: Mapping[str, Signature], count: int = 24) -> list[float]:
    """Return when the exposures that were worked on last were, seconds, in order."""
    times = []
    for _, *stages in signatures.values():
        written = [stage[2] for stage in stages if stage[2]]  # mtime_ns
        if written:
            times.append(max(written) / 1e9)
    return sorted(times)[-count:]


def _stamp(path: Path) -> tuple[int, ...]:
    with suppress(OSError):
        status = path.stat()
        return (status.st_size, status.st_mtime_ns, status.st_ino)
    return ()
