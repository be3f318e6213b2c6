"""Templates from a map or an atomic model: projections in evenly spread directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import affine_transform, gaussian_filter

from icefloe._types import FloatArray
from icefloe.errors import InputError

__all__ = ["even_directions", "project_atoms", "project_volume"]


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
        axes = _axes(polar, azimuth)
        turned = affine_transform(cube, axes.T, offset=middle - axes.T @ middle, order=1)
        image = turned.sum(axis=0)
        out.append(image)
        out.append(np.roll(image[:, ::-1], 1 - cube.shape[0] % 2, axis=1))
    return np.stack(out)


def project_atoms(
    atoms: FloatArray,
    weights: FloatArray,
    directions: ArrayLike,
    *,
    pixel_size: float,
    box: int,
    resolution: float = 15.0,
) -> FloatArray:
    """Return (2 k, box, box) projections of atoms, and their mirror images.

    Parameters
    ----------
    atoms
        (n, 3) as (x, y, z), A, about the particle's centre, which comes to the pixel box // 2.
    weights
        (n,) how strongly each scatters.
    directions
        (k, 2), as `project_volume`.
    pixel_size
        A.
    box
        Pixels.
    resolution
        A, at which a Gaussian halves the amplitudes.
    """
    sigma = resolution * np.sqrt(np.log(2.0) / 2) / np.pi / pixel_size
    out = []
    for polar, azimuth in np.asarray(directions, dtype=np.float64):
        _, y, x = _axes(polar, azimuth) @ np.asarray(atoms, dtype=np.float64).T[::-1] / pixel_size
        # One image and its mirror image from the same atoms, so that both are exact.
        for across in (x, -x):
            image = np.zeros((box, box))
            rows, columns = np.floor(y).astype(int), np.floor(across).astype(int)
            for dy in (0, 1):
                for dx in (0, 1):
                    part = np.abs(1 - dy - (y - rows)) * np.abs(1 - dx - (across - columns))
                    i, j = rows + dy + box // 2, columns + dx + box // 2
                    inside = (i >= 0) & (i < box) & (j >= 0) & (j < box)
                    np.add.at(image, (i[inside], j[inside]), (part * weights)[inside])
            out.append(gaussian_filter(image, sigma, mode="constant"))
    return np.asarray(out, dtype=np.float32)


def _axes(polar: float, azimuth: float) -> FloatArray:
    """Return the axes (z, y, x) of a projection, as rows, in those of the particle."""
    c, s = np.cos(np.radians(polar)), np.sin(np.radians(polar))
    d, t = np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))
    return np.array([[c, s * t, s * d], [0, d, -t], [-s, c * t, c * d]])
