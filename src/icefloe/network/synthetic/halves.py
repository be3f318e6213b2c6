"""Simulated pairs of half-dose micrographs, with what both have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from icefloe._types import FloatArray
from icefloe.network.synthetic.scenes import Family, random_scene

__all__ = ["Halves", "random_halves"]

# Share of pairs that show nothing but noise: empty ice must come out empty.
_EMPTY = 0.12
# Share of pairs full of particles that touch.
_CROWDED = 0.25
# Share of pairs in which a lens, a detector or resampling has weakened high frequencies.
_SOFT = 0.4


@dataclass(frozen=True)
class Halves:
    """Two images of the same specimen, each from half of the dose.

    Attributes
    ----------
    odd, even
        (n, n) float32; their mean has shot noise of variance 1 a pixel, unless it is soft.
    clean
        (n, n) float32, the same without shot noise.
    clarity
        How far a usual particle stands out of the mean, in standard deviations of a matched
        filter; 0 where there is none.
    """

    odd: FloatArray
    even: FloatArray
    clean: FloatArray
    clarity: float


def random_halves(seed: tuple[int, ...], pixel_size: float, size: int = 320) -> Halves:
    """Return a pair of random content; the same for the same seed.

    Parameters
    ----------
    seed
        Any numbers.
    pixel_size
        A.
    size
        Pixels a side.
    """
    rng = np.random.default_rng((*seed, 1))
    empty, crowded = bool(rng.random() < _EMPTY), bool(rng.random() < _CROWDED)
    family: Family = "crowded" if crowded else "any"
    scene = random_scene(seed, size, family=family, pixel_size=pixel_size)
    clean = np.zeros((size, size)) if empty else scene.clean
    noise = rng.standard_normal((2, size, size))
    parts = np.stack([clean + np.sqrt(2) * noise[0], clean + np.sqrt(2) * noise[1], clean])
    if rng.random() < _SOFT:
        k2 = fft.fftfreq(size)[:, None] ** 2 + fft.rfftfreq(size)[None, :] ** 2
        parts = fft.irfft2(fft.rfft2(parts) * np.exp(-k2 * rng.uniform(1, 12)), (size, size))
    odd, even, clean = parts.astype(np.float32)
    return Halves(odd, even, clean, 0.0 if empty else scene.clarity)
