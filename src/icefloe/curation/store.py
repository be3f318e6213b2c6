"""A session's curation on disk: its rules, and the lists that follow from them.

Rules and decisions are kept, verdicts are worked out anew each time from today's numbers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tomlkit.exceptions import TOMLKitError

from icefloe.curation.evaluate import Curation, evaluate
from icefloe.curation.journal import journal_path, read_journal, standing_decisions
from icefloe.curation.rules import DEFAULT_RULES, Rule, parse_rule
from icefloe.errors import ProjectError, SettingsError
from icefloe.formats.atomic import output_directory, write_text
from icefloe.project import ExposureRecord, Project, load_record
from icefloe.project.records import figures

__all__ = [
    "curate",
    "figures_only",
    "load_curation",
    "load_figures",
    "read_rules",
    "rules_path",
    "write_lists",
    "write_rules",
]

_HEAD = (
    "Rules that an exposure must fulfil to be kept; 'icefloe curate' shows what each takes.",
    "For example: keep = 'ctf.fit_resolution <= 6', keep = 'z(motion.motion_total) < 5',",
    "keep = \"no flag 'no signal'\". Lengths in A; docs/curation.md has the grammar.",
)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: str = Field(description="The rule, as text.")
    reason: str = Field(default="", description="Why what it takes is bad.")


class _RulesFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    defaults: bool = Field(default=False, description="The built-in rules count, too.")
    rule: tuple[_Entry, ...] = Field(default=(), description="The rules.")


def rules_path(project: Project) -> Path:
    """Return where the session's rules lie."""
    return project.root / "curation" / "rules.toml"


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Return the rules in a file.

    Raises
    ------
    ProjectError
        There is no such file.
    SettingsError
        It is not TOML, or a rule cannot be read.
    """
    try:
        content = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except OSError as error:
        raise ProjectError(f"{path} cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, TOMLKitError) as error:
        raise SettingsError(f"{path} is not TOML: {error}", "[[rule]] and keep = '...'") from error
    try:
        entries = _RulesFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {where}: {first['msg']}", "[[rule]], keep, reason") from error
    own = tuple(parse_rule(entry.keep, entry.reason) for entry in entries.rule)
    return (*DEFAULT_RULES, *own) if entries.defaults else own


def write_rules(path: Path, rules: Sequence[Rule]) -> None:
    """Write rules to a file; those that are built in are written out, so that they can be changed.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    document = tomlkit.document()
    for line in _HEAD:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    array = tomlkit.aot()
    for rule in rules:
        table = tomlkit.table()
        table.add("keep", str(rule))
        table.add("reason", rule.reason)
        array.append(table)
    document.add("rule", array)
    output_directory(path.parent)
    write_text(path, tomlkit.dumps(document))


def load_figures(project: Project) -> list[ExposureRecord]:
    """Return the exposures' records with single numbers only: curves and tables stay on disk."""
    sources = project.read_registry()
    return [figures_only(load_record(project, name, path)) for name, path in sources.items()]


def figures_only(record: ExposureRecord) -> ExposureRecord:
    """Return a record without the lists among its numbers; fifty thousand then fit in memory."""
    return replace(record, numbers={s: figures(n) for s, n in record.numbers.items()})


def curate(
    project: Project, rules: Sequence[Rule], records: Sequence[ExposureRecord] | None = None
) -> Curation:
    """Return the verdicts that these rules and the decisions in the journal give."""
    decisions, _ = read_journal(project)
    found = load_figures(project) if records is None else records
    return evaluate(found, rules, standing_decisions(decisions))


def load_curation(
    project: Project, records: Sequence[ExposureRecord] | None = None
) -> Curation | None:
    """Return the verdicts of the session's own rules and decisions; None if it has neither.

    Raises
    ------
    SettingsError
        The file of rules cannot be read.
    """
    path = rules_path(project)
    if not path.is_file() and not journal_path(project).is_file():
        return None
    rules = read_rules(path) if path.is_file() else ()
    return curate(project, rules, records)


def write_lists(project: Project, curation: Curation) -> list[Path]:
    """Write accepted.txt, rejected.txt and verdicts.json, and return their paths.

    ``accepted.txt`` has a name a line; ``rejected.txt`` has a name, a tab and the reasons.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    directory = output_directory(project.root / "curation")
    verdicts = curation.verdicts
    accepted = "".join(f"{name}\n" for name in curation.names("accepted"))
    rejected = "".join(
        f"{name}\t{'; '.join(verdicts[name].reasons)}\n" for name in curation.names("rejected")
    )
    content = {
        "rules": [{"keep": str(c.rule), "reason": c.rule.reason} for c in curation.counts],
        "exposures": [
            {"name": v.name, "state": v.state, "by": v.by, "reasons": list(v.reasons)}
            for v in verdicts.values()
        ],
    }
    files = {
        "accepted.txt": accepted,
        "rejected.txt": rejected,
        "verdicts.json": json.dumps(content, indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in files.items():
        write_text(directory / name, text)
    return [directory / name for name in files]
