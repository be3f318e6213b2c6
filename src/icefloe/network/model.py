"""A trained network with its card: what it was trained on, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from icefloe._types import AnyArray, FloatArray
from icefloe.network.calibration import Calibration
from icefloe.network.settings import SAMPLES, WINDOW

__all__ = ["ARCHITECTURE", "ModelCard", "PickerModel"]

# Changes whenever weights of before no longer mean the same: layers, sampling, preparation.
ARCHITECTURE = "icefloe-unet-1"


class ModelCard(BaseModel):
    """What is known about a network; it is written into the weights file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(default=ARCHITECTURE, description="Layers and preparation.")
    icefloe: str = Field(description="Version that made it.")
    name: str = Field(description="What people call it.")
    data: str = Field(description="What it was trained on.")
    samples: int = Field(default=SAMPLES, description="Pixels a particle diameter.")
    window: float = Field(default=WINDOW, description="Reach of the even lighting, diameters.")
    widths: tuple[int, int, int] = Field(description="Channels at the three levels.")
    diameter: float | None = Field(default=None, description="Of the particles, A; None: any.")
    micrographs: int = Field(description="Micrographs it was trained on.")
    particles: int = Field(description="Particles marked in them.")
    objective: str = Field(default="pn", description="Objective of the training.")
    edge: float = Field(
        default=0.0, description="Nearer to the border none was marked on purpose, diameters."
    )
    views: int = Field(
        default=1, ge=1, le=4, description="Quarter turns of the image whose answers are averaged."
    )
    start: str = Field(default="", description="Name of the network that training started from.")
    scores: dict[str, float] = Field(
        default_factory=dict, description="Average precision and others, on validation data."
    )
    calibration: Calibration = Field(description="From heights in the map to probabilities.")


@dataclass(frozen=True)
class PickerModel:
    """A network ready to pick.

    Attributes
    ----------
    card
        Where it comes from.
    tensors
        Weights by name, float32.
    """

    card: ModelCard
    tensors: Mapping[str, AnyArray]
    _nets: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def net(self, device: str) -> Any:
        """Return the torch module on a device (``cpu`` or ``cuda:N``), made once."""
        if device not in self._nets:
            import torch

            from icefloe.network.architecture import PickerNet

            net = PickerNet(self.card.widths)
            net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in self.tensors.items()})
            net.eval()
            self._nets[device] = net.to(device).to(memory_format=torch.channels_last)
        return self._nets[device]

    def probability(self, heights: FloatArray) -> FloatArray:
        """Return how likely peaks of the map of these heights are right."""
        return self.card.calibration(heights)
