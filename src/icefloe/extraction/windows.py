"""Windows: which can be cut out, cutting, and Fourier cropping."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.errors import InputError
from icefloe.fourier.device import is_tensor

__all__ = [
    "centre_crop",
    "clean_image",
    "cut",
    "fourier_crop",
    "numbers_yx",
    "repeat_border",
    "which_fit",
]


def clean_image(image: AnyArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Return a micrograph as float32 without NaN, and a flag where there was one.

    Raises
    ------
    InputError
        Not one image, or mostly NaN.
    """
    array = np.asarray(image)
    if array.ndim != 2:
        raise InputError(f"The array to extract from has the shape {array.shape}", "one image")
    array = np.ascontiguousarray(array, dtype=np.float32)
    # A sum is not finite where a pixel is not; it may also overflow, which the count tells.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return array, ()
    finite = np.isfinite(array)
    missing = array.size - int(np.count_nonzero(finite))
    if not missing:
        return array, ()
    if missing > array.size // 2:
        raise InputError(
            f"{missing} of {array.size} pixels are NaN or infinite", "a micrograph of numbers"
        )
    replaced = np.where(finite, array, np.median(array[finite])).astype(np.float32)
    return replaced, (f"{missing} pixels that are not finite were replaced by the median",)


def numbers_yx(y: ArrayLike, x: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return coordinates as two float64 arrays (n,).

    Raises
    ------
    InputError
        Of unequal length, or not finite.
    """
    ya, xa = np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64)
    if ya.ndim != 1 or ya.shape != xa.shape:
        raise InputError(f"y has the shape {ya.shape} and x {xa.shape}", "two lists of one length")
    if not (np.isfinite(ya).all() and np.isfinite(xa).all()):
        raise InputError("Some coordinates are NaN or infinite", "numbers, in pixels")
    return ya, xa


def which_fit(
    y: FloatArray, x: FloatArray, box: int, shape: tuple[int, int], edge: str
) -> tuple[AnyArray, tuple[str, ...]]:
    """Return the indices of what can be cut out, and what to say of the rest.

    Parameters
    ----------
    y, x
        (n,) centres, pixels; their whole part is the centre of the window.
    box
        Side of the window, pixels.
    shape
        Of the micrograph.
    edge
        ``replicate`` or ``drop`` windows that reach over the border.
    """
    ny, nx = shape
    flags: tuple[str, ...] = ()
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    if not inside.all():
        flags += (f"{np.count_nonzero(~inside)} coordinates outside the micrograph dropped",)
    if edge == "drop":
        half, cy, cx = box // 2, np.trunc(y), np.trunc(x)
        whole = (cy >= half) & (cy + half <= ny) & (cx >= half) & (cx + half <= nx)
        crossing = int(np.count_nonzero(inside & ~whole))
        if crossing:
            flags += (f"{crossing} particles whose box crosses the border dropped",)
        inside &= whole
    return np.flatnonzero(inside), flags


def cut(
    image: Tensor,
    y: AnyArray,
    x: AnyArray,
    box: int,
    *,
    fill: float | None = None,
    out: FloatArray | None = None,
) -> Tensor:
    """Return (n, box, box) windows around whole pixels.

    Parameters
    ----------
    image
        (ny, nx) float32.
    y, x
        (n,) int, pixel of the image that becomes ``[:, box // 2, box // 2]``.
    box
        Side of the windows, pixels.
    fill
        Grey level outside the image; None repeats the image's border outwards.
    out
        (n, box, box) float32 that windows of an array are written to.
    """
    if is_tensor(image):
        return _cut_tensor(image, y, x, box, fill)
    if out is None:
        out = np.empty((len(y), box, box), dtype=np.float32)
    ny, nx = image.shape
    offset = np.arange(box) - box // 2
    # A slice each is copied at the speed of memory; one index for all is several times slower.
    for window, top, left in zip(
        out, (y - box // 2).tolist(), (x - box // 2).tolist(), strict=True
    ):
        if top >= 0 and left >= 0 and top + box <= ny and left + box <= nx:
            window[:] = image[top : top + box, left : left + box]
        else:
            rows = np.clip(offset + (top + box // 2), 0, ny - 1)
            columns = np.clip(offset + (left + box // 2), 0, nx - 1)
            window[:] = image[rows[:, None], columns]
            if fill is not None:
                for start, side, view in ((top, ny, window), (left, nx, window.T)):
                    view[: max(0, -start)] = fill
                    view[max(0, side - start) :] = fill
    return out


def _cut_tensor(image: Tensor, y: AnyArray, x: AnyArray, box: int, fill: float | None) -> Tensor:
    import torch

    ny, nx = image.shape
    offset = np.arange(box) - box // 2
    rows, columns = y[:, None] + offset, x[:, None] + offset
    device = image.device
    windows = image[
        torch.from_numpy(np.clip(rows, 0, ny - 1)[:, :, None]).to(device),
        torch.from_numpy(np.clip(columns, 0, nx - 1)[:, None, :]).to(device),
    ]
    if fill is not None:
        beyond = ((rows < 0) | (rows >= ny))[:, :, None] | ((columns < 0) | (columns >= nx))[
            :, None
        ]
        windows[torch.from_numpy(beyond).to(device)] = fill
    return windows


def repeat_border(windows: Tensor, y: AnyArray, x: AnyArray, shape: tuple[int, int]) -> Tensor:
    """Return windows in which pixels outside the micrograph repeat the nearest ones inside.

    Parameters
    ----------
    windows
        (n, box, box), changed in place.
    y, x
        (n,) int, their centres, inside the micrograph.
    shape
        Of the micrograph.
    """
    box = int(windows.shape[-1])
    top, left = y - box // 2, x - box // 2
    crossing = (top < 0) | (left < 0) | (top + box > shape[0]) | (left + box > shape[1])
    steps = np.arange(box)
    for i in np.flatnonzero(crossing).tolist():
        rows, columns = (
            np.clip(steps, max(0, -start), min(box, side - start) - 1)
            for start, side in ((int(top[i]), shape[0]), (int(left[i]), shape[1]))
        )
        windows[i] = windows[i][rows][:, columns]
    return windows


def centre_crop(windows: Tensor, size: int) -> Tensor:
    """Return the middle (n, size, size) of windows; the centre stays at ``size // 2``."""
    start = int(windows.shape[-1]) // 2 - size // 2
    return windows[:, start : start + size, start : start + size]


def fourier_crop(windows: Tensor, size: int) -> Tensor:
    """Return windows (n, box, box) Fourier-cropped to (n, size, size), both even.

    Of the two rows that become the Nyquist row only the positive one is taken, where
    `fourier.resize` adds them. RELION does so, and noise keeps its power there.
    """
    box = int(windows.shape[-1])
    if size == box:
        return windows
    rows = np.r_[0 : size // 2 + 1, box - size // 2 + 1 : box]
    scale = (size / box) ** 2
    if is_tensor(windows):
        import torch

        from icefloe.fourier import irfft2, rfft2

        spectrum = rfft2(windows)[..., : size // 2 + 1]
        cropped = spectrum[..., torch.from_numpy(rows).to(spectrum.device), :]
        return irfft2(cropped * scale, (size, size))
    import scipy.fft

    # Columns that are cut off need no transform along y.
    half = scipy.fft.rfft(windows, axis=-1)[..., : size // 2 + 1]
    cropped = scipy.fft.fft(half, axis=-2)[..., rows, :]
    cropped *= np.float32(scale)
    return scipy.fft.irfft2(cropped, s=(size, size))
