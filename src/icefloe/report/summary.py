"""A session in a few numbers an exposure, small enough for fifty thousand of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from icefloe.curation.indexed import session_index
from icefloe.project import ExposureRecord, Failure, Project
from icefloe.report.figures.values import number, pair

__all__ = [
    "QUANTITIES",
    "Fact",
    "Quantity",
    "Row",
    "facts",
    "live_facts",
    "micrograph_geometry",
    "read_rows",
    "reliable_numbers",
    "select_panels",
    "state_counts",
]

Numbers = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Quantity:
    """A number of each exposure that a column, a histogram and a series show.

    Attributes
    ----------
    key
        Its name in the page.
    label, unit
        For people.
    digits
        Decimals shown.
    read
        Finds it in the numbers of the stages.
    plotted
        Whether it has a histogram and a series.
    """

    key: str
    label: str
    unit: str
    digits: int
    read: Callable[[Numbers], float | None]
    plotted: bool = True

    @property
    def heading(self) -> str:
        """Label with the unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def format(self, value: float | None) -> str:
        """Return the number as it is printed, a dash where there is none."""
        return "–" if value is None else f"{value:.{self.digits}f}"


def _from(stage: str, key: str) -> Callable[[Numbers], float | None]:
    return lambda numbers: number(numbers.get(stage), key)


def _defocus(numbers: Numbers) -> float | None:
    u, v = (number(numbers.get("ctf"), key) for key in ("defocus_u", "defocus_v"))
    return None if u is None or v is None else (u + v) / 2e4


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("defocus", "Defocus", "µm", 2, _defocus),
    Quantity("astigmatism", "Astigmatism", "Å", 0, _from("ctf", "astigmatism")),
    Quantity("resolution", "Fit resolution", "Å", 1, _from("ctf", "fit_resolution")),
    Quantity("merit", "Fit merit", "", 3, _from("ctf", "figure_of_merit"), plotted=False),
    Quantity("motion", "Total motion", "Å", 1, _from("motion", "motion_total")),
    Quantity("early", "Early motion", "Å", 1, _from("motion", "motion_early")),
    Quantity("picks", "Picks", "", 0, _from("pick", "n_picks")),
    Quantity("particles", "Particles", "", 0, _from("extract", "n_particles"), plotted=False),
    Quantity("ice", "Ice", "", 3, _from("ctf", "iciness")),
)


@dataclass(frozen=True)
class Row:
    """One exposure without its curves and coordinates.

    Attributes
    ----------
    name
        The exposure.
    source
        Where it is recorded to come from, to load it again.
    kind
        ``movie``, ``micrograph`` or ``unknown``.
    state
        ``done``, ``failed``, ``stale`` or ``waiting``.
    failure
        The first failure, or None.
    flags
        Remarks of all stages.
    values
        By `Quantity.key`.
    settings
        Physical facts by name, see `facts`.
    """

    name: str
    source: str
    kind: str
    state: str
    failure: Failure | None
    flags: tuple[str, ...]
    values: Mapping[str, float | None]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Fact:
    """A line of what the session was recorded and processed with."""

    label: str
    text: str


# Label, unit, decimals at most, and where it stands: the first stage that tells counts.
_FACTS: tuple[tuple[str, str, int, tuple[tuple[str, str], ...]], ...] = (
    ("Pixel size", "Å", 4, (("motion", "pixel_size"), ("ctf", "pixel_size"))),
    ("Movie pixel size", "Å", 4, (("motion", "movie_pixel_size"),)),
    ("Voltage", "kV", 1, (("ctf", "voltage"), ("motion", "voltage"))),
    ("Spherical aberration", "mm", 3, (("ctf", "cs"),)),
    ("Amplitude contrast", "", 3, (("ctf", "amplitude_contrast"),)),
    ("Frames", "", 0, (("motion", "n_frames"),)),
    ("Dose per frame", "e/Å²", 3, (("motion", "dose_per_frame"),)),
    ("Pre-exposure", "e/Å²", 2, (("motion", "pre_exposure"),)),
    ("Particle box", "px", 0, (("extract", "box"),)),
    ("Particle pixel size", "Å", 4, (("extract", "pixel_size"),)),
)

_PICKING = ("pick", "extract")


# The CTF stage's remark on an image without a fit, and the numbers that then mean nothing.
_UNFITTED = "no Thon rings"
_FITTED: tuple[str, ...] = (
    "defocus_u",
    "defocus_v",
    "defocus_angle",
    "defocus_error",
    "phase_shift",
)
_FITTED += ("astigmatism", "fit_resolution", "fit_resolution_03")


def reliable_numbers(record: ExposureRecord) -> dict[str, Mapping[str, Any]]:
    """Return the numbers by stage, without those of a CTF fit that was found to be none."""
    numbers = dict(record.numbers)
    if _UNFITTED in record.flags.get("ctf", ()):
        numbers["ctf"] = {k: v for k, v in numbers["ctf"].items() if k not in _FITTED}
    return numbers


def read_rows(project: Project) -> list[Row]:
    """Return what the tables and histograms need.

    Without a particle diameter a session ends with the CTF: where no exposure was picked although
    some were fitted, picking and extraction are not waited for.
    """
    rows: list[Row] = []
    status: list[Mapping[str, str]] = []
    with session_index(project) as index:
        for record in index.records():
            rows.append(_row(record, project.listed(record.source)))
            status.append(record.status)
    fitted = any(stages.get("ctf") == "done" for stages in status)
    picked = any(stages.get("pick", "waiting") != "waiting" for stages in status)
    if not fitted or picked:
        return rows
    return [
        replace(row, state="done")
        if row.state == "waiting"
        and {s for k, s in stages.items() if k not in _PICKING} == {"done"}
        else row
        for row, stages in zip(rows, status, strict=True)
    ]


def _row(record: ExposureRecord, source: str) -> Row:
    numbers = reliable_numbers(record)
    settings: dict[str, Any] = {
        label: next((v for s, k in places if (v := number(numbers.get(s), k)) is not None), None)
        for label, _, _, places in _FACTS
    }
    dose, frames = settings["Dose per frame"], settings["Frames"]
    settings["Total dose"] = None if dose is None or frames is None else dose * frames
    pick = numbers.get("pick")
    settings["Particle diameter"] = (number(pick, "diameter_min"), number(pick, "diameter_max"))
    shape, _ = micrograph_geometry(record)
    settings["Micrograph"] = shape
    flags = [flag for stage in record.status for flag in record.flags.get(stage, ())]
    return Row(
        name=record.name,
        source=source,
        kind=record.kind,
        state=record.state,
        failure=record.failure,
        flags=tuple(dict.fromkeys(flags)),
        values={quantity.key: quantity.read(numbers) for quantity in QUANTITIES},
        settings=settings,
    )


def micrograph_geometry(
    record: ExposureRecord,
) -> tuple[tuple[int, int] | None, float | None]:
    """Return the shape (ny, nx) and the pixel size, A, of the aligned micrograph, as known."""
    stages = ("motion", "ctf", "pick", "import")
    numbers = [record.numbers.get(stage) for stage in stages]
    shape = next((s for n in numbers if (s := pair((n or {}).get("shape"))) is not None), None)
    sizes = (number(n, "pixel_size") for n in numbers)
    return shape, next((s for s in sizes if s is not None), None)


def state_counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many exposures are in each state, the common ones first, none left out."""
    found = Counter(row.state for row in rows)
    return {state: found.get(state, 0) for state in ("done", "failed", "stale", "waiting")}


def facts(rows: Sequence[Row]) -> list[Fact]:
    """Return what the exposures were recorded and processed with, ranges where they differ."""
    lines = [
        _fact(label, unit, digits, [row.settings[label] for row in rows])
        for label, unit, digits, _ in _FACTS
    ]
    lines.append(_fact("Total dose", "e/Å²", 2, [row.settings["Total dose"] for row in rows]))
    diameters = [d for row in rows for d in row.settings["Particle diameter"]]
    lines.append(_fact("Particle diameter", "Å", 0, diameters))
    shapes = Counter(s for row in rows if (s := row.settings["Micrograph"]) is not None)
    texts = [f"{nx} × {ny} px" for (ny, nx), _ in shapes.most_common(3)]
    if texts:
        more = ", …" if len(shapes) > 3 else ""
        lines.append(Fact("Micrograph", ", ".join(texts) + more))
    found = {line.label: line for line in lines if line is not None}
    # The movie's pixel size says nothing new unless micrographs are binned.
    movie, aligned = found.get("Movie pixel size"), found.get("Pixel size")
    if movie is not None and aligned is not None and movie.text == aligned.text:
        del found["Movie pixel size"]
    if "Pre-exposure" in found and found["Pre-exposure"].text.split()[0] == "0":
        del found["Pre-exposure"]
    order = ["Micrograph", "Pixel size", "Movie pixel size", "Voltage", "Spherical aberration"]
    order += ["Amplitude contrast", "Frames", "Dose per frame", "Total dose", "Particle diameter"]
    rest = [label for label in found if label not in order]
    return [found[label] for label in order + rest if label in found]


def live_facts(project: Project) -> list[Fact]:
    """Return how a live run kept up; nothing without one."""
    from icefloe.project.live_log import live_figures, read_entries

    figures = live_figures(read_entries(project))
    if figures is None:
        return []
    lines = []
    if figures.latency is not None and figures.slow is not None:
        text = f"{figures.latency:.0f} s; 9 of 10 within {figures.slow:.0f} s"
        lines.append(Fact("Picks after the movie was whole", text))
    if figures.per_hour is not None:
        lines.append(
            Fact("Throughput of the live run", f"{figures.per_hour:.0f} exposures an hour")
        )
    return lines


def _fact(label: str, unit: str, digits: int, values: Sequence[float | None]) -> Fact | None:
    known = [v for v in values if v is not None]
    if not known:
        return None

    def show(value: float) -> str:
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    low, high = show(min(known)), show(max(known))
    text = low if low == high else f"{low} to {high}"
    return Fact(label, f"{text} {unit}".strip())


def select_panels(rows: Sequence[Row], limit: int) -> tuple[list[int], str]:
    """Return which exposures get a panel, in order, and a sentence that says how they were chosen.

    All of them up to `limit`; above it a quarter of the places for failed ones, a quarter for the
    best and a quarter for the worst by fit resolution, and what is left evenly spaced.
    """
    if len(rows) <= limit:
        return list(range(len(rows))), ""
    quarter = limit // 4
    failed = [i for i, row in enumerate(rows) if row.state == "failed"]
    chosen = set(_spread(failed, quarter))
    fitted = [i for i, row in enumerate(rows) if row.values["resolution"] is not None]
    fitted.sort(key=lambda i: (rows[i].values["resolution"] or 0.0, i))
    best, worst = fitted[:quarter], fitted[max(0, len(fitted) - quarter) :]
    chosen.update(best, worst)
    rest = [i for i in range(len(rows)) if i not in chosen]
    chosen.update(_spread(rest, limit - len(chosen)))
    groups = []
    if quarter and failed:
        groups.append(f"{min(len(failed), quarter)} of the {len(failed)} that failed")
    if best:
        groups.append(f"the {len(best)} with the best and with the worst fit resolution")
    text = (
        f"Panels are shown for {len(chosen)} of the {len(rows)} exposures: "
        + "".join(f"{group}, " for group in groups)
        + "and others at even distances. The table and the figures above count all of them."
    )
    return sorted(chosen), text


def _spread(indices: Sequence[int], count: int) -> list[int]:
    if count <= 0:
        return []
    if len(indices) <= count:
        return list(indices)
    places = np.linspace(0, len(indices) - 1, count).round().astype(int)
    return [indices[i] for i in np.unique(places).tolist()]
