"""Marks stages whose files were damaged, so that the next run makes them again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from icefloe.project.layout import STAGES, Project
from icefloe.project.sidecar import Sidecar, read_sidecar, write_sidecar
from icefloe.project.verify import Finding

__all__ = ["mark_stale", "stages_to_redo"]

_DAMAGE = frozenset({"missing", "size", "content", "sidecar"})
# What may have been read by a later stage before anyone noticed.
_MISLEADING = frozenset({"size", "content", "sidecar"})
# Stages that read the exposure's own file.
_FROM_INPUT = frozenset({"import", "motion"})


def stages_to_redo(
    project: Project, findings: Iterable[Finding]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return by exposure the stages to make again, and those that cannot be: their input is gone.

    A stage that another run made from a file that is now damaged is made again, too, since it may
    have read the damage; what one run makes it hands on in memory.

    Parameters
    ----------
    project
        The session.
    findings
        What `verify_project` found.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for finding in findings:
        if finding.kind in _DAMAGE and finding.stage:
            kinds = found.setdefault(finding.exposure, {}).setdefault(finding.stage, set())
            kinds.add(finding.kind)
    sources = project.read_registry()
    redo: dict[str, list[str]] = {}
    lost: dict[str, list[str]] = {}
    for name, damaged in found.items():
        if name not in sources:
            continue
        stages = {stage: bool(kinds & _MISLEADING) for stage, kinds in damaged.items()}
        there = project.locate(sources[name]).exists()
        impossible = [s for s in stages if s in _FROM_INPUT and not there]
        if impossible:
            lost[name] = impossible
        possible = {s: m for s, m in stages.items() if s not in impossible}
        chosen = _with_later(project, name, possible)
        redo[name] = [s for s in STAGES if s in chosen]
    return {name: stages for name, stages in redo.items() if stages}, lost


def _with_later(project: Project, name: str, stages: dict[str, bool]) -> set[str]:
    """Return the stages, and those that other runs made from a damaged one."""
    sidecars = {s: read_sidecar(project.sidecar(name, s)) for s in STAGES}
    chosen, misled = set(stages), set[str]()
    for stage in STAGES:
        sidecar = sidecars[stage]
        if sidecar is None:
            continue
        for upstream in sidecar.upstream:
            read = stages.get(upstream, False) and not _same_run(sidecar, sidecars.get(upstream))
            if read or upstream in misled:
                chosen.add(stage)
                misled.add(stage)
    return chosen


def _same_run(one: Sidecar, other: Sidecar | None) -> bool:
    return other is not None and one.run != "" and one.run == other.run


def mark_stale(project: Project, stages: dict[str, list[str]]) -> int:
    """Mark stages, by exposure, so that the next run makes them again; return how many.

    The caller holds the session's lock.

    Raises
    ------
    OutputError
        A sidecar cannot be written.
    """
    count = 0
    for name, chosen in stages.items():
        for stage in chosen:
            path = project.sidecar(name, stage)
            sidecar = read_sidecar(path)
            if sidecar is not None:
                # No input or setting gives this fingerprint. The list of files stays: what the
                # stage no longer writes is removed.
                write_sidecar(path, replace(sidecar, fingerprint="", exposure=name, stage=stage))
            count += 1
    return count
