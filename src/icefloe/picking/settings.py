"""What a user may choose about blob picking."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

__all__ = ["BlobSettings", "DiameterRange"]


def _one_means_both(value: object) -> object:
    if isinstance(value, (int, float)):
        return (value, value)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return (value[0], value[0])
    return value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1]:
        raise ValueError("the diameters must be positive, the smaller one first")
    return value


# Smallest and largest particle diameter, A; one number means both.
DiameterRange = Annotated[
    tuple[float, float], BeforeValidator(_one_means_both), AfterValidator(_ordered)
]


class BlobSettings(BaseModel):
    """Choices of `pick_blobs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    diameter: DiameterRange | None = Field(
        default=None,
        description="Smallest and largest particle diameter, A; one number means both. "
        "There is no picking without it.",
    )
    method: Literal["template", "log", "dog"] = Field(
        default="template",
        description="How blobs are found: correlation with shapes (template), Laplacian of "
        "Gaussians (log) or difference of Gaussians (dog), over the range of diameters.",
    )
    shape: Literal["auto", "disc", "ring", "ellipse"] = Field(
        default="auto",
        description="What a particle looks like: filled (disc), hollow (ring), elongated "
        "(ellipse, with its aspect), or whichever of disc and ring stands out better from the "
        "micrograph's noise (auto). log and dog know discs only.",
    )
    aspect: float | None = Field(
        default=None,
        gt=1,
        le=6,
        description="Longest over shortest axis of an ellipse, whose longest axis is the "
        "diameter; it is looked for at all angles.",
    )
    threshold: float | None = Field(
        default=None,
        description="Lowest score to keep, in standard deviations of the response map; "
        "left out, it is found from the scores of each micrograph.",
    )
    min_distance: float = Field(
        default=0.5,
        gt=0,
        le=5,
        description="Smallest distance of two picks, in particle diameters.",
    )
    max_picks: int = Field(
        default=0, ge=0, description="Most picks kept in a micrograph, the best; 0 keeps all."
    )
    edge: float = Field(
        default=0.3,
        ge=0,
        description="Picks whose centre is nearer to the border are dropped, in diameters.",
    )
    max_contrast: float = Field(
        default=3.0,
        ge=0,
        description="Picks with more than this many times the contrast of the median pick are "
        "taken for contamination and clear their surroundings, and particles of 144 A and more are "
        "not picked on crystals, clumps and carbon; 0 switches both off.",
    )
    contrast: Literal["dark", "bright"] = Field(
        default="dark", description="Whether particles are darker or brighter than the ice."
    )
    local_window: float = Field(
        default=1.0,
        gt=0.3,
        le=20,
        description="Reach (sigma of a Gaussian), in diameters, over which the local mean and "
        "variance are made equal.",
    )
    samples: int = Field(
        default=16,
        ge=8,
        le=64,
        description="Pixels per smallest diameter at which the search is done.",
    )

    @model_validator(mode="after")
    def _no_choice_without_effect(self) -> BlobSettings:
        if self.method != "template" and self.shape not in ("auto", "disc"):
            raise ValueError(f"{self.method} finds discs only, not the shape {self.shape}")
        if self.shape == "ellipse" and self.aspect is None:
            raise ValueError("an ellipse needs an aspect, its longest over its shortest axis")
        if self.shape != "ellipse" and self.aspect is not None:
            raise ValueError(f"an aspect belongs to the shape ellipse, not {self.shape}")
        return self
