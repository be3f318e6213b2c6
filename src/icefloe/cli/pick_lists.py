"""What all ways of picking write: the list of coordinate files, and scores related to defocus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from icefloe.cli.inputs import MicrographInput
    from icefloe.interop.optics import OpticsGroup
    from icefloe.picking import Picks

__all__ = ["calibrate_option", "defocus_of", "distinct_optics", "write_calibrated", "write_list"]

calibrate_option = click.option(
    "--calibrate",
    is_flag=True,
    help="Write scores relative to what is usual at each micrograph's defocus, which the STAR must "
    "know: 1 is usual, and one threshold serves all.",
)


def defocus_of(item: MicrographInput) -> float:
    """Return the mean defocus of a micrograph, A, to which scores are related."""
    from icefloe.errors import MissingMetadataError

    if "rlnDefocusU" not in item.row or "rlnDefocusV" not in item.row:
        raise MissingMetadataError(
            f"The defocus of {item.path} is not known, and --calibrate relates scores to it",
            "a STAR with rlnDefocusU and rlnDefocusV, as `icefloe ctf` writes",
            "Run `icefloe ctf` first, or leave --calibrate out",
        )
    return 0.5 * (float(item.row["rlnDefocusU"]) + float(item.row["rlnDefocusV"]))


def write_calibrated(out: Path, kept: dict[str, tuple[Picks, float]], console: Console) -> None:
    """Write scores relative to what is usual at each defocus, and say how they depend on it."""
    from dataclasses import replace

    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import picks_star
    from icefloe.picking import calibrate_scores

    line = calibrate_scores([p.score for p, _ in kept.values()], [z for _, z in kept.values()])
    for name, (picks, defocus) in kept.items():
        relative = replace(picks, score=line.relative(picks.score, defocus))
        write_star(out / f"{name}_picks.star", picks_star(relative.numbers()))
    console.print(
        f"Scores are relative to {line.level:.3g} {1e4 * line.slope:+.2g} per um of defocus from "
        f"{line.centre / 1e4:.2f} um, from {line.n_micrographs} micrographs."
    )


def write_list(
    path: Path,
    done: Sequence[tuple[MicrographInput, Path]],
    diameter: tuple[float, float] | None,
    usual: tuple[float, float, float] | None = None,
) -> None:
    """Write the list of coordinate files that RELION and `icefloe extract` read."""
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import picks_list

    groups, numbers = distinct_optics([item.optics for item, _ in done])
    rows, micrographs = [], []
    for (item, target), number in zip(done, numbers, strict=True):
        name = str(item.row.get("rlnMicrographName", item.path))
        rows.append((name, str(target)))
        micrographs.append({**item.row, "rlnMicrographName": name, "rlnOpticsGroup": number})
    write_star(path, picks_list(rows, micrographs, groups, diameter, usual))


def distinct_optics(optics: Sequence[OpticsGroup]) -> tuple[list[OpticsGroup], list[int]]:
    """Return each different group once, and the number of the group of every item."""
    from dataclasses import replace

    seen: list[OpticsGroup] = []
    for group in optics:
        if group not in seen:
            seen.append(group)
    groups = seen
    if len({g.number for g in seen}) < len(seen) or len({g.name for g in seen}) < len(seen):
        groups = [replace(g, number=i, name=f"opticsGroup{i}") for i, g in enumerate(seen, 1)]
    return groups, [groups[seen.index(g)].number for g in optics]
