"""The picture of one corrected movie that `icefloe motion` writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icefloe._types import AnyArray, BoolArray, FloatArray

if TYPE_CHECKING:
    from icefloe.motion import MotionResult

__all__ = ["motion_picture"]

_SIDE, _GAP, _TOP = 512.0, 24.0, 44.0


def motion_picture(
    name: str,
    frames: AnyArray,
    result: MotionResult,
    numbers: Mapping[str, Any],
    *,
    gain: FloatArray | None = None,
    defects: BoolArray | None = None,
) -> bytes:
    """Return one SVG: trajectories, a frame beside the sum, spectra before and after.

    Parameters
    ----------
    name
        Of the movie, the heading.
    frames
        (n, ny, nx), all frames as counted.
    result, numbers
        Of their correction, and its `numbers()`.
    gain, defects
        As given to `correct_motion`, (ny, nx).
    """
    from icefloe.engine.motion_view import motion_view
    from icefloe.engine.preview import micrograph_preview
    from icefloe.report import figures
    from icefloe.report.figures.svg import Sheet, fmt

    view = motion_view(frames, result, gain=gain, defects=defects)
    thumbnail = figures.to_webp(micrograph_preview(result.micrograph, result.pixel_size), 60)
    right, below = _SIDE + _GAP, _TOP + _SIDE + 76
    sheet = Sheet(2 * _SIDE + _GAP, below + 290, f"Motion correction of {name}", font=13)
    sheet.raw('<rect width="100%" height="100%" fill="#fff"/>')
    sheet.text(4, 18, name, role="strong")
    facts = f"motion {numbers['motion_total']:.1f} Å, first 4 e/Å² {numbers['motion_early']:.1f} Å"
    sheet.text(4, 36, "; ".join((facts, *result.flags)))
    sheet.text(right, 36, f"frame {view.frame}, as counted")
    sheet.text(right + _SIDE / 2, 36, "aligned sum")
    sheet.text(right, _TOP + _SIDE + 20, "above whole, below 256 pixels of the middle")
    sheet.text(right + 100, below - 10, "power: left not aligned, right aligned", role="label")
    for svg, x, y in (
        (figures.tracks_on_micrograph(thumbnail, numbers), 0.0, _TOP),
        (figures.ring_curves(view.numbers), 0.0, below),
    ):
        sheet.raw(f'<g transform="translate({fmt(x)} {fmt(y)})">{svg.decode()}</g>')
    for image, quality, x, y in (
        (view.frames, 75, right, _TOP),
        (view.spectra, 75, right + 100, below),
    ):
        side = float(image.shape[0])
        sheet.raw(
            f'<image x="{fmt(x)}" y="{fmt(y)}" width="{fmt(side)}" height="{fmt(side)}" '
            f'href="{figures.picture(figures.to_webp(image, quality))}"/>'
        )
    return sheet.to_bytes()
