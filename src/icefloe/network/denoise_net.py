"""The denoiser's layers: those of the picker, with one image in and one out."""

from __future__ import annotations

from torch import nn

from icefloe.network.architecture import PickerNet

__all__ = ["DenoiserNet"]


class DenoiserNet(PickerNet):
    """(n, 1, y, x) noisy images to (n, 1, y, x) what they show.

    Parameters
    ----------
    widths
        Channels at 1/2, 1/4 and 1/8 of the sampling.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 48, 64)) -> None:
        super().__init__(widths)
        # Folding two by two makes four channels of one image.
        self.stem = nn.Conv2d(4, widths[0], 3, padding=1)
        self.answer = nn.Conv2d(widths[0], 4, 1)
        # Before any training the answer is empty, the best guess where noise is all there is.
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)
