"""What motion correction returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.motion.field import MotionField
from icefloe.motion.polynomial import fit_polynomial

__all__ = ["MotionResult"]

_EARLY_DOSE = 4.0


@dataclass(frozen=True, eq=False)
class MotionResult:
    """A corrected movie.

    Attributes
    ----------
    micrograph
        Sum of the aligned frames, dose weighted if asked; (ny, nx), float32, counts.
    plain
        The same without dose weighting.
    power_spectrum
        Amplitude spectrum of tiles of sums of a few aligned frames, (N, N), zero frequency at
        ``[N // 2, N // 2]``.
    power_spectrum_pixel_size
        A: the frequency of a pixel is its distance from the centre over N times this.
    even, odd
        Sums of even and odd frames (0-based, of those used), not dose weighted; None unless asked.
    pixel_size
        Of the images, A.
    field
        The motion, in unbinned pixels.
    patch_centres
        (P, 2), places (y, x) in unbinned pixels.
    hot_pixels
        (H, 2), positions (y, x) of pixels found hot or dead; gain zeros and given defects are not
        among them.
    n_defects
        Number of all pixels that were replaced.
    predicted_error
        Error that the motion should have, unbinned pixels RMS; NaN where nothing was aligned.
    patch_residuals
        (P,), what the field leaves of each patch's motion, unbinned pixels RMS.
    mean_correlation
        Mean normalised correlation of a frame's patches with the sum of the others.
    flags
        What went wrong or was done instead.
    timings
        Seconds by step.
    facts
        The numbers that describe the movie, part of `numbers`.
    """

    micrograph: FloatArray
    plain: FloatArray
    power_spectrum: FloatArray
    power_spectrum_pixel_size: float
    even: FloatArray | None
    odd: FloatArray | None
    pixel_size: float
    field: MotionField
    patch_centres: FloatArray
    hot_pixels: AnyArray
    n_defects: int
    mean_correlation: float
    predicted_error: float
    patch_residuals: FloatArray
    flags: tuple[str, ...]
    timings: Mapping[str, float]
    facts: Mapping[str, Any] = dataclass_field(default_factory=dict, repr=False)

    @property
    def global_shifts(self) -> FloatArray:
        """Whole-frame displacement (dy, dx) of each frame, (F, 2), unbinned pixels."""
        return self.field.global_shifts

    @property
    def patch_shifts(self) -> FloatArray:
        """Displacement at `patch_centres`, (P, F, 2), unbinned pixels.

        Of the fitted field, whole-frame and local motion together.
        """
        frames = np.arange(len(self.field))[None, :]
        c = self.patch_centres
        return self.field.displacement(frames, c[:, :1], c[:, 1:])

    def numbers(self) -> dict[str, Any]:
        """Return what a sidecar records: lengths in A or unbinned pixels, JSON types only.

        ``patch_shifts`` holds whole-frame and local motion together. ``local_coefficients`` is
        RELION's polynomial nearest to the local motion, with the sign of our displacement;
        ``polynomial_misfit`` (pixels RMS) says how near. ``frame_doses`` (e/A^2) are those of all
        frames of the movie; less than stated where the beam was found blanked.
        ``frames_left_out`` counts frames from 1. ``predicted_error`` and ``patch_residuals``
        (pixels) are None where nothing was aligned.
        """
        local, misfit = None, 0.0
        if np.any(self.field.local):
            coefficients, misfit = fit_polynomial(self.field)
            local = {"y": coefficients[0].tolist(), "x": coefficients[1].tolist()}
        total, early = self._motion()
        return {
            **self.facts,
            "pixel_size": self.pixel_size,
            "shape": list(self.micrograph.shape),
            "global_shifts": _rounded(self.global_shifts),
            "local_coefficients": local,
            "polynomial_misfit": misfit,
            "patch_centres": _rounded(self.patch_centres, 2),
            "patch_shifts": _rounded(self.patch_shifts),
            "hot_pixels": [[int(y), int(x)] for y, x in self.hot_pixels],
            "n_defects": self.n_defects,
            "motion_total": total,
            "motion_early": early,
            "motion_late": total - early,
            "power_spectrum_pixel_size": self.power_spectrum_pixel_size,
            "mean_correlation": self.mean_correlation,
            "predicted_error": _finite(self.predicted_error),
            "patch_residuals": [_finite(v) for v in self.patch_residuals],
        }

    def _motion(self) -> tuple[float, float]:
        # Length of the whole-frame track, A, and of its part in the first 4 e/A^2.
        facts = self.facts
        steps = np.hypot(*np.diff(self.global_shifts, axis=0).T) * facts["movie_pixel_size"]
        # A step counts by the dose at the end of the frame before it, as RELION's do.
        before = facts["pre_exposure"] + np.cumsum(facts["frame_doses"])
        first = facts["first_frame"] - 1
        early = before[first : first + len(steps)] <= _EARLY_DOSE * (1 + 1e-9)
        return float(steps.sum()), float(steps[early].sum())


def _finite(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _rounded(values: FloatArray, digits: int = 4) -> list[Any]:
    # Ten-thousandths of a pixel; longer numbers only make sidecars large.
    return list(np.round(np.asarray(values, dtype=np.float64), digits).tolist())
