"""Checks that all a session recorded is still there and still what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from icefloe.errors import IcefloeError, InputError
from icefloe.formats.jsonl import read_lines
from icefloe.project.acquisition import acquisition_path
from icefloe.project.checksum import WrittenFile, checksum
from icefloe.project.layout import STAGES, Project
from icefloe.project.runs import read_runs, read_settings_of, runs_path
from icefloe.project.sidecar import Sidecar, identify, read_sidecar, sidecar_is_intact

__all__ = ["NOTES", "Finding", "Verification", "verify_project"]

Kind = Literal[
    "missing",
    "size",
    "content",
    "sidecar",
    "input missing",
    "input changed",
    "provenance",
    "orphan",
    "partial",
    "journal",
]
# These take nothing from the results: they do not make a session wrong.
NOTES = frozenset({"orphan", "partial", "journal"})

_THREADS = 4


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was recorded.

    Attributes
    ----------
    kind
        ``missing``, ``size`` or ``content`` of a file that a stage wrote; ``sidecar``: it cannot
        be read or was damaged; ``input missing``, ``input changed``; ``provenance``: the record
        of a run or its settings is lost; and what is only noted, see `NOTES`.
    path
        The file, relative to the session if it is inside.
    text
        What was found, and what had been recorded.
    exposure, stage
        Whose it is; empty where it is nobody's.
    """

    kind: Kind
    path: str
    text: str
    exposure: str = ""
    stage: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something was lost or is not what it was."""
        return self.kind not in NOTES


@dataclass
class Verification:
    """What a check came to.

    Attributes
    ----------
    exposures, files, size
        Number of exposures and of recorded files that were looked at, and their bytes.
    without_checksum
        Files of versions that recorded none: only their size or structure was checked.
    findings
        In the order of exposures and stages.
    """

    exposures: int = 0
    files: int = 0
    size: int = 0
    without_checksum: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> list[Finding]:
        """The findings that are more than notes."""
        return [finding for finding in self.findings if finding.wrong]

    def add(self, other: Verification) -> None:
        """Add what another one found."""
        self.exposures += other.exposures
        self.files += other.files
        self.size += other.size
        self.without_checksum += other.without_checksum
        self.findings += other.findings


def verify_project(
    project: Project,
    *,
    quick: bool = False,
    inputs: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Check every recorded file of a session against its record; nothing is changed.

    Parameters
    ----------
    project
        The session; a run may be working on it.
    quick
        Compare sizes only, and read no file.
    inputs
        Also see whether the movies and micrographs are there and unchanged (by size and time).
    progress
        Is told how many exposures of how many are checked.
    """
    sources = project.read_registry()
    names = [*sources, *sorted(_directories(project) - set(sources))]
    runs, _ = read_runs(project)
    total, recorded, used = Verification(), set[str](), set[str]()
    check = partial(_exposure, project, sources, quick=quick, inputs=inputs)
    with ThreadPoolExecutor(_THREADS) as pool:
        for count, (part, files, run_ids) in enumerate(pool.map(check, names), 1):
            total.add(part)
            recorded |= files
            used |= run_ids
            if progress is not None:
                progress(count, len(names))
    total.findings += _provenance(project, used, set(runs))
    total.findings += _journals(project)
    total.findings += _not_recorded(project, names, recorded)
    return total


def _directories(project: Project) -> set[str]:
    if not project.exposures.is_dir():
        return set()
    return {path.name for path in project.exposures.iterdir() if path.is_dir()}


def _exposure(
    project: Project, sources: Mapping[str, str], name: str, *, quick: bool, inputs: bool
) -> tuple[Verification, set[str], set[str]]:
    """Return what was found, the files that are recorded, and the runs that made them."""
    result, recorded, runs = Verification(exposures=1), set[str](), set[str]()
    for stage in STAGES:
        path = project.sidecar(name, stage)
        if not path.exists():
            continue
        recorded.add(path.relative_to(project.root).as_posix())
        sidecar, part = _stage(project, name, stage, quick)
        if part.findings and path.exists() and read_sidecar(path) != sidecar:
            sidecar, part = _stage(project, name, stage, quick)  # a run has just replaced it
        elif part.findings and not path.exists():
            continue  # a run is about to replace it
        result.add(part)
        if sidecar is None:
            continue
        recorded |= set(sidecar.files.values())
        runs.add(sidecar.run)
        if stage == STAGES[0] and inputs:
            result.findings += _input(project, name, sidecar, sources.get(name))
    return result, recorded, runs


def _stage(
    project: Project, name: str, stage: str, quick: bool
) -> tuple[Sidecar | None, Verification]:
    path = project.sidecar(name, stage)
    listed = path.relative_to(project.root).as_posix()
    result = Verification()
    sidecar = read_sidecar(path)
    if sidecar is None:
        text = "cannot be read, or was written by a newer version; run makes it again"
        result.findings.append(Finding("sidecar", listed, text, name, stage))
        return None, result
    if (sidecar.exposure, sidecar.stage) != (name, stage):
        text = f"is that of {sidecar.stage} of {sidecar.exposure}"
        result.findings.append(Finding("sidecar", listed, text, name, stage))
    elif not quick and not sidecar_is_intact(path):
        text = "was changed since it was written"
        result.findings.append(Finding("sidecar", listed, text, name, stage))
    for role, file in sidecar.files.items():
        target = project.locate(file)
        result.files += 1
        record = sidecar.written.get(role)
        result.without_checksum += record is None
        try:
            size = target.stat().st_size
            result.size += size
            found = _damage(target, size, record, quick)
        except FileNotFoundError:
            found = ("missing", "is gone")
            if target.is_symlink():
                found = ("missing", f"leads to {target.readlink()}, which is gone")
        except OSError as error:
            found = ("content", f"cannot be read ({error.strerror or error})")
        if found is not None:
            result.findings.append(Finding(found[0], file, found[1], name, stage))
    return sidecar, result


def _damage(
    path: Path, size: int, record: WrittenFile | None, quick: bool
) -> tuple[Kind, str] | None:
    """Return what is wrong with a file that is there; None if nothing is."""
    if record is None:
        return _damaged_structure(path, size)
    if size != record.size:
        how = "was cut short" if size < record.size else "has grown"
        return "size", f"{how}: {size} bytes, {record.size} were written"
    if not quick and checksum(path) != record.checksum:
        return "content", "has another content than was written"
    return None


def _damaged_structure(path: Path, size: int) -> tuple[Kind, str] | None:
    if size == 0:
        return "size", "is empty"
    if path.suffix in (".mrc", ".mrcs", ".ctf"):
        from icefloe.formats.mrc import MrcReader

        try:
            MrcReader(path).close()
        except IcefloeError as error:
            return "content", str(error)
    return None


def _input(project: Project, name: str, sidecar: Sidecar, listed: str | None) -> Iterator[Finding]:
    recorded = sidecar.input
    if recorded is None:
        return
    path = listed if listed is not None else recorded.path
    try:
        found = identify(project.locate(path), path)
    except InputError:
        text = "the input is gone; what was made from it is kept"
        yield Finding("input missing", path, text, name, sidecar.stage)
        return
    if (found.size, found.mtime_ns) != (recorded.size, recorded.mtime_ns):
        what = "size" if found.size != recorded.size else "time"
        text = f"the input is another file than was read ({what} differs); run processes it again"
        yield Finding("input changed", path, text, name, sidecar.stage)


def _provenance(project: Project, used: set[str], known: set[str]) -> Iterator[Finding]:
    lost = used - known - {""}
    listed = runs_path(project).name
    if lost:
        text = f"has no line of {len(lost)} runs that made results: {', '.join(sorted(lost)[:3])}"
        yield Finding("provenance", listed, text)
    runs, _ = read_runs(project)
    for settings in sorted({runs[r].settings for r in used & known}):
        if read_settings_of(project, settings) is None:
            text = "the settings of a run are gone or were changed"
            yield Finding("provenance", f"settings/{settings}.toml", text)


def _journals(project: Project) -> Iterator[Finding]:
    for path in (runs_path(project), project.root / "curation" / "decisions.jsonl"):
        _, broken = read_lines(path)
        if broken:
            text = f"{broken} lines cannot be read and are passed over"
            yield Finding("journal", path.relative_to(project.root).as_posix(), text)


def _not_recorded(project: Project, names: list[str], recorded: set[str]) -> Iterator[Finding]:
    places = [project.micrographs, project.picks, project.particles]
    places += [project.exposures / name for name in names]
    metadata = {acquisition_path(project, name) for name in names}
    for place in (project.root, *places):
        if not place.is_dir():
            continue
        for path in sorted(place.iterdir()):
            if path.is_dir():
                continue
            listed = path.relative_to(project.root).as_posix()
            if path.name.startswith(".partial-"):
                yield Finding("partial", listed, "was being written; the next run removes it")
            elif place != project.root and path not in metadata and listed not in recorded:
                yield Finding("orphan", listed, "no stage has recorded it")
