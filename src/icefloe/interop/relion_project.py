"""A session as RELION's files: everything its later jobs need, in one directory.

Paths are relative to the session's directory, from which RELION is started, or absolute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icefloe.curation.evaluate import Curation
from icefloe.curation.store import figures_only, load_curation
from icefloe.errors import ProjectError
from icefloe.formats.mrc import write_mrc
from icefloe.formats.star import StarTable, write_star
from icefloe.interop.optics import OpticsGroup
from icefloe.interop.optics_numbers import OpticsNumbers
from icefloe.interop.own_directory import replaced_directory
from icefloe.interop.relion_ctf import micrographs_ctf
from icefloe.interop.relion_motion import corrected_micrographs, motion_star
from icefloe.interop.relion_particles import (
    ctf_row,
    join_columns,
    particle_columns,
    particles_star,
)
from icefloe.interop.relion_picks import picks_list, read_picks
from icefloe.interop.relion_rejected import rejected_micrographs
from icefloe.project import ExposureRecord, Project, load_records

__all__ = ["Exported", "export_relion"]

_NO_GROUPING = (
    "RELION can polish EER movies only if their fractions have one length: "
    "set data.eer_frames_per_fraction or data.eer_dose_per_fraction and run again"
)


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    files
        Number of rows by file; paths relative to the session.
    notes
        What was left out, and why.
    """

    files: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export_relion(
    project: Project,
    data: Mapping[str, Any],
    *,
    absolute: bool = False,
    data_of: Callable[[str], Mapping[str, Any]] | None = None,
) -> Exported:
    """Write ``relion/`` anew from what the stages recorded.

    In a curated session only accepted exposures are in the lists; those that were rejected have a
    list of their own, with the reasons.

    Parameters
    ----------
    project
        The session.
    data
        The settings of its section [data].
    data_of
        Returns these settings as they hold for one exposure, where groups have their own.
    absolute
        Write absolute paths instead of ones relative to the session.

    Raises
    ------
    ProjectError
        The directory holds files of others, or no exposure is far enough to be exported.
    OutputError
        It cannot be written.
    """
    records = load_records(project)
    curation = load_curation(project, [figures_only(record) for record in records])
    export = _Export(project, data, absolute, records, curation, data_of)
    if not export.micrographs:
        if export.rejected:
            raise ProjectError(
                f"All {len(export.rejected)} exposures of {project.root} are rejected",
                hint="'icefloe curate' shows by which rules",
            )
        raise ProjectError(
            f"{project.root} has no micrograph to export", hint="Run 'icefloe run' first"
        )
    target = project.root / "relion"
    with replaced_directory(target) as temporary:
        return export.write(temporary)


class _Export:
    """The rows of one export, and the writing of them."""

    def __init__(
        self,
        project: Project,
        data: Mapping[str, Any],
        absolute: bool,
        records: Sequence[ExposureRecord],
        curation: Curation | None = None,
        data_of: Callable[[str], Mapping[str, Any]] | None = None,
    ) -> None:
        self.project, self.data, self.absolute = project, data, absolute
        self.data_of = data_of if data_of is not None else lambda _: data
        self._gains: dict[tuple[Any, ...], str] = {}
        self.micrographs = [r for r in records if self._image(r) is not None]
        self.optics = OpticsNumbers(
            project, self.micrographs, self.data_of, data.get("shift_tolerance")
        )
        self.rejected: list[ExposureRecord] = []
        self.unfinished = 0
        if curation is not None:
            state = {name: verdict.state for name, verdict in curation.verdicts.items()}
            self.rejected = [r for r in self.micrographs if state[r.name] == "rejected"]
            self.unfinished = sum(state[r.name] == "pending" for r in self.micrographs)
            self.micrographs = [r for r in self.micrographs if state[r.name] == "accepted"]
        self.curation = curation
        self.groups: dict[str, OpticsGroup] = {}  # by exposure
        for record in self.micrographs:
            self.groups[record.name] = self.optics.group(record)
        self.exported = Exported()

    def write(self, directory: Path) -> Exported:
        """Write all files."""
        self._directory = directory
        corrected = self._write_motion()
        fitted = self._write_ctf(corrected)
        self._write_picks(corrected, fitted)
        self._write_particles("particles")
        # The same particles, binned for 2D classification, where the session made them.
        self._write_particles("particles_small")
        self._write_rejected()
        self.optics.save()
        if self.optics.shift_count > 1:
            self.exported.notes.append(
                f"{self.optics.shift_count} groups of beam shifts, each an optics group"
            )
        missing = [r.name for r in self.micrographs if r.ctf is None]
        if missing:
            shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            self.exported.notes.append(
                f"Without a usable CTF, and so left out of micrographs_ctf.star and "
                f"particles.star: {shown} ({len(missing)})"
            )
        return self.exported

    def _write_motion(self) -> list[dict[str, Any]]:
        """Write the movies' motion; return the rows of all micrographs."""
        rows = []
        moved = False
        for record in self.micrographs:
            row = self._row(record, self.groups[record.name])
            if record.kind == "movie":
                moved = True
                row["metadata"] = self._listed(f"relion/motion/{record.name}.star")
                self._write_movie(record)
            rows.append(row)
        movies = [row for row in rows if "metadata" in row]
        if moved:
            self._star(
                "corrected_micrographs.star", corrected_micrographs(movies, self._used(movies))
            )
        return rows

    def _row(self, record: ExposureRecord, group: OpticsGroup) -> dict[str, Any]:
        """Return what RELION's lists say about a micrograph, but for its CTF."""
        row: dict[str, Any] = {
            "name": record.name,
            "micrograph": self._path(self._image(record)),
            "optics_group": group.number,
        }
        if record.kind == "movie":
            for role, key in (
                ("unweighted", "no_dw"),
                ("power_spectrum", "power_spectrum"),
                ("even", "even"),
                ("odd", "odd"),
            ):
                row[key] = self._path(record.file("motion", role))
            row["numbers"] = record.numbers["motion"]
        return row

    def _write_rejected(self) -> None:
        """Write what curation took out, and say how many that are."""
        if self.curation is None:
            return
        if self.unfinished:
            self.exported.notes.append(f"Not finished, and so left out: {self.unfinished}")
        if not self.rejected:
            return
        rows, groups = [], {}
        for record in self.rejected:
            group = self.optics.group(record)
            groups[group.number] = group
            image = self._path(record.file("ctf", "diagnostic"))
            more = {
                "ctf": record.ctf,
                "ctf_image": f"{image}:mrc" if image else "None",
                "reason": "; ".join(self.curation.verdicts[record.name].reasons),
            }
            rows.append({**self._row(record, group), **more})
        used = [groups[number] for number in sorted(groups)]
        self._star("rejected_micrographs.star", rejected_micrographs(rows, used))

    def _write_movie(self, record: ExposureRecord) -> None:
        numbers = record.numbers["motion"]
        eer = None
        is_eer = record.numbers["import"].get("format") == "eer"
        grouping = record.numbers["import"].get("camera_frames_per_fraction")
        if is_eer and grouping:
            # RELION counts the grids 1, 2, 3: 4K, 8K, 16K.
            upsampling = {1: 1, 2: 2, 4: 3}[int(self.data["eer_upsampling"])]
            fractions = sum(record.numbers["import"]["frame_dose_factors"])
            eer = {
                "upsampling": upsampling,
                "grouping": int(grouping),
                "camera_frames": round(fractions * int(grouping)),
            }
        elif is_eer and _NO_GROUPING not in self.exported.notes:
            self.exported.notes.append(_NO_GROUPING)
        blocks = motion_star(
            numbers,
            movie_name=self._listed(self.project.listed(record.source)),
            gain_name=self._gain(record, divides=is_eer),
            defect_name=self._path(self._located(record, "defects")),
            eer=eer,
        )
        path = self._directory / "motion" / f"{record.name}.star"
        path.parent.mkdir(exist_ok=True)
        write_star(path, blocks)

    def _write_ctf(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Write the micrographs with a usable CTF, and return their rows."""
        by_name = {r.name: r for r in self.micrographs}
        fitted = []
        for row in rows:
            record = by_name[str(row["name"])]
            if record.ctf is not None:
                image = self._path(record.file("ctf", "diagnostic"))
                fitted.append({**row, "ctf_image": f"{image}:mrc", "ctf": record.ctf})
        if fitted:
            self._star("micrographs_ctf.star", micrographs_ctf(fitted, self._used(fitted)))
        return fitted

    def _write_picks(
        self, rows: Sequence[Mapping[str, Any]], fitted: Sequence[Mapping[str, Any]]
    ) -> None:
        by_name = {r.name: r for r in self.micrographs}
        known = {str(row["name"]): row for row in (*rows, *fitted)}
        pairs = []
        micrographs = []
        for name, row in known.items():
            coordinates = self._path(by_name[name].file("pick", "picks"))
            if coordinates is None:
                continue
            pairs.append((str(row["micrograph"]), coordinates))
            micrographs.append(
                {"rlnMicrographName": row["micrograph"], "rlnOpticsGroup": row["optics_group"]}
            )
        if pairs:
            self._star("picks.star", picks_list(pairs, micrographs, self._used(rows)))

    def _write_particles(self, role: str) -> None:
        parts = []
        sizes: dict[int, float] = {}
        boxes: dict[int, list[str]] = {}
        for record in self.micrographs:
            stack = self._path(record.file("extract", role))
            if record.ctf is None or stack is None:
                continue
            extracted = record.numbers["extract"]
            if role == "particles_small":
                extracted = {**extracted, **extracted["small"]}
            group = self.groups[record.name]
            parts.append(
                particle_columns(
                    extracted,
                    stack_name=stack,
                    micrograph_name=str(self._path(self._image(record))),
                    optics_group=group.number,
                    score=np.asarray(record.numbers["pick"]["score"], dtype=np.float64),
                    extra=self._pick_columns(record),
                    ctf=ctf_row(record.ctf),
                    local=record.ctf.get("local"),
                )
            )
            sizes[group.number] = float(extracted["pixel_size"])
            boxes.setdefault(int(extracted["box"]), []).append(record.name)
        if not parts:
            return
        if len(boxes) > 1:
            found = "; ".join(f"{b} pixels: {len(n)} exposures" for b, n in sorted(boxes.items()))
            raise ProjectError(
                f"The particles have different boxes ({found})",
                "one box",
                "Set extract.box, run again and export again",
            )
        columns = join_columns(parts)
        blocks = particles_star(
            columns, self._all_groups(), pixel_size=sizes, box=next(iter(boxes))
        )
        self._star(f"{role}.star", blocks)

    def _pick_columns(self, record: ExposureRecord) -> dict[str, Any]:
        """Return what the picker wrote of each pick beside place and score: class, angle."""
        path = record.file("pick", "picks")
        if path is None:
            return {}
        found = read_picks(path)
        if len(found.y) != len(record.numbers["pick"]["y"]):  # somebody changed the file
            return {}
        return {k: v for k, v in found.columns.items() if k != "rlnAutopickFigureOfMerit"}

    def _star(self, name: str, blocks: dict[str, StarTable]) -> None:
        write_star(self._directory / name, blocks)
        main = next(b for k, b in blocks.items() if k != "optics")
        self.exported.files[f"relion/{name}"] = len(main)

    def _image(self, record: ExposureRecord) -> Path | None:
        return record.file("motion" if record.kind == "movie" else "import", "micrograph")

    def _all_groups(self) -> list[OpticsGroup]:
        unique = {g.number: g for g in self.groups.values()}
        return [unique[n] for n in sorted(unique)]

    def _used(self, rows: Sequence[Mapping[str, Any]]) -> list[OpticsGroup]:
        numbers = {int(row["optics_group"]) for row in rows}
        return [g for g in self._all_groups() if g.number in numbers]

    def _path(self, path: Path | None) -> str | None:
        return None if path is None else self._listed(self.project.listed(path))

    def _listed(self, listed: str) -> str:
        return str(self.project.locate(listed)) if self.absolute else listed

    def _located(self, record: ExposureRecord, key: str) -> Path | None:
        listed = self.data_of(record.name).get(key)
        return self.project.locate(str(listed)) if listed else None

    def _gain(self, record: ExposureRecord, *, divides: bool) -> str | None:
        """Write the gain as polishing needs it: turned, and of the movie's size."""
        path = self._located(record, "gain")
        if path is None:
            return None
        from icefloe.formats.gain import fit_gain, orient_gain, read_gain

        numbers, data = record.numbers["motion"], self.data_of(record.name)
        ny, nx = (int(n) for n in numbers["movie_shape"])
        key = (path, data["gain_rotate"], data["gain_flip"], ny, nx, divides)
        if key not in self._gains:
            # Groups of movies may have a gain each.
            alike = sum(other[3:] == key[3:] for other in self._gains)
            number = f"_{alike + 1}" if alike else ""
            self._gains[key] = f"gain_{nx}x{ny}{'_eer' if divides else ''}{number}.mrc"
        name = self._gains[key]
        target = self._directory / name
        if not target.exists():
            gain = read_gain(path, for_eer=divides)
            turned = orient_gain(gain, data["gain_rotate"], data["gain_flip"])
            fitted, _ = fit_gain(turned, (ny, nx))
            if divides:  # RELION divides by an MRC gain of an EER movie; 0 marks a defect
                fitted = np.divide(1, fitted, out=np.zeros_like(fitted), where=fitted != 0)
            write_mrc(target, fitted, float(numbers["movie_pixel_size"]))
        return self._listed(f"relion/{name}")
