"""The CTF of each particle, from what a session recorded of its micrograph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from icefloe.errors import MissingMetadataError
from icefloe.optics import CtfParameters

__all__ = ["particle_ctf"]


def particle_ctf(
    numbers: Mapping[str, Any], y: ArrayLike, x: ArrayLike
) -> CtfParameters | list[CtfParameters]:
    """Return one CTF for all, or one each where the defocus over the micrograph is known.

    Parameters
    ----------
    numbers
        Of `CtfResult.numbers()`, with ``local`` where it was fitted.
    y, x
        (n,) places, pixels of the micrograph.

    Raises
    ------
    MissingMetadataError
        The fit found no defocus.
    """
    if numbers.get("defocus_u") is None or numbers.get("defocus_v") is None:
        raise MissingMetadataError(
            "The CTF is to be applied, and its fit found no defocus",
            hint="Set extract.ctf to none, or reject this exposure",
        )
    lens = (float(numbers["voltage"]), float(numbers["cs"]), float(numbers["amplitude_contrast"]))
    shift = float(numbers.get("phase_shift") or 0.0)
    local = numbers.get("local")
    if local and local.get("used"):
        from icefloe.ctf import local_defocus

        us, vs, angle = local_defocus(local, y, x)
        pairs = zip(us.tolist(), vs.tolist(), strict=True)
        return [CtfParameters(u, v, angle, *lens, shift) for u, v in pairs]
    u, v, angle = (float(numbers[f"defocus_{name}"]) for name in ("u", "v", "angle"))
    return CtfParameters(u, v, angle, *lens, shift)
