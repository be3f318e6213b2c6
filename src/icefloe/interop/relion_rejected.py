"""The exposures that curation took out, as a STAR file with the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icefloe.formats.star import StarTable
from icefloe.interop.optics import OpticsGroup
from icefloe.interop.relion_ctf import micrographs_ctf

__all__ = ["REASON_LABEL", "rejected_micrographs"]

# RELION keeps the columns that it does not know.
REASON_LABEL = "icefloeRejectReason"
# For an exposure without a usable CTF: RELION has no word for a missing number.
_NO_CTF = {"defocus_u": 0.0, "defocus_v": 0.0, "defocus_angle": 0.0, "figure_of_merit": 0.0}


def rejected_micrographs(
    rows: Sequence[Mapping[str, Any]], optics: Sequence[OpticsGroup]
) -> dict[str, StarTable]:
    """Return the blocks of rejected_micrographs.star: those of micrographs_ctf.star and a reason.

    Parameters
    ----------
    rows
        As for `micrographs_ctf`, and ``reason``. Where ``ctf`` is None, defocus and figure of
        merit are written as 0 and the resolution as RELION's coarsest, 25 A.
    optics
        The optics groups.
    """
    fitted = [{**row, "ctf": _NO_CTF if row.get("ctf") is None else row["ctf"]} for row in rows]
    blocks = micrographs_ctf(fitted, optics)
    columns = dict(blocks["micrographs"].columns)
    # A reason given by hand may hold anything: here it is one line, and has no double quotes,
    # which RELION does not protect when it writes them again.
    reasons = [" ".join(str(row["reason"]).split()).replace('"', "'") for row in rows]
    columns[REASON_LABEL] = np.array(reasons, dtype=object)
    return {**blocks, "micrographs": StarTable(columns)}
