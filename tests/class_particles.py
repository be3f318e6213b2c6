"""Particles of three shapes, at known angles and places, seen through a known CTF."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from icefloe.fourier import irfft2, rfft2
from icefloe.optics import CtfParameters, ctf_2d

PIXEL = 4.0
DIAMETER = 100.0


def shapes(n=40):
    """Return three images without symmetry, bright, of about 25 pixels."""
    half = n // 2
    y, x = np.mgrid[-half : n - half, -half : n - half]
    rod = (np.abs(y) < 4) & (np.abs(x) < 11)
    rod = rod + 0.8 * ((x - 8) ** 2 + (y - 4) ** 2 < 12)
    ring = (np.hypot(y, x) < 10) & (np.hypot(y, x) > 5)
    ring = ring + 1.0 * ((x - 8) ** 2 + y**2 < 9) + 0.8 * ((y - 8) ** 2 + (x + 2) ** 2 < 6)
    hook = (np.abs(x + 6) < 3) & (np.abs(y) < 10) | (np.abs(y - 7) < 3) & (np.abs(x) < 9)
    hook = hook + 0.7 * ((x - 6) ** 2 + (y - 1) ** 2 < 9)
    out = np.stack([gaussian_filter(s.astype(float), 1.0) for s in (rod, ring, hook)])
    for k, image in enumerate(out):
        weight = image / image.sum()
        out[k] = np.roll(image, [-round((weight * c).sum()) for c in (y, x)], (0, 1))
    return out


def turned(image, psi, place):
    """Return an image turned by psi, degrees from +x towards +y, and moved, by SciPy."""
    c, s = np.cos(np.radians(psi)), np.sin(np.radians(psi))
    # From a pixel of the output to the input: turn back. Axes are (y, x).
    matrix = np.array([[c, -s], [s, c]])
    half = len(image) // 2
    offset = half - matrix @ (half + np.asarray(place))
    return affine_transform(image, matrix, offset, order=3)


@dataclass
class Truth:
    images: np.ndarray
    ctf: list
    view: np.ndarray
    psi: np.ndarray
    place: np.ndarray  # A


def particles(n=500, noise=0.4, with_ctf=True, seed=0, views=(0, 1, 2)):
    rng = np.random.default_rng(seed)
    models = shapes()
    box = models.shape[1]
    view = rng.choice(views, n)
    psi = rng.uniform(0, 360, n)
    place = rng.uniform(-2, 2, (n, 2))
    images, lenses = np.empty((n, box, box), np.float32), []
    for i in range(n):
        image = turned(models[view[i]], psi[i], place[i])
        defocus = rng.uniform(12000, 22000)
        lens = CtfParameters(defocus + 100, defocus - 100, 30.0)
        lenses.append(lens)
        if with_ctf:
            image = irfft2(rfft2(image) * -ctf_2d(lens, (box, box), PIXEL), (box, box))
        images[i] = image
    images += noise * rng.standard_normal(images.shape, dtype=np.float32)
    return Truth(images, lenses if with_ctf else None, view, psi, place * PIXEL)


def purity(classes, view):
    table = np.zeros((classes.max() + 1, view.max() + 1), int)
    np.add.at(table, (classes, view), 1)
    return table.max(axis=1).sum() / len(view)
