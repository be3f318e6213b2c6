"""Where on the grid each exposure was taken, from what the microscope's program recorded."""

from __future__ import annotations

from collections.abc import Iterable

from icefloe.project import Project
from icefloe.project.acquisition import load_acquisition

__all__ = ["PLACE", "read_places"]

# Stage x and y, um; beam or image shift x and y, in the units of the program that wrote it.
PLACE = ("stage_x", "stage_y", "shift_x", "shift_y")

Place = tuple[float, float, float, float]


def read_places(project: Project, names: Iterable[str]) -> dict[str, Place]:
    """Return the places of those exposures of which they are recorded.

    Parameters
    ----------
    project
        The session.
    names
        Of exposures.

    Returns
    -------
    dict
        By name the values of `PLACE`; a shift that is not known is 0.
    """
    found: dict[str, Place] = {}
    for name in names:
        known = load_acquisition(project, name)
        if known is None or known.stage_position is None or len(known.stage_position) < 2:
            continue
        x, y = known.stage_position[:2]
        shift = known.shift or (0.0, 0.0)
        found[name] = (float(x), float(y), float(shift[0]), float(shift[1]))
    return found
