"""The network: a small U-Net that sees half a micrograph pixel at a time and answers for each.

The image is first folded two by two into channels (Shi et al. 2016, arXiv:1609.05158), so that no
layer works at the full number of pixels; the answer is unfolded in the same way. Two levels further
down, four and two pixels a particle, give it a view of about five particles (Ronneberger et al.
2015, arXiv:1505.04597). There is no normalisation inside: the input is already even, and what the
network answers at one place must not depend on what else is in the tile.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional

__all__ = ["CLASSES", "INPUTS", "MULTIPLE", "PickerNet", "receptive_radius"]

# Images in (evenly lit; with their contrast) and classes out (background, particle, junk).
INPUTS, CLASSES = 2, 3
# Sides of the input are a multiple of this.
MULTIPLE = 8


class _Residual(nn.Module):  # type: ignore[misc]
    """Two convolutions beside a direct way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        # The block starts as no more than its direct way, which keeps deep nets trainable
        # without normalisation (Zhang, Dauphin & Ma 2019, arXiv:1901.09321).
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Any) -> Any:
        return x + self.second(functional.relu(self.first(functional.relu(x))))


class PickerNet(nn.Module):  # type: ignore[misc]
    """Logits of background, particle centre and junk for each pixel.

    Parameters
    ----------
    widths
        Channels at 1/2, 1/4 and 1/8 of the sampling.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 48, 64)) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = nn.Conv2d(4 * INPUTS, a, 3, padding=1)
        self.top = _Residual(a)
        self.down_middle = nn.Conv2d(a, b, 2, stride=2)
        self.middle = nn.Sequential(_Residual(b), _Residual(b))
        self.down_bottom = nn.Conv2d(b, c, 2, stride=2)
        self.bottom = nn.Sequential(_Residual(c), _Residual(c))
        self.up_middle = nn.Conv2d(c, b, 1)
        self.join_middle = nn.Conv2d(b, b, 3, padding=1)
        self.back_middle = _Residual(b)
        self.up_top = nn.Conv2d(b, a, 1)
        self.join_top = nn.Conv2d(a, a, 3, padding=1)
        self.back_top = _Residual(a)
        self.answer = nn.Conv2d(a, 4 * CLASSES, 1)

    def forward(self, image: Any) -> Any:
        """Return (n, 3, y, x) logits for (n, 2, y, x) images whose sides are multiples of 8."""
        return functional.pixel_shuffle(self.answer(functional.relu(self.features(image))), 2)

    def features(self, image: Any) -> Any:
        """Return (n, width, y / 2, x / 2), what the last layer draws on."""
        top = self.top(self.stem(functional.pixel_unshuffle(image, 2)))
        middle = self.middle(self.down_middle(functional.relu(top)))
        bottom = self.bottom(self.down_bottom(functional.relu(middle)))
        x = middle + _twice(self.up_middle(functional.relu(bottom)))
        x = self.back_middle(self.join_middle(functional.relu(x)))
        x = top + _twice(self.up_top(functional.relu(x)))
        return self.back_top(self.join_top(functional.relu(x)))


def _twice(x: Any) -> Any:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def receptive_radius() -> int:
    """Return how many pixels away an input can still change an output.

    Convolutions of 3 x 3 count one pixel each of their level: 2 pixels at the top, where there are
    6, 4 in the middle (7) and 8 at the bottom (4); folding adds less than one block.
    """
    return 2 * 6 + 4 * 7 + 8 * 4 + MULTIPLE
