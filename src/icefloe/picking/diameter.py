"""How large the particles are, judged by how clearly balls and hollow balls find them.

Every size of a wide range is searched for; that is taken at which the scores of particles and of
noise lie furthest apart in units of their common width.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import InputError, MissingMetadataError
from icefloe.fourier import get_threads, irfft2, resize, rfft2, to_numpy
from icefloe.kernels.peaks import find_peaks
from icefloe.picking.blob import allowed_area, standardise
from icefloe.picking.junk import SCALE, JunkSearch, on_junk
from icefloe.picking.normalise import clean_image, padded_border, search_image
from icefloe.picking.templates import blob_template
from icefloe.picking.threshold import split_scores

__all__ = ["SizeEvidence", "find_size", "size_evidence"]

# Range, A, and number of diameters that are tried.
_SMALLEST, _LARGEST, _STEPS = 50.0, 450.0, 15
# Fewer particles than that, in all micrographs together and in each, are no evidence of a size.
_FEWEST, _FEWEST_EACH = 15, 8
# A peak of the evidence is another candidate where it is this part of the highest, and this many
# times smaller or larger.
_COMPARABLE, _UNLIKE = 0.75, 1.5
# Pixels a diameter of that search.
_COARSE = 10
# What people call the diameter, the longest, over what is seen as a ball.
_LONGEST = 1 / 0.84


@dataclass(frozen=True)
class SizeEvidence:
    """A size found in the data, and why it is what it is.

    Attributes
    ----------
    visible
        Diameter, A, of the ball or hollow ball that stands out most clearly.
    diameter
        The particle's longest diameter that goes with it, A: what `BlobSettings` asks for.
    shape
        ``disc`` or ``ring``.
    sizes
        (n,) diameters tried, A.
    disc, ring
        (n,) how far apart the scores of particles and noise lie, in their standard deviation,
        median of the micrographs; 0 where no two populations were found.
    """

    visible: float
    diameter: float
    shape: str
    sizes: FloatArray
    disc: FloatArray
    ring: FloatArray

    @property
    def evidence(self) -> FloatArray:
        """(n,) the better of `disc` and `ring`."""
        return np.maximum(self.disc, self.ring)

    def candidates(self) -> tuple[tuple[float, str], ...]:
        """Return sizes, A, and shapes that could be the particles', the most evident first.

        Walls and lumps of a large particle may stand out as clearly as all of it, or clumps of
        small ones.
        """
        peaks = []
        for shape, values in (("disc", self.disc), ("ring", self.ring)):
            beside = np.pad(values, 1)
            top = (values > 0) & (values >= beside[:-2]) & (values >= beside[2:])
            peaks += [(float(values[i]), float(self.sizes[i]), shape) for i in np.flatnonzero(top)]
        found = [(self.visible, self.shape)]
        for value, size, shape in sorted(peaks, reverse=True):
            apart = min(max(size / other, other / size) for other, _ in found)
            if value >= _COMPARABLE * self.evidence.max() and apart >= _UNLIKE:
                found.append((size, shape))
        return tuple(found)

    def reason(self) -> str:
        """Return the finding as a sentence."""
        return (
            f"a {self.shape} of {self.visible:.0f} A stands out by {self.evidence.max():.1f} "
            "standard deviations"
        )


def find_size(
    images: Sequence[FloatArray], *, pixel_size: float, bright: bool = False
) -> SizeEvidence:
    """Find the particles' size in some micrographs.

    Parameters
    ----------
    images
        A few micrographs, (ny, nx) each; three are enough.
    pixel_size
        A.
    bright
        Whether particles are brighter than the ice.

    Raises
    ------
    InputError
        No particles stand out at any size, or no micrograph was given.
    MissingMetadataError
        No positive pixel size.
    """
    if not pixel_size or not pixel_size > 0:
        raise MissingMetadataError(
            f"The pixel size is {pixel_size}", "A per pixel", "Give --pixel-size"
        )
    if not len(images):
        raise InputError("No micrograph was given", "one or more")
    fewest = max(_FEWEST_EACH, -(-_FEWEST // len(images)))
    # Each micrograph on a thread of its own: that is what most of the time goes to.
    with ThreadPoolExecutor(max(1, min(get_threads(), len(images)))) as pool:
        each = list(
            pool.map(
                lambda image: size_evidence(
                    image, pixel_size=pixel_size, bright=bright, fewest=fewest
                ),
                images,
            )
        )
    sizes = each[0][0]
    evidence = np.median(
        [[np.interp(sizes, s, disc), np.interp(sizes, s, ring)] for s, disc, ring in each], axis=0
    )
    if not evidence.max() > 0:
        raise InputError(
            "No particles stand out from the noise at any size",
            f"particles of {sizes[0]:.0f} to {sizes[-1]:.0f} A",
            "Give a diameter and use `icefloe pick blob`",
        )
    which, best = np.unravel_index(int(evidence.argmax()), evidence.shape)
    visible = float(sizes[best])
    shape = ("disc", "ring")[int(which)]
    return SizeEvidence(visible, _LONGEST * visible, shape, sizes, evidence[0], evidence[1])


def size_evidence(
    image: FloatArray, *, pixel_size: float, bright: bool = False, fewest: int = _FEWEST
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return how well balls and hollow balls of many sizes tell particles from noise.

    What lies on junk does not count. Fewer particles than `fewest` are no evidence.

    Returns
    -------
    sizes : ndarray
        (n,) diameters, A, that fit the micrograph.
    disc, ring : ndarray
        (n,) separations of the two populations of scores.
    """
    cleaned, _ = clean_image(image)
    top, bottom, left, right = padded_border(cleaned)
    ny, nx = cleaned.shape
    raw = np.ascontiguousarray(cleaned[top : ny - bottom, left : nx - right])
    largest = min(_LARGEST, min(raw.shape) * pixel_size / 6)
    smallest = max(_SMALLEST, 8 * pixel_size)
    if smallest >= largest:
        raise InputError(
            f"A micrograph of {min(raw.shape) * pixel_size:g} A is too small to find the "
            "particles' diameter in it",
            f"{6 * smallest:g} A or more",
            "Give the diameter",
        )
    sizes = np.geomspace(smallest, largest, _STEPS)
    # Once to the pixels of the smallest size; every size starts from there.
    factor = min(1.0, _COARSE * pixel_size / smallest)
    shape = (2 * round(0.5 * raw.shape[0] * factor), 2 * round(0.5 * raw.shape[1] * factor))
    if factor < 0.9:
        pixel_size *= raw.shape[0] / shape[0]
        raw = np.asarray(resize(raw - np.float32(raw.mean(dtype=np.float64)), shape))
    found = np.zeros((2, len(sizes)))
    searches: dict[float, JunkSearch] = {}
    for i, diameter in enumerate(sizes):
        # The ball is smaller than what evens out the light, as a particle's core is.
        search = search_image(raw, 1.3 * diameter / pixel_size, _COARSE, 1.0, bright=bright,
                              device="cpu")  # fmt: skip
        width = diameter * search.scale[0] / pixel_size
        allowed = allowed_area(search, (0, 0, 0, 0), 0.5 * width)
        scale = min(diameter, SCALE) / pixel_size
        if scale not in searches:
            # One scale serves all large particles.
            searches = {scale: JunkSearch(raw, scale, bright=bright)}
        junk = searches[scale].mask(diameter / pixel_size)
        spectrum = rfft2(search.even)
        size = (int(search.even.shape[0]), int(search.even.shape[1]))
        for j, kind in enumerate(("disc", "ring")):
            response = irfft2(spectrum * blob_template(width, kind, size), size)
            score = standardise(np.asarray(to_numpy(search.crop(response))), allowed)
            places, heights = find_peaks(score, 0.6 * width, 0.0, allowed)
            at = (places + 0.5) / search.shape * junk.shape - 0.5
            heights = heights[~on_junk(junk, at[:, 0], at[:, 1])]
            split = split_scores(heights)
            # A handful of peaks far above the rest is contamination.
            if split.clear and np.count_nonzero(heights > split.threshold) >= fewest:
                found[j, i] = split.separation
    return sizes, found[0], found[1]
