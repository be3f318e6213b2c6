"""The power spectrum for the CTF: tiles of sums of a few aligned frames."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.fft

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.fourier import (
    fast_size,
    frequency_axes,
    get_threads,
    is_tensor,
    rfft2,
    to_numpy,
)
from icefloe.kernels.spectra import cut_tiles, tile_power
from icefloe.motion.whole_frame import taper

__all__ = ["TileSpectrum", "frame_groups"]

# RELION's choice: finer detail holds no Thon rings worth fitting, and coarser pixels resolve
# more of them in a box of the same size.
_PIXEL_SIZE = 1.4
_EDGE = 0.125


def frame_groups(doses: FloatArray, dose: float) -> list[AnyArray]:
    """Return the indices of consecutive frames whose dose is nearest to `dose` (e/A^2)."""
    total = np.cumsum(doses) - 0.5 * doses
    number = np.floor(total / max(dose, float(doses.max()))).astype(int)
    return [np.flatnonzero(number == g) for g in np.unique(number)]


@dataclass
class TileSpectrum:
    """Mean power of tiles, added up group by group.

    Attributes
    ----------
    tile, transform
        Side of a tile, and of its transform (larger where frames are small), pixels.
    size
        Side of the result, pixels.
    pixel_size
        Pixel size that an image of `size` pixels with this spectrum has, A.
    """

    tile: int
    transform: int
    size: int
    pixel_size: float
    power: FloatArray

    @classmethod
    def for_frames(cls, shape: tuple[int, int], pixel_size: float, size: int) -> TileSpectrum:
        """Return an empty sum for frames of `shape` and `pixel_size` (A)."""
        transform = fast_size(round(size * max(1.0, _PIXEL_SIZE / pixel_size)))
        if transform > min(shape):
            transform = max(size, min(shape) // 2 * 2)
        tile = min(transform, min(shape))
        power = np.zeros((size, size // 2 + 1))
        return cls(tile, transform, size, pixel_size * transform / size, power)

    def add(self, image: Tensor) -> None:
        """Add an image (ny, nx)."""
        ny, nx = int(image.shape[0]), int(image.shape[1])
        window = np.outer(taper(self.tile, _EDGE), taper(self.tile, _EDGE))
        rows, columns = (_starts(n, self.tile) for n in (ny, nx))
        norm = 1.0 / (len(rows) * len(columns) * float(np.sum(window**2)))
        if is_tensor(image):
            self._add_tensor(image, rows, columns, window, norm)
            return
        firsts, mean, half = np.array(columns), float(image.mean()), self.size // 2

        def power_of(y: int) -> FloatArray:
            strip = np.zeros((len(columns), self.transform, self.transform), np.float32)
            cut_tiles(image, y, firsts, window, mean, strip)
            # Columns beyond the result's are not transformed in the other direction.
            part = np.ascontiguousarray(scipy.fft.rfft(strip, axis=-1)[..., : half + 1])
            transform = scipy.fft.fft(part, axis=-2, overwrite_x=True)
            return np.asarray(tile_power(transform, self.size))

        # Rows of tiles in threads, added in their order: the same sum for any number of threads.
        with ThreadPoolExecutor(min(get_threads(), len(rows))) as pool:
            for power in pool.map(power_of, rows):
                self.power += norm * power

    def _add_tensor(
        self, image: Tensor, rows: list[int], columns: list[int], window: FloatArray, norm: float
    ) -> None:
        import torch

        half = self.size // 2
        mask = torch.from_numpy(window).to(image.device)
        mean = image.mean()
        for y in rows:
            strip = image.new_zeros((len(columns), self.transform, self.transform))
            for tile, x in zip(strip, columns, strict=True):
                cut = image[y : y + self.tile, x : x + self.tile]
                tile[: self.tile, : self.tile] = (cut - mean) * mask
            f = rfft2(strip)[:, :, : half + 1]
            power = to_numpy((f.real**2 + f.imag**2).sum(0))
            self.power[:half] += norm * power[:half]
            self.power[half:] += norm * power[self.transform - half :]

    def amplitude(self, transfer: FloatArray | None = None) -> FloatArray:
        """Return the amplitude spectrum (size, size), float32, zero frequency at the centre.

        That is pixel ``[size // 2, size // 2]``. `transfer` is divided out, (size, size//2+1).
        """
        half = self.size // 2
        amplitude = np.sqrt(self.power)
        if transfer is not None:
            amplitude = amplitude / transfer
        out = np.zeros((self.size, self.size), np.float32)
        shifted = np.fft.fftshift(amplitude, axes=0)
        out[:, half:] = shifted[:, :half]
        # The other half plane: F(-k) = conj F(k).
        out[1:, 1:half] = shifted[:0:-1, half - 1 : 0 : -1]
        out[0, 1:half] = shifted[0, half - 1 : 0 : -1]
        out[1:, 0] = shifted[:0:-1, half]
        out[0, 0] = shifted[0, half]
        return out

    def frequencies(self) -> tuple[FloatArray, FloatArray]:
        """Return ky and kx of the half plane in cycles per pixel of the frames."""
        ky, kx = frequency_axes((self.size, self.size))
        scale = self.size / self.transform
        return ky[:, 0] * scale, kx[0] * scale


def _starts(length: int, tile: int) -> list[int]:
    # Windows fade over an eighth at each end; they overlap by that much at least.
    count = int(np.ceil((length - tile) / (tile * (1 - _EDGE)))) + 1
    return [int(v) for v in np.rint(np.linspace(0, length - tile, count))]
