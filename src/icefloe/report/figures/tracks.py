"""Trajectories of the specimen: the whole frame, and places of the frame magnified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.report.figures.images import picture
from icefloe.report.figures.svg import Sheet, fmt, format_number, frame_colour, path
from icefloe.report.figures.values import array, number, pair

__all__ = ["frame_track", "patch_tracks", "tracks_on_micrograph", "trajectories"]

_SIZE = 300.0
_MARGIN = 26.0
# At most so many strokes, however many frames there are.
_FRAME_COLOURS, _PATCH_COLOURS = 40, 16


def frame_track(numbers: Mapping[str, Any]) -> bytes:
    """Return the whole-frame trajectory, enlarged to fill the figure, with a scale bar.

    Parameters
    ----------
    numbers
        Of the motion stage: `global_shifts` (n, 2) as (dy, dx) in movie pixels and
        `movie_pixel_size`, A.
    """
    sheet = Sheet(_SIZE, _SIZE, "Whole-frame trajectory, blue at the first frame, orange at last")
    _draw_frame_track(sheet, numbers)
    return sheet.to_bytes()


def patch_tracks(numbers: Mapping[str, Any]) -> bytes:
    """Return the local trajectories of the patches at their places in the frame, magnified.

    The whole-frame motion is taken off: beside a large drift nothing else could be seen. Where it
    was not recorded the figure shows the sum of both and says so.

    Parameters
    ----------
    numbers
        Of the motion stage: `patch_shifts` (patches, n, 2), whole-frame and local motion together,
        `global_shifts` (n, 2) and `patch_centres` (patches, 2) in movie pixels, `movie_shape`
        (ny, nx).
    """
    sheet = Sheet(_SIZE, _SIZE, "Trajectories of the patches, magnified, at their places")
    _draw_patch_tracks(sheet, numbers)
    return sheet.to_bytes()


def trajectories(numbers: Mapping[str, Any]) -> bytes:
    """Return both figures side by side, for a slide or a log book."""
    sheet = Sheet(2 * _SIZE + 20, _SIZE, "Motion of the whole frame and of its patches")
    whole, patches = Sheet(_SIZE, _SIZE, ""), Sheet(_SIZE, _SIZE, "")
    _draw_frame_track(whole, numbers)
    _draw_patch_tracks(patches, numbers)
    sheet.raw(whole.group())
    sheet.raw(f'<g transform="translate({fmt(_SIZE + 20)} 0)">{patches.group()}</g>')
    return sheet.to_bytes()


def tracks_on_micrograph(image: bytes, numbers: Mapping[str, Any], size: float = 512) -> bytes:
    """Return the micrograph with the whole-frame track large and the patches' tracks in place.

    Each is magnified by a factor of its own, which the figure states; patches show local motion
    only. Colours run from the first frame (blue) to the last (orange).

    Parameters
    ----------
    image
        WebP of the whole micrograph, row 0 on top.
    numbers
        As for `frame_track` and `patch_tracks`.
    size
        Side of the square that holds the micrograph.
    """
    sheet = Sheet(size, size + 40, "Motion of the whole frame and of its patches", font=13)
    shape = pair(numbers.get("movie_shape"))
    whole = array(numbers.get("global_shifts"), 2)
    if shape is None or whole.ndim != 2 or np.isfinite(whole).all(axis=-1).sum() < 2:
        sheet.message("no motion measured")
        return sheet.to_bytes()
    fit = size / max(shape)
    ny, nx = (n * fit for n in shape)
    sheet.raw(
        f'<image width="{fmt(nx)}" height="{fmt(ny)}" preserveAspectRatio="none" opacity="0.6" '
        f'href="{picture(image)}"/>'
    )
    low, high = np.nanmin(whole, axis=0), np.nanmax(whole, axis=0)
    reach = float(np.max(high - low))
    enlarged = _round_down(0.6 * min(shape) / reach) if reach > 0.01 else 1.0
    middle = np.array([ny, nx]) / 2
    large = (middle + fit * enlarged * (whole - (low + high) / 2))[None]
    _draw_track(sheet, large, 5.0, _FRAME_COLOURS, rim=True)
    text = f"whole frame × {format_number(enlarged)}"
    shifts, centres = array(numbers.get("patch_shifts"), 2), array(numbers.get("patch_centres"), 2)
    if shifts.shape == (len(centres), *whole.shape) and len(centres):
        local = shifts - whole
        local = local - local[:, :1]
        reach = float(np.nanmax(np.abs(local), initial=0.0))
        spacing = _spacing(centres, shape)
        magnified = _round_down(0.6 * spacing / reach) if reach > 0.01 else 1.0
        points = fit * (centres[:, None] + magnified * local)
        _draw_track(sheet, np.clip(points, 0, [ny, nx]), 1.8, _FRAME_COLOURS, rim=True)
        starts = [(float(x), float(y)) for y, x in points[:, 0] if np.isfinite(x + y)]
        sheet.dots("start", starts, 2.2)
        text += f", patches without it × {format_number(magnified)}"
    sheet.text(4, size + 24, text)
    sheet.text(size - 4, size + 24, f"blue: frame 1, orange: {len(whole)}", anchor="end")
    return sheet.to_bytes()


def _draw_frame_track(sheet: Sheet, numbers: Mapping[str, Any]) -> None:
    shifts = array(numbers.get("global_shifts"), 2)
    pixel_size = number(numbers, "movie_pixel_size")
    sheet.text(8, 16, "Whole frame", role="strong")
    if shifts.ndim != 2 or np.isfinite(shifts).all(axis=-1).sum() < 2:
        sheet.message("no motion measured")
        return
    scale = pixel_size or 1.0
    unit = "Å" if pixel_size else "px"
    track = (shifts - np.nanmean(shifts, axis=0)) * scale
    low, high = np.nanmin(track, axis=0), np.nanmax(track, axis=0)
    # A still specimen is drawn as one: no more than 0.5 units fill the figure.
    span = max(float(np.max(high - low)), 0.5)
    room = _SIZE - 2 * _MARGIN - 36
    zoom = room / span
    points = (track - (low + high) / 2) * zoom + np.array([_SIZE / 2 + 2, _SIZE / 2])
    _draw_track(sheet, points[None], 2.6, _FRAME_COLOURS)
    finite = points[np.isfinite(points).all(axis=-1)]
    sheet.dots("start", [(float(finite[0, 1]), float(finite[0, 0]))], 4.0)
    if len(finite) <= 120:
        _frame_dots(sheet, points)
    _scale_bar(sheet, zoom, unit)
    length = float(np.nansum(np.hypot(*np.diff(shifts, axis=0).T)) * scale)
    sheet.text(_SIZE - 8, 16, f"path {format_number(round(length, 1))} {unit}", anchor="end")
    _colour_key(sheet, len(shifts))


def _draw_patch_tracks(sheet: Sheet, numbers: Mapping[str, Any]) -> None:
    shifts = array(numbers.get("patch_shifts"), 2)
    centres = array(numbers.get("patch_centres"), 2)
    shape = pair(numbers.get("movie_shape"))
    whole = array(numbers.get("global_shifts"), 2)
    local = shifts.ndim == 3 and whole.shape == shifts.shape[1:]
    sheet.text(8, 16, "Local motion" if local else "Local and whole-frame motion", role="strong")
    if shifts.ndim != 3 or shape is None or len(shifts) != len(centres) or shifts.shape[1] < 2:
        sheet.message("no local motion measured")
        return
    if local:
        shifts = shifts - whole
    ny, nx = shape
    box = _SIZE - 2 * 10 - 34
    fit = box / max(ny, nx)
    left, top = (_SIZE - nx * fit) / 2, 26 + (box - ny * fit) / 2
    sheet.rectangle("frame", left, top, nx * fit, ny * fit)
    start = shifts[:, :1]
    reach = np.nanmax(np.abs(shifts - start), initial=0.0)
    spacing = _spacing(centres, shape)
    # Less than a hundredth of a pixel is none, and is not blown up.
    magnification = _round_down(0.6 * spacing / reach) if reach > 0.01 else 1.0
    at = np.array([top, left]) + fit * (centres[:, None] + magnification * (shifts - start))
    inside = np.clip(at, [top, left], [top + ny * fit, left + nx * fit])
    _draw_track(sheet, inside, 1.6, _PATCH_COLOURS)
    sheet.dots("start", [(float(x), float(y)) for y, x in inside[:, 0] if np.isfinite(x)], 1.8)
    sheet.text(_SIZE - 8, 16, f"× {format_number(magnification)}", anchor="end")
    pixel_size = number(numbers, "movie_pixel_size")
    _scale_bar(
        sheet, fit * magnification / (pixel_size or 1.0), "Å" if pixel_size else "px", limit=60
    )


def _spacing(centres: FloatArray, shape: tuple[int, int]) -> float:
    """Return the distance between neighbouring patches, pixels."""
    distances = [
        float(np.min(gaps))
        for axis in (0, 1)
        if len(gaps := np.diff(np.unique(np.round(centres[:, axis])))) > 0
    ]
    return min(distances, default=float(min(shape)))


def _round_down(value: float) -> float:
    """Return the largest round number that is not above `value`, at least 1."""
    power = 10.0 ** np.floor(np.log10(max(value, 1.0)))
    return float(max(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8) if m * power <= max(value, 1.0)))


def _draw_track(
    sheet: Sheet, points: FloatArray, width: float, colours: int, *, rim: bool = False
) -> None:
    """Draw tracks (patches, n, 2) with one stroke a colour, so that many stay small.

    A white rim keeps colours apart from grey levels beneath.
    """
    n = points.shape[1]
    edges = np.unique(np.linspace(0, n - 1, min(n, colours + 1)).round().astype(int))
    finite: list[list[bool]] = np.asarray(np.isfinite(points).all(axis=-1)).tolist()
    texts = [[f"{fmt(x)},{fmt(y)}" for y, x in track] for track in points.tolist()]
    if rim:
        for track, text, known in zip(points, texts, finite, strict=True):
            whole = n > 1 and all(known)
            line = f"M{text[0]}L{' '.join(text[1:])}" if whole else path(track[:, 1], track[:, 0])
            sheet.raw(
                f'<path fill="none" stroke="#fff" stroke-width="{fmt(width + 2)}" '
                f'stroke-linecap="round" stroke-linejoin="round" d="{line}"/>'
            )
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        pieces = [
            "M" + " ".join(text[first : last + 1])
            for text, known in zip(texts, finite, strict=True)
            if all(known[first : last + 1])
        ]
        colour = frame_colour((first + last) / 2 / max(n - 1, 1))
        if pieces:
            sheet.raw(
                f'<path fill="none" stroke="{colour}" stroke-width="{fmt(width)}" '
                f'stroke-linecap="round" stroke-linejoin="round" d="{"".join(pieces)}"/>'
            )


def _frame_dots(sheet: Sheet, points: FloatArray) -> None:
    for i, (y, x) in enumerate(points.tolist()):
        if np.isfinite(x) and np.isfinite(y):
            colour = frame_colour(i / max(len(points) - 1, 1))
            sheet.raw(f'<circle cx="{fmt(x)}" cy="{fmt(y)}" r="2.6" fill="{colour}"/>')


def _scale_bar(sheet: Sheet, per_unit: float, unit: str, limit: float = 90.0) -> None:
    """Draw a bar of a round length at the lower left; `per_unit` is its sheet length a unit."""
    options = [m * 10.0**p for p in range(-3, 6) for m in (1, 2, 5)]
    length = max([v for v in options if v * per_unit <= limit], default=options[0])
    y = _SIZE - 8
    sheet.line("scale", 10, y, 10 + length * per_unit, y)
    sheet.text(10 + length * per_unit + 7, y + 4, f"{format_number(length)} {unit}")


def _colour_key(sheet: Sheet, n: int) -> None:
    """Draw what the colours mean at the lower right."""
    y, steps, width = _SIZE - 12, 16, 4.0
    right = _SIZE - 10
    end = f"frame {n}"
    left = right - 6.4 * len(end) - steps * width - 6
    sheet.text(left - 6, y + 8, "1", anchor="end")
    for i in range(steps):
        colour = frame_colour(i / (steps - 1))
        sheet.raw(
            f'<rect x="{fmt(left + i * width)}" y="{fmt(y)}" width="{fmt(width + 0.3)}" height="8" '
            f'fill="{colour}"/>'
        )
    sheet.text(right, y + 8, end, anchor="end")
