"""How far each exposure of a simulated session is from its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from icefloe.project import ExposureRecord, Project
    from icefloe.simulate import MovieTruth

__all__ = ["ExposureScore", "score_session"]


@dataclass(frozen=True)
class ExposureScore:
    """Scores of one exposure; None where a stage gave nothing to score.

    Attributes
    ----------
    motion_in, motion_left
        RMS motion over frames and field before and after correction, movie pixels.
    defocus, defocus_error
        True mean defocus and found minus true, A.
    fit_resolution
        A.
    n_picks, precision, recall, average_precision
        Picks within 0.3 diameters of a true particle count as right.
    note
        Failure or flags.
    """

    name: str
    motion_in: float | None = None
    motion_left: float | None = None
    defocus: float | None = None
    defocus_error: float | None = None
    fit_resolution: float | None = None
    n_picks: int | None = None
    precision: float | None = None
    recall: float | None = None
    average_precision: float | None = None
    note: str = ""


def score_session(project: Project, truth_dir: Path) -> list[ExposureScore]:
    """Return the score of every exposure whose ``NAME_truth.npz`` is in `truth_dir`.

    Motion is read back from the RELION files of the export, so that what is scored is what
    another program would read.
    """
    from icefloe.project import load_records
    from icefloe.simulate import MovieTruth

    scores = []
    for record in load_records(project):
        path = truth_dir / f"{record.name}_truth.npz"
        if path.is_file():
            scores.append(_score(project, record, MovieTruth.load(path)))
    return scores


def _score(project: Project, record: ExposureRecord, truth: MovieTruth) -> ExposureScore:
    from icefloe.optics import CtfParameters
    from icefloe.scoring import ctf_error, residual_motion, score_picks

    values: dict[str, float | int | str | None] = {"defocus": truth.ctf.defocus}
    star = exported_motion(project, record.name)
    if truth.field is not None and star is not None and "motion" in record.numbers:
        from icefloe.interop.relion_motion import read_motion_star

        motion = residual_motion(
            truth.field,
            read_motion_star(star),
            truth.settings.movie_shape,
            int(record.numbers["motion"]["n_frames"]),
        )
        values |= {"motion_in": motion.input_motion, "motion_left": motion.total}
    ctf = record.numbers.get("ctf")
    if ctf and ctf.get("defocus_u") is not None:
        found = CtfParameters(ctf["defocus_u"], ctf["defocus_v"], ctf["defocus_angle"])
        values["defocus_error"] = ctf_error(truth.ctf, found).defocus_error
        values["fit_resolution"] = ctf.get("fit_resolution")
    picks = record.numbers.get("pick")
    if picks:
        binning = float(record.numbers.get("motion", {}).get("binning", 1.0))
        centres = np.stack([picks["y"], picks["x"]], axis=-1).reshape(-1, 2)
        score = score_picks(
            centres * binning, picks["score"], truth.yx, 0.3 * truth.diameter / truth.pixel_size
        )
        values |= {
            "n_picks": score.n_found,
            "precision": score.precision,
            "recall": score.recall,
            "average_precision": score.average_precision,
        }
    notes = [f"{record.failure.stage} failed: {record.failure.message}"] if record.failure else []
    notes += [f"{stage}: {flag}" for stage, flags in record.flags.items() for flag in flags]
    return ExposureScore(record.name, note="; ".join(notes), **values)  # type: ignore[arg-type]


def exported_motion(project: Project, name: str) -> Path | None:
    """Return the per-movie STAR that the export wrote for an exposure, if it did."""
    found = sorted((project.root / "relion").rglob(f"{name}.star"))
    return found[0] if found else None
