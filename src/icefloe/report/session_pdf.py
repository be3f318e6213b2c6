"""One PDF about a session, for those who look through RELION's logfile.pdf."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from icefloe import __version__
from icefloe.curation import Curation, load_curation
from icefloe.curation.store import load_figures
from icefloe.project import Project
from icefloe.report.session_figures import (
    PAGE,
    Plotted,
    histogram_page,
    pairs_page,
    rejected_of,
    series_page,
    table_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from icefloe._types import FloatArray
    from icefloe.project import ExposureRecord

__all__ = ["session_pdf"]

_CAUSES = 18


def session_pdf(project: Project) -> bytes:
    """Return a PDF with a session's numbers: a summary, distributions, series and pairs.

    Parameters
    ----------
    project
        The session. If it is curated, rejected exposures are red.

    Returns
    -------
    bytes
        The file. It holds no time of its making: the same session gives the same bytes.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    records = load_figures(project)
    curation = load_curation(project, records)
    rejected = rejected_of(records, curation)
    table = table_of(records)
    pages = [_summary(project, records, curation, table)]
    if table:
        pages += [histogram_page(table, rejected), series_page(table, rejected)]
        if sum(p.paired for p in table) > 1:
            pages.append(pairs_page(table, rejected))
    target = io.BytesIO()
    metadata = {
        "Title": project.root.name,
        "Creator": f"Icefloe {__version__}",
        "CreationDate": None,
    }
    with PdfPages(target, metadata=metadata) as pdf:
        for figure in pages:
            pdf.savefig(figure)
    return target.getvalue()


def _summary(
    project: Project,
    records: list[ExposureRecord],
    curation: Curation | None,
    table: dict[Plotted, FloatArray],
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=PAGE)
    figure.text(0.08, 0.93, project.root.name, fontsize=18)
    figure.text(0.08, 0.91, f"Session report, Icefloe {__version__}", fontsize=9, color="#666666")
    failed = sum(r.failure is not None for r in records)
    lines = [f"{len(records)} exposures, {failed} failed"]
    if curation is not None:
        counts = [f"{len(curation.names(s))} {s}" for s in ("accepted", "rejected")]
        lines.append(", ".join(counts))
    y = 0.87
    for line in lines:
        figure.text(0.08, y, line, fontsize=11)
        y -= 0.02
    y -= 0.02
    y = _rows(
        figure,
        y,
        ("", "known", "lowest", "median", "highest"),
        [(p.label, *_statistics(values)) for p, values in table.items()],
        (0.08, 0.52, 0.65, 0.78, 0.91),
    )
    if curation is not None and curation.by_reason():
        figure.text(0.08, y - 0.02, "Why exposures were rejected", fontsize=11)
        causes = curation.by_reason()
        rows = [(cause[:90], str(len(names))) for cause, names in causes[:_CAUSES]]
        if len(causes) > _CAUSES:
            rows.append((f"and {len(causes) - _CAUSES} more reasons", ""))
        _rows(figure, y - 0.045, ("", "exposures"), rows, (0.08, 0.91))
    return figure


def _rows(
    figure: Figure,
    y: float,
    head: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    places: tuple[float, ...],
) -> float:
    """Write a table from `y` down, and return where it ends."""
    for number, row in enumerate((head, *rows)):
        for place, text in zip(places, row, strict=True):
            figure.text(
                place,
                y,
                text,
                fontsize=9,
                ha="left" if place == places[0] else "right",
                color="#222222" if number else "#666666",
                parse_math=False,
            )
        y -= 0.0185
    return y


def _statistics(values: FloatArray) -> tuple[str, str, str, str]:
    known = values[np.isfinite(values)]
    low, middle, high = (f"{v:.4g}" for v in np.percentile(known, (0, 50, 100)))
    return str(len(known)), low, middle, high
