"""Motion correction: defects, alignment, motion field, dose weighting, integration."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.motion.correct import correct_motion
    from icefloe.motion.field import MotionField
    from icefloe.motion.gain import GainEstimate, estimate_gain
    from icefloe.motion.orientation import GainComparison, GainUse, compare_gain_uses
    from icefloe.motion.polynomial import fit_polynomial
    from icefloe.motion.result import MotionResult
    from icefloe.motion.settings import MotionSettings
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "correct_motion": "correct",
            "MotionField": "field",
            "GainEstimate": "gain",
            "estimate_gain": "gain",
            "GainComparison": "orientation",
            "GainUse": "orientation",
            "compare_gain_uses": "orientation",
            "fit_polynomial": "polynomial",
            "MotionResult": "result",
            "MotionSettings": "settings",
        },
    )

__all__ = [
    "GainComparison",
    "GainEstimate",
    "GainUse",
    "MotionField",
    "MotionResult",
    "MotionSettings",
    "compare_gain_uses",
    "correct_motion",
    "estimate_gain",
    "fit_polynomial",
]
