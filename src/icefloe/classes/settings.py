"""What a user may choose about 2D classification."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ClassifySettings"]


class ClassifySettings(BaseModel):
    """Choices of `classify_particles`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: int = Field(
        default=50,
        ge=1,
        le=500,
        description="Number of classes; fewer are made where there are not ten particles for each.",
    )
    diameter: float | None = Field(
        default=None,
        gt=0,
        description="Longest diameter of the particle, A; images are not looked at beyond a tenth "
        "more. Left out, 0.7 of the box.",
    )
    bin_to: float = Field(
        default=4.0,
        gt=0,
        description="Pixel size, A, to which finer particles are Fourier-cropped first.",
    )
    resolution: float = Field(
        default=12.0,
        gt=0,
        description="Finest detail, A, that classes and angles are decided by.",
    )
    start_resolution: float = Field(
        default=30.0,
        gt=0,
        description="The same for the first iterations.",
    )
    iterations: int = Field(
        default=20, ge=2, le=200, description="Times that all classes are compared with particles."
    )
    max_shift: float = Field(
        default=20.0,
        ge=0,
        description="Farthest that a particle may lie beside the middle of its image, A.",
    )
    ctf: Literal["multiply", "flip", "none"] = Field(
        default="multiply",
        description="How scores and averages treat the CTF: in full, by its signs alone, or not.",
    )
    largest: float = Field(
        default=3.0,
        ge=1,
        description="Most particles in a class, relative to an even share; it keeps a few classes "
        "from swallowing the rest.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the random start.")
