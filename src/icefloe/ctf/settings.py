"""What a person may choose about a CTF fit."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from icefloe.errors import SettingsError

__all__ = ["CtfSettings"]


class CtfSettings(BaseModel):
    """Choices of `estimate_ctf`; the facts about the data are its keyword arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box: int = Field(512, ge=128, le=2048, description="Size of the fitted spectrum, pixels; even.")
    low_resolution: float = Field(
        30.0, gt=0, description="Coarse limit of the frequencies that are fitted, A."
    )
    high_resolution: float = Field(
        5.0, gt=0, description="Fine limit of the frequencies that are fitted, A."
    )
    extend_range: bool = Field(
        True,
        description="Fit again to where rings are seen beyond high_resolution; false keeps to it.",
    )
    defocus_min: float = Field(
        5000.0, description="Smallest defocus that is looked for, A; underfocus is positive."
    )
    defocus_max: float = Field(50000.0, description="Largest defocus that is looked for, A.")
    defocus_step: float = Field(
        100.0, gt=0, le=2000, description="Step of the exhaustive defocus search, A."
    )
    max_astigmatism: float = Field(
        4000.0, ge=0, description="Largest astigmatism (U - V) that is accepted, A."
    )
    astigmatism_prior: float = Field(
        0.0,
        ge=0,
        description="Expected astigmatism, A (a standard deviation that restrains it); 0 is off.",
    )
    phase_shift: bool = Field(False, description="Fit the phase shift of a phase plate too.")
    phase_shift_min: float = Field(0.0, description="Smallest phase shift, degrees.")
    phase_shift_max: float = Field(180.0, description="Largest phase shift, degrees.")
    phase_shift_step: float = Field(
        10.0, gt=0, le=45, description="Step of the phase-shift search, degrees."
    )
    local: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Fit the defocus over the micrograph, for every particle: 'auto' uses it "
        "where it varies beyond doubt, 'on' always, 'off' never.",
    )
    max_tilt: float = Field(
        65.0, gt=0, le=75, description="Largest tilt of the specimen that is looked for, degrees."
    )
    thickness: bool = Field(
        False, description="Fit the thickness of the specimen from the node of its rings too."
    )

    @model_validator(mode="after")
    def _ordered(self) -> CtfSettings:
        for low, high, unit in (
            ("defocus_min", "defocus_max", "A"),
            ("high_resolution", "low_resolution", "A"),
            ("phase_shift_min", "phase_shift_max", "degrees"),
        ):
            a, b = getattr(self, low), getattr(self, high)
            if not a < b:
                raise SettingsError(
                    f"{low} is {a:g} {unit} and {high} is {b:g} {unit}",
                    f"{low} below {high}",
                )
        if self.box % 2:
            raise SettingsError(f"The box of the spectrum is {self.box}", "an even number")
        return self
