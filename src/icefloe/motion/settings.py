"""What can be chosen about motion correction."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["MotionSettings"]


class MotionSettings(BaseModel):
    """Choices for `correct_motion`; facts about the data are its arguments instead."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    binning: float = Field(
        1.0, ge=1.0, le=16.0, description="Fourier binning of the micrograph; need not be whole."
    )
    first_frame: int = Field(1, ge=1, description="First frame to use, counted from 1.")
    last_frame: int | None = Field(
        None, ge=1, description="Last frame to use, counted from 1; none means to the end."
    )
    patches: tuple[int, int] | Literal["auto"] = Field(
        "auto",
        description=(
            "Patches in y and x for the local motion; (1, 1) corrects the whole frame only; "
            "auto takes one about every 300 A."
        ),
    )
    bfactor: float = Field(
        500.0, ge=0, description="B-factor that damps high frequencies for the whole frame, A^2."
    )
    bfactor_local: float = Field(
        400.0,
        ge=0,
        description=(
            "B-factor for the fit of whole-frame and local motion, A^2, until the movie's own "
            "spectra tell the weights; where it has little signal, throughout."
        ),
    )
    alignment_pixel_size: float = Field(
        4.0, gt=0, le=20, description="Pixel size on which frames are aligned, A."
    )
    alignment_dose: float | Literal["auto"] = Field(
        "auto",
        description=(
            "Dose of the groups of frames that are aligned as one, e/A^2: groups hold at most "
            "this, and a frame of more than half of it is not grouped; auto is 0.8."
        ),
    )
    max_shift: float = Field(
        200.0, gt=0, description="Largest whole-frame shift between frames looked for, A."
    )
    acceleration: float = Field(
        0.05,
        gt=0,
        description=(
            "Prior on whole-frame motion: standard deviation of the change of velocity from frame "
            "to frame, A, at 1 e/A^2 a frame. Adapted to each movie, from this value."
        ),
    )
    local_motion: float = Field(
        0.8,
        gt=0,
        description=(
            "Prior on local motion: standard deviation, A, from first to last frame, of what is "
            "linear in space; a quarter of it for what is curved. Adapted to each movie."
        ),
    )
    local_knots: int = Field(
        7, ge=4, le=40, description="Cubic B-splines in time for the local motion."
    )
    hot_pixel_sigma: float = Field(
        6.0, gt=0, description="Threshold for hot and dead pixels, standard deviations."
    )
    dose_weighting: bool = Field(True, description="Weight frames by radiation damage.")
    dose_weighting_at: Literal["end", "mid"] = Field(
        "end",
        description=(
            "Dose that weighs a frame: at its end, as Grant & Grigorieff and RELION have it, or "
            "mid-frame. It matters where the frames' doses differ."
        ),
    )
    pre_exposure: float = Field(
        0.0, ge=0, description="Dose before the first frame of the movie, e/A^2."
    )
    even_odd: bool = Field(
        False, description="Make sums of even and odd frames too (not dose weighted)."
    )
    power_spectrum_dose: float = Field(
        4.0, gt=0, description="Dose of the frame groups of the power spectrum, e/A^2."
    )
    power_spectrum_size: int = Field(
        512, ge=64, le=4096, multiple_of=2, description="Side of the power spectrum, pixels."
    )

    @model_validator(mode="after")
    def _ordered(self) -> MotionSettings:
        if self.last_frame is not None and self.last_frame < self.first_frame:
            raise ValueError(
                f"last_frame is {self.last_frame}, before first_frame {self.first_frame}"
            )
        if self.alignment_dose != "auto" and not self.alignment_dose > 0:
            raise ValueError(f"alignment_dose is {self.alignment_dose}; it must be positive")
        if self.patches != "auto" and not all(1 <= n <= 40 for n in self.patches):
            raise ValueError(f"patches are {self.patches}; each must be 1 to 40")
        return self
