"""The denoiser: a small U-Net that says how much of each frequency band to keep at each place.

The image is split into bands by differences of Gaussians, and the answer is their sum with weights
of at most 1: a Wiener filter that differs from place to place. What is shown at a place was
therefore in the image at that place; it can be dimmed, not drawn. The first guess of a weight is
closed: 1 - N / E, with the energy E of the band around the place and that of white noise N (Lee
1980, IEEE Trans. PAMI 2, 165). The network adds to it what it sees, in logits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from icefloe.network.architecture import MULTIPLE, PickerNet, receptive_radius

__all__ = ["FLOOR", "SIGMAS", "DenoiserNet", "bands", "blurred", "local_weights", "reach"]

# Sigma of the Gaussians between bands, pixels of 6 A: from the finest detail to 100 A.
SIGMAS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0, 11.3, 16.0)
# Of bands coarser than this sigma this share is always kept. The best guess of a particle that may
# be none is a pale one; pickers, which even out contrast, and eyes then miss it.
FLOOR_FROM, FLOOR = 1.3, 0.3
# Energies are taken around a place by a Gaussian so many times as wide as the band's, pixels.
_AROUND, _NARROWEST = 2.0, 2.0
# The first guess is kept inside these, where the network can still change it.
_LEAST, _MOST = 0.03, 0.97


class DenoiserNet(PickerNet):
    """(n, 1, y, x) images with noise of variance 1 to what they show.

    Parameters
    ----------
    widths
        Channels at 1/2, 1/4 and 1/8 of the sampling.
    """

    def __init__(self, widths: tuple[int, int, int] = (24, 40, 64)) -> None:
        super().__init__(widths)
        # Folding two by two makes four channels of one image.
        self.stem = nn.Conv2d(4, widths[0], 3, padding=1)
        self.answer = nn.Conv2d(widths[0], len(SIGMAS), 1)
        # Before any training the first guess stands.
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(self, image: Any) -> Any:
        """Return (n, 1, y, x) for (n, 1, y, x) whose sides are multiples of 8."""
        # Carbon and crystals are many times stronger than all else.
        seen = functional.relu(self.features(torch.asinh(image)))
        # Bounded at each pixel: where the sigmoid saturates nothing is learnt any more.
        seen = seen / torch.sqrt((seen**2).mean(dim=1, keepdim=True) + 1)
        change = functional.interpolate(
            self.answer(seen), scale_factor=2, mode="bilinear", align_corners=False
        )
        # Differences of like numbers lose everything in 16 bits.
        with torch.autocast(image.device.type, enabled=False):
            parts = bands(image)
            guess = local_weights(parts).clamp(_LEAST, _MOST)
            share = torch.sigmoid(torch.logit(guess) + change.float())
            least = [FLOOR if sigma > FLOOR_FROM else 0.0 for sigma in (0.0, *SIGMAS[:-1])]
            floor = torch.tensor(least, device=image.device).reshape(1, -1, 1, 1)
            kept = ((floor + (1 - floor) * share) * parts[:, :-1]).sum(dim=1, keepdim=True)
            # The coarsest has next to no noise left: it stays as it is.
            return kept + parts[:, -1:]


def bands(image: Any) -> Any:
    """Return (n, 12, y, x) bands, finest first, whose sum is the (n, 1, y, x) image."""
    found, before, done = [], image, 0.0
    for sigma in SIGMAS:
        # From one Gaussian to the next: variances add.
        after = blurred(before, math.sqrt(sigma**2 - done**2))
        found.append(before - after)
        before, done = after, sigma
    return torch.cat([*found, before], dim=1)


def local_weights(parts: Any) -> Any:
    """Return (n, 11, y, x) closed weights 1 - N / E of all bands but the coarsest, 0 at least."""
    side = 8 * math.ceil(SIGMAS[-1]) + 1
    spot = torch.zeros(1, 1, side, side, device=parts.device)
    spot[0, 0, side // 2, side // 2] = 1
    noise = (bands(spot)[0, :-1] ** 2).sum(dim=(1, 2))
    found = []
    for index, sigma in enumerate(SIGMAS):
        energy = blurred(parts[:, index : index + 1] ** 2, max(_NARROWEST, _AROUND * sigma))
        found.append((1 - noise[index] / energy.clamp_min(1e-12)).clamp_min(0))
    return torch.cat(found, dim=1)


def blurred(image: Any, sigma: float) -> Any:
    """Return (n, 1, y, x) images smoothed by a Gaussian of `sigma` pixels."""
    reach = max(1, math.ceil(3 * sigma))
    t = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    line = torch.exp(-0.5 * (t / sigma) ** 2)
    line = line / line.sum()
    x = functional.pad(image, (reach,) * 4, mode="replicate")
    return functional.conv2d(
        functional.conv2d(x, line.reshape(1, 1, -1, 1)), line.reshape(1, 1, 1, -1)
    )


def reach() -> int:
    """Return how many pixels away an input can still change an answer, a multiple of 8."""
    narrower = (0.0, *SIGMAS[:-1])
    steps = [math.sqrt(b**2 - a**2) for a, b in zip(narrower, SIGMAS, strict=True)]
    split = sum(math.ceil(3 * step) for step in steps)
    around = math.ceil(3 * _AROUND * SIGMAS[-1])
    return math.ceil(max(receptive_radius(), split + around) / MULTIPLE) * MULTIPLE
