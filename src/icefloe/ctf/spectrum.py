"""The power spectrum in which Thon rings are fitted.

The whole micrograph is transformed once, and its amplitudes are smoothed and sampled down to the
box by a kernel whose lag window is flat: every autocorrelation length that the box can represent
counts fully. That loses no data to the windows of tiles, and needs one transform instead of the
four that tiles with half overlap need; `tiled_power_spectrum` is kept for comparison
(docs/ctf.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.ctf.sampling import low_rows, sample_half_plane
from icefloe.errors import FitError, InputError, SettingsError
from icefloe.fourier import fast_size, frequency_axes, get_threads, is_tensor, to_device, to_numpy
from icefloe.optics import good_size

__all__ = [
    "PIXEL_TARGET",
    "Spectrum",
    "amplitude_to_spectrum",
    "power_spectrum",
    "tiled_power_spectrum",
]

# A. Thon rings are not fitted beyond 2.8 A, so finer sampling would spend the box on noise.
PIXEL_TARGET = 1.4


@dataclass(frozen=True)
class Spectrum:
    """A power spectrum and its sampling.

    Attributes
    ----------
    power
        (n, n // 2 + 1), float32, half plane with zero frequency at [0, 0], positive.
    pixel_size
        Effective pixel size, A: the frequency step is ``1 / (n * pixel_size)``.
    """

    power: FloatArray
    pixel_size: float

    @property
    def size(self) -> int:
        """Side n of the box, pixels."""
        return int(self.power.shape[0])

    def frequencies(self) -> tuple[FloatArray, FloatArray]:
        """Return ky (n, 1) and kx (1, n // 2 + 1), 1/A."""
        return frequency_axes((self.size, self.size), self.pixel_size)

    def centred(self) -> FloatArray:
        """Return the whole plane (n, n), zero frequency at [n // 2, n // 2], amplitudes."""
        n = self.size
        full = np.empty((n, n), dtype=np.float32)
        half = np.sqrt(self.power)
        full[:, : n // 2 + 1] = half
        # F(-ky, -kx) of a real image has the modulus of F(ky, kx).
        full[:, n // 2 + 1 :] = np.roll(half[::-1, 1 : n // 2][:, ::-1], 1, axis=0)
        return np.asarray(np.fft.fftshift(full))


def power_spectrum(
    image: AnyArray | Tensor, pixel_size: float, box: int, device: str = "cpu"
) -> Spectrum:
    """Return the smoothed periodogram of a micrograph, for frequencies up to 1 / 2.8 A.

    Parameters
    ----------
    image
        (ny, nx), any real type, array or tensor.
    pixel_size
        A.
    box
        Side of the spectrum, pixels.
    device
        Where the transform runs.

    Raises
    ------
    InputError
        The image is not two-dimensional, too small, or has values that are not finite.
    FitError
        All pixels are equal.
    """
    _check_image(image, pixel_size)
    effective = max(PIXEL_TARGET, pixel_size)
    padded = tuple(fast_size(int(s)) for s in image.shape)
    kept = tuple(_kept(n, pixel_size, effective) for n in padded)
    x = image if is_tensor(image) else to_device(image, device)
    amplitude = (
        _tensor_amplitude(x, padded, kept) if is_tensor(x) else _array_amplitude(x, padded, kept)
    )
    smooth = np.array(
        to_numpy(sample_half_plane(amplitude, padded, kept, pixel_size, box, effective))
    )
    # The one column that holds both halves: keep it the point symmetry of a real image.
    smooth[1:, 0] = 0.5 * (smooth[1:, 0] + smooth[:0:-1, 0])
    # The kernel has negative lobes; with little to average they may win somewhere.
    smooth = np.maximum(smooth, 0.02 * float(np.mean(smooth)))
    return Spectrum(np.square(smooth, dtype=np.float32), effective)


def tiled_power_spectrum(
    image: AnyArray, pixel_size: float, box: int, overlap: float = 0.5
) -> Spectrum:
    """Return the mean periodogram of overlapping Hann-windowed tiles (Welch's method).

    Parameters
    ----------
    image
        (ny, nx), any real type.
    pixel_size
        A.
    box
        Side of the spectrum, pixels; a tile covers ``box * effective pixel size``.
    overlap
        Fraction of a tile shared with its neighbour.
    """
    _check_image(image, pixel_size)
    tile = max(box, good_size(box * PIXEL_TARGET / pixel_size))
    effective = tile * pixel_size / box
    data = np.asarray(image, dtype=np.float32)
    data = data - data.mean()
    if min(data.shape) < tile:
        data = np.pad(data, [(0, max(0, tile - s)) for s in data.shape])
    window = np.outer(np.hanning(tile), np.hanning(tile)).astype(np.float32)
    starts = [
        np.unique(
            np.linspace(
                0, s - tile, max(1, round((s - tile) / (tile * (1 - overlap))) + 1), dtype=int
            )
        )
        for s in data.shape
    ]
    rows, half = low_rows(tile, box), box // 2 + 1
    total = np.zeros((box, half))
    for y in starts[0]:
        part = np.stack([data[y : y + tile, x : x + tile] for x in starts[1]])
        part = (part - part.mean(axis=(1, 2), keepdims=True)) * window
        f = scipy.fft.rfft2(part, workers=get_threads())[:, rows, :half]
        total += np.sum(f.real**2 + f.imag**2, axis=0)
    total /= len(starts[0]) * len(starts[1])
    return Spectrum(np.maximum(total, total.max() * 1e-12).astype(np.float32), effective)


def amplitude_to_spectrum(amplitude: AnyArray, pixel_size: float) -> Spectrum:
    """Return the spectrum of a centred amplitude spectrum, such as RELION's ``_PS.mrc``.

    Parameters
    ----------
    amplitude
        (n, n), even n, zero frequency at [n // 2, n // 2].
    pixel_size
        Effective pixel size, A.

    Raises
    ------
    InputError
        It is not square and even, or has values that are not finite.
    """
    data = np.asarray(amplitude)
    if data.ndim != 2 or data.shape[0] != data.shape[1] or data.shape[0] % 2 or len(data) < 64:
        raise InputError(
            f"The amplitude spectrum has the shape {data.shape}",
            "a square of even side, 64 or more",
        )
    _check_pixel_size(pixel_size)
    if not np.all(np.isfinite(data)):
        raise InputError("The amplitude spectrum has values that are not finite")
    n = len(data)
    half = np.fft.ifftshift(data.astype(np.float64))[:, : n // 2 + 1]
    if not half.max() > 0:
        raise FitError("The amplitude spectrum is nowhere positive")
    # Resampling leaves small negative values in RELION's spectra, and other programs zero the
    # origin; a logarithm must exist everywhere.
    floor = float(np.median(half[half > 0])) * 0.02
    return Spectrum(np.square(np.maximum(half, floor)).astype(np.float32), pixel_size)


def _check_pixel_size(pixel_size: float) -> None:
    if not (math.isfinite(pixel_size) and pixel_size > 0):
        raise SettingsError(f"The pixel size is {pixel_size} A", "a positive length")


def _check_image(image: AnyArray | Tensor, pixel_size: float) -> None:
    _check_pixel_size(pixel_size)
    if image.ndim != 2 or min(image.shape) < 64:
        raise InputError(
            f"The micrograph has the shape {tuple(image.shape)}",
            "two dimensions of at least 64 pixels",
        )


def _kept(n: int, pixel_size: float, effective: float) -> int:
    """Return how many of n frequencies, both signs, reach 1.1 times the box's Nyquist."""
    half = min(n // 2, math.ceil(0.55 * n * pixel_size / effective))
    return 2 * half


def _array_amplitude(x: AnyArray, padded: tuple[int, ...], kept: tuple[int, ...]) -> FloatArray:
    """Return |F| of the padded image for the frequencies that are kept."""
    mean = float(np.mean(x, dtype=np.float64))
    _check_values(mean, float(x.max()) - float(x.min()))
    buffer = np.zeros((x.shape[0], padded[1]), dtype=np.float32)
    np.subtract(x, np.float32(mean), out=buffer[:, : x.shape[1]], casting="unsafe")
    workers = get_threads()
    f = scipy.fft.rfft(buffer, axis=1, workers=workers)[:, : kept[1] // 2 + 1]
    f = scipy.fft.fft(f, n=padded[0], axis=0, workers=workers)
    return np.asarray(np.abs(f[low_rows(padded[0], kept[0])]))


def _tensor_amplitude(x: Tensor, padded: tuple[int, ...], kept: tuple[int, ...]) -> Tensor:
    import torch

    x = x.to(torch.float32)
    mean = float(x.mean(dtype=torch.float64))
    _check_values(mean, float(x.max() - x.min()))
    f = torch.fft.rfft(x - mean, n=padded[1], dim=1)[:, : kept[1] // 2 + 1]
    f = torch.fft.fft(f, n=padded[0], dim=0)
    return f[torch.from_numpy(low_rows(padded[0], kept[0])).to(f.device)].abs()


def _check_values(mean: float, spread: float) -> None:
    if not (math.isfinite(mean) and math.isfinite(spread)):
        raise InputError(
            "The micrograph has pixels that are not finite", hint="Replace NaN and infinite values"
        )
    if spread <= 0:
        raise FitError(f"All pixels of the micrograph are {mean:g}: there is no spectrum to fit")
