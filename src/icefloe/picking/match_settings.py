"""What a user may choose about picking with templates, given or found in the data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MatchSettings"]


class MatchSettings(BaseModel):
    """Choices of `pick_templates` and `bootstrap_bank`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    diameter: float | None = Field(
        default=None,
        gt=0,
        description="Particle diameter, A; left out, it is found in the data or the templates.",
    )
    threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="Lowest correlation coefficient to keep; left out, it is found from the "
        "scores of each micrograph.",
    )
    max_score: float | None = Field(
        default=None, ge=-1, le=1, description="Highest correlation coefficient to keep."
    )
    min_power: float | None = Field(
        default=None,
        ge=0,
        description="Lowest mean square of the pixels about a pick, relative to the median pick.",
    )
    max_power: float | None = Field(
        default=None,
        ge=0,
        description="Highest mean square of the pixels about a pick, relative to the median pick.",
    )
    min_distance: float = Field(
        default=0.6, gt=0, le=5, description="Smallest distance of two picks, in diameters."
    )
    max_picks: int = Field(
        default=0, ge=0, description="Most picks kept in a micrograph, the best; 0 keeps all."
    )
    edge: float = Field(
        default=0.05,
        ge=0,
        description="Picks whose centre is nearer to the border are dropped, in diameters.",
    )
    max_contrast: float = Field(
        default=3.0,
        ge=0,
        description="Picks with more than this many times the contrast of the median pick are "
        "taken for contamination; 0 switches this off.",
    )
    junk: bool = Field(
        default=True,
        description="Leave out what lies on carbon, aggregates and ice crystals.",
    )
    contrast: Literal["dark", "bright"] = Field(
        default="dark", description="Whether particles are darker or brighter than the ice."
    )
    angle_step: float = Field(
        default=5.0, gt=0, le=180, description="Step of the in-plane angle, degrees."
    )
    low_pass: float | None = Field(
        default=None,
        gt=0,
        description="Resolution, A, at which the templates are halved; left out, they keep what "
        "the pixels of the search hold.",
    )
    whiten: bool = Field(
        default=False,
        description="Flatten the spectrum of the micrograph before matching, and filter the "
        "templates likewise.",
    )
    samples: int = Field(
        default=18, ge=8, le=64, description="Pixels per diameter at which the search is done."
    )
