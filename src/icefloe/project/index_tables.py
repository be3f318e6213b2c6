"""The tables of the index: brought up to date from the session's files, and read."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from icefloe.project.filesystem import is_network
from icefloe.project.index_files import Listing, list_session
from icefloe.project.index_rows import (
    COLUMNS,
    TABLES,
    VIEWS,
    exposure_rows,
    json_text,
    light_sidecar,
)
from icefloe.project.index_store import (
    MADE_AGAIN,
    UselessIndexError,
    index_path,
    one_writer,
    throw_away,
)
from icefloe.project.layout import STAGES, Project
from icefloe.project.records import ExposureRecord, record_of
from icefloe.project.sidecar import Sidecar

__all__ = ["SCHEMA", "Index", "Tell"]

# Raise the number when what stands in a column changes; columns and stages count by themselves.
SCHEMA = zlib.crc32("\n".join(("1", *TABLES, *VIEWS)).encode()) & 0x7FFFFFFF
_COMMIT_EVERY = 1000  # exposures; a rebuild that is killed goes on from there
_COUNT_TABLES = "SELECT count(*) FROM sqlite_master"
_NAMES = "SELECT name FROM exposures ORDER BY position"

Tell = Callable[[str], object]
# By stage the sidecar, and whether all its files are there.
Recorded = dict[str, tuple[Sidecar | None, bool]]


class Index:
    """The tables; see `icefloe.project.index_rows` for their columns.

    Attributes
    ----------
    connection
        For queries; whoever writes holds the session's index lock, see `open_index`.
    """

    def __init__(self, project: Project, path: Path | None, tell: Tell | None = None) -> None:
        self._project, self._tell = project, tell or str
        self.connection = sqlite3.connect(":memory:" if path is None else path, timeout=60)
        try:
            version = self._value("PRAGMA user_version")
            if version not in (0, SCHEMA) or (version == 0 and self._value(_COUNT_TABLES)):
                raise UselessIndexError("is of another version")
            self.journal_mode = self._choose_journal(path)
            if version == 0:
                with self.connection:
                    for statement in (*TABLES, *VIEWS, f"PRAGMA user_version = {SCHEMA}"):
                        self.connection.execute(statement)
        except BaseException:
            self.connection.close()
            raise

    def _value(self, query: str) -> Any:
        return self.connection.execute(query).fetchone()[0]

    def _choose_journal(self, path: Path | None) -> str:
        # WAL lets the page read while another process writes; but it needs memory that processes
        # share, which network file systems have not.
        wanted = "DELETE" if path is None or is_network(path.parent) else "WAL"
        mode = str(self._value(f"PRAGMA journal_mode = {wanted}"))
        self.connection.execute("PRAGMA synchronous = NORMAL")
        return mode

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def refresh(self) -> int:
        """Bring the tables up to date; return the number of exposures that were read."""
        sources = self._project.read_registry()
        listing = list_session(self._project)
        known = self._known()
        changed = [
            name
            for position, (name, source) in enumerate(sources.items())
            if known.pop(name, None) != _state_of(listing, position, name, source, self._files)
        ]
        positions = {name: i for i, name in enumerate(sources)}
        for start in range(0, len(changed), _COMMIT_EVERY):
            with self.connection:
                part = changed[start : start + _COMMIT_EVERY]
                self._forget(part)
                self._write(part, positions, sources, listing)
        if known:
            with self.connection:
                self._forget(list(known))
        return len(changed)

    def _known(self) -> dict[str, tuple[Any, ...]]:
        """Return what the index was made from, by exposure; and keep which files it names."""
        self._files: dict[str, tuple[str, ...]] = {}
        stages: dict[str, list[tuple[Any, ...]]] = {}
        query = (
            "SELECT exposure, stage, size, mtime_ns, ctime_ns, inode, missing, paths FROM stages "
            "ORDER BY exposure, stage"
        )
        for exposure, stage, size, mtime, ctime, inode, missing, paths in self.connection.execute(
            query
        ):
            files = tuple(paths.split("\n")) if paths else ()
            self._files[f"{exposure}/{stage}"] = files
            stages.setdefault(exposure, []).append((stage, (size, mtime, ctime, inode), missing))
        return {
            name: (position, source, tuple(stages.get(name, ())))
            for name, position, source in self.connection.execute(
                "SELECT name, position, source FROM exposures"
            )
        }

    def _forget(self, names: Sequence[str]) -> None:
        rows = [(name,) for name in names]
        self.connection.executemany("DELETE FROM exposures WHERE name = ?", rows)
        self.connection.executemany("DELETE FROM stages WHERE exposure = ?", rows)
        self.connection.execute("DELETE FROM meta WHERE key = 'verdicts'")

    def _write(
        self,
        names: Sequence[str],
        positions: Mapping[str, int],
        sources: Mapping[str, str],
        listing: Listing,
    ) -> None:
        made = [
            exposure_rows(self._project, listing, name, positions[name], sources[name])
            for name in names
        ]
        self._insert("exposures", (row for row, _ in made))
        self._insert("stages", (row for _, rows in made for row in rows))

    def _insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(COLUMNS[table]))
        self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def replace(self, table: str, rows: Iterable[tuple[Any, ...]], *, made_from: str) -> None:
        """Fill a table that follows from other files, and remember from what.

        Nothing is kept if the index cannot be written just now.
        """
        with (
            suppress(sqlite3.OperationalError, OSError),
            one_writer(self._project),
            self.connection,
        ):
            self.connection.execute(f"DELETE FROM {table}")
            self._insert(table, rows)
            self.connection.execute("REPLACE INTO meta VALUES (?, ?)", (table, made_from))

    def made_from(self, table: str) -> str | None:
        """Return what a table was last made from; None if it must be made again."""
        query = "SELECT value FROM meta WHERE key = ?"
        row = self.connection.execute(query, (table,)).fetchone()
        return None if row is None else str(row[0])

    def stages(self) -> dict[str, Recorded]:
        """Return by exposure and stage the sidecar, its numbers without lists, and whether all
        its files are there; None where it cannot be read. In the order of the exposures.
        """
        try:
            return self._read_stages()
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            # Damage where bringing it up to date did not look.
            self._tell(MADE_AGAIN.format(index_path(self._project).name, f"is damaged ({error})"))
        self.connection.close()
        with suppress(OSError), one_writer(self._project):
            throw_away(self._project)
        fresh = Index(self._project, None)
        fresh.refresh()
        self.connection = fresh.connection
        return self._read_stages()

    def _read_stages(self) -> dict[str, Recorded]:
        found: dict[str, Recorded] = {name: {} for (name,) in self.connection.execute(_NAMES)}
        for row in self.connection.execute(f"SELECT {', '.join(COLUMNS['stages'])} FROM stages"):
            exposure, stage, sidecar, complete = light_sidecar(row)
            found[exposure][stage] = (sidecar, complete)
        return found

    def each(self) -> Iterator[tuple[str, Recorded]]:
        """Yield each exposure with its stages, as `stages` returns them, one after the other.

        Raises
        ------
        sqlite3.DatabaseError, ValueError, TypeError
            It is damaged where bringing it up to date did not look.
        """
        columns = ", ".join(f"s.{column}" for column in COLUMNS["stages"])
        query = (
            f"SELECT e.name, {columns} FROM exposures e LEFT JOIN stages s ON s.exposure = e.name "
            "ORDER BY e.position"
        )
        for name, group in groupby(self.connection.execute(query), itemgetter(0)):
            recorded: Recorded = {}
            for _, *row in group:
                if row[0] is not None:  # an exposure of which nothing is recorded
                    _, stage, sidecar, complete = light_sidecar(tuple(row))
                    recorded[stage] = (sidecar, complete)
            yield name, recorded

    def records(
        self,
        *,
        without: Collection[str] = (),
        stages: Mapping[str, Recorded] | None = None,
    ) -> list[ExposureRecord]:
        """Return the exposures' records with single numbers only, as `load_figures` does.

        Parameters
        ----------
        without
            Stages that the settings leave out.
        stages
            What `stages` returned, to save reading it again.
        """
        sources = dict(self.connection.execute("SELECT name, source FROM exposures"))
        records = []
        for name, recorded in (self.stages() if stages is None else stages).items():
            sidecars = {s: recorded[s][0] for s in STAGES if s in recorded}
            there = {stage: complete for stage, (_, complete) in recorded.items()}
            records.append(
                record_of(self._project, name, sources[name], sidecars, there, without=without)
            )
        return records

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of every table, sorted."""
        return {
            table: sorted(cast("list[tuple[Any, ...]]", self.connection.execute(q).fetchall()))
            for table, q in ((t, f"SELECT * FROM {t}") for t in (*COLUMNS, "meta"))
        }


def _state_of(
    listing: Listing, position: int, name: str, source: str, files: Mapping[str, Sequence[str]]
) -> tuple[Any, ...]:
    """Return what the index would be made from, in the form of `Index._known`."""
    stages = tuple(
        (stage, signature, json_text(listing.missing(files.get(f"{name}/{stage}", ()))))
        for stage, signature in sorted(listing.sidecars.get(name, {}).items())
    )
    return (position, source, stages)
