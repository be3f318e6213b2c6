"""The one-dimensional spectrum about the ring of ice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from icefloe.report.figures.spectrum import ICE_BAND, resolution_marks
from icefloe.report.figures.svg import Axis, Sheet, format_number, ticks
from icefloe.report.figures.values import array, number

__all__ = ["ice_ring"]

_LEFT, _RIGHT, _TOP, _FOOT = 40.0, 290.0, 44.0, 166.0
# 1/A, to where the axis runs also where Nyquist comes before.
_LAST = 1 / 3.0


def ice_ring(numbers: Mapping[str, Any]) -> bytes:
    """Return the amplitude from 4.6 to 3 A relative to that at 30-6 A, the band of ice shaded.

    Parameters
    ----------
    numbers
        Of the CTF stage: `view` with `ice`, a mapping with `frequency`, 1/A, and `amplitude`;
        `iciness`.
    """
    sheet = Sheet(300, 204, "Spectrum about the ring of ice")
    view = numbers.get("view")
    ice = view.get("ice") if isinstance(view, Mapping) else None
    found: Mapping[str, Any] = ice if isinstance(ice, Mapping) else {}
    frequency, amplitude = array(found.get("frequency")), array(found.get("amplitude"))
    pixel_size = number(numbers, "spectrum_pixel_size")
    usable = len(frequency) >= 4 and len(amplitude) == len(frequency)
    if not usable or not (np.isfinite(amplitude).all() and np.isfinite(frequency).all()):
        end = f" (Nyquist is {2 * pixel_size:.1f} Å)" if pixel_size else ""
        sheet.message(f"the ring of ice is not measured{end}")
        return sheet.to_bytes()
    x = Axis(float(frequency[0]), max(_LAST, float(frequency[-1])), _LEFT, _RIGHT)
    low, high = float(amplitude.min()), float(amplitude.max())
    pad = max(0.12 * (high - low), 0.01 * high)
    y = Axis(low - pad, high + pad, _FOOT, _TOP)
    left, right = x(1 / ICE_BAND[0]), x(1 / ICE_BAND[1])
    sheet.rectangle("band", left, _TOP, right - left, _FOOT - _TOP)
    sheet.y_axis(y, _LEFT, [(v, format_number(v)) for v in ticks(y.low, y.high, 5)], grid_to=_RIGHT)
    sheet.polyline("data", x.map(frequency), y.map(amplitude))
    iciness = number(numbers, "iciness")
    title = "" if iciness is None else f"iciness {iciness:.2f}, "
    sheet.text(
        8, 16, f"{title}{format_number(ICE_BAND[0])}–{format_number(ICE_BAND[1])} Å", role="strong"
    )
    sheet.text(8, 32, "amplitude relative to that at 30–6 Å")
    sheet.x_axis(x, _FOOT, resolution_marks(x), "resolution (Å)")
    return sheet.to_bytes()
