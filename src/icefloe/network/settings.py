"""What a user may choose about the neural picker and its training."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EDGE", "SAMPLES", "WINDOW", "NetworkSettings", "TrainSettings"]

# Pixels a particle diameter that the network sees, and the sigma, in diameters, of the
# neighbourhood whose mean and variance are evened out before. Weights are trained for these.
SAMPLES = 16
WINDOW = 1.3
# Picks nearer to the border are dropped, in diameters, unless somebody says otherwise.
EDGE = 0.1


class NetworkSettings(BaseModel):
    """Choices of `pick_network`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(
        default=0.4,
        ge=0,
        lt=1,
        description="Lowest score to keep: the probability that a pick is right. With calibrated "
        "scores, F1 is highest at half its value.",
    )
    min_distance: float = Field(
        default=0.5, gt=0, le=5, description="Smallest distance of two picks, in diameters."
    )
    max_picks: int = Field(
        default=0, ge=0, description="Most picks kept in a micrograph, the best; 0 keeps all."
    )
    edge: float | None = Field(
        default=None,
        ge=0,
        description="Picks whose centre is nearer to the border are dropped, in diameters; None: "
        "0.1, or as far as the picks that the model learned from keep.",
    )
    contrast: Literal["dark", "bright"] = Field(
        default="dark", description="Whether particles are darker or brighter than the ice."
    )


class TrainSettings(BaseModel):
    """Choices of `train_network`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Literal["pn", "truncated", "nnpu", "ge-binomial"] = Field(
        default="nnpu",
        description="How places without a pick are taken: as empty (pn); as empty but for those "
        "that the network is sure about (truncated); as a mixture of empty and missed particles "
        "of known share (nnpu, ge-binomial).",
    )
    missing: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of the particles that were not picked; for nnpu and ge-binomial. Left "
        "out: 0.1, or more where the first network finds more particles than were picked.",
    )
    steps: int = Field(default=300, ge=1, description="Batches to train on, at most.")
    batch: int = Field(default=8, ge=1, description="Crops a batch.")
    crop: int = Field(
        default=128, ge=64, multiple_of=8, description="Side of a crop, at 16 pixels a diameter."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Highest rate of the one cycle.")
    weight_decay: float = Field(default=0.01, ge=0, description="Decay of the weights.")
    first: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="Share of the first network's weights in the result (Wortsman et al. 2022, "
        "arXiv:2109.01903): what all particles have in common is not lost over those of a few "
        "micrographs.",
    )
    scale: float = Field(
        default=0.1, ge=0, lt=0.5, description="Crops are made larger or smaller by up to this."
    )
    validation: float = Field(
        default=0.2, gt=0, lt=0.9, description="Share of each micrograph kept for validation."
    )
    check_every: int = Field(default=50, ge=1, description="Batches between two validations.")
    patience: int = Field(
        default=5, ge=1, description="Validations without a better one after which it stops."
    )
    contrast: Literal["dark", "bright"] = Field(
        default="dark", description="Whether particles are darker or brighter than the ice."
    )
    seed: int = Field(default=0, ge=0, description="Seed of all chance.")
