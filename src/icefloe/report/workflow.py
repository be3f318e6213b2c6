"""What was done to a session, for programs: stages, settings, versions, inputs, outputs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from icefloe.curation import Curation, load_curation
from icefloe.curation.indexed import session_index
from icefloe.project import Project
from icefloe.project.index import Index
from icefloe.project.runs import RunRecord, read_runs
from icefloe.report.methods import Methods, methods
from icefloe.report.origin import StageOrigin, stage_origins
from icefloe.report.summary import Row, facts, read_rows

__all__ = ["Workflow", "session_methods", "session_workflow"]

# The sections of the settings that a stage's result depends on.
_SECTIONS = {
    "import": ("data",),
    "motion": ("data", "motion", "output"),
    "ctf": ("data", "ctf"),
    "pick": ("pick",),
    "extract": ("extract", "output"),
}
# A number of a stage that adds up over the exposures.
_TOTALS = {"pick": ("n_picks",), "extract": ("n_particles",), "motion": ("n_frames",)}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OutputFiles(_Part):
    """Files of one kind."""

    role: str = Field(description="What they are, as sidecars name them.")
    files: int = Field(ge=0, description="How many.")
    bytes: int = Field(ge=0, description="Their size together, where it was recorded.")


class StageReport(_Part):
    """One stage over all exposures."""

    name: str = Field(description="The stage; they stand in the order in which they run.")
    follows: tuple[str, ...] = Field(description="Stages whose results it uses.")
    done: int = Field(ge=0, description="Exposures with a result.")
    failed: int = Field(ge=0, description="Exposures for which it failed.")
    versions: dict[str, int] = Field(description="Results by version of Icefloe.")
    runs: dict[str, int] = Field(description='Results by run; "" where it was not recorded.')
    settings: dict[str, Any] | None = Field(
        description='Sections of the settings it used, "" where one is not set; null if unknown.'
    )
    other_settings: int = Field(ge=0, description="Results made with other settings than these.")
    totals: dict[str, float] = Field(description="Numbers that add up, such as picks.")
    outputs: tuple[OutputFiles, ...] = Field(description="Files it wrote.")


class InputReport(_Part):
    """What the session began from."""

    exposures: int = Field(ge=0, description="Movies and micrographs together.")
    kinds: dict[str, int] = Field(description="Exposures by kind.")
    bytes: int = Field(ge=0, description="Size of their files, as recorded.")
    facts: dict[str, str] = Field(description="Pixel size, dose and the like, with units.")


class SelectionReport(_Part):
    """Which exposures are kept."""

    accepted: int = Field(ge=0)
    rejected: int = Field(ge=0)
    pending: int = Field(ge=0, description="Not finished.")
    rules: tuple[str, ...] = Field(description="What an exposure must fulfil.")
    by_hand: int = Field(ge=0, description="Verdicts that a person gave.")


class RunReport(_Part):
    """One run; see docs/provenance.md."""

    id: str
    time: str = Field(description="Begin, UTC, ISO 8601.")
    ended: str = Field(description='End, "" if it was killed.')
    outcome: str
    version: str = Field(description="Of Icefloe.")
    settings: str = Field(description="The file settings/HASH.toml in the session.")
    inputs: dict[str, Any] = Field(description="Files that all exposures share.")
    machine: dict[str, Any]


class Workflow(_Part):
    """What was done to a session with what, and what came of it."""

    format: Literal["icefloe-workflow"] = "icefloe-workflow"
    schema_version: Literal[1] = 1
    session: str = Field(description="Name of the session's directory.")
    inputs: InputReport
    stages: tuple[StageReport, ...]
    selection: SelectionReport | None = Field(description="null if nothing was curated.")
    runs: tuple[RunReport, ...]
    methods: str = Field(description="The paragraph for a paper.")
    citations: tuple[str, ...] = Field(description="DOIs of the methods' papers.")


def session_methods(project: Project) -> Methods:
    """Return the paragraph for a paper about a session."""
    with session_index(project) as index:
        origins = stage_origins(project, index.stages(), read_runs(project)[0])
        curation = load_curation(project, index.records())
    return methods(read_rows(project), origins, curation)


def session_workflow(project: Project) -> Workflow:
    """Return what was done to a session."""
    runs, _ = read_runs(project)
    with session_index(project) as index:
        recorded = index.stages()
        curation = load_curation(project, index.records(stages=recorded))
        size = _input_size(index)
        totals = {stage: _totals(index, stage) for stage in _TOTALS}
    origins = stage_origins(project, recorded, runs)
    rows = read_rows(project)
    text = methods(rows, origins, curation)
    return Workflow(
        session=project.root.name,
        inputs=_inputs(rows, size),
        stages=tuple(_stage(origin, totals.get(name, {})) for name, origin in origins.items()),
        selection=None if curation is None else _selection(curation),
        runs=tuple(_run(run) for run in runs.values()),
        methods=text.paragraph,
        citations=tuple(citation.doi for citation in text.citations),
    )


def _input_size(index: Index) -> int:
    query = "SELECT sum(json_extract(input, '$[1]')) FROM stages WHERE stage = 'import'"
    return int(index.connection.execute(query).fetchone()[0] or 0)


def _totals(index: Index, stage: str) -> dict[str, float]:
    query = "SELECT sum(json_extract(numbers, ?)) FROM stages WHERE stage = ? AND status = 'done'"
    found = {
        key: index.connection.execute(query, (f"$.{key}", stage)).fetchone()[0]
        for key in _TOTALS[stage]
    }
    return {key: float(value) for key, value in found.items() if value is not None}


def _inputs(rows: list[Row], size: int) -> InputReport:
    kinds: dict[str, int] = {}
    for row in rows:
        kinds[row.kind] = kinds.get(row.kind, 0) + 1
    about = {fact.label: fact.text for fact in facts(rows)}
    return InputReport(exposures=len(rows), kinds=kinds, bytes=size, facts=about)


def _stage(origin: StageOrigin, totals: dict[str, float]) -> StageReport:
    settings = None
    if origin.settings is not None:
        sections = _SECTIONS.get(origin.name, ())
        settings = {s: origin.settings[s] for s in sections if s in origin.settings}
    return StageReport(
        name=origin.name,
        follows=origin.upstream,
        done=origin.done,
        failed=origin.failed,
        versions=dict(sorted(origin.versions.items())),
        runs=dict(sorted(origin.runs.items())),
        settings=settings,
        other_settings=origin.n_other_settings,
        totals=totals,
        outputs=tuple(
            OutputFiles(role=role, files=count, bytes=origin.sizes[role])
            for role, count in sorted(origin.files.items())
        ),
    )


def _selection(curation: Curation) -> SelectionReport:
    return SelectionReport(
        accepted=len(curation.names("accepted")),
        rejected=len(curation.names("rejected")),
        pending=len(curation.names("pending")),
        rules=tuple(str(count.rule) for count in curation.counts),
        by_hand=sum(v.by == "person" for v in curation.verdicts.values()),
    )


def _run(run: RunRecord) -> RunReport:
    return RunReport(
        id=run.id,
        time=run.time,
        ended=run.ended,
        outcome=run.outcome,
        version=run.version,
        settings=f"settings/{run.settings}.toml",
        inputs=dict(run.inputs),
        machine=dict(run.machine),
    )
