"""Centre and width of values of which some are something else."""

from __future__ import annotations

import numpy as np

from icefloe._types import FloatArray

__all__ = ["centre_and_spread"]


def centre_and_spread(values: FloatArray) -> tuple[float, float]:
    """Return the median, and the standard deviation by the median absolute deviation."""
    centre = float(np.median(values))
    return centre, 1.4826 * float(np.median(np.abs(values - centre)))
