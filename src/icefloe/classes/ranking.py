"""How good class averages are, in numbers that can be looked at; no network.

Each measure gives 0 to 1; the score is their weighted mean, and what a picture of a particle cannot
do without (a size that fits, halves that agree, a middle) also limits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import center_of_mass, gaussian_filter, label
from scipy.spatial import ConvexHull, QhullError

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.classes.basis import Harmonics

__all__ = ["WEIGHTS", "ClassRank", "rank_classes", "rotational_correlation"]

WEIGHTS = {
    "resolution": 0.25,
    "population": 0.10,
    "contrast": 0.20,
    "centred": 0.10,
    "size": 0.15,
    "edge": 0.10,
    "border": 0.10,
}
# Classes that correlate more at the best angle show the same view.
DUPLICATE = 0.95


@dataclass(frozen=True)
class ClassRank:
    """Measures of one class.

    Attributes
    ----------
    score
        0 to 1.
    population
        Particles.
    resolution
        A.
    contrast
        Variance inside the particle's circle over that outside it.
    offset
        Distance of the centre of mass from the middle, in diameters.
    feret
        Longest extent of what stands out, in diameters.
    edge
        Share of the variance in a ring about the border of the circle, per area.
    border
        Share of the particles whose windows reach over their micrograph's border.
    duplicate_of
        0-based number of a better class that shows the same; -1 if there is none.
    parts
        What each measure gives, 0 to 1.
    """

    score: float
    population: int
    resolution: float
    contrast: float
    offset: float
    feret: float
    edge: float
    border: float
    duplicate_of: int
    parts: dict[str, float]

    def numbers(self) -> dict[str, Any]:
        """Return the measures as they are recorded."""
        plain = asdict(self)
        finite = {k: round(v, 4) for k, v in plain.items() if isinstance(v, float)
                  and np.isfinite(v)}  # fmt: skip
        parts = {k: round(v, 3) for k, v in self.parts.items()}
        return {**plain, "resolution": None, **finite, "parts": parts}


def rank_classes(
    images: FloatArray,
    *,
    counts: AnyArray,
    resolution: FloatArray,
    pixel_size: float,
    diameter: float,
    borders: FloatArray | None = None,
) -> tuple[ClassRank, ...]:
    """Judge class averages, in the order given.

    Parameters
    ----------
    images
        (K, n, n), bright particles.
    counts
        (K,) particles of each.
    resolution
        (K,) A.
    pixel_size
        A.
    diameter
        Of the particle, A.
    borders
        (K,) share of each class's windows that reach over the border of their micrograph; 0 where
        it is not known.
    """
    width = diameter / pixel_size
    n = images.shape[-1]
    c = np.arange(n) - n // 2
    r = np.hypot(c[:, None], c[None, :])
    inside = r <= 0.5 * width
    border = (r > 0.52 * width) & (r <= 0.72 * width)
    outside = (r > 0.6 * width) & (r <= 0.5 * n - 1)
    if np.count_nonzero(outside) < 50:
        outside = (r > 0.5 * width) & (r <= 0.5 * n)
    full = counts > 0
    known = np.asarray(resolution)[full & np.isfinite(resolution)]
    best = float(np.percentile(known, 15)) if known.size else 1.0
    share = counts.sum() / max(1, np.count_nonzero(full))
    ranks = []
    for k, image in enumerate(np.asarray(images, dtype=np.float64)):
        if not full[k] or float(image.std()) < 1e-12:
            zero = dict.fromkeys(WEIGHTS, 0.0)
            ranks.append(
                ClassRank(0.0, int(counts[k]), float("inf"), 0.0, 1.0, 0.0, 1.0, 0.0, -1, zero)
            )
            continue
        base = float(np.median(image[outside]))
        image = image - base
        spread = float(np.square(image[outside]).mean())
        power = float(np.square(image[inside]).mean())
        contrast = power / max(spread, 1e-12 * power)
        offset, feret = _shape(image, inside | border, width)
        edge = float(np.square(image[border]).mean()) / max(power, 1e-30)
        res = float(resolution[k])
        beyond = 0.0 if borders is None else float(borders[k])
        parts = {
            "resolution": _fall(res / best, 1.1, 2.5) if np.isfinite(res) else 0.0,
            "population": 1 - _fall(float(counts[k]) / share, 0.05, 0.6),
            "contrast": 1 - _fall(contrast, 1.5, 8.0),
            "centred": _fall(offset, 0.06, 0.2),
            "size": min(1 - _fall(feret, 0.35, 0.6), _fall(feret, 1.25, 1.5)),
            "edge": _fall(edge, 0.1, 0.7),
            "border": _fall(beyond, 0.2, 0.4),
        }
        score = sum(WEIGHTS[name] * value for name, value in parts.items())
        worst = min(parts[name] for name in ("size", "resolution", "centred", "border"))
        limit = 0.3 + 0.7 * min(1.0, 2 * worst)
        ranks.append(
            ClassRank(min(score, limit), int(counts[k]), res, contrast, offset, feret, edge,
                      beyond, -1, parts)
        )  # fmt: skip
    twins = _duplicates(images, ranks, pixel_size, diameter)
    return tuple(replace(r, duplicate_of=twin) for r, twin in zip(ranks, twins, strict=True))


def _fall(value: float, high: float, low: float) -> float:
    """Return 1 below `high`, 0 above `low` and a line between."""
    return float(np.clip((low - value) / (low - high), 0, 1))


def _shape(image: FloatArray, where: BoolArray, width: float) -> tuple[float, float]:
    """Return the offset of the centre of mass and the Feret diameter, in diameters."""
    smooth = gaussian_filter(image, 0.03 * width) * where
    level = otsu(smooth[where])
    groups, found = label(smooth > level)
    middle = image.shape[0] // 2
    if not found:
        return 1.0, 0.0
    sizes = np.bincount(groups.ravel())[1:]
    # What belongs to the particle: the largest piece and others of a size like it.
    kept = np.isin(groups, 1 + np.flatnonzero(sizes >= 0.15 * sizes.max()))
    weight = np.where(kept, smooth - level, 0)
    cy, cx = center_of_mass(weight)
    points = np.argwhere(kept).astype(np.float64)
    try:
        hull = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        hull = points
    longest = np.hypot(*np.moveaxis(hull[:, None] - hull[None], -1, 0)).max() + 1
    return float(np.hypot(cy - middle, cx - middle)) / width, float(longest) / width


def otsu(values: FloatArray) -> float:
    """Return the level that splits values into two groups with least variance in them."""
    ordered = np.sort(values)
    n = len(ordered)
    first = np.arange(1, n)
    total = np.cumsum(ordered)
    low = total[:-1] / first
    high = (total[-1] - total[:-1]) / (n - first)
    between = first * (n - first) * (high - low) ** 2
    i = int(between.argmax())
    return float(0.5 * (ordered[i] + ordered[i + 1]))


def rotational_correlation(
    images: FloatArray, *, pixel_size: float, diameter: float, resolution: float = 20.0
) -> FloatArray:
    """Return (K, K) correlation coefficients of images at the best angle, in the circle."""
    basis = Harmonics.make(images.shape[-1], 1.1 * diameter / pixel_size, pixel_size / resolution)
    a = basis.project(np.asarray(images, np.float32))
    # Without the mean over the circle, which all particles share.
    a[:, 0] -= a[:, 0] * (basis.rings < 0.5 * pixel_size / diameter)
    angles = basis.angle_matrix(4 * basis.orders)
    norm = np.sqrt(np.square(a).sum(axis=(1, 2, 3)))
    real = np.einsum("kmcr,lmcr->klm", a, a)
    imaginary = np.einsum("kmr,lmr->klm", a[:, :, 1], a[:, :, 0])
    imaginary -= np.einsum("kmr,lmr->klm", a[:, :, 0], a[:, :, 1])
    terms = np.stack([real, imaginary], axis=-1).reshape(*real.shape[:2], -1)
    best = (terms @ angles.T).max(axis=-1)
    return np.asarray(best / np.maximum(norm[:, None] * norm[None], 1e-20))


def _duplicates(
    images: FloatArray, ranks: Sequence[ClassRank], pixel_size: float, diameter: float
) -> list[int]:
    like = rotational_correlation(images, pixel_size=pixel_size, diameter=diameter) > DUPLICATE
    found = [-1] * len(images)
    kept: list[int] = []
    # In the order in which classes will be numbered.
    for k in sorted(range(len(ranks)), key=lambda k: (-ranks[k].score, -ranks[k].population, k)):
        if ranks[k].population > 0:
            found[k] = next((j for j in kept if like[j, k]), -1)
            if found[k] < 0:
                kept.append(k)
    return found
