"""The HTML page: one file, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe import __version__
from icefloe._types import BoolArray
from icefloe.curation import Curation, load_curation
from icefloe.project import ExposureRecord, Project, load_record
from icefloe.report import figures
from icefloe.report.figures.values import number
from icefloe.report.remarks import flag_counts
from icefloe.report.summary import (
    QUANTITIES,
    Row,
    facts,
    live_facts,
    micrograph_geometry,
    read_rows,
    reliable_numbers,
    select_panels,
    state_counts,
)
from icefloe.report.workflow import session_methods

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["PANEL_LIMIT", "build_report"]

PANEL_LIMIT = 200  # exposures that get a panel; about 0.2 MB each
_THUMBNAIL_LIMIT = 2000  # exposures; more thumbnails than these nobody looks at
_NAMES_SHOWN = 12
_STAGE_NAMES = {
    "import": "Import",
    "motion": "Motion correction",
    "ctf": "CTF fit",
    "look": "Image numbers",
    "pick": "Picking",
    "extract": "Extraction",
}


@dataclass(frozen=True)
class _Panel:
    """What the template needs of one exposure."""

    row: Row
    position: int
    micrograph: Markup
    rings: Markup | None
    curves: Markup | None
    scores: Markup | None
    ctf_figures: list[tuple[Markup, str]]
    advice: list[str]
    frames_image: str
    motion_spectra: str
    ring_curves: Markup | None
    frame_track: Markup
    patch_tracks: Markup
    details: list[tuple[str, str]]
    shown: bool  # False where no stage got anywhere: then there is only the reason


def build_report(project: Project, *, panel_limit: int = PANEL_LIMIT) -> str:
    """Return a page about a session.

    Parameters
    ----------
    project
        The session; unfinished and failed stages are shown as such.
    panel_limit
        Most exposures that get a panel of their own; the page says which were chosen.

    Returns
    -------
    str
        HTML. The same session gives the same page.
    """
    from jinja2 import Environment, StrictUndefined

    rows = read_rows(project)
    chosen, selection = select_panels(rows, panel_limit)
    panels = [
        _panel(load_record(project, rows[i].name, rows[i].source), rows[i], i + 1, project)
        for i in chosen
    ]
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    source = resources.files("icefloe.report").joinpath("template.html").read_text("utf-8")
    curation = load_curation(project)
    return environment.from_string(source).render(
        session=project.root.name,
        verdicts={} if curation is None else curation.verdicts,
        curated=None if curation is None else _curated(curation),
        version=__version__,
        rows=rows,
        methods=session_methods(project) if rows else None,
        counts=state_counts(rows),
        highlights=_highlights(rows),
        facts=[*facts(rows), *live_facts(project)],
        failures=[row for row in rows if row.failure is not None],
        flags=[
            (flag, len(names), names[:_NAMES_SHOWN], max(0, len(names) - _NAMES_SHOWN))
            for flag, names in flag_counts(rows)
        ],
        quantities=[q for q in QUANTITIES if _known(rows, q.key)],
        histograms=_histograms(rows),
        series=_series(rows),
        thumbnails=_thumbnails(project, rows),
        panels=panels,
        with_panel={rows[i].name for i in chosen},
        selection=selection,
        stage_names=_STAGE_NAMES,
        anchor=_anchors(rows),
    )


def _curated(curation: Curation) -> dict[str, Any]:
    """Return how many exposures are kept, and each cause with those that it takes."""
    return {
        "accepted": len(curation.names("accepted")),
        "rejected": len(curation.names("rejected")),
        "pending": len(curation.names("pending")),
        "causes": [
            (cause, len(names), names[:_NAMES_SHOWN], max(0, len(names) - _NAMES_SHOWN))
            for cause, names in curation.by_reason()
        ],
    }


def _safe(svg: bytes) -> Markup:
    """Mark a figure as markup; the figures escape every text in them."""
    from markupsafe import Markup

    return Markup(svg.decode())


def _anchors(rows: Sequence[Row]) -> dict[str, str]:
    """Return an address in the page for each exposure, from its position: names hold anything."""
    return {row.name: f"exposure-{i}" for i, row in enumerate(rows, 1)}


def _values(rows: Sequence[Row], key: str) -> list[float | None]:
    return [row.values[key] for row in rows]


def _known(rows: Sequence[Row], key: str) -> list[float]:
    return [v for v in _values(rows, key) if v is not None]


def _highlights(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return the figures that come first: what, value, remark."""
    out: list[tuple[str, str, str]] = []
    if resolution := _known(rows, "resolution"):
        good = sum(r <= 5 for r in resolution)
        remark = f"median; {good} of {len(resolution)} at 5 Å or better"
        out.append(("Fit resolution", f"{np.median(resolution):.1f} Å", remark))
    if defocus := _known(rows, "defocus"):
        low, high = min(defocus), max(defocus)
        remark = f"median {np.median(defocus):.2f} µm"
        out.append(("Defocus", f"{low:.2f} to {high:.2f} µm", remark))
    if motion := _known(rows, "motion"):
        early = _known(rows, "early")
        remark = f"median; early part {np.median(early):.1f} Å" if early else "median"
        out.append(("Total motion", f"{np.median(motion):.1f} Å", remark))
    if picks := _known(rows, "picks"):
        remark = f"median {np.median(picks):.0f} a micrograph"
        out.append(("Picks", f"{sum(picks):,.0f}", remark))
    return out


def _histograms(rows: Sequence[Row]) -> list[Markup]:
    return [
        _safe(figures.histogram(_values(rows, q.key), label=q.label, unit=q.unit))
        for q in QUANTITIES
        if q.plotted and _known(rows, q.key)
    ]


def _series(rows: Sequence[Row]) -> list[Markup]:
    if len(rows) < 2:
        return []
    failed = [row.state == "failed" for row in rows]
    names = [row.name for row in rows]
    return [
        _safe(
            figures.series(
                _values(rows, q.key), label=q.label, unit=q.unit, failed=failed, names=names
            )
        )
        for q in QUANTITIES
        if q.plotted and _known(rows, q.key)
    ]


def _thumbnails(project: Project, rows: Sequence[Row]) -> dict[str, str]:
    if len(rows) > _THUMBNAIL_LIMIT:
        return {}
    found = {}
    for row in rows:
        path = project.exposures / row.name / "micrograph.png"
        data = figures.web_image(path, 72, 50)
        if data is not None:
            found[row.name] = figures.picture(data)
    return found


def _panel(record: ExposureRecord, row: Row, position: int, project: Project) -> _Panel:
    directory = project.exposures / record.name
    shape, pixel_size = micrograph_geometry(record)
    numbers = reliable_numbers(record)
    motion, ctf, picks = numbers.get("motion", {}), numbers.get("ctf", {}), numbers.get("pick")
    count = number(picks, "n_picks")
    title = f"Micrograph {record.name}" + ("" if count is None else f" with {count:.0f} picks")
    image = figures.web_image(directory / "micrograph.png", 448, 55)
    spectrum = figures.web_image(directory / "ctf.png", 512, 60) if ctf else None
    ctf_view = ctf.get("view")
    edge = number(ctf_view, "edge") if isinstance(ctf_view, Mapping) else None
    view = motion.get("view")
    frames = figures.web_image(directory / "motion.png", 512, 20) if view else None
    spectra = figures.web_image(directory / "motion_ps.png", 256, 60) if view else None
    return _Panel(
        row=row,
        position=position,
        micrograph=_safe(
            figures.micrograph(image, shape, pixel_size, picks, mask=_mask(record), title=title)
        ),
        scores=None if not count else _scores(record.flags.get("pick", ()), picks or {}),
        rings=None
        if spectrum is None
        else _safe(figures.ctf_rings(spectrum, ctf, edge, small=True)),
        curves=_safe(figures.spectrum_curves(ctf)) if ctf.get("curves") else None,
        ctf_figures=_ctf_figures(ctf),
        advice=[str(line) for line in ctf.get("advice") or ()],
        frames_image="" if frames is None else figures.picture(frames),
        motion_spectra="" if spectra is None else figures.picture(spectra),
        ring_curves=_safe(figures.ring_curves(view)) if isinstance(view, Mapping) else None,
        frame_track=_safe(figures.frame_track(motion)),
        patch_tracks=_safe(figures.patch_tracks(motion)),
        details=_details(numbers),
        shown=image is not None or bool(motion or ctf or picks),
    )


def _mask(record: ExposureRecord) -> BoolArray | None:
    """Return where nothing was picked, if picking recorded it and it can be read."""
    from icefloe.errors import IcefloeError
    from icefloe.formats.mrc import read_mrc

    path = record.file("pick", "mask")
    if path is None:
        return None
    try:
        data, _ = read_mrc(path)
    except IcefloeError:
        return None
    return np.asarray(data > 0.5) if data.ndim == 2 else None


def _scores(flags: Sequence[str], picks: Mapping[str, Any]) -> Markup | None:
    """Return the distribution of the picks' scores."""
    threshold = number(picks, "threshold")
    if threshold is None or not picks.get("score"):
        return None
    weak = any("do not stand out" in flag for flag in flags)
    note = "Particles do not stand out from the noise." if weak else ""
    scores = np.asarray(picks["score"], dtype=np.float64)
    return _safe(figures.score_histogram(scores, threshold, note=note, label="Scores of the picks"))


def _ctf_figures(ctf: Mapping[str, Any]) -> list[tuple[Markup, str]]:
    """Return what was recorded for a fit beyond its curves, each with its caption."""
    found = []
    if isinstance(ctf.get("view"), Mapping):
        found = [
            (figures.defocus_score(ctf), "Score against defocus, at the astigmatism found"),
            (figures.ice_ring(ctf), "Ring of ice"),
        ]
    grid, note = figures.recorded_surface(ctf)
    if grid is not None:
        found.append((figures.defocus_surface(grid, note=note), "Defocus over the micrograph"))
    return [(_safe(svg), caption) for svg, caption in found]


# Stage, key, label, unit, decimals.
_DETAILS = (
    ("ctf", "defocus_u", "Defocus U", "Å", 0),
    ("ctf", "defocus_v", "Defocus V", "Å", 0),
    ("ctf", "astigmatism", "Astigmatism", "Å", 0),
    ("ctf", "defocus_angle", "Azimuth of U", "°", 1),
    ("ctf", "defocus_error", "Error of the mean", "Å", 0),
    ("ctf", "phase_shift", "Phase shift", "°", 1),
    ("ctf", "figure_of_merit", "Fit merit", "", 3),
    ("ctf", "fit_resolution", "Fit resolution", "Å", 2),
    ("ctf", "fit_resolution_03", "Correlation 0.3 at", "Å", 2),
    ("ctf", "iciness", "Ice", "", 3),
    ("motion", "motion_total", "Total motion", "Å", 1),
    ("motion", "motion_early", "Early motion", "Å", 1),
    ("motion", "motion_late", "Late motion", "Å", 1),
    ("motion", "n_frames", "Frames", "", 0),
    ("motion", "n_defects", "Defect pixels", "", 0),
    ("pick", "n_picks", "Picks", "", 0),
    ("pick", "threshold", "Pick threshold", "", 2),
    ("extract", "n_particles", "Particles", "", 0),
)


def _details(numbers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for stage, key, label, unit, digits in _DETAILS:
        value = number(numbers.get(stage), key)
        if value is None or (key == "phase_shift" and value == 0):
            continue
        error = number(numbers.get(stage), f"{key}_error")
        lines.append((label, figures.with_error(value, error, digits, unit)))
    return lines
