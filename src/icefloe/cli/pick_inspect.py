"""`icefloe pick inspect`: picks to look at, and a chosen threshold for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icefloe.cli.options import microscope_options

if TYPE_CHECKING:
    from icefloe.cli.pick_candidates import Candidates
    from icefloe.engine import Session
    from icefloe.report.picks_page import InspectedMicrograph, WindowSheet

__all__ = ["inspect"]


@click.command()
@click.argument(
    "picks", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True)
)
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="A session, in place of PICKS.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Directory to write [picks_inspected beside PICKS; report/picks in the session].",
)
@click.option(
    "--micrographs",
    "count",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    help="Most micrographs to show, spread over the list.",
)
@click.option(
    "--threshold", type=float, default=None, help="Write the picks above this score, of all."
)
@click.option(
    "--max-contrast",
    type=float,
    default=None,
    help="Write the picks below this contrast; the median pick has 1.",
)
@microscope_options
def inspect(
    picks: Path | None,
    project: Path | None,
    out: Path | None,
    count: int,
    threshold: float | None,
    max_contrast: float | None,
    **given: Any,
) -> None:
    """Look at picks: more, the chosen and fewer of them, and why.

    PICKS is picks.star of `icefloe pick`, or another list of coordinates. Writes picks.html with
    overlays at three thresholds, windows of accepted, borderline and rejected places, scores of
    noise and particles, and score against contrast; each figure is a file, too.

    With --threshold or --max-contrast the chosen picks of all micrographs are written to picks.star
    and NAME_picks.star in the same directory, for RELION and `icefloe extract`.
    """
    from icefloe.engine import Session
    from icefloe.errors import SettingsError
    from icefloe.formats.atomic import output_directory, write_bytes, write_text
    from icefloe.report.picks_page import inspection_page, micrograph_figures

    if (picks is None) == (project is None):
        raise SettingsError("Neither or both of PICKS and --project are given", "one of them")
    session: Session | None = None
    load: list[Callable[[], Candidates]]
    if project is not None:
        session = Session.open(project)
        load, title = _of_session(session), session.project.root.name
        target = out or session.project.root / "report" / "picks"
    else:
        assert picks is not None
        # The directory is often just called picks.
        load, title = _of_star(picks, given), "/".join(picks.resolve().parts[1:-1][-2:])
        target = out or picks.parent / "picks_inspected"
    if not load:
        raise SettingsError(f"{project or picks} has no picks", "picked micrographs")
    output_directory(target)
    shown = [load[i]() for i in _spread(len(load), count)]
    png = {found.name: _preview(found) for found in shown}
    items = [_inspected(found, png[found.name]) for found in shown]
    sheets = _sheets(shown)
    for item in items:
        # As files they hold a PNG: other programs do not read WebP within SVG.
        for name, svg in micrograph_figures(replace(item, picture=png[item.name])).items():
            write_bytes(target / f"{item.name}_{name}.svg", svg)
    for sheet, name in zip(sheets, ("accepted", "borderline", "rejected"), strict=True):
        _write_png(target / f"windows_{name}.png", sheet)
    facts = [f"{sum(int(c.kept().sum()) for c in shown)} picks in the {len(shown)} of "
             f"{len(load)} micrographs shown here."]  # fmt: skip
    evidence, templates = None, None
    if session is not None:
        evidence, templates = _reference(session, target)
        facts += _session_facts(session)
    page = inspection_page(
        title, items, sheets, facts=facts, evidence=evidence, templates=templates
    )
    write_text(target / "picks.html", page)
    click.echo(f"{target / 'picks.html'}: {len(items)} micrographs")
    for item in items:
        click.echo(_line(item))
    if threshold is not None or max_contrast is not None:
        written = _write(target, load, threshold, max_contrast, session)
        click.echo(f"{target / 'picks.star'}: {written} picks of {len(load)} micrographs")


def _of_session(session: Session) -> list[Callable[[], Candidates]]:
    from icefloe.cli.pick_candidates import of_session
    from icefloe.project import load_record

    names = [
        name
        for name, listed in session.project.read_registry().items()
        if "pick" in load_record(session.project, name, listed).numbers
    ]
    return [partial(lambda n: next(of_session(session, [n])), name) for name in names]


def _of_star(star: Path, given: dict[str, Any]) -> list[Callable[[], Candidates]]:
    from icefloe.cli.pick_candidates import from_star, of_star

    keys = ("pixel_size", "voltage", "cs", "amplitude_contrast")
    items, how = of_star(star, {k: given[k] for k in keys})
    return [partial(from_star, item, how) for item in items]


def _spread(n: int, count: int) -> list[int]:
    import numpy as np

    places = np.linspace(0, n - 1, min(n, count)).round().astype(int).tolist()
    return list(dict.fromkeys(places))


def _preview(found: Candidates) -> bytes:
    """Return a PNG of a micrograph."""
    import io

    from PIL import Image

    from icefloe.engine.preview import micrograph_preview

    out = io.BytesIO()
    picture = micrograph_preview(found.image, found.pixel_size, 640)
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    return out.getvalue()


def _inspected(found: Candidates, png: bytes) -> InspectedMicrograph:
    import io

    import numpy as np
    from PIL import Image

    from icefloe.report.figures import to_webp
    from icefloe.report.picks_page import InspectedMicrograph

    return InspectedMicrograph(
        name=found.name,
        picture=to_webp(np.asarray(Image.open(io.BytesIO(png))), 70),
        shape=(found.image.shape[0], found.image.shape[1]),
        pixel_size=found.pixel_size,
        numbers=found.numbers,
        threshold=found.threshold,
        limit=found.limit,
        reason=found.reason,
        mask=found.mask,
        remarks=found.remarks,
        split=found.split,
    )


def _sheets(shown: Sequence[Candidates]) -> list[WindowSheet]:
    """Return windows of good picks, of those nearest the threshold, and of what was not picked."""
    import numpy as np

    from icefloe.report.picks_page import WindowSheet
    from icefloe.report.windows import window_sheet

    # Three rows of twelve.
    share = max(2, 36 // len(shown))
    groups: list[list[Any]] = [[], [], []]
    for found in shown:
        score = np.asarray(found.numbers["score"], dtype=np.float64)
        keep = found.kept()
        kept, lost = np.flatnonzero(keep), np.flatnonzero(~keep)
        near = np.argsort(np.abs(score - found.threshold), kind="stable")[:share]
        # Rejected for their contrast first, then the highest scores that are not borderline.
        lost = np.array([i for i in lost if i not in set(near.tolist())], dtype=int)
        bright = lost[score[lost] >= found.threshold]
        rest = lost[score[lost] < found.threshold]
        order = np.concatenate([bright[: share // 2], rest])[:share].astype(int)
        places = np.linspace(0, len(kept) - 1, min(share, len(kept))).astype(int)
        chosen = kept[places]
        for group, index in zip(groups, (chosen, np.sort(near), order), strict=True):
            group.append((found, index))
    titles = (
        "Accepted: from the best to the worst score",
        "Borderline: nearest to the threshold; a green bar below what is picked",
        "Rejected: too much contrast (a red bar), or the best of those below the threshold",
    )
    out = []
    for title, group in zip(titles, groups, strict=True):
        image, n = window_sheet(group)
        out.append(WindowSheet(title, image, n))
    return out


def _reference(session: Session, target: Path) -> tuple[bytes | None, bytes | None]:
    from icefloe.formats.atomic import write_bytes
    from icefloe.report.figures import size_evidence, web_image

    stored = session.reference() if session.uses_reference() else None
    if stored is None:
        return None, None
    evidence = None
    if "sizes" in stored.reference.numbers:
        evidence = size_evidence(stored.reference.numbers, stored.reference.diameter)
        write_bytes(target / "size.svg", evidence)
    return evidence, web_image(session.project.reference / "templates.png", 640, 80)


def _session_facts(session: Session) -> list[str]:
    from icefloe.cli.progress import describe_reference

    pick = session.settings.pick
    facts = [describe_reference(session)] if session.uses_reference() else []
    section = pick.method if pick.method in ("blob", "network") else "template"
    stored = session.reference() if pick.method == "learn" else None
    if stored is not None and stored.weights is not None:
        section = "network"
    return [
        *facts,
        f"Another threshold for all: icefloe run --set pick.{section}.threshold=X. "
        "A mask of your own: picks/masks/NAME_mask.mrc (copy it from picks/masks_found).",
    ]


def _line(item: InspectedMicrograph) -> str:
    loose, chosen, strict = (int(item.kept(t).sum()) for t in item.thresholds())
    text = f"{item.name}: {chosen} picks above {item.threshold:.3g}"
    if item.split is not None and item.split.clear:
        text += f"; {loose} where 1 in 10 peaks is a particle, {strict} where 9 in 10 are"
    return text


def _write_png(path: Path, sheet: WindowSheet) -> None:
    from PIL import Image

    from icefloe.formats.atomic import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(sheet.image).save(temporary, format="PNG", optimize=True)


def _write(
    target: Path,
    load: Sequence[Callable[[], Candidates]],
    threshold: float | None,
    limit: float | None,
    session: Session | None,
) -> int:
    from icefloe.errors import SettingsError
    from icefloe.formats.star import write_star
    from icefloe.interop.relion_picks import coordinate_files, picks_list, picks_star

    rows, micrographs, groups, total = [], [], [], 0
    diameter = None
    for get in load:
        found = get()
        if limit is not None and not found.numbers.get("contrast"):
            raise SettingsError(
                f"The contrast of the picks in {found.name} is not known",
                "picks of icefloe pick or icefloe run",
                "Leave --max-contrast out",
            )
        if threshold is not None and threshold < found.threshold and found.limit == 0:
            click.echo(f"{found.name}: nothing below {found.threshold:.3g} is known", err=True)
        chosen = found.chosen(found.kept(threshold, limit))
        path = target / f"{found.name}_picks.star"
        write_star(path, picks_star(chosen))
        total += len(chosen["y"])
        listed = str(path) if session is None else session.project.listed(path)
        rows.append((found.listed, listed))
        if found.numbers.get("diameter_max"):
            diameter = (
                float(found.numbers["diameter_min"]),
                float(found.numbers["diameter_max"]),
            )
        if found.optics is not None:
            groups.append(found.optics)
            number = found.optics.number
            micrographs.append(
                {**(found.row or {}), "rlnMicrographName": found.listed, "rlnOpticsGroup": number}
            )
    if session is not None or not groups:
        write_star(target / "picks.star", coordinate_files(rows))
    else:
        unique = list({g.number: g for g in groups}.values())
        write_star(target / "picks.star", picks_list(rows, micrographs, unique, diameter))
    return total
