"""From binned frames to their motion, or to the word that there is none to be found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from icefloe._types import FloatArray, Tensor
from icefloe.motion.field import MotionField
from icefloe.motion.fit import FieldFit, fit_field
from icefloe.motion.judge import SIGNIFICANT
from icefloe.motion.patches import cut_patches, patch_grid
from icefloe.motion.settings import MotionSettings
from icefloe.motion.whole_frame import find_shifts

__all__ = ["align"]


def align(
    binned: Tensor,
    shape: tuple[int, int],
    factor: int,
    pixel_size: float,
    times: tuple[FloatArray, FloatArray],
    settings: MotionSettings,
    flags: list[str],
) -> tuple[FieldFit, FloatArray]:
    """Find the motion of binned frames: whole, then as a field.

    Parameters
    ----------
    binned
        (F, by, bx), array or tensor.
    shape, factor, pixel_size
        Of the frames before binning, unbinned pixels in a binned one, and A.
    times
        (F,) and (F,): dose of each frame, and the accumulated dose in its middle, e/A^2.
    settings
        Choices.
    flags
        What is doubtful is added to it.

    Returns
    -------
    fit : FieldFit
        In unbinned pixels.
    centres : ndarray
        (P, 2), of the patches, unbinned pixels (y, x).
    """
    doses, moments = times
    n = len(doses)
    grid = patch_grid(settings.patches, shape, pixel_size)
    if n == 1:
        flags.append("one frame: nothing to align")
        centre = np.array([[0.5 * (shape[0] - 1), 0.5 * (shape[1] - 1)]])
        still = MotionField.still(shape, 1)
        return FieldFit(still, 0.0, np.inf, True, np.nan, np.full(1, np.nan)), centre
    if n == 2 and settings.patches != (1, 1):
        flags.append("two frames: whole-frame motion only")
        grid = (1, 1)
    shifts, converged = find_shifts(
        binned,
        pixel_size=pixel_size * factor,
        dose_per_frame=float(np.median(doses)),
        bfactor=settings.bfactor,
        max_shift=settings.max_shift,
    )
    if not converged:
        flags.append("whole-frame alignment did not converge")
    patches = cut_patches(binned, grid, shifts)
    del binned
    # With more threads BLAS rounds differently, and matrices of this size are no faster.
    with threadpool_limits(1, "blas"):
        fit = fit_field(
            patches,
            shape=shape,
            factor=factor,
            shifts=shifts * factor,
            grid=grid,
            pixel_size=pixel_size,
            doses=doses,
            clock=moments,
            bfactor=settings.bfactor_local,
            acceleration=settings.acceleration,
            local_motion=settings.local_motion,
            local_knots=settings.local_knots,
        )
    if not converged and fit.significance < SIGNIFICANT:
        # A random walk across the frame would smear what there is.
        flags.append("not aligned: no motion was found, and the frames are summed as they are")
        still = MotionField.still(shape, n)
        fit = replace(
            fit,
            field=still,
            converged=True,
            predicted_error=np.nan,
            patch_residuals=np.full(len(patches.centres), np.nan),
        )
    if not fit.converged:
        flags.append("the fit of the motion did not converge")
    return fit, patches.centres * factor + 0.5 * (factor - 1)
