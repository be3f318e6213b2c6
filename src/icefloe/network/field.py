"""The micrograph as the network sees it: a fixed number of pixels a particle, evenly lit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import MissingMetadataError, SettingsError
from icefloe.fourier import resize
from icefloe.network.settings import SAMPLES, WINDOW
from icefloe.picking.normalise import clean_image, padded_border, search_image

__all__ = ["NetworkField", "even_pixels", "network_field"]


@dataclass(frozen=True)
class NetworkField:
    """What goes into the network, and how it lies in the micrograph.

    Attributes
    ----------
    pixels
        (2, ny, nx) float32, particles positive: local mean 0 and variance 1, and only the local
        mean removed, compressed.
    scale
        Pixels of it per pixel of the micrograph, (y, x).
    origin
        (y, x) of its first pixel in the micrograph, pixels of the micrograph.
    full
        Size (ny, nx) of the micrograph.
    flags
        What was done to it.
    """

    pixels: FloatArray
    scale: tuple[float, float]
    origin: tuple[float, float]
    full: tuple[int, int]
    flags: tuple[str, ...] = ()

    def inwards(self, yx: FloatArray) -> FloatArray:
        """Return positions (n, 2) of the micrograph in pixels of the field."""
        return np.asarray((yx - np.asarray(self.origin)) * np.asarray(self.scale))

    def outwards(self, yx: FloatArray) -> FloatArray:
        """Return positions (n, 2) of the field in pixels of the micrograph."""
        return np.asarray(yx / np.asarray(self.scale) + np.asarray(self.origin))

    def from_border(self, yx: FloatArray) -> FloatArray:
        """Return how far positions (n, 2) of the field are from the micrograph's border, (n,).

        Pixels of the field; the micrograph's border may lie outside of it.
        """
        ends = self.inwards(np.array([[0.0, 0.0], np.asarray(self.full) - 1.0]))
        return np.asarray(np.minimum(yx - ends[0], ends[1] - yx).min(axis=1))

    def within(self, margin: float) -> NetworkField:
        """Return the part that is so many of its pixels away from the micrograph's border."""
        ends = self.inwards(np.array([[0.0, 0.0], np.asarray(self.full) - 1.0]))
        low = np.maximum(np.ceil(ends[0] + margin), 0).astype(int)
        high = np.minimum(np.floor(ends[1] - margin) + 1, self.pixels.shape[1:]).astype(int)
        return replace(
            self,
            pixels=np.ascontiguousarray(self.pixels[:, low[0] : high[0], low[1] : high[1]]),
            origin=tuple(self.outwards(low[None].astype(float))[0].tolist()),
        )


def network_field(
    image: FloatArray, *, pixel_size: float, diameter: float, bright: bool = False
) -> NetworkField:
    """Reduce a micrograph to `SAMPLES` pixels a diameter.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    pixel_size, diameter
        A.
    bright
        Whether particles are brighter than their surroundings.

    Raises
    ------
    MissingMetadataError
        No positive pixel size or diameter.
    SettingsError
        A diameter that does not fit the micrograph.
    InputError
        An image without content.
    """
    for value, name in ((pixel_size, "pixel-size"), (diameter, "diameter")):
        if not value or not value > 0 or not np.isfinite(value):
            raise MissingMetadataError(
                f"The {name.replace('-', ' ')} is {value}", "a positive length, A", f"Give --{name}"
            )
    cleaned, flags = clean_image(image)
    smallest = min(cleaned.shape) * pixel_size
    if 2 * diameter > smallest or diameter < 4 * pixel_size:
        raise SettingsError(
            f"A particle of {diameter:g} A in a micrograph of {smallest:g} A with {pixel_size:g} A "
            "pixels",
            "a diameter above 4 pixels and below half the micrograph",
            "Check --diameter and --pixel-size",
        )
    border = padded_border(cleaned)
    if max(border) > 1:
        flags += (f"padded borders left out (top, bottom, left, right): {border} px",)
    top, bottom, left, right = border
    ny, nx = cleaned.shape
    inner = np.ascontiguousarray(cleaned[top : ny - bottom, left : nx - right])
    shape = inner.shape
    if diameter / pixel_size < SAMPLES:
        # Finer pixels hold nothing new, but the network knows one size only.
        finer = (SAMPLES * pixel_size / diameter) * np.asarray(shape)
        size = (2 * round(0.5 * finer[0]), 2 * round(0.5 * finer[1]))
        inner = np.asarray(resize(inner - np.float32(inner.mean(dtype=np.float64)), size))
        flags += (f"enlarged for the search, a particle being less than {SAMPLES} pixels wide",)
    width = diameter / pixel_size * inner.shape[0] / shape[0]
    pixels = even_pixels(inner, width, bright=bright)
    return NetworkField(
        pixels,
        (pixels.shape[1] / shape[0], pixels.shape[2] / shape[1]),
        (top, left),
        (ny, nx),
        flags,
    )


def even_pixels(image: FloatArray, width: float, *, bright: bool = False) -> FloatArray:
    """Return the two images of `NetworkField.pixels` for a particle `width` pixels wide."""
    search = search_image(image, width, SAMPLES, WINDOW, bright=bright, device="cpu")
    even, plain = search.crop(search.even), search.crop(search.plain)
    return np.stack([even, np.arcsinh(plain)]).astype(np.float32)
