"""The tables of the index, and what stands in their rows."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

from icefloe.project.index_files import Listing
from icefloe.project.layout import STAGES, Project
from icefloe.project.records import figures, record_of
from icefloe.project.sidecar import FileIdentity, Sidecar, WrittenFile, read_sidecar

__all__ = ["COLUMNS", "TABLES", "VIEWS", "exposure_rows", "json_text", "light_sidecar"]

# JSON in: status, flags (of exposures, by stage), upstream, input, numbers, files, written, flags,
# error, reasons. The rest is plain. "missing" lists recorded files that are gone, "paths" all.
COLUMNS: dict[str, tuple[str, ...]] = {
    "exposures": (
        *("name", "position", "source", "kind", "state"),
        *("failure_stage", "failure_type", "failure_message", "status", "flags"),
    ),
    "stages": (
        *("exposure", "stage", "size", "mtime_ns", "ctime_ns", "inode", "missing", "paths"),
        *("status", "settings_hash", "fingerprint", "seconds", "version", "run"),
        *("upstream", "input", "numbers", "files", "written", "flags", "error"),
    ),
    "decisions": ("line", "time", "who", "exposure", "decision", "reason"),
    "verdicts": ("exposure", "state", "decided_by", "reasons"),
}
_EMPTY: dict[str, Any] = {"{}": MappingProxyType({}), "[]": (), "null": None}
_KEYS = {
    "exposures": "name",
    "stages": "exposure, stage",
    "decisions": "line",
    "verdicts": "exposure",
}
_TYPES = {
    **dict.fromkeys(("position", "size", "mtime_ns", "ctime_ns", "inode", "line"), "INTEGER"),
    "seconds": "REAL",
}


def _table(name: str) -> str:
    columns = ", ".join(f"{c} {_TYPES.get(c, 'TEXT')}" for c in COLUMNS[name])
    return f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({_KEYS[name]}))"


TABLES = (*map(_table, COLUMNS), "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
# One row an exposure with the numbers of each stage, for queries by hand.
VIEWS = (
    "CREATE VIEW numbers AS SELECT e.name, e.kind, e.state, "
    + ", ".join(
        "(SELECT s.numbers FROM stages s WHERE s.exposure = e.name "
        f"AND s.stage = '{stage}' AND s.status = 'done') AS \"{stage}\""
        for stage in STAGES
    )
    + " FROM exposures e ORDER BY e.position",
    "CREATE VIEW files AS SELECT s.exposure, s.stage, f.key AS role, f.value AS path, "
    "json_extract(s.written, '$.' || f.key || '[0]') AS size, "
    "json_extract(s.written, '$.' || f.key || '[1]') AS checksum "
    "FROM stages s, json_each(s.files) f",
)


def exposure_rows(
    project: Project, listing: Listing, name: str, position: int, source: str
) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """Return an exposure's row and those of its stages, read from its sidecars."""
    sidecars: dict[str, Sidecar | None] = {}
    complete: dict[str, bool] = {}
    rows = []
    signatures = listing.sidecars.get(name, {})
    for stage in STAGES:
        if stage not in signatures:
            continue
        sidecar = sidecars[stage] = read_sidecar(project.sidecar(name, stage))
        paths = list(sidecar.files.values()) if sidecar is not None else []
        missing = listing.missing(paths)
        complete[stage] = not missing
        beginning = (name, stage, *signatures[stage], json_text(missing), "\n".join(paths))
        rows.append((*beginning, *_content(sidecar)))
    record = record_of(project, name, source, sidecars, complete)
    failure = record.failure
    row = (
        *(name, position, source, record.kind, record.state),
        *((failure.stage, failure.type, failure.message) if failure else (None, None, None)),
        json_text(record.status),
        json_text({stage: list(flags) for stage, flags in record.flags.items() if flags}),
    )
    return row, rows


def _content(sidecar: Sidecar | None) -> tuple[Any, ...]:
    if sidecar is None:
        return ("unreadable", "", "", 0.0, "", "", "{}", "null", "{}", "{}", "{}", "[]", "null")
    identity = sidecar.input
    return (
        *(sidecar.status, sidecar.settings_hash, sidecar.fingerprint, sidecar.seconds),
        *(sidecar.version, sidecar.run, json_text(sidecar.upstream)),
        json_text(None if identity is None else [identity.path, identity.size, identity.mtime_ns]),
        *(json_text(figures(sidecar.numbers)), json_text(sidecar.files)),
        json_text({role: [f.size, f.checksum] for role, f in sidecar.written.items()}),
        *(json_text(sidecar.flags), json_text(sidecar.error)),
    )


def light_sidecar(row: tuple[Any, ...]) -> tuple[str, str, Sidecar | None, bool]:
    """Return exposure, stage, sidecar without lists, and whether all its files are there."""
    exposure, stage, _, _, _, _, missing, _, status, settings, fingerprint, *rest = row
    complete = missing == "[]"
    if status == "unreadable":
        return exposure, stage, None, complete
    seconds, version, run, upstream, identity, numbers, files, written, flags, error = rest
    source = _parsed(identity)
    sidecar = Sidecar(
        stage=stage,
        status=status,
        exposure=exposure,
        settings_hash=settings,
        fingerprint=fingerprint,
        upstream=_parsed(upstream),
        input=None if source is None else FileIdentity(*source),
        numbers=_parsed(numbers),
        files=_parsed(files),
        flags=tuple(_parsed(flags)),
        error=_parsed(error),
        seconds=seconds,
        version=version,
        written={role: WrittenFile(*entry) for role, entry in _parsed(written).items()},
        run=run,
    )
    return exposure, stage, sidecar, complete


def _parsed(text: str) -> Any:
    # Most are empty, and there are a million of them in a large session.
    return _EMPTY[text] if text in _EMPTY else json.loads(text)


def json_text(content: Any) -> str:
    """Return content as the index keeps it."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
