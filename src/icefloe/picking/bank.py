"""Templates for matching: class averages, projections of a map, or averages of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import map_coordinates

from icefloe._types import FloatArray
from icefloe.errors import InputError, MissingMetadataError
from icefloe.fourier import apply_filter, resize

__all__ = ["TemplateBank", "radial_average", "template_bank"]


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
    usual
        Scores of noise and of particles in the micrographs the bank was made from: both means and
        their common standard deviation; None where they are not known.
    """

    images: FloatArray
    pixel_size: float
    diameter: float
    turns: bool = True
    flags: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    usual: tuple[float, float, float] | None = None

    def scaled(self, pixel_size: float, reach: float) -> TemplateBank:
        """Return the bank at another pixel size, `reach` A from the centre to the rim."""
        half = int(np.ceil(reach / pixel_size)) + 1
        ratio = pixel_size / self.pixel_size
        step = np.arange(-half, half + 1) * ratio
        middle = self.images.shape[1] // 2
        y, x = np.meshgrid(step + middle, step + middle, indexing="ij")
        n = self.images.shape[1]
        # The micrograph was reduced by cropping its transform and holds nothing beyond the limit of
        # its pixels: neither must a template, where it would come back as coarser detail.
        keep = None
        if ratio > 1:
            k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
            keep = np.clip((0.5 / ratio - k) / (0.1 / ratio) + 0.5, 0, 1).astype(np.float32)
        out = []
        for image in self.images:
            values, scale = image.astype(np.float32), 1.0
            if keep is not None:
                values = np.asarray(apply_filter(values, keep))
            if ratio > 4:
                m = 2 * round(n / ratio) + 1
                values = np.asarray(resize(values, (m, m)))
                scale = m / n
            out.append(map_coordinates(values, [y * scale, x * scale], order=3, mode="nearest"))
        return replace(self, images=np.stack(out).astype(np.float32), pixel_size=float(pixel_size))


def template_bank(
    images: FloatArray,
    *,
    pixel_size: float,
    diameter: float | None = None,
    contrast: str = "auto",
    numbers: Sequence[int] | None = None,
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
    numbers
        By which picks name the images; 1, 2, ..., k by default.

    Raises
    ------
    InputError
        Not square images, all of them constant or not finite, or too small for the diameter.
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
    finite = np.asarray(np.isfinite(stack).all(axis=(1, 2)))
    useful = finite & (np.ptp(np.where(finite[:, None, None], stack, 0), axis=(1, 2)) > 0)
    flags: tuple[str, ...] = ()
    if not useful.any():
        why = "hold NaN or infinite pixels" if not finite.all() else "are empty"
        raise InputError(f"All {len(stack)} templates {why}", "images with contrast")
    if not useful.all():
        flags += (f"{int((~useful).sum())} of {len(stack)} templates are empty and left out",)
    given = range(1, len(stack) + 1) if numbers is None else numbers
    kept = tuple(int(number) for number, use in zip(given, useful, strict=True) if use)
    stack = stack[useful]
    size = pixel_size * stack.shape[1]
    if diameter is not None and not 0.8 * diameter < size:
        raise InputError(
            f"Templates of {stack.shape[1]} pixels of {pixel_size:g} A show {size:.0f} A, and the "
            f"particle's diameter is {diameter:g} A",
            "images of the whole particle",
            "Check the diameter and --template-pixel-size",
        )
    if stack.shape[1] % 2 == 0:
        # The centre of an even box is the pixel N/2: a further row and column put it in the middle.
        stack = np.pad(stack, ((0, 0), (0, 1), (0, 1)), mode="edge")
    half = stack.shape[1] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    r = np.hypot(y, x)
    stack = np.stack([_on_flat_ground(image, r) for image in stack])
    if contrast == "dark" or (contrast == "auto" and float(stack[:, r < 0.5 * half].sum()) < 0):
        stack = -stack
        if contrast == "auto":
            flags += ("templates are dark on bright and were inverted",)
    if diameter is None:
        diameter = 2 * pixel_size * _extent(radial_average(stack.mean(axis=0))[half, half:])
    return TemplateBank(stack, float(pixel_size), float(diameter), True, flags, kept)


def _on_flat_ground(image: FloatArray, r: FloatArray) -> FloatArray:
    """Return an image whose rim is 0, without the step at the edge of a round mask, if it has one.

    Class averages come with a mask, outside which all pixels are equal, and often at another level
    than the ice inside: turned into a template, that step would be its strongest feature.
    """
    half = len(image) // 2
    flat = image - np.median(image[(r > 0.85 * half) & (r <= half)])
    corner = image[r > 1.2 * half]
    if np.ptp(corner) > 1e-4 * np.ptp(image):
        return np.asarray(flat, dtype=np.float32)
    unlike = np.abs(image - np.median(corner)) > 1e-4 * np.ptp(image)
    edge = min(float(half), float(r[unlike].max()))
    ground = float(np.median(image[(r > 0.8 * edge) & (r <= 0.92 * edge)]))
    step = abs(ground - float(np.median(corner)))
    # A noise-free particle ends in equal pixels too; what lies inside its edge is particle.
    if step > 0.3 * float(np.abs(image - ground)[r < 0.5 * edge].max()):
        return np.asarray(flat, dtype=np.float32)
    flat = (image - ground) * np.clip((edge - r) / (0.08 * edge), 0, 1)
    return np.asarray(flat, dtype=np.float32)


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
