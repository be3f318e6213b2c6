"""Reports and exports by button: made in the session, then offered as downloads by name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from icefloe.errors import ProjectError
from icefloe.formats.atomic import atomic_path, output_directory, write_bytes, write_text
from icefloe.project import Project, load_records

__all__ = ["DOWNLOADS", "ExportIn", "download", "make", "offered"]

# What may be fetched, by the name under which it is offered, and where it lies in the session.
DOWNLOADS = {
    "report.html": ("report/report.html", "text/html; charset=utf-8"),
    "report.pdf": ("report/report.pdf", "application/pdf"),
    "methods.txt": ("report/methods.txt", "text/plain; charset=utf-8"),
    "workflow.json": ("report/workflow.json", "application/json"),
    "relion.zip": ("export/relion.zip", "application/zip"),
    # Not below export/: their paths are counted from where they lie, and must not climb.
    "particles.cs": ("particles.cs", "application/octet-stream"),
    "particles.csg": ("particles.csg", "text/plain; charset=utf-8"),
    "picks.cs": ("picks.cs", "application/octet-stream"),
    "picks.csg": ("picks.csg", "text/plain; charset=utf-8"),
}

Kind = Literal["report", "pdf", "methods", "relion", "cryosparc"]


class ExportIn(BaseModel):
    """What to make."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind


def make(project: Project, asked: ExportIn) -> dict[str, Any]:
    """Write a report or an export into the session.

    Returns
    -------
    dict
        ``downloads``: names of `DOWNLOADS` that were made; ``lines``: what to tell the person.

    Raises
    ------
    IcefloeError
        It cannot be made, with the reason.
    """
    makers: dict[Kind, Callable[[Project], tuple[list[str], list[str]]]] = {
        "report": _report,
        "pdf": _pdf,
        "methods": _methods,
        "relion": _relion,
        "cryosparc": _cryosparc,
    }
    names, lines = makers[asked.kind](project)
    return {"downloads": names, "lines": lines}


def download(project: Project, name: str) -> tuple[Path, str] | None:
    """Return the file that is offered under a name, and its type; None if there is none.

    A link that leads out of the session is not followed.
    """
    if name not in DOWNLOADS:
        return None
    listed, kind = DOWNLOADS[name]
    path = project.root / listed
    inside = path.resolve().is_relative_to(project.root.resolve())
    return (path, kind) if path.is_file() and inside else None


def offered(project: Project) -> list[dict[str, Any]]:
    """Return what was made earlier and can be fetched: name, bytes, time of writing."""
    found = []
    for name in DOWNLOADS:
        known = download(project, name)
        if known is not None:
            status = known[0].stat()
            found.append({"name": name, "bytes": status.st_size, "written": status.st_mtime})
    return found


def _target(project: Project, name: str) -> Path:
    path = project.root / DOWNLOADS[name][0]
    output_directory(path.parent)
    return path


def _report(project: Project) -> tuple[list[str], list[str]]:
    from icefloe.report import build_report
    from icefloe.report.workflow import session_workflow

    write_bytes(_target(project, "report.html"), build_report(project).encode())
    workflow = f"{session_workflow(project).model_dump_json(indent=1)}\n"
    write_text(_target(project, "workflow.json"), workflow)
    return ["report.html", "workflow.json"], []


def _pdf(project: Project) -> tuple[list[str], list[str]]:
    from icefloe.report.session_pdf import session_pdf

    write_bytes(_target(project, "report.pdf"), session_pdf(project))
    return ["report.pdf"], []


def _methods(project: Project) -> tuple[list[str], list[str]]:
    from icefloe.report.workflow import session_methods

    text = session_methods(project).text
    write_text(_target(project, "methods.txt"), text)
    return ["methods.txt"], text.splitlines()


def _relion(project: Project) -> tuple[list[str], list[str]]:
    files, notes = _write_relion(project)
    root = project.root / "relion"
    with (
        atomic_path(_target(project, "relion.zip")) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for path in sorted(root.rglob("*.star")):
            archive.write(path, path.relative_to(project.root))
    lines = [f"{name}: {rows} rows" for name, rows in files.items()]
    lines.append(
        "The archive holds the STAR files; their paths are relative to the session's directory "
        f"({project.root}), in which RELION is started"
    )
    return ["relion.zip"], [*lines, *notes]


def _write_relion(project: Project) -> tuple[dict[str, int], list[str]]:
    from icefloe.engine import Session
    from icefloe.engine.fact_check import FactCheck
    from icefloe.interop.relion_project import export_relion

    session = Session.open(project.root)
    sources = project.read_registry()
    facts = FactCheck(session)
    for name, listed in sources.items():  # metadata that came after their movie was done
        facts.record(name, listed)
    written = export_relion(
        project,
        session.settings.data.model_dump(mode="json"),
        absolute=False,
        data_of=lambda name: session.view(name, sources[name]).facts(),
    )
    return {str(path): rows for path, rows in written.files.items()}, list(written.notes)


def _cryosparc(project: Project) -> tuple[list[str], list[str]]:
    from icefloe.engine import Session
    from icefloe.formats.star import read_star
    from icefloe.interop.cryosparc_particles import write_cryosparc_particles
    from icefloe.report.summary import micrograph_geometry

    _, notes = _write_relion(project)  # the same exposures, with the same verdicts
    records = {record.name: record for record in load_records(project)}
    shapes = {}
    for name, record in records.items():
        shape = micrograph_geometry(record)[0]
        if shape is not None:
            shapes[name] = (int(shape[0]), int(shape[1]))
    star = project.root / "relion" / "particles.star"
    if not star.is_file():
        return _cryosparc_picks(project, shapes, notes)
    blocks = read_star(star)
    listed = {str(name) for name in blocks["particles"]["rlnMicrographName"].tolist()}
    known = {path: shapes[stem] for path in listed if (stem := PurePath(path).stem) in shapes}
    bright = Session.open(project.root).settings.extract.invert
    target = _target(project, "particles.cs")
    group = write_cryosparc_particles(target, blocks, known, bright=bright, root=project.root)
    lines = [
        f"{len(blocks['particles'])} particles: give {group} to cryoSPARC's Import Result Group; "
        "or relion/particles.star to Import Particle Stack, with the session's directory as the "
        "particle data path"
    ]
    return ["particles.cs", "particles.csg"], [*lines, *notes]


def _cryosparc_picks(
    project: Project, shapes: dict[str, tuple[int, int]], notes: list[str]
) -> tuple[list[str], list[str]]:
    from icefloe.interop.coordinate_sets import read_sets
    from icefloe.interop.cryosparc_picks import write_cryosparc

    star = project.root / "relion" / "picks.star"
    if not star.is_file():
        raise ProjectError(
            "The session has neither particles nor picks yet", hint="Run 'icefloe run' first"
        )
    sets = read_sets([star], lambda listed, _: project.root / listed)
    names = {name: f"micrographs/{name}.mrc" for name in sets}
    target = _target(project, "picks.cs")
    write_cryosparc(target, sets, names, shapes)
    total = sum(len(one) for one in sets.values())
    line = (
        f"{total} picks in {len(sets)} micrographs: give {target.with_suffix('.csg')} to "
        "cryoSPARC's Import Result Group"
    )
    return ["picks.cs", "picks.csg"], [line, *notes]
