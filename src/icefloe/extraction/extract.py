"""Windows around picks, as RELION's `relion_preprocess` defines them.

The centre is the truncated coordinate, the window runs from ``centre - N/2`` to
``centre + N/2 - 1``, what lies outside the micrograph repeats its border. Then follow Fourier
cropping, the plane through the background, normalisation and inversion. The fraction of a pixel
that truncation loses is kept as an origin instead of being forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.extraction.box import binned_box, choose_box
from icefloe.extraction.normalise import background_mask, normalise
from icefloe.extraction.settings import ExtractSettings
from icefloe.fourier import irfft2, is_tensor, rfft2, to_device, to_numpy

__all__ = ["ParticleStack", "extract_particles"]

# Windows that are worked on at a time, in pixels: 64 MB of single precision.
_CHUNK = 16_000_000


@dataclass(frozen=True)
class ParticleStack:
    """Particles of one micrograph.

    Attributes
    ----------
    images
        (n, box, box) float32.
    pixel_size
        Their pixel size, A.
    extract_box
        Side of the windows in the micrograph, pixels.
    y, x
        (n,) int, pixel of the micrograph at ``images[:, box // 2, box // 2]``.
    origin_y, origin_x
        (n,) A; the particle lies at ``y - origin_y / pixel size of the micrograph``, which is
        RELION's rlnOriginYAngst.
    kept
        (n,) int, which of the coordinates given they are.
    n_dropped
        Coordinates without an image.
    flags
        What went wrong or was done instead.
    """

    images: FloatArray
    pixel_size: float
    extract_box: int
    y: AnyArray
    x: AnyArray
    origin_y: FloatArray
    origin_x: FloatArray
    kept: AnyArray
    n_dropped: int
    flags: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def box(self) -> int:
        """Side of the particles, pixels."""
        return int(self.images.shape[-1])

    def numbers(self) -> dict[str, Any]:
        """Return the figures that a sidecar records; `kept` are indices of the picks."""
        return {
            "n_particles": len(self),
            "n_dropped": self.n_dropped,
            "box": self.box,
            "extract_box": self.extract_box,
            "pixel_size": self.pixel_size,
            "kept": self.kept.tolist(),
            "y": self.y.tolist(),
            "x": self.x.tolist(),
            "origin_y": np.round(self.origin_y, 4).tolist(),
            "origin_x": np.round(self.origin_x, 4).tolist(),
        }


def extract_particles(
    image: FloatArray,
    y: ArrayLike,
    x: ArrayLike,
    *,
    pixel_size: float,
    diameter: float | None = None,
    voltage: float = 300.0,
    settings: ExtractSettings | None = None,
    device: str = "cpu",
) -> ParticleStack:
    """Cut out particles, and bin, normalise and invert them.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    y, x
        (n,) centres, pixels, 0-based.
    pixel_size
        Pixel size of the micrograph, A.
    diameter, voltage
        Longest particle diameter, A, and acceleration voltage, kV; used for an automatic box.
    settings
        Sizes and what is done to the grey levels.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.

    Raises
    ------
    MissingMetadataError
        Neither box nor diameter, or no positive pixel size.
    SettingsError
        Sizes that contradict each other or the micrograph.
    InputError
        Not one image, or coordinates of unequal number or not finite.
    """
    settings = settings or ExtractSettings()
    if not pixel_size or not pixel_size > 0:
        raise MissingMetadataError(
            f"The pixel size is {pixel_size}", "A per pixel", "Give --pixel-size"
        )
    box = choose_box(settings, pixel_size=pixel_size, diameter=diameter, voltage=voltage)
    size, out_pixel = binned_box(settings, box, pixel_size)
    cleaned, flags = _clean(image)
    ny, nx = cleaned.shape
    if box > 2 * min(ny, nx):
        raise SettingsError(
            f"A box of {box} pixels is over twice the micrograph of {nx} x {ny}", "a smaller box"
        )
    true_y, true_x = _coordinates(y, x)
    # RELION casts to int, which truncates.
    centre_y, centre_x = np.trunc(true_y).astype(np.intp), np.trunc(true_x).astype(np.intp)
    kept, more = _keep(centre_y, centre_x, true_y, true_x, box, (ny, nx), settings.edge)
    flags += more
    centre_y, centre_x = centre_y[kept], centre_x[kept]

    images = np.empty((len(kept), size, size), dtype=np.float32)
    mask = None
    if settings.normalise:
        diameter = settings.background_diameter or 0.75 * size * out_pixel
        mask = background_mask(size, 0.5 * diameter / out_pixel)
    source = to_device(cleaned, device)
    step = max(1, _CHUNK // box**2)
    n_flat = 0
    for start in range(0, len(kept), step):
        part = slice(start, min(start + step, len(kept)))
        windows = _rescale(_windows(source, centre_y[part], centre_x[part], box), size)
        if mask is not None:
            windows, flat = normalise(windows, mask, device)
            n_flat += int(flat.sum())
        images[part] = to_numpy(-windows if settings.invert else windows)
    if n_flat:
        flags += (f"{n_flat} particles have no variation and were not normalised",)
    return ParticleStack(
        images=images,
        pixel_size=out_pixel,
        extract_box=box,
        y=centre_y,
        x=centre_x,
        origin_y=(centre_y - true_y[kept]) * pixel_size,
        origin_x=(centre_x - true_x[kept]) * pixel_size,
        kept=kept,
        n_dropped=len(true_y) - len(kept),
        flags=flags,
    )


def _clean(image: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
    array = np.asarray(image)
    if array.ndim != 2:
        raise InputError(f"The array to extract from has the shape {array.shape}", "one image")
    array = array.astype(np.float32, copy=False)
    if np.isfinite(array.sum(dtype=np.float64)):
        return array, ()
    finite = np.isfinite(array)
    missing = array.size - int(np.count_nonzero(finite))
    if missing > array.size // 2:
        raise InputError(f"{missing} of {array.size} pixels are NaN or infinite")
    replaced = np.where(finite, array, np.median(array[finite]))
    return replaced, (f"{missing} pixels that are not finite were replaced by the median",)


def _coordinates(y: ArrayLike, x: ArrayLike) -> tuple[FloatArray, FloatArray]:
    ya, xa = np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64)
    if ya.ndim != 1 or ya.shape != xa.shape:
        raise InputError(f"y has the shape {ya.shape} and x {xa.shape}", "two lists of one length")
    if not (np.isfinite(ya).all() and np.isfinite(xa).all()):
        raise InputError("Some coordinates are NaN or infinite", "numbers, in pixels")
    return ya, xa


def _keep(
    centre_y: AnyArray,
    centre_x: AnyArray,
    true_y: FloatArray,
    true_x: FloatArray,
    box: int,
    shape: tuple[int, int],
    edge: str,
) -> tuple[AnyArray, tuple[str, ...]]:
    """Return the indices of what can be cut out."""
    ny, nx = shape
    flags: tuple[str, ...] = ()
    inside = (true_y >= 0) & (true_y < ny) & (true_x >= 0) & (true_x < nx)
    if not inside.all():
        flags += (f"{np.count_nonzero(~inside)} coordinates outside the micrograph dropped",)
    half = box // 2
    whole = (centre_y >= half) & (centre_y + half <= ny)
    whole &= (centre_x >= half) & (centre_x + half <= nx)
    crossing = int(np.count_nonzero(inside & ~whole))
    if edge == "drop":
        if crossing:
            flags += (f"{crossing} particles whose box crosses the border dropped",)
        inside &= whole
    return np.flatnonzero(inside), flags


def _windows(image: Tensor, y: AnyArray, x: AnyArray, box: int) -> Tensor:
    """Return (n, box, box) windows, the image's border repeated outwards."""
    offset = np.arange(box) - box // 2
    rows = np.clip(y[:, None] + offset, 0, image.shape[0] - 1)[:, :, None]
    columns = np.clip(x[:, None] + offset, 0, image.shape[1] - 1)[:, None, :]
    if is_tensor(image):
        import torch

        device = image.device
        return image[torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)]
    return image[rows, columns]


def _rescale(windows: Tensor, size: int) -> Tensor:
    """Return windows (n, box, box) Fourier-cropped to (n, size, size), both even.

    Of the two rows that become the Nyquist row only the positive one is taken, where
    `fourier.resize` adds them. RELION does so, and noise keeps its power there.
    """
    box = int(windows.shape[-1])
    if size == box:
        return windows
    spectrum = rfft2(windows)[..., : size // 2 + 1]
    rows = np.r_[0 : size // 2 + 1, box - size // 2 + 1 : box]
    if is_tensor(spectrum):
        import torch

        cropped = spectrum[..., torch.from_numpy(rows).to(spectrum.device), :]
    else:
        cropped = spectrum[..., rows, :]
    return irfft2(cropped * (size / box) ** 2, (size, size))
