"""Makes a session's reference from its exposures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from icefloe.engine.picking import recorded_ctf
from icefloe.engine.reference import Reference, learned_reference, make_reference
from icefloe.engine.reference_files import reference_hash, write_reference
from icefloe.errors import IcefloeError
from icefloe.project import ExposureRecord, load_record

if TYPE_CHECKING:
    from icefloe._types import FloatArray
    from icefloe.engine.session import Session
    from icefloe.network import PickerModel

__all__ = [
    "PICKING",
    "Due",
    "Made",
    "image_file",
    "made_from",
    "references_of",
    "write_made",
]

# Stages that need the reference.
PICKING = ("pick", "extract")

# More than this part of a micrograph under the junk mask: another one is taken.
_JUNK = 0.3
# Diameter, A, with which junk is looked for before one is known.
_TYPICAL = 150.0


class Due(NamedTuple):
    """Exposures that a reference is to be made from, and whether they are as many as wanted."""

    names: tuple[str, ...]
    complete: bool


@dataclass(frozen=True)
class Made:
    """A reference and where it is from.

    Attributes
    ----------
    reference
        It.
    used
        Names of the exposures.
    network
        What learned from its picks, with method ``learn``.
    """

    reference: Reference
    used: tuple[str, ...]
    network: PickerModel | None = None


def made_from(
    session: Session, records: Sequence[ExposureRecord], tell: Callable[[str], None]
) -> Made:
    """Return the reference that some exposures give.

    Parameters
    ----------
    session
        The session, which is only read.
    records
        The exposures.
    tell
        Is told what is being done.
    """
    pick = session.settings.pick
    made = Reference("none", None, flags=("no micrograph can be read to pick",))
    used: list[str] = []
    ctfs = {r.name: recorded_ctf(r) for r in records}
    few = pick.reference_micrographs
    # Where a few hold too few particles, all of them may hold enough.
    for count in (few, len(records)) if few < len(records) else (len(records),):
        used, images, pixel_size = references_of(session, records, count)
        if images:
            tell(f"making templates from {_count(len(images))}")
            made = make_reference(
                images,
                pixel_size=pixel_size,
                settings=pick,
                ctfs=[ctfs[name] for name in used],
            )
        if made.method == "template":
            break
    if pick.method != "learn" or made.bank is None:
        return Made(made, tuple(used))
    from icefloe.network.learn import ENOUGH

    if made.numbers["n_particles"] < ENOUGH and len(used) < len(records):
        used, images, pixel_size = references_of(session, records, len(records))
    tell(f"a network learns the particle from {_count(len(images))}, which takes a minute or two")
    learned, network = learned_reference(
        made,
        images,
        pixel_size=pixel_size,
        settings=pick,
        ctfs=[ctfs[name] for name in used],
        device=session.device,
    )
    return Made(learned, tuple(used), network)


def write_made(session: Session, due: Due, tell: Callable[[str], None]) -> None:
    """Make a reference and write it down; see `made_from`."""
    listed = session.project.read_registry()
    records = [load_record(session.project, n, listed[n], without=PICKING) for n in due.names]
    made = made_from(session, records, tell)
    # A reference that failed is tried again when there are other exposures than these.
    templates = made.reference.method == "template"
    write_reference(
        session.project,
        made.reference,
        origin="data",
        settings_hash=reference_hash(session),
        inputs=list(made.used if templates else due.names),
        complete=due.complete,
        network=made.network,
    )


def _count(micrographs: int) -> str:
    return f"{micrographs} micrograph{'s' if micrographs > 1 else ''}"


def references_of(
    session: Session, records: Sequence[ExposureRecord], wanted: int
) -> tuple[list[str], list[FloatArray], float]:
    """Return names, micrographs and pixel size, A, of those that a reference is made from.

    They are spread evenly over the exposures given; one that is mostly junk, or has another pixel
    size than the first, makes way for the next.
    """
    from icefloe.engine.source import read_micrograph
    from icefloe.picking import whole_mask

    alike = [r for r in records if abs(_pixel_size(r) / _pixel_size(records[0]) - 1) < 0.01]
    places = np.linspace(0, len(alike) - 1, min(wanted, len(alike))).round().astype(int)
    first = [alike[i] for i in dict.fromkeys(places.tolist())]
    order = first + [r for r in alike if r not in first]
    given = session.settings.pick.diameter
    diameter = _TYPICAL if given is None else given[1]
    bright = session.settings.pick.contrast == "bright"
    images: dict[str, FloatArray] = {}
    spare: dict[str, FloatArray] = {}
    for record in order:
        if len(images) == len(first):
            break
        path = image_file(record)
        try:
            if path is None:
                continue
            image = read_micrograph(path)
            pixel_size = _pixel_size(record)
            mask = whole_mask(image, diameter / pixel_size, pixel_size=pixel_size, bright=bright)
            junk = float(mask.mean())
        except IcefloeError:
            continue
        if junk <= _JUNK:
            images[record.name] = image
        elif len(spare) < wanted:
            spare[record.name] = image
    chosen = images or spare
    names = [r.name for r in alike if r.name in chosen]
    return names, [chosen[n] for n in names], _pixel_size(records[0]) if records else 0.0


def image_file(record: ExposureRecord) -> Path | None:
    """Return the micrograph of an exposure, if it has one yet."""
    return record.file("motion" if record.kind == "movie" else "import", "micrograph")


def _pixel_size(record: ExposureRecord) -> float:
    stage = "motion" if record.kind == "movie" else "import"
    return float(record.numbers[stage]["pixel_size"])
