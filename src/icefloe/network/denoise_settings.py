"""What a user may choose about denoising, and the card of a denoiser."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DENOISER", "SAMPLING", "DenoiserCard", "DenoiserTrainSettings"]

# Changes whenever weights of before no longer mean the same: layers, sampling, preparation.
DENOISER = "icefloe-denoiser-1"
# Pixel size, A, at which the network works: twice this is the finest detail in its answer.
SAMPLING = 6.0


class DenoiserCard(BaseModel):
    """What is known about a denoiser; it is written into the weights file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(default=DENOISER, description="Layers and preparation.")
    icefloe: str = Field(description="Version that made it.")
    name: str = Field(description="What people call it.")
    data: str = Field(description="What it was trained on.")
    sampling: float = Field(default=SAMPLING, description="Pixel size at which it works, A.")
    widths: tuple[int, int, int] = Field(description="Channels at the three levels.")
    pairs: int = Field(description="Pairs of half-dose micrographs it was trained on.")
    start: str = Field(default="", description="Name of the network that training started from.")
    scores: dict[str, float] = Field(
        default_factory=dict, description="Errors on data that it was not trained on."
    )


class DenoiserTrainSettings(BaseModel):
    """Choices of `train_denoiser`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=400, ge=1, description="Batches to train on.")
    batch: int = Field(default=8, ge=1, description="Crops a batch.")
    crop: int = Field(
        default=128, ge=64, multiple_of=8, description="Side of a crop, at 6 A a pixel."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Highest rate of the one cycle.")
    validation: float = Field(
        default=0.2, gt=0, lt=0.9, description="Share of each pair kept for validation."
    )
    check_every: int = Field(default=50, ge=1, description="Batches between two validations.")
    seed: int = Field(default=0, ge=0, description="Seed of all chance.")
