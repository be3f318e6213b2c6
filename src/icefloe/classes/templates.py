"""Classes that make good templates for picking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from icefloe._types import FloatArray
from icefloe.classes.basis import soft_mask
from icefloe.classes.result import Classification
from icefloe.errors import SettingsError

if TYPE_CHECKING:
    from icefloe.picking import TemplateBank

__all__ = ["masked_averages", "select_templates", "templates_of"]


def select_templates(
    result: Classification, *, threshold: float = 0.5, at_least: int = 3, at_most: int = 0
) -> list[int]:
    """Return the 0-based numbers of classes to use, best first.

    Those of a score over `threshold` that are not a better one's duplicate; if they are fewer than
    `at_least`, the next best ones too.

    Parameters
    ----------
    result
        Of `classify_particles`.
    threshold
        Score, 0 to 1.
    at_least, at_most
        Number of classes; 0 sets no limit to the most.
    """
    usable = [k for k, rank in enumerate(result.ranks) if rank.population > 0]
    single = [k for k in usable if result.ranks[k].duplicate_of < 0]
    chosen = [k for k in single if result.ranks[k].score >= threshold]
    rest = [k for k in (*single, *usable) if k not in chosen]
    for k in dict.fromkeys(rest):
        if len(chosen) >= at_least:
            break
        chosen.append(k)
    chosen.sort()
    return chosen[:at_most] if at_most else chosen


def masked_averages(images: FloatArray, pixel_size: float, diameter: float) -> FloatArray:
    """Return averages (k, n, n) on a level of zero, in a soft circle a tenth beyond a particle."""
    n = images.shape[-1]
    width = min(1.1 * diameter / pixel_size, n - 8.0)
    mask = soft_mask(n, width, 3.0)
    ring = (mask > 0) & (mask < 1)
    level = images[:, ring].mean(axis=1)[:, None, None]
    return np.asarray((images - level) * mask, dtype=np.float32)


def templates_of(result: Classification, chosen: Sequence[int]) -> TemplateBank:
    """Return the bank for `pick_templates` of the classes `chosen`, 0-based.

    Raises
    ------
    SettingsError
        None, or a class that there is not.
    """
    from icefloe.picking import template_bank

    wrong = [k + 1 for k in chosen if not 0 <= k < len(result)]
    if wrong or not chosen:
        raise SettingsError(
            f"The classes chosen are {[k + 1 for k in chosen]}", f"some of 1 to {len(result)}"
        )
    images = masked_averages(result.images[list(chosen)], result.pixel_size, result.diameter)
    return template_bank(images, pixel_size=result.pixel_size, diameter=result.diameter,
                         contrast="bright")  # fmt: skip
