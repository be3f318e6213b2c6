"""What a user may choose about extraction."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["ExtractSettings"]


class ExtractSettings(BaseModel):
    """Choices of `extract_particles`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box: int | None = Field(
        default=None,
        ge=8,
        description="Side of the window cut from the micrograph, pixels, even. Left out, it is "
        "the particle plus what defocus spreads around it (icefloe boxsize).",
    )
    resolution: float = Field(
        default=3.0,
        gt=0,
        description="Resolution, A, up to which an automatic box keeps the signal.",
    )
    max_defocus: float = Field(
        default=25000.0,
        ge=0,
        description="Largest defocus, A, for which an automatic box is made; one box serves all.",
    )
    bin_to: float | None = Field(
        default=None,
        gt=0,
        description="Pixel size, A, to which particles are Fourier-cropped; the nearest one that "
        "an even box allows is taken. Left out, that of the micrograph.",
    )
    output_box: int | None = Field(
        default=None,
        ge=8,
        description="Side of the particles, pixels, even; instead of bin_to.",
    )
    small_bin_to: float | None = Field(
        default=None,
        gt=0,
        description="Pixel size, A, of a second, smaller stack made in the same pass, for 2D "
        "classification. Left out, there is none.",
    )
    ctf: Literal["none", "flip", "multiply"] = Field(
        default="none",
        description="Flip the phases by the CTF, or multiply by it (then said so in the optics "
        "table). RELION and cryoSPARC correct for the CTF themselves and need neither.",
    )
    ctf_box: int | None = Field(
        default=None,
        ge=8,
        description="Side, pixels, even, of the window in which the CTF is applied, from which the "
        "box is then cut. Left out, 1.5 times the box.",
    )
    white_dust: float | None = Field(
        default=None,
        gt=0,
        description="Replace pixels by noise that are so many standard deviations of the "
        "background brighter than it. Left out, none.",
    )
    black_dust: float | None = Field(
        default=None,
        gt=0,
        description="The same for dark pixels.",
    )
    normalise: bool = Field(
        default=True,
        description="Subtract a plane and scale to mean 0 and variance 1 outside the particle.",
    )
    background_diameter: float | None = Field(
        default=None,
        gt=0,
        description="Diameter, A, of the circle outside which is background. Left out, 3/4 of "
        "the box.",
    )
    invert: bool = Field(default=True, description="Make dark particles bright.")
    edge: Literal["replicate", "drop"] = Field(
        default="replicate",
        description="Windows that reach over the border: filled with the nearest pixels, or "
        "dropped.",
    )

    @field_validator("box", mode="before")
    @classmethod
    def _auto_is_none(cls, value: object) -> object:
        return None if value == "auto" else value

    @model_validator(mode="after")
    def _consistent(self) -> ExtractSettings:
        for name in ("box", "output_box", "ctf_box"):
            size = getattr(self, name)
            if size is not None and size % 2:
                raise ValueError(f"{name} is {size}, and RELION reads only even boxes")
        if self.bin_to is not None and self.output_box is not None:
            raise ValueError("bin_to and output_box say the same thing; give one of them")
        if self.ctf_box is not None and self.ctf == "none":
            raise ValueError("ctf_box says where the CTF is applied, and ctf is none")
        return self
