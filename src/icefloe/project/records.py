"""What a session knows about its exposures, read from the sidecars."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from icefloe.project.layout import OPTIONAL_STAGES, STAGES, Project
from icefloe.project.sidecar import Sidecar, read_sidecar

__all__ = [
    "NO_RINGS",
    "ExposureRecord",
    "Failure",
    "Status",
    "figures",
    "load_record",
    "load_records",
    "record_of",
]

# The remark of a CTF that must not be used: `icefloe.ctf.NO_RINGS`, which this room may not import.
NO_RINGS = "no Thon rings"

# A stage, the one before it, and that one's state: what counts as done all the same.
_WITHOUT = ("pick", "ctf", "failed")
_SHORT = 3  # longest list that counts as a figure

# "waiting": not run yet, or its record is gone. "stale": made from an upstream result that has
# been replaced since, or its files are gone.
Status = Literal["done", "failed", "stale", "waiting"]


@dataclass(frozen=True)
class Failure:
    """Why a stage failed."""

    stage: str
    type: str
    message: str


@dataclass(frozen=True)
class ExposureRecord:
    """One exposure as far as it has come.

    Attributes
    ----------
    name
        Unique name in the session.
    source
        The movie or micrograph it comes from.
    kind
        ``movie``, ``micrograph``, or ``unknown`` before it was looked into.
    status
        By stage; the stages that this kind of exposure passes through, in order.
    numbers
        By stage, for stages that are done; see each stage's ``numbers()``.
    files
        Absolute paths by stage and role, for stages that are done.
    flags
        By stage, for stages that are done.
    seconds
        Time by stage, for stages that are done or failed.
    failure
        The first failure, None if there is none.
    """

    name: str
    source: Path
    kind: str
    status: Mapping[str, Status]
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def state(self) -> Status:
        """``done`` if every stage is, ``failed`` if any failed, else what is still to be done."""
        found = set(self.status.values())
        order: tuple[Status, ...] = ("failed", "stale", "waiting")
        return next((state for state in order if state in found), "done")

    @property
    def ctf(self) -> Mapping[str, Any] | None:
        """Numbers of the CTF if there is one to be used: fitted, with Thon rings."""
        numbers = self.numbers.get("ctf")
        if numbers is None or NO_RINGS in self.flags["ctf"] or numbers.get("defocus_u") is None:
            return None
        return numbers

    def file(self, stage: str, role: str) -> Path | None:
        """Return a file that a stage wrote, None if the stage is not done or wrote none."""
        return self.files.get(stage, {}).get(role)


def load_records(project: Project, *, without: Collection[str] = ()) -> list[ExposureRecord]:
    """Return what is recorded about every exposure, in natural order of their names.

    Parameters
    ----------
    project
        The session.
    without
        Stages that the settings leave out, such as picking before a diameter is set.
    """
    sources = project.read_registry()
    return [load_record(project, name, path, without=without) for name, path in sources.items()]


def load_record(
    project: Project, name: str, source: str, *, without: Collection[str] = ()
) -> ExposureRecord:
    """Return what is recorded about one exposure.

    Parameters
    ----------
    project
        The session.
    name
        The exposure's name.
    source
        Its source as recorded.
    without
        Stages to leave out.
    """
    found = {s: read_sidecar(project.sidecar(name, s)) for s in STAGES if s not in without}
    return record_of(project, name, source, found, without=without)


def record_of(
    project: Project,
    name: str,
    source: str,
    found: Mapping[str, Sidecar | None],
    complete: Mapping[str, bool] | None = None,
    *,
    without: Collection[str] = (),
) -> ExposureRecord:
    """Return an exposure's record, made from sidecars that were read already.

    Parameters
    ----------
    project, name, source, without
        As for `load_record`.
    found
        The sidecars there are, by stage.
    complete
        By stage, whether all files of the sidecar are there; None has them looked for.
    """
    sidecars: dict[str, Sidecar] = {}
    status: dict[str, Status] = {}
    for stage in STAGES:
        if stage in without:
            continue
        sidecar = found.get(stage)
        if sidecar is None:
            if stage not in OPTIONAL_STAGES:
                status[stage] = "waiting"
            continue
        sidecars[stage] = sidecar
        there = None if complete is None else complete[stage]
        status[stage] = _status(project, sidecar, sidecars, status, there)
    imported = sidecars.get("import")
    kind = str(imported.numbers.get("kind", "unknown")) if imported else "unknown"
    if kind == "micrograph":
        status.pop("motion", None)
        sidecars.pop("motion", None)
    done = {stage: s for stage, s in sidecars.items() if status[stage] == "done"}
    failure = next(
        (
            Failure(stage, s.error.get("type", ""), s.error.get("message", ""))
            for stage, s in sidecars.items()
            if status[stage] == "failed" and s.error is not None
        ),
        None,
    )
    return ExposureRecord(
        name=name,
        source=project.locate(source),
        kind=kind,
        status=status,
        numbers={stage: s.numbers for stage, s in done.items()},
        files={
            stage: {role: project.locate(path) for role, path in s.files.items()}
            for stage, s in done.items()
        },
        flags={stage: s.flags for stage, s in done.items()},
        seconds={stage: s.seconds for stage, s in sidecars.items()},
        failure=failure,
    )


def _status(
    project: Project,
    sidecar: Sidecar,
    sidecars: Mapping[str, Sidecar],
    status: Mapping[str, Status],
    complete: bool | None,
) -> Status:
    for stage, fingerprint in sidecar.upstream.items():
        upstream = sidecars.get(stage)
        if upstream is None or upstream.fingerprint != fingerprint:
            return "stale"
        # Picking goes on without a CTF.
        if status[stage] != "done" and (sidecar.stage, stage, status[stage]) != _WITHOUT:
            return "stale"
    if sidecar.status == "failed":
        return "failed"
    if complete is None:
        complete = all(project.locate(path).exists() for path in sidecar.files.values())
    return "done" if complete else "stale"


def figures(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers without curves and tables; what stays is small for fifty thousand exposures.

    Short lists of plain numbers, such as a shape, stay.
    """
    kept: dict[str, Any] = {}
    for key, value in numbers.items():
        if isinstance(value, Mapping):
            kept[key] = figures(value)
        elif not isinstance(value, list) or (
            len(value) <= _SHORT and all(isinstance(v, int | float) for v in value)
        ):
            kept[key] = value
    return kept
