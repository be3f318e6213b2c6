"""A 2D classification as RELION writes it: run_model.star and run_data.star.

RELION turns the other way: an image shows its class turned by ``-rlnAnglePsi`` from +x towards +y,
and moved by minus its origin. `docs/classes.md` says how that was checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import AnyArray
from icefloe.errors import StarColumnError

if TYPE_CHECKING:
    from icefloe.classes import Classification
    from icefloe.formats.star import StarTable

__all__ = ["classes_data_star", "classes_model_star", "listed_classes"]

# What a class number that RELION does not know means: particles that were left out.
_NONE = 0


def classes_data_star(
    blocks: Mapping[str, StarTable], result: Classification
) -> dict[str, StarTable]:
    """Return the blocks of particles with the columns of their classes set; all others are kept.

    Parameters
    ----------
    blocks
        Of the particles' STAR: optics and particles.
    result
        Of its particles, in its order.
    """
    from icefloe.formats.star import StarTable

    table = blocks["particles"]
    known = result.classes >= 0
    columns: dict[str, AnyArray] = dict(table.columns)
    columns["rlnClassNumber"] = np.where(known, result.classes + 1, _NONE)
    columns["rlnAnglePsi"] = _wrapped(-result.psi)
    # Negative zero would be a needless surprise.
    columns["rlnOriginXAngst"] = np.round(-result.place[:, 1], 4) + 0.0
    columns["rlnOriginYAngst"] = np.round(-result.place[:, 0], 4) + 0.0
    kept = {name: np.asarray(column)[known] for name, column in columns.items()}
    return {**blocks, "particles": StarTable(kept)}


def _wrapped(angle: AnyArray) -> AnyArray:
    return np.asarray(180.0 - (180.0 - angle) % 360.0)


def classes_model_star(
    result: Classification, *, averages: str, box: int, pixel_size: float
) -> dict[str, StarTable]:
    """Return the blocks of run_model.star, and the measures of `ranks` in one of our own.

    Parameters
    ----------
    result
        The classes.
    averages
        Name of the stack of averages, as RELION will find it.
    box, pixel_size
        Of that stack, pixels and A.
    """
    from icefloe.formats.star import StarTable

    total = max(1, int(result.counts.sum()))
    finite = result.resolution[np.isfinite(result.resolution)]
    general: dict[str, Any] = {
        "rlnReferenceDimensionality": 2,
        "rlnDataDimensionality": 2,
        "rlnOriginalImageSize": box,
        "rlnCurrentResolution": float(finite.min()) if finite.size else 999.0,
        "rlnPixelSize": pixel_size,
        "rlnNrClasses": len(result),
        "rlnNrBodies": 1,
    }
    rows = [
        {
            "rlnReferenceImage": f"{k + 1:06d}@{averages}",
            "rlnClassDistribution": float(result.counts[k]) / total,
            "rlnEstimatedResolution": float(min(result.resolution[k], 999.0)),
        }
        for k in range(len(result))
    ]
    measures = [
        {
            "rlnClassNumber": k + 1,
            "icefloeScore": rank.score,
            "icefloePopulation": rank.population,
            "icefloeResolution": float(min(rank.resolution, 999.0)),
            "icefloeContrast": min(rank.contrast, 1e6),
            "icefloeOffset": rank.offset,
            "icefloeFeretDiameter": rank.feret,
            "icefloeEdge": rank.edge,
            "icefloeBorderShare": rank.border,
            "icefloeDuplicateOf": rank.duplicate_of + 1,
        }
        for k, rank in enumerate(result.ranks)
    ]
    facts = {"icefloeDiameter": result.diameter, "icefloePixelSize": result.pixel_size}
    return {
        "model_general": StarTable.from_values(general),
        "model_classes": StarTable.from_rows(rows),
        "icefloe_classes": StarTable.from_rows(measures),
        "icefloe": StarTable.from_values(facts),
    }


def listed_classes(blocks: Mapping[str, StarTable], path: object) -> list[tuple[int, str]]:
    """Return section (0-based) and file of each class that a model STAR lists.

    Raises
    ------
    StarColumnError
        There is no data_model_classes block with rlnReferenceImage.
    """
    from icefloe.formats.star import require_block

    table = require_block(blocks, "model_classes", ("rlnReferenceImage",), path=path)
    found = []
    for text in table["rlnReferenceImage"].astype(str).tolist():
        index, at, name = text.partition("@")
        if not at or not index.isdigit():
            raise StarColumnError(f"{path} names a class {text!r}", "000001@averages.mrcs")
        found.append((int(index) - 1, name))
    return found
