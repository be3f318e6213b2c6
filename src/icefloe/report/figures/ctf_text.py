"""A CTF fit in words: the numbers with their errors, what is doubtful, what to change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icefloe.report.figures.values import number

__all__ = ["ctf_facts", "with_error"]


def with_error(value: float, error: float | None, digits: int, unit: str) -> str:
    """Return a number with its standard error, to as many digits: ``19433 ± 25 Å``."""
    text = f"{value:.{digits}f}"
    # An error of nothing is that of a number that was not fitted.
    if error:
        text += f" ± {error:.{digits}f}"
    return f"{text} {unit}".strip().replace(" °", "°").replace("-", "−")


def ctf_facts(numbers: Mapping[str, Any]) -> str:
    """Return a line of numbers with their errors; empty where there was no fit.

    Parameters
    ----------
    numbers
        Of the CTF stage.
    """
    u, v = number(numbers, "defocus_u"), number(numbers, "defocus_v")
    if u is None or v is None:
        return ""
    error = number(numbers, "defocus_error")
    parts = ["D = " + with_error(0.5 * (u + v), error, 0, "Å")]
    astigmatism, angle = number(numbers, "astigmatism"), number(numbers, "defocus_angle")
    if astigmatism is not None and angle is not None:
        text = with_error(astigmatism, number(numbers, "astigmatism_error"), 0, "Å")
        at = with_error(angle, number(numbers, "defocus_angle_error"), 1, "°")
        parts.append(f"astigmatism {text} at {at}")
    shift = number(numbers, "phase_shift")
    if shift:
        error = number(numbers, "phase_shift_error")
        parts.append("phase shift " + with_error(shift, error, 0, "°"))
    resolution = number(numbers, "fit_resolution")
    parts.append("no rings" if resolution is None else f"rings to {resolution:.2f} Å")
    merit = number(numbers, "figure_of_merit")
    if merit is not None:
        parts.append(f"merit {merit:.3f}")
    return ", ".join(parts)
