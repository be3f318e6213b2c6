"""Pictures small enough to travel inside a page, and a micrograph with its picks."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icefloe._types import AnyArray, BoolArray
from icefloe.report.figures.picks import mask_outline
from icefloe.report.figures.svg import Sheet, fmt, format_number
from icefloe.report.figures.values import array, number

__all__ = ["micrograph", "picture", "to_webp", "web_image"]


def web_image(path: Path, size: int, quality: int = 60) -> bytes | None:
    """Return an image file as grey WebP of at most `size` pixels; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as source:
            image = source.convert("L")
    except (OSError, ValueError, SyntaxError):
        return None
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return to_webp(np.asarray(image), quality)


def to_webp(image: AnyArray, quality: int = 60) -> bytes:
    """Return an 8-bit grey image (ny, nx) as WebP."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", quality=quality, method=2)
    return out.getvalue()


def picture(data: bytes) -> str:
    """Return WebP or PNG bytes as the address of an inlined image."""
    kind = "png" if data.startswith(b"\x89PNG") else "webp"
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def micrograph(
    image: bytes | None,
    shape: tuple[int, int] | None,
    pixel_size: float | None,
    picks: Mapping[str, Any] | None = None,
    *,
    mask: BoolArray | None = None,
    title: str = "Micrograph",
) -> bytes:
    """Return a micrograph with its picks as circles of their diameter, and a scale bar.

    Parameters
    ----------
    image
        WebP or PNG, row 0 on top.
    shape
        (ny, nx) of the micrograph in pixels; picks need it.
    pixel_size
        Of the micrograph, A.
    picks
        Numbers of the picking stage: `y`, `x` in pixels and `diameter`, A, of each.
    mask
        (my, mx) over the whole micrograph, True where nothing is picked; outlined.
    title
        Text for people who do not see it.
    """
    size = _image_size(image)
    shape = shape or size
    if shape is None:
        sheet = Sheet(300, 300, title)
        sheet.message("no picture")
        return sheet.to_bytes()
    ny, nx = shape
    width = 512.0
    fit = width / nx
    height = ny * fit
    sheet = Sheet(width, height, title, font=17)
    if image is not None:
        sheet.raw(
            f'<image width="{fmt(width)}" height="{fmt(height)}" preserveAspectRatio="none" '
            f'href="{picture(image)}"/>'
        )
    else:
        sheet.rectangle("frame", 0.5, 0.5, width - 1, height - 1)
    if mask is not None and mask.any():
        outline = mask_outline(mask, height, width)
        sheet.raw(
            f'<path class="picks" fill="none" stroke="#ffa630" stroke-width="2" d="{outline}"/>'
        )
    if picks:
        circles = _circles(picks, fit, pixel_size)
        sheet.raw(
            f'<path class="picks" fill="none" stroke="#3df0b5" stroke-width="1.6" d="{circles}"/>'
        )
    if pixel_size:
        _bar(sheet, fit / pixel_size, height)
    return sheet.to_bytes()


def _image_size(image: bytes | None) -> tuple[int, int] | None:
    if image is None:
        return None
    from PIL import Image

    with Image.open(io.BytesIO(image)) as opened:
        return opened.height, opened.width


def _circles(picks: Mapping[str, Any], fit: float, pixel_size: float | None) -> str:
    y, x = array(picks.get("y")), array(picks.get("x"))
    if len(x) != len(y):
        return ""
    diameter = array(picks.get("diameter"))
    if len(diameter) != len(x):
        common = number(picks, "diameter_max") or number(picks, "diameter_min")
        diameter = np.full(len(x), np.nan if common is None else common)
    # Without a pixel size, or a diameter, a small mark must do.
    radius = diameter / 2 / pixel_size * fit if pixel_size else np.full(len(x), np.nan)
    radius = np.where(np.isfinite(radius), np.maximum(radius, 2.0), 4.0)
    parts = []
    for a, b, r in zip((x * fit).tolist(), (y * fit).tolist(), radius.tolist(), strict=True):
        if np.isfinite(a) and np.isfinite(b):
            # Half circles: one arc cannot close on itself.
            arc = f"a{fmt(r)} {fmt(r)} 0 1 0"
            parts.append(f"M{fmt(a - r)} {fmt(b)}{arc} {fmt(2 * r)} 0{arc} {fmt(-2 * r)} 0")
    return "".join(parts)


def _bar(sheet: Sheet, per_angstrom: float, height: float) -> None:
    options = [m * 10.0**p for p in range(1, 6) for m in (1, 2, 5)]
    length = max([v for v in options if v * per_angstrom <= 0.3 * sheet.width], default=10.0)
    text = f"{format_number(length / 10)} nm"
    wide = length * per_angstrom
    left, top = 14.0, height - 16.0
    plate = max(wide, 10.0 * len(text)) + 16
    sheet.raw(
        f'<rect x="{fmt(left - 8)}" y="{fmt(top - 26)}" width="{fmt(plate)}" height="36" '
        'fill="#000" fill-opacity="0.55" rx="3"/>'
        f'<path stroke="#fff" stroke-width="4" d="M{fmt(left)},{fmt(top)}h{fmt(wide)}"/>'
        f'<text x="{fmt(left)}" y="{fmt(top - 8)}" fill="#fff">{text}</text>'
    )
