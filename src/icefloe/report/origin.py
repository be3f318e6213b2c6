"""With which settings and versions a session's results were made, and what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icefloe.project import STAGES, Project, Sidecar
from icefloe.project.runs import RunRecord, read_settings_of

__all__ = ["StageOrigin", "stage_origins"]


@dataclass
class StageOrigin:
    """What made a stage's results, over all exposures that have one.

    Attributes
    ----------
    name
        The stage.
    done, failed
        Number of exposures.
    versions
        Number of results by version of Icefloe.
    runs
        Number of results by run.
    upstream
        The stages it builds on.
    settings
        All settings of the session, by section, that most results were made with; None if that
        was not recorded.
    n_other_settings
        Results that were made with other settings of this stage.
    files, sizes
        Number and bytes of the files by role.
    """

    name: str
    done: int = 0
    failed: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    upstream: tuple[str, ...] = ()
    settings: dict[str, Any] | None = None
    n_other_settings: int = 0
    files: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)


def stage_origins(
    project: Project,
    recorded: Mapping[str, Mapping[str, tuple[Sidecar | None, bool]]],
    runs: Mapping[str, RunRecord],
) -> dict[str, StageOrigin]:
    """Return the origin of each stage that has results, in order.

    Parameters
    ----------
    project
        The session.
    recorded
        The sidecars, as `icefloe.project.index.Index.stages` gives them.
    runs
        As `icefloe.project.runs.read_runs` gives them.
    """
    found: dict[str, StageOrigin] = {}
    # The hash is that of what the stage uses: other sections of the settings may differ.
    by_settings: dict[str, dict[str, Counter[str]]] = {}
    for stages in recorded.values():
        for name, (sidecar, _) in stages.items():
            if sidecar is None:
                continue
            origin = found.setdefault(name, StageOrigin(name))
            if sidecar.status == "failed":
                origin.failed += 1
                continue
            _count(origin, sidecar)
            same = by_settings.setdefault(name, {}).setdefault(sidecar.settings_hash, Counter())
            same[sidecar.run] += 1
    for name, groups in by_settings.items():
        most = max(groups.values(), key=lambda group: (group.total(), sorted(group)))
        origin = found[name]
        origin.n_other_settings = origin.done - most.total()
        kept = (read_settings_of(project, runs[run].settings) for run in most if run in runs)
        origin.settings = next((content for content in kept if content is not None), None)
    return {name: found[name] for name in STAGES if name in found}


def _count(origin: StageOrigin, sidecar: Sidecar) -> None:
    origin.done += 1
    origin.versions[sidecar.version] += 1
    origin.runs[sidecar.run] += 1
    origin.upstream = tuple(dict.fromkeys((*origin.upstream, *sidecar.upstream)))
    for role in sidecar.files:
        origin.files[role] += 1
        origin.sizes[role] += sidecar.written[role].size if role in sidecar.written else 0
