"""Templates for matching: class averages, projections of a map, or averages of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import affine_transform, map_coordinates

from icefloe._types import FloatArray
from icefloe.errors import InputError, MissingMetadataError
from icefloe.fourier import resize

__all__ = ["TemplateBank", "even_directions", "project_volume", "radial_average", "template_bank"]


@dataclass(frozen=True)
class TemplateBank:
    """Images of one particle, bright on dark.

    Attributes
    ----------
    images
        (k, n, n) float32, n odd, the particle's centre on the middle pixel.
    pixel_size
        A.
    diameter
        Of the particle, A.
    turns
        Whether the images must be turned in the plane; not where they are round.
    flags
        What was done to what was given.
    numbers
        Of the images, from 1, in what was given, of which some may have been left out; empty for
        1, 2, ..., k.
    """

    images: FloatArray
    pixel_size: float
    diameter: float
    turns: bool = True
    flags: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()

    def scaled(self, pixel_size: float, reach: float) -> TemplateBank:
        """Return the bank at another pixel size, `reach` A from the centre to the rim."""
        half = int(np.ceil(reach / pixel_size)) + 1
        ratio = pixel_size / self.pixel_size
        step = np.arange(-half, half + 1) * ratio
        middle = self.images.shape[1] // 2
        y, x = np.meshgrid(step + middle, step + middle, indexing="ij")
        out = []
        for image in self.images:
            # Coarser pixels hold no finer detail: take it out first, by Fourier cropping.
            values, scale = image.astype(np.float32), 1.0
            if ratio > 1.3:
                n = max(8, 2 * round(0.5 * len(image) / ratio * 1.3))
                values = np.asarray(resize(image, (n, n)))
                scale = n / len(image)
            out.append(map_coordinates(values, [y * scale, x * scale], order=3, mode="nearest"))
        return replace(self, images=np.stack(out).astype(np.float32), pixel_size=float(pixel_size))


def template_bank(
    images: FloatArray,
    *,
    pixel_size: float,
    diameter: float | None = None,
    contrast: str = "auto",
) -> TemplateBank:
    """Return a bank from class averages or other images of the particle.

    Parameters
    ----------
    images
        (k, n, n) or (n, n), any real type; empty (constant) images are left out.
    pixel_size
        A.
    diameter
        Of the particle, A; found from the images if it is not given.
    contrast
        ``bright`` or ``dark`` particles; ``auto`` compares middle and rim.

    Raises
    ------
    InputError
        Not square images, or all of them constant or not finite.
    MissingMetadataError
        No positive pixel size.
    """
    stack = np.asarray(images, dtype=np.float32)
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or stack.shape[1] < 8:
        raise InputError(
            f"The templates have the shape {np.shape(images)}", "square images of 8 pixels or more"
        )
    if not pixel_size > 0:
        raise MissingMetadataError(
            f"The templates' pixel size is {pixel_size}", "A", "Give --template-pixel-size"
        )
    useful = np.isfinite(stack).all(axis=(1, 2))
    useful &= np.ptp(np.where(np.isfinite(stack), stack, 0), axis=(1, 2)) > 0
    flags: tuple[str, ...] = ()
    if not useful.all():
        flags += (f"{int((~useful).sum())} of {len(stack)} templates are empty and left out",)
        stack = stack[useful]
    if not len(stack):
        raise InputError("All templates are empty", "images with contrast")
    if stack.shape[1] % 2 == 0:
        # The centre of an even box is the pixel N/2: a further row and column put it in the middle.
        stack = np.pad(stack, ((0, 0), (0, 1), (0, 1)), mode="edge")
    half = stack.shape[1] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    r = np.hypot(y, x)
    rim = (r > 0.85 * half) & (r <= half)
    stack = stack - stack[:, rim].mean(axis=1)[:, None, None]
    if contrast == "dark" or (contrast == "auto" and float(stack[:, r < 0.5 * half].sum()) < 0):
        stack = -stack
        if contrast == "auto":
            flags += ("templates are dark on bright and were inverted",)
    if diameter is None:
        diameter = 2 * pixel_size * _extent(radial_average(stack.mean(axis=0))[half, half:])
    return TemplateBank(stack, float(pixel_size), float(diameter), True, flags)


def _extent(profile: FloatArray) -> float:
    """Return the outermost radius, pixels, at which a profile is above a fifth of its height."""
    above = np.flatnonzero(profile > 0.2 * profile.max())
    return float(above[-1]) + 0.5 if above.size else 0.5 * len(profile)


def radial_average(image: FloatArray) -> FloatArray:
    """Return an (n, n) image, n odd, averaged over all turns about its middle."""
    half = image.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    r = np.hypot(y, x)
    below = np.minimum(r.astype(np.intp), half)
    part = np.clip(r - below, 0, 1)
    inside = r <= half
    size = half + 2
    total = np.bincount(below[inside], ((1 - part) * image)[inside], size)
    total += np.bincount(below[inside] + 1, (part * image)[inside], size)
    weight = np.bincount(below[inside], (1 - part)[inside], size)
    weight += np.bincount(below[inside] + 1, part[inside], size)
    profile = total[: half + 1] / weight[: half + 1]
    return np.asarray(np.interp(r, np.arange(half + 1), profile), dtype=np.float32)


def even_directions(n: int) -> FloatArray:
    """Return (n, 2) polar and azimuthal angles, degrees, spread evenly over half a sphere.

    A Fibonacci lattice. The other half holds the mirror images of the same projections.
    """
    i = np.arange(n) + 0.5
    polar = np.degrees(np.arccos(1 - i / n))
    azimuth = (i * 180.0 * (3 - 5**0.5)) % 360
    return np.stack([polar, azimuth], axis=1)


def project_volume(volume: FloatArray, directions: ArrayLike) -> FloatArray:
    """Return (2 k, n, n) projections of an (n, n, n) map, and their mirror images.

    Parameters
    ----------
    volume
        (z, y, x).
    directions
        (k, 2): polar and azimuthal angle, degrees, such as `even_directions` gives.

    Raises
    ------
    InputError
        Not a cube.
    """
    cube = np.asarray(volume, dtype=np.float32)
    if cube.ndim != 3 or len(set(cube.shape)) != 1:
        raise InputError(f"The map has the shape {np.shape(volume)}", "a cube")
    middle = np.full(3, cube.shape[0] // 2, dtype=np.float64)
    out = []
    for polar, azimuth in np.asarray(directions, dtype=np.float64):
        c, s = np.cos(np.radians(polar)), np.sin(np.radians(polar))
        d, t = np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))
        # Rows are the new axes (z, y, x) in the old ones.
        axes = np.array([[c, s * t, s * d], [0, d, -t], [-s, c * t, c * d]])
        turned = affine_transform(cube, axes.T, offset=middle - axes.T @ middle, order=1)
        image = turned.sum(axis=0)
        out.append(image)
        out.append(np.roll(image[:, ::-1], 1 - cube.shape[0] % 2, axis=1))
    return np.stack(out)
