"""Motion correction: defects, alignment, motion field, dose weighting, integration."""

from icefloe.motion.correct import correct_motion
from icefloe.motion.field import MotionField
from icefloe.motion.gain import GainEstimate, estimate_gain
from icefloe.motion.polynomial import fit_polynomial
from icefloe.motion.result import MotionResult
from icefloe.motion.settings import MotionSettings

__all__ = [
    "GainEstimate",
    "MotionField",
    "MotionResult",
    "MotionSettings",
    "correct_motion",
    "estimate_gain",
    "fit_polynomial",
]
